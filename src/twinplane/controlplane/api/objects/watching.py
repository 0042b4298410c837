"""Watches: every change is rendered once per way of showing it and handed to exactly those who asked for it.

Watchers that ask for the same (scope, selectors, representation) form a `Group`, for which a change is tested once.
Groups are found by what their selection pins: a name, a node, a namespace, or nothing. So an event costs what its
readers cost, not what all watchers of the type would.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

from twinplane.controlplane.api.encoding import restamp, watch_event
from twinplane.controlplane.api.objects.entry import Change, Entry
from twinplane.controlplane.api.objects.selection import NODE_NAME, Selection
from twinplane.kubeclient.contract import Object, WatchEvent

HISTORY = 8192
HISTORY_BYTES = 16 << 20
"""Changes of a type that a watch may begin before: how many, and how much of superseded objects."""
BACKLOG_EVENTS = 10_000
BACKLOG_BYTES = 32 << 20
"""What a watcher may be behind before it is cut off; it then lists again, as clients of upstream do."""
TURNS = 60
"""Bookmarks go out a share of the watchers at a time, one share a second: upstream's minute without its burst."""


class Representation(Protocol):
    """How objects of a type are shown to a client: as they are, in another version, as metadata, as a Table."""

    @property
    def key(self) -> object:
        """Equal keys render alike."""
        ...

    def render(self, value: bytes) -> bytes:
        """The `object` of a watch event for stored bytes."""
        ...

    def bookmark(self, revision: int, *, initial_events_end: bool = False) -> bytes: ...

    @property
    def shared(self) -> bool:
        """Readers are in this process and take changes as objects, which they do not change."""
        ...

    @property
    def follows(self) -> bool:
        """Of shared ones: readers take each `Change` as it is, and find out themselves what it is to them."""
        ...


class TooOld(Exception):
    """A watch from a revision that the history does not reach back to."""

    def __init__(self, asked: int, oldest: int) -> None:
        super().__init__(f"too old resource version: {asked} ({oldest})")


class Watcher:
    """The stream of one watch: an iterator over encoded events, several joined when the reader is behind.

    One that is `shared` has lists in it as well, of events as they come: encoded, as `WatchEvent`s or as `Change`s.
    """

    __slots__ = ("_bytes", "_closed", "_initial", "_on_close", "_pending", "_wake", "shared", "turn")

    def __init__(
        self,
        initial: Iterator[Any],
        on_close: Callable[[Watcher], None],
        turn: int | None,
        *,
        shared: bool = False,
    ) -> None:
        self.shared = shared
        self.turn = turn
        """When it is told bookmarks, of `TURNS`; None: never."""
        self._initial: Iterator[Any] | None = initial
        self._pending: list[Any] = []
        self._bytes = 0
        self._closed = False
        self._wake: asyncio.Future[None] | None = None
        self._on_close = on_close

    def __aiter__(self) -> Watcher:
        return self

    async def __anext__(self) -> Any:
        if self._initial is not None:
            piece = next(self._initial, None)
            if piece is not None:
                return piece
            self._initial = None
        while not self._pending:
            if self._closed:
                raise StopAsyncIteration
            self._wake = asyncio.get_running_loop().create_future()
            try:
                await self._wake
            finally:
                self._wake = None
        pending = self._pending
        if self.shared:
            self._pending, self._bytes = [], 0
            return pending
        piece = pending[0] if len(pending) == 1 else b"".join(pending)
        self._pending = []
        self._bytes = 0
        return piece

    def push(self, event: bytes | WatchEvent | Change, size: int = 0) -> None:
        """`size` in bytes, of events that are not encoded."""
        if self._closed:
            return
        self._pending.append(event)
        self._bytes += size or len(event)
        if len(self._pending) > BACKLOG_EVENTS or self._bytes > BACKLOG_BYTES:
            self._pending = []
            self._initial = None
            self.close()
        elif self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    def close(self) -> None:
        """End the stream after what is pending."""
        if self._closed:
            return
        self._closed = True
        self._on_close(self)
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    async def aclose(self) -> None:
        self._pending = []
        self.close()


class Group:
    """Watchers that see the same events."""

    __slots__ = ("key", "members", "representation", "selection")

    def __init__(self, key: object, selection: Selection, representation: Representation) -> None:
        self.key = key
        self.selection = selection
        self.representation = representation
        self.members: dict[Watcher, None] = {}

    def show(self, change: Change) -> tuple[str, bytes] | None:
        """Event type and stored bytes, or None when this selection does not see the change."""
        entry, previous = change.entry, change.previous
        selection = self.selection
        now = entry is not None and selection.matches(entry)
        before = previous is not None and selection.matches(previous)
        if now and entry is not None:
            return ("MODIFIED" if before else "ADDED"), entry.value
        if before and previous is not None:
            return "DELETED", restamp(previous.value, previous.revision, change.revision)
        return None


