"""All objects of one stored type in key order, with the indexes that lists go by.

Owned by the cache, which alone changes it, one event at a time. Everything here is in memory and synchronous: what a
caller reads between two awaits is one consistent state.
"""

from __future__ import annotations

from collections.abc import Iterable

from twinplane.controlplane.api.objects.entry import Entry
from twinplane.controlplane.api.objects.selection import NODE_NAME, Selection
from twinplane.controlplane.store.sorted_keys import SortedKeys


class Index:
    """Value -> the keys that have it. `values` are compared as a whole first: most changes touch none."""

    def __init__(self) -> None:
        self._keys: dict[object, set[str]] = {}

    def change(self, key: str, old: Iterable[object], new: Iterable[object]) -> None:
        for value in old:
            keys = self._keys.get(value)
            if keys is not None:
                keys.discard(key)
                if not keys:
                    del self._keys[value]
        for value in new:
            self._keys.setdefault(value, set()).add(key)

    def get(self, value: object) -> set[str] | frozenset[str]:
        return self._keys.get(value, _EMPTY)


_EMPTY: frozenset[str] = frozenset()


class Collection:
    """`prefix` is the type's in the store; `revision` that of its last change (at first: of the load)."""

    def __init__(self, prefix: str, revision: int) -> None:
        self.prefix = prefix
        self.revision = revision
        self._entries: dict[str, Entry] = {}
        self._keys = SortedKeys()
        self._by_label = Index()
        self._by_node = Index()
        self._watches_nodes = prefix == "/registry/core/pods/"

    def __len__(self) -> int:
        return len(self._entries)

    def all_keys(self) -> list[str]:
        return list(self._entries)

    def get(self, key: str) -> Entry | None:
        return self._entries.get(key)

    def put(self, entry: Entry) -> Entry | None:
        """Add or replace; returns what was there."""
        key = entry.key
        previous = self._entries.get(key)
        self._entries[key] = entry
        if previous is None:
            self._keys.add(key)
        self._index(key, previous, entry)
        self.revision = entry.revision
        return previous

    def remove(self, key: str, revision: int) -> Entry | None:
        previous = self._entries.pop(key, None)
        self.revision = revision
        if previous is not None:
            self._keys.remove(key)
            self._index(key, previous, None)
        return previous

    def _index(self, key: str, old: Entry | None, new: Entry | None) -> None:
        old_labels = old.labels if old else {}
        new_labels = new.labels if new else {}
        if old_labels != new_labels:
            self._by_label.change(key, old_labels.items(), new_labels.items())
        if self._watches_nodes:
            old_node = old.fields.get(NODE_NAME) if old else None
            new_node = new.fields.get(NODE_NAME) if new else None
            if old_node != new_node:
                self._by_node.change(key, (old_node,) if old_node else (), (new_node,) if new_node else ())

    def select(self, selection: Selection, after: str = "") -> list[Entry]:
        """Entries in key order, above the key `after`."""
        candidates = self._candidates(selection)
        if candidates is None:
            keys: Iterable[str] = self._keys.page(self._scope(selection), after, 0)[0]
            found = [*map(self._entries.__getitem__, keys)]
            return [entry for entry in found if selection.matches(entry)] if selection.tests else found
        entries = map(self._entries.__getitem__, sorted(key for key in candidates if key > after))
        return [entry for entry in entries if selection.covers(entry)]

    def page(self, selection: Selection, after: str, limit: int) -> tuple[list[Entry], int]:
        """The first `limit` (0: all) of what `select` finds, and how many follow. All pages together walk once."""
        if limit and not selection.tests and self._candidates(selection) is None:
            keys, following = self._keys.page(self._scope(selection), after, limit)
            return [*map(self._entries.__getitem__, keys)], following
        return first_of(self.select(selection, after), limit)

    def _scope(self, selection: Selection) -> str:
        return f"{self.prefix}{selection.namespace}/" if selection.namespace else self.prefix

    def _candidates(self, selection: Selection) -> Iterable[str] | None:
        """Keys among which all selected ones are; None: no index helps."""
        if selection.name is not None:
            keys = (f"{self.prefix}{selection.namespace}/{selection.name}", f"{self.prefix}{selection.name}")
            found = [key for key in keys if key in self._entries]
            return found if found or selection.namespace else None
        if selection.node is not None and self._watches_nodes and selection.node:
            return self._by_node.get(selection.node)
        if selection.labels:
            return min((self._by_label.get(pair) for pair in selection.labels), key=len)
        return None


def first_of(entries: list[Entry], limit: int) -> tuple[list[Entry], int]:
    """A page of them (0: all), and how many follow."""
    return (entries[:limit], max(len(entries) - limit, 0)) if limit else (entries, 0)
