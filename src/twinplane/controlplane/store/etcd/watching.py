"""A watch on etcd that survives lost connections: it begins again after the last revision that was delivered.

`store` makes one for every `watch`. A task of its own takes what etcd sends; a reader that is slow makes it pause, then
etcd wait, and in the end be compacted away, which is what `Compacted` tells.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from twinplane.controlplane.store.contract import Compacted, Event, Record, Stamp, StoreUnavailable
from twinplane.controlplane.store.etcd.client import RETRY_DELAY, RETRY_SECONDS, EtcdClient
from twinplane.controlplane.store.etcd.grpc import UNAVAILABLE, Call, CallFailed
from twinplane.controlplane.store.etcd.http2 import ConnectionLost
from twinplane.controlplane.store.etcd.keys import Keyspace
from twinplane.controlplane.store.etcd.messages import WATCH, Change, KeyValue, Watched, watch_request, watched

log = logging.getLogger(__name__)

BACKLOG = 32_768
"""Events that wait for the reader before no more are taken from etcd."""
DRAIN_SECONDS = 1.0


class Translation:
    """etcd's keys and values as the contract has them."""

    def __init__(self, keyspace: Keyspace, stamp: Stamp, offset: int = 0) -> None:
        """`offset` is what etcd's revisions are short of the contract's: see `origin`."""
        self._keyspace = keyspace
        self._stamp = stamp
        self.offset = offset

    def record(self, kv: KeyValue) -> Record:
        revision = kv.mod_revision + self.offset
        value = self._stamp(kv.value, revision)
        return Record(self._keyspace.name(kv.key), value, revision, kv.create_revision + self.offset)

    def event(self, change: Change) -> Event:
        previous = None if change.previous is None else self.record(change.previous)
        if change.deleted:
            revision = change.kv.mod_revision + self.offset
            return Event(self._keyspace.name(change.kv.key), revision, None, previous)
        record = self.record(change.kv)
        return Event(record.key, record.revision, record, previous)


class EtcdWatch:
    """An iterator over batches of events. `begin` before use, `end` after it. Revisions given to it are etcd's."""

    def __init__(
        self,
        client: EtcdClient,
        bounds: tuple[bytes, bytes],
        after_revision: int,
        translation: Translation,
        heard: Callable[[int], None],
    ) -> None:
        self._client = client
        self._bounds = bounds
        self._seen = after_revision
        self._translation = translation
        self._heard = heard
        self._call: Call | None = None
        self._events: list[Event] = []
        self._failure: Exception | None = None
        self._closed = False
        self._wake = asyncio.Event()
        self._taken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._partial: list[Change] = []

    def __aiter__(self) -> EtcdWatch:
        return self

    async def __anext__(self) -> list[Event]:
        while not self._events:
            if self._failure is not None:
                raise self._failure
            if self._closed:
                raise StopAsyncIteration
            self._wake.clear()
            await self._wake.wait()
        events, self._events = self._events, []
        self._taken.set()
        return events

    async def begin(self) -> None:
        """Until etcd has it. Raises `StoreUnavailable` and other refusals."""
        end = asyncio.get_running_loop().time() + RETRY_SECONDS
        while True:
            try:
                await self._open()
                break
            except (ConnectionLost, CallFailed) as error:
                if asyncio.get_running_loop().time() > end:
                    raise StoreUnavailable(f"etcd does not begin a watch: {error}") from error
                await asyncio.sleep(RETRY_DELAY)
        self._task = asyncio.create_task(self._run(), name="etcd watch")

    async def until(self, revision: int) -> None:
        """Until the event of `revision`, which is known to come, is here; not for long."""
        try:
            async with asyncio.timeout(DRAIN_SECONDS):
                while self._seen < revision and self._failure is None:
                    self._wake.clear()
                    await self._wake.wait()
        except TimeoutError:
            log.warning("a watch was closed before revision %d", revision)

    async def end(self) -> None:
        self._closed = True
        self._wake.set()
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        if self._call is not None:
            self._call.cancel()

    async def _open(self) -> None:
        if self._call is not None:
            self._call.cancel()
        self._partial = []
        self._call = await self._client.stream(WATCH)
        self._call.send(watch_request(*self._bounds, self._seen + 1))
        first = watched(await self._call.read())
        if first.canceled:
            raise self._cancellation(first)
        self._heard(first.revision)

    async def _run(self) -> None:
        try:
            while True:
                try:
                    await self._receive()
                except (ConnectionLost, CallFailed) as error:
                    log.info("etcd watch: %s; it goes on after revision %d", error, self._seen)
                    await self._reopen()
        except Exception as error:  # noqa: BLE001 - the boundary of this task: its reader is told
            self._failure = error
        finally:
            self._wake.set()

    async def _receive(self) -> None:
        assert self._call is not None
        while True:
            answer = watched(await self._call.read())
            if answer.canceled:
                raise self._cancellation(answer)
            self._take(answer)
            while len(self._events) >= BACKLOG:
                self._taken.clear()
                await self._taken.wait()

    def _take(self, answer: Watched) -> None:
        self._partial += answer.changes
        if answer.fragment:
            return
        changes, self._partial = self._partial, []
        changes = [change for change in changes if change.kv.mod_revision > self._seen]
        self._heard(answer.revision)
        if changes:
            self._seen = changes[-1].kv.mod_revision
            self._events += map(self._translation.event, changes)
            self._wake.set()

    def _cancellation(self, answer: Watched) -> Exception:
        if answer.compact_revision:
            return Compacted(answer.compact_revision + self._translation.offset)
        return CallFailed(UNAVAILABLE, answer.cancel_reason or "etcd ended the watch")

    async def _reopen(self) -> None:
        """A watch has nobody to answer to, so it tries for ever."""
        while True:
            try:
                await self._open()
                return
            except (ConnectionLost, CallFailed):
                await asyncio.sleep(RETRY_DELAY)


async def compacted_revision(client: EtcdClient, key: bytes) -> int:
    """Below which etcd has forgotten; only when it is known to have compacted: etcd tells nobody but a late watch."""
    call: Any = None
    while True:
        try:
            call = await client.stream(WATCH)
            call.send(watch_request(key, b"", 1))
            async with asyncio.timeout(RETRY_SECONDS):
                while True:
                    answer = watched(await call.read())
                    if answer.compact_revision:
                        return answer.compact_revision
        except (ConnectionLost, CallFailed):
            await asyncio.sleep(RETRY_DELAY)
        except TimeoutError:
            raise StoreUnavailable("etcd does not tell its compacted revision") from None
        finally:
            if call is not None:
                call.cancel()