class Hub:
    """The watches of one collection. `revision`: the one its objects were loaded at."""

    def __init__(self, revision: int) -> None:
        self._oldest = revision
        self._bytes = 0
        self._history: deque[Change] = deque()
        self._groups: dict[object, Group] = {}
        self._by_place: dict[tuple[str, str], dict[Group, None]] = {}
        self._added = 0

    @property
    def watcher_count(self) -> int:
        return sum(len(group.members) for group in self._groups.values())

    def add(
        self,
        selection: Selection,
        representation: Representation,
        initial: Iterable[Any],
        *,
        bookmarks: bool,
    ) -> Watcher:
        """A watcher of everything after now; `initial` comes first, in pieces as `Watcher` gives them.

        No await may lie between reading and adding.
        """
        key = (selection.namespace, selection.text, representation.key)
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = Group(key, selection, representation)
            self._by_place.setdefault(_place(selection), {})[group] = None
        joined = group
        self._added += 1
        turn = self._added % TURNS if bookmarks else None
        shared = representation.shared
        watcher = Watcher(iter(initial), lambda closed: self._leave(joined, closed), turn, shared=shared)
        group.members[watcher] = None
        return watcher

    def _leave(self, group: Group, watcher: Watcher) -> None:
        group.members.pop(watcher, None)
        if not group.members and self._groups.get(group.key) is group:
            self._groups.pop(group.key, None)
            place = _place(group.selection)
            groups = self._by_place.get(place, {})
            groups.pop(group, None)
            if not groups:
                self._by_place.pop(place, None)

    def since(self, revision: int, selection: Selection, representation: Representation) -> list[bytes]:
        """Events after `revision` as the selection sees them. Raises `TooOld`."""
        group = Group(None, selection, representation)
        events = []
        for change in self.changes_since(revision, selection.namespace):
            shown = group.show(change)
            if shown is not None:
                events.append(watch_event(shown[0], representation.render(shown[1])))
        return events

    def changes_since(self, revision: int, namespace: str) -> list[Change]:
        """Raises `TooOld`."""
        if revision < self._oldest:
            raise TooOld(revision, self._oldest)
        return [
            change
            for change in self._history
            if change.revision > revision and namespace in ("", change.present.namespace)
        ]

    def publish(self, change: Change) -> None:
        self._remember(change)
        if not self._groups:
            return
        rendered: dict[tuple[object, str], bytes] = {}
        for group in self._concerned(change):
            shown = group.show(change)
            if shown is None:
                continue
            if group.representation.shared:
                follows = group.representation.follows
                event_object = change if follows else WatchEvent(shown[0], _object_of(change, shown))
                for watcher in tuple(group.members):
                    watcher.push(event_object, len(shown[1]))
                continue
            key = (group.representation.key, shown[0])
            event = rendered.get(key)
            if event is None:
                event = rendered[key] = watch_event(shown[0], group.representation.render(shown[1]))
            for watcher in tuple(group.members):
                watcher.push(event)

    def _remember(self, change: Change) -> None:
        history = self._history
        history.append(change)
        self._bytes += _superseded(change)
        while len(history) > HISTORY or self._bytes > HISTORY_BYTES:
            forgotten = history.popleft()
            self._oldest = forgotten.revision
            self._bytes -= _superseded(forgotten)

    def _concerned(self, change: Change) -> list[Group]:
        present = change.present
        places = [_EVERYWHERE, ("namespace", present.namespace), ("name", present.name)]
        for entry in {change.entry, change.previous}:
            node = entry.fields.get(NODE_NAME) if entry is not None else None
            if node and ("node", node) not in places:
                places.append(("node", node))
        groups: list[Group] = []
        for place in places:
            for group in self._by_place.get(place, ()):
                if group.selection.namespace in ("", present.namespace):
                    groups.append(group)  # noqa: PERF401 - the common case is no group at all
        return groups

    def bookmark(self, revision: int, turn: int) -> None:
        """Tell the watchers whose turn it is that they have seen everything up to `revision`."""
        for group in tuple(self._groups.values()):
            chosen = [watcher for watcher in group.members if watcher.turn == turn]
            if chosen:
                event = group.representation.bookmark(revision)
                for watcher in chosen:
                    watcher.push(event)

    def close(self) -> None:
        for group in tuple(self._groups.values()):
            for watcher in tuple(group.members):
                watcher.close()


_EVERYWHERE = ("", "")


def _object_of(change: Change, shown: tuple[str, bytes]) -> Object:
    if change.entry is not None and shown[0] != "DELETED":
        return change.entry.peek()
    assert change.previous is not None
    last = change.previous.peek()
    return {**last, "metadata": {**last["metadata"], "resourceVersion": str(change.revision)}}


def _superseded(change: Change) -> int:
    return 0 if change.previous is None else len(change.previous.value)


def _place(selection: Selection) -> tuple[str, str]:
    if selection.name is not None:
        return "name", selection.name
    if selection.node:
        return "node", selection.node
    return ("namespace", selection.namespace) if selection.namespace else _EVERYWHERE


def added(entries: Iterable[Entry], representation: Representation, *, joined: int = 256) -> Iterator[bytes]:
    """ADDED events for a state, in pieces of `joined` events."""
    piece: list[bytes] = []
    for entry in entries:
        piece.append(watch_event("ADDED", representation.render(entry.value)))
        if len(piece) >= joined:
            yield b"".join(piece)
            piece = []
    if piece:
        yield b"".join(piece)
