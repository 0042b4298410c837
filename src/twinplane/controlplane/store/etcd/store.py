"""The etcd store: the contract over a real etcd v3 cluster, which other clusters and several replicas may share.

A write is one transaction: compare the key's revision, put it, or tell the current state if that failed. Many are
under way at once. When a connection is lost in the middle of one, the same transaction is sent again: of two that
expect the same revision only one can hold, so its success is the truth; its failure is not, and is told as such.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from twinplane.controlplane.store.contract import (
    Compacted,
    Event,
    FutureRevision,
    Horizon,
    KeyExists,
    OutcomeUnknown,
    Page,
    Record,
    RevisionConflict,
    Stamp,
    StoreError,
)
from twinplane.controlplane.store.etcd import messages
from twinplane.controlplane.store.etcd.client import COMPACTED, FUTURE_REVISION, EtcdClient, Lost
from twinplane.controlplane.store.etcd.configuration import EtcdConfiguration
from twinplane.controlplane.store.etcd.grpc import CallFailed
from twinplane.controlplane.store.etcd.keys import Keyspace
from twinplane.controlplane.store.etcd.origin import Origin
from twinplane.controlplane.store.etcd.watching import EtcdWatch, Translation, compacted_revision

PAGE = 5_000
"""Records of one answer of etcd; longer ranges are read in several, at one revision."""
WRITE_ATTEMPTS = 3
NO_REVISION = 2**63 - 1


class EtcdRefused(StoreError):
    """etcd's own words for something that is none of the refusals of the contract."""


