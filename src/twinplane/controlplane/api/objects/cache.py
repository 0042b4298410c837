"""The API server's objects in memory: loaded from the store once, then kept by one watch over everything.

Verbs read from it, admission and authorization read from it (`reader`), and every watch of a client hangs on it. It is
built before the server, because authorizers need it. A write is answered only after the cache has applied it
(`applied`), so every client reads its own writes; revisions are applied in order, so a list and a watch that begins at
the list's revision miss nothing.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

import orjson

from twinplane.controlplane.api.encoding import stamp
from twinplane.controlplane.api.objects.collection import Collection
from twinplane.controlplane.api.objects.entry import NO_LABELS, Change, Entry, Facts
from twinplane.controlplane.api.objects.keys import ROOT, key_of, prefix_of, split, stored_group
from twinplane.controlplane.api.objects.watching import TURNS, Hub
from twinplane.controlplane.api.types.contract import ResourceType, TypeRegistry, TypeRules
from twinplane.controlplane.store.contract import Compacted, Event, Page, Record, Store, StoreError
from twinplane.kubeclient.contract import Object, Resource

Listener = Callable[[str, Entry | None], None]
"""(name, the object, or None when it is gone)."""
Normalise = Callable[[Object], bool]
"""Changes a stored body in place to what readers are shown; True when it did."""


REPLAYED = 5_000
"""Changes before the present one that a new process loads from a store that still has them."""


RECENT = 4096
"""Objects written last that are kept as objects, too: who follows them is in this process, or changes them next."""


class _Announced(NamedTuple):
    value: bytes
    body: Object
    facts: Facts
    generation: int
    """Of the table of types."""


class ObjectCache:
    """`start` before use, `close` at the end. `failure` is set when it stopped following: nothing is fresh then."""

    def __init__(self, store: Store, registry: TypeRegistry, rules: TypeRules) -> None:
        self._store = store
        self._registry = registry
        self._rules = rules
        self._collections: dict[str, Collection] = {}
        self._hubs: dict[str, Hub] = {}
        self._types: dict[str, ResourceType] = {}
        self._types_generation = -1
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._asked = 0
        self._listeners: dict[str, Listener] = {}
        self._announced: dict[str, _Announced] = {}
        self._recent: deque[Entry] = deque()
        self._normalisers: dict[str, Normalise] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._loaded_at = 0
        self.revision = 0
        self.failure: BaseException | None = None

    async def start(self) -> None:
        """Load everything, then follow. Raises whatever the store raises.

        Where the store has more history than this process, the load begins some changes back: a client whose watch
        ended with another replica goes on here without missing or repeating a change.
        """
        page = await self._load()
        self.revision = self._loaded_at = page.revision
        for record in page.records:
            entry = self.entry(record)
            self.collection_at(split(record.key)[0]).put(entry)
        for collection in self._collections.values():
            collection.revision = page.revision
        self._tasks = [
            asyncio.create_task(self._follow(), name="object cache"),
            asyncio.create_task(self._bookmark(), name="watch bookmarks"),
        ]
        await self.catch_up()

    async def _load(self) -> Page:
        store = self._store
        try:
            # The first revision is 1: 0 is the present one.
            return await store.range(ROOT, revision=max(store.compacted_revision, store.revision - REPLAYED, 1))
        except Compacted as error:
            return await store.range(ROOT, revision=error.compacted_revision)

    async def close(self) -> None:
        """End all watches and stop following."""
        for hub in self._hubs.values():
            hub.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []

    def collection(self, stored: Resource) -> Collection:
        return self.collection_at(prefix_of(stored))

    def hub(self, stored: Resource) -> Hub:
        return self._hub_at(prefix_of(stored))

    def get(self, stored: Resource, namespace: str, name: str) -> Entry | None:
        collection = self._collections.get(prefix_of(stored))
        return None if collection is None else collection.get(key_of(stored, namespace, name))

    def collection_at(self, prefix: str) -> Collection:
        found = self._collections.get(prefix)
        if found is None:
            found = self._collections[prefix] = Collection(prefix, self.revision)
        return found

    def _hub_at(self, prefix: str) -> Hub:
        found = self._hubs.get(prefix)
        if found is None:
            found = self._hubs[prefix] = Hub(self._loaded_at)
        return found

    def listen(self, stored: Resource, listener: Listener) -> None:
        """Call `listener` at every change of the type, before any client hears of it."""
        self._listeners[prefix_of(stored)] = listener

    def normalise(self, stored: Resource, change: Normalise | None) -> None:
        """Show the type's objects as `change` leaves them, and index them by what its table of types says now."""
        prefix = prefix_of(stored)
        if change is None:
            self._normalisers.pop(prefix, None)
        else:
            self._normalisers[prefix] = change
        collection = self._collections.get(prefix)
        for key in () if collection is None else collection.all_keys():
            entry = collection.get(key) if collection is not None else None
            if collection is not None and entry is not None:
                revision = collection.revision
                collection.put(self.entry(Record(entry.key, entry.value, entry.revision, 0)))
                collection.revision = revision

    def announce(self, key: str, value: bytes, body: Object) -> None:
        """`value`, which is `body` as it goes to the store, is about to be written: it need not be parsed to be kept.

        `body` is the cache's from then on, and nobody changes what is in it: it is shown to readers in this process.
        Nothing is believed of what then comes from the store under this key unless it is the very same bytes, stamped.
        Whoever announces calls `forget` when the write is over, well or not.
        """
        prefix = split(key)[0]
        if prefix not in self._normalisers:
            self._announced[key] = _Announced(value, body, self._facts(prefix, body), self._registry.generation)

    def forget(self, key: str) -> None:
        self._announced.pop(key, None)

    def counts(self) -> dict[str, int]:
        """Objects by `plural.group`, for metrics."""
        named = ((stored_group(prefix), len(entries)) for prefix, entries in self._collections.items())
        return {f"{plural}.{group}" if group else plural: count for (group, plural), count in named}

    def watcher_count(self) -> int:
        return sum(hub.watcher_count for hub in self._hubs.values())

    async def applied(self, revision: int) -> None:
        """Until the change of `revision` can be read here. Raises what stopped the cache."""
        if self.failure is not None:
            raise self.failure
        if revision <= self.revision:
            return
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._asked += 1
        heapq.heappush(self._waiting, (revision, self._asked, done))
        await done

    async def catch_up(self) -> None:
        """Until every change that anyone was told of before this call can be read here.

        With one process over the store that is so already; replicas write behind one another's backs.
        """
        horizon = await self._store.horizon()
        if horizon.changed > self.revision:
            await self.applied(horizon.changed)
        if horizon.revision > self.revision:
            # Nothing of this store lies between: others use the same etcd.
            self.revision = horizon.revision
            self._release(None)

    async def _follow(self) -> None:
        try:
            while True:
                try:
                    async with self._store.watch(ROOT, self.revision) as batches:
                        async for batch in batches:
                            self._apply(batch)
                        return
                except Compacted:
                    await self._reload()
        except Exception as error:  # noqa: BLE001 - the boundary of this task: whoever waits for it is told
            self.failure = error
        finally:
            self.failure = self.failure or StoreError("the object cache has stopped")
            self._release(self.failure)

    async def _bookmark(self) -> None:
        turn = 0
        while True:
            await asyncio.sleep(1.0)
            turn = (turn + 1) % TURNS
            for hub in tuple(self._hubs.values()):
                hub.bookmark(self.revision, turn)

    def _apply(self, batch: list[Event]) -> None:
        for key, revision, record, _ in batch:
            self._change(key, revision, record)
        self.revision = batch[-1].revision
        self._release(None)

    def _change(self, key: str, revision: int, record: Record | None) -> None:
        prefix = split(key)[0]
        collection = self.collection_at(prefix)
        if record is None:
            entry = None
            previous = collection.remove(key, revision)
        else:
            entry = self.entry(record)
            previous = collection.put(entry)
        self.revision = revision
        listener = self._listeners.get(prefix)
        if listener is not None:
            listener(split(key)[2], entry)
        if entry is not None or previous is not None:
            self._hub_at(prefix).publish(Change(revision, entry, previous))

    def _release(self, failure: BaseException | None) -> None:
        waiting = self._waiting
        while waiting and (failure is not None or waiting[0][0] <= self.revision):
            _, _, done = heapq.heappop(waiting)
            if not done.done():
                done.set_result(None) if failure is None else done.set_exception(failure)

    async def _reload(self) -> None:
        """After falling behind further than the store keeps: read all again and tell watchers the difference."""
        page = await self._store.range(ROOT)
        present = {record.key for record in page.records}
        for record in sorted(page.records, key=lambda record: record.revision):
            known = self.collection_at(split(record.key)[0]).get(record.key)
            if known is None or known.revision != record.revision:
                self._change(record.key, record.revision, record)
        for collection in tuple(self._collections.values()):
            for key in collection.all_keys():
                if key not in present:
                    self._change(key, page.revision, None)
        self.revision = page.revision
        self._release(None)

    def entry(self, record: Record) -> Entry:
        prefix, namespace, name = split(record.key)
        announced = self._announced.get(record.key)
        if announced is not None and self._holds(announced, prefix, record):
            announced.body["metadata"]["resourceVersion"] = str(record.revision)
            entry = Entry(record, namespace, name, announced.facts, announced.body)
            self._remember(entry)
            return entry
        parsed: Object = orjson.loads(record.value)
        change = self._normalisers.get(prefix)
        if change is not None and change(parsed):
            record = record._replace(value=orjson.dumps(parsed))
        return Entry(record, namespace, name, self._facts(prefix, parsed))

    def _holds(self, announced: _Announced, prefix: str, record: Record) -> bool:
        """It is this value, and no type has changed since in what it shows or is selected by."""
        is_same_table = announced.generation == self._registry.generation and prefix not in self._normalisers
        return is_same_table and stamp(announced.value, record.revision) == record.value

    def _remember(self, entry: Entry) -> None:
        recent = self._recent
        if len(recent) >= RECENT:
            recent.popleft().let_go()
        recent.append(entry)

    def _facts(self, prefix: str, body: Object) -> Facts:
        selectable = self._type_at(prefix)
        fields = self._rules.field_labels(selectable, body) if selectable is not None else _NO_FIELDS
        metadata = body["metadata"]
        labels = metadata.get("labels")
        return Facts(metadata.get("uid", ""), dict(labels) if labels else NO_LABELS, fields)

    def _type_at(self, prefix: str) -> ResourceType | None:
        """The type whose field labels are indexed; None where name and namespace are all there is to select by."""
        if self._types_generation != self._registry.generation:
            self._types_generation = self._registry.generation
            self._types = _selectable_types(self._registry)
        return self._types.get(prefix)


_NO_FIELDS: dict[str, str] = {}


def _selectable_types(registry: TypeRegistry) -> dict[str, ResourceType]:
    types: dict[str, ResourceType] = {}
    own = {"metadata.name", "metadata.namespace"}
    for served in registry.all():
        if served.persisted and served.storage is None and not own.issuperset(served.selectable_fields):
            types[prefix_of(served.resource)] = served
    return types