class EtcdStore:
    """See `Store` for the meaning. Made by `open`."""

    def __init__(self, client: EtcdClient, keyspace: Keyspace, stamp: Stamp, *, exclusive: bool = False) -> None:
        self.client = client
        self._keyspace = keyspace
        self._stamp = stamp
        self.revision = 0
        self.compacted_revision = 0
        self._set_origin(Origin())
        self._watches: dict[EtcdWatch, str] = {}
        self._own: dict[EtcdWatch, int] = {}
        self._curious: list[asyncio.Future[Horizon]] = []
        self._asking: asyncio.Task[None] | None = None
        self._exclusive = exclusive
        self._written = 0
        self._closed = False

    @classmethod
    async def open(cls, configuration: EtcdConfiguration, *, stamp: Stamp, exclusive: bool = False) -> EtcdStore:
        """`exclusive`: nobody else writes under the prefix, so etcd need not be asked what was written last.

        Raises OSError for unusable certificate files, `StoreUnavailable` when no server answers, `StoreError`."""
        store = cls(EtcdClient(configuration), Keyspace(configuration.prefix), stamp, exclusive=exclusive)
        try:
            await store._learn_origin()
            store._written = (await store._ask()).changed
        except BaseException:
            await store.close()
            raise
        return store

    async def _learn_origin(self) -> None:
        answer = messages.ranged(await self._read(messages.RANGE, messages.range_request(self._keyspace.origin)))
        if answer.kvs:
            self._set_origin(Origin.load(answer.kvs[0].value))

    def _set_origin(self, origin: Origin) -> None:
        self._offset = origin.offset
        self._floor = origin.floor
        self.compacted_revision = max(self.compacted_revision, origin.floor)
        self._translation = Translation(self._keyspace, self._stamp, origin.offset)

    def _raw(self, revision: int) -> int:
        """A revision that a reader asks for, as etcd counts. Raises `Compacted` for one of before the move."""
        if revision < self._floor:
            raise Compacted(self._floor)
        return max(revision - self._offset, 1)

    def _expected(self, revision: int) -> int:
        """A revision that a writer expects; 0 would mean a key that is not there, which is what a create expects."""
        raw = revision - self._offset
        return raw if raw > 0 else NO_REVISION

    async def horizon(self) -> Horizon:
        """Callers that come while a question is under way share the next one: it begins after all of them."""
        if self._exclusive:
            return Horizon(self._written, self._written)
        answer: asyncio.Future[Horizon] = asyncio.get_running_loop().create_future()
        self._curious.append(answer)
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask_for_all(), name="etcd horizon")
        return await answer

    async def _ask_for_all(self) -> None:
        while self._curious:
            callers, self._curious = self._curious, []
            try:
                horizon = await self._ask()
            except Exception as error:  # noqa: BLE001 - the boundary of this task: whoever asked is told
                for caller in callers:
                    if not caller.done():
                        caller.set_exception(error)
            else:
                for caller in callers:
                    if not caller.done():
                        caller.set_result(horizon)

    async def _ask(self) -> Horizon:
        answer = await self._range(messages.range_request(self._keyspace.marker))
        changed = answer.kvs[0].mod_revision if answer.kvs else 1
        return Horizon(changed + self._offset, answer.revision + self._offset)

    async def get(self, key: str) -> Record | None:
        answer = await self._range(messages.range_request(self._keyspace.key(key)))
        return self._translation.record(answer.kvs[0]) if answer.kvs else None

    async def range(self, prefix: str, *, after: str = "", limit: int = 0, revision: int = 0) -> Page:
        first, end = self._keyspace.bounds(prefix, after)
        records: list[Record] = []
        at = self._raw(revision) if revision else 0
        while True:
            wanted = min(PAGE, limit - len(records)) if limit else PAGE
            answer = await self._range(messages.range_request(first, end, limit=wanted, revision=at))
            at = at or answer.revision
            records += map(self._translation.record, answer.kvs)
            remaining = answer.total - len(answer.kvs)
            if not remaining or not answer.kvs or len(records) == limit:
                return Page(records, at + self._offset, remaining)
            first = answer.kvs[-1].key + b"\0"

    async def _range(self, request: bytes) -> messages.Ranged:
        """Raises `Compacted` and `FutureRevision`."""
        answer = messages.ranged(await self._read(messages.RANGE, request))
        self._heard(answer.revision)
        return answer

    async def create(self, key: str, value: bytes) -> Record:
        found, held = await self._put(key, value, 0)
        if not held:
            raise KeyExists(found)
        assert found is not None
        return found

    async def update(self, key: str, value: bytes, expected_revision: int) -> Record:
        found, held = await self._put(key, value, self._expected(expected_revision))
        if not held:
            raise RevisionConflict(found)
        assert found is not None
        return found

    async def delete(self, key: str, expected_revision: int) -> Event:
        request = messages.delete_request(
            self._keyspace.key(key), self._expected(expected_revision), self._keyspace.marker
        )
        answer = await self._write(key, request)
        found = None if answer.found is None else self._translation.record(answer.found)
        if not answer.succeeded:
            raise RevisionConflict(found)
        return Event(key, answer.revision + self._offset, None, found)

    async def _put(self, key: str, value: bytes, expected: int) -> tuple[Record | None, bool]:
        """The record afterwards and True, or what is there instead and False."""
        request = messages.put_request(self._keyspace.key(key), value, expected, self._keyspace.marker)
        answer = await self._write(key, request)
        found = answer.found
        if found is not None and answer.succeeded:
            found = found._replace(value=value)
        return (None if found is None else self._translation.record(found)), answer.succeeded

    async def _write(self, key: str, request: bytes) -> messages.Written:
        lost: Lost | None = None
        for _ in range(WRITE_ATTEMPTS):
            self._check_open()
            try:
                answer = messages.written(await self.client.write(messages.TXN, request))
            except Lost as error:
                lost = error
                continue
            except CallFailed as error:
                raise EtcdRefused(str(error)) from error
            if lost is not None and not answer.succeeded:
                break
            self._heard(answer.revision)
            if answer.succeeded:
                self._announce(key, answer.revision)
            return answer
        raise OutcomeUnknown(f"etcd was lost during a write of {key}: {lost.why if lost else ''}")

    def _announce(self, key: str, revision: int) -> None:
        """Which watches will show what this store wrote: they end after it, not before."""
        self._written = max(self._written, revision + self._offset)
        for watch, prefix in self._watches.items():
            if key.startswith(prefix):
                self._own[watch] = max(self._own.get(watch, 0), revision)

    async def _read(self, method: str, request: bytes) -> bytes:
        self._check_open()
        try:
            return await self.client.read(method, request)
        except CallFailed as error:
            if error.message == COMPACTED:
                raise Compacted(await self._learn_compacted()) from error
            if error.message == FUTURE_REVISION:
                raise FutureRevision((await self.horizon()).revision) from error
            raise EtcdRefused(str(error)) from error

    async def _learn_compacted(self) -> int:
        found = await compacted_revision(self.client, self._keyspace.marker)
        self.compacted_revision = max(self.compacted_revision, found + self._offset)
        return self.compacted_revision

    @asynccontextmanager
    async def watch(self, prefix: str, after_revision: int) -> AsyncIterator[AsyncIterator[list[Event]]]:
        self._check_open()
        bounds = self._keyspace.bounds(prefix)
        after = self._raw(after_revision)
        watch = EtcdWatch(self.client, bounds, after, self._translation, self._heard)
        await watch.begin()
        self._watches[watch] = prefix
        try:
            await self._refuse_compacted(after)
            yield watch
        finally:
            del self._watches[watch]
            self._own.pop(watch, None)
            await watch.end()

    async def _refuse_compacted(self, revision: int) -> None:
        """etcd lets a watch begin right after a compaction, where the last delete may be missing; a range is strict."""
        try:
            await self._range(messages.range_request(self._keyspace.marker, revision=revision, count_only=True))
        except FutureRevision:
            return

    async def compact(self, revision: int) -> None:
        try:
            await self.compact_etcd(max(revision - self._offset, 1))
        except Compacted:
            return
        self.compacted_revision = max(self.compacted_revision, revision)

    async def compact_etcd(self, revision: int) -> None:
        """The same in etcd's own count. Raises `Compacted` and `FutureRevision`."""
        await self._read(messages.COMPACT, messages.compact_request(revision))

    async def close(self) -> None:
        """End the watches and the connection. Harmless a second time."""
        if self._closed:
            return
        self._closed = True
        for watch in tuple(self._watches):
            await watch.until(self._own.get(watch, 0))
            await watch.end()
        await self.client.close()
        if self._asking is not None:
            await asyncio.wait([self._asking])

    def _heard(self, revision: int) -> None:
        """`revision` is etcd's."""
        self.revision = max(self.revision, revision + self._offset)

    def _check_open(self) -> None:
        if self._closed:
            raise StoreClosed("the store is closed")


class StoreClosed(StoreError):
    """The store was used after `close`."""
