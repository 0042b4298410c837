"""The embedded store: all records in memory, SQLite as the durable log. For one control-plane process.

Everything but the commit itself happens on the event loop, so there are no locks. A write is decided at once against
the newest state, pending writes included, and queued; one commit at a time runs in a worker thread and takes all that
was queued meanwhile. Readers and watchers see a write when it is durable, and only then its caller continues.

A write is refused for good only by what is durable: one that loses against a pending write waits until that write is
settled and is decided again, because the pending write may still fail (disk full).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from twinplane.clock import Clock
from twinplane.controlplane.store.contract import (
    Event,
    Horizon,
    KeyExists,
    Page,
    Record,
    RevisionConflict,
    Stamp,
    StoreError,
)
from twinplane.controlplane.store.history import KEPT_EVENTS, History
from twinplane.controlplane.store.log import DEFAULT_QUOTA, SqliteLog
from twinplane.controlplane.store.sorted_keys import SortedKeys
from twinplane.controlplane.store.watching import BACKLOG, Watcher, Watchers

FIRST_REVISION = 1
"""Of an empty store, as etcd has it; clients of Kubernetes give revision 0 a meaning of its own."""
MAX_BATCH = 4096
"""Writes that may wait for a commit; more callers wait before they are decided."""
CLOSED = "the store is closed"


class StoreClosed(StoreError):
    """The store was used after `close`."""


class EmbeddedStore:
    """See `Store` for the meaning. Made by `open`."""

    def __init__(
        self,
        log: SqliteLog | None,
        worker: ThreadPoolExecutor | None,
        records: list[Record],
        history: History,
        *,
        stamp: Stamp,
        clock: Clock,
        backlog: int,
    ) -> None:
        self._log = log
        self._worker = worker
        self._stamp = stamp
        self._clock = clock
        self._backlog = backlog
        self._records = {record.key: record for record in records}
        self._keys = SortedKeys(self._records)
        self._history = history
        self._watchers = Watchers()
        self._assigned = history.revision
        self._pending: dict[str, Event] = {}
        self._queue: list[tuple[Event, asyncio.Future[None]]] = []
        self._committing = False
        self._settled: asyncio.Future[None] | None = None
        self._closed = False

    @classmethod
    async def open(
        cls,
        path: Path | None,
        *,
        stamp: Stamp,
        clock: Clock,
        quota: int = DEFAULT_QUOTA,
        kept_events: int = KEPT_EVENTS,
        backlog: int = BACKLOG,
    ) -> EmbeddedStore:
        """The store in the file `path` (made when missing; its directory must exist), or in memory only.

        `quota` is the most bytes the file may take, beyond which writes raise `StorageFull`; `kept_events` bounds the
        history and `backlog` how many events a watcher may be behind. Raises `UnusableDatabase` and OSError.
        """
        if path is None:
            history = History(FIRST_REVISION, 0, kept_events=kept_events)
            return cls(None, None, [], history, stamp=stamp, clock=clock, backlog=backlog)
        worker = ThreadPoolExecutor(1, thread_name_prefix="store")
        run = partial(asyncio.get_running_loop().run_in_executor, worker)
        try:
            log = await run(partial(SqliteLog, path, quota=quota))
            try:
                records, revision = await run(log.load)
            except BaseException:
                worker.submit(log.close)
                raise
        except BaseException:
            worker.shutdown(wait=False)
            raise
        history = History(max(revision, FIRST_REVISION), revision, kept_events=kept_events)
        return cls(log, worker, records, history, stamp=stamp, clock=clock, backlog=backlog)

    @property
    def revision(self) -> int:
        return self._history.revision

    @property
    def compacted_revision(self) -> int:
        return self._history.compacted

    async def horizon(self) -> Horizon:
        return Horizon(self.revision, self.revision)

    async def get(self, key: str) -> Record | None:
        return self._records.get(key)

    async def range(self, prefix: str, *, after: str = "", limit: int = 0, revision: int = 0) -> Page:
        if revision in (0, self.revision):
            keys, remaining = self._keys.page(prefix, after, limit)
            return Page([self._records[key] for key in keys], self.revision, remaining)
        return self._range_before(prefix, after, limit, revision)

    def _range_before(self, prefix: str, after: str, limit: int, revision: int) -> Page:
        """The present page, taken back to `revision`: its changed keys are replaced by what they were then."""
        earlier = self._history.before(prefix, revision)
        # With so many more keys, at least `limit` unchanged ones are among them.
        present, beyond = self._keys.page(prefix, after, limit + len(earlier) if limit else 0)
        last = present[-1] if present else after
        keys = [key for key in present if key not in earlier]
        keys += [key for key, record in earlier.items() if record is not None and key > after]
        keys.sort()
        taken = keys[:limit] if limit else keys
        records = [earlier.get(key) or self._records[key] for key in taken]
        beyond -= sum(1 for key in earlier if key > last and key in self._records)
        return Page(records, revision, len(keys) - len(taken) + beyond)

    async def create(self, key: str, value: bytes) -> Record:
        while (current := self._newest(key)) is not None or self._is_crowded():
            if current is not None and key not in self._pending:
                raise KeyExists(current)
            await self._until_settled()
        revision = self._next_revision()
        record = Record(key, self._stamp(value, revision), revision, revision)
        await self._write(Event(key, revision, record, None))
        return record

    async def update(self, key: str, value: bytes, expected_revision: int) -> Record:
        current = await self._expect(key, expected_revision)
        revision = self._next_revision()
        record = Record(key, self._stamp(value, revision), revision, current.create_revision)
        await self._write(Event(key, revision, record, current))
        return record

    async def delete(self, key: str, expected_revision: int) -> Event:
        current = await self._expect(key, expected_revision)
        event = Event(key, self._next_revision(), None, current)
        await self._write(event)
        return event

    async def _expect(self, key: str, revision: int) -> Record:
        while True:
            current = self._newest(key)
            matches = current is not None and current.revision == revision
            if current is not None and matches and not self._is_crowded():
                return current
            if not matches and key not in self._pending:
                raise RevisionConflict(current)
            await self._until_settled()

    def _newest(self, key: str) -> Record | None:
        """As of the last decided write, durable or not."""
        if self._closed:
            raise StoreClosed(CLOSED)
        pending = self._pending.get(key)
        return pending.record if pending else self._records.get(key)

    def _is_crowded(self) -> bool:
        return len(self._queue) >= MAX_BATCH

    def _next_revision(self) -> int:
        return self._assigned + 1

    def _write(self, event: Event) -> asyncio.Future[None]:
        """Decide for `event`; the future is done when it is durable."""
        loop = asyncio.get_running_loop()
        self._assigned = event.revision
        self._pending[event.key] = event
        durable: asyncio.Future[None] = loop.create_future()
        self._queue.append((event, durable))
        if not self._committing:
            self._committing = True
            loop.call_soon(self._commit)
        return durable

    async def _until_settled(self) -> None:
        """Until the next commit has ended, well or not."""
        if self._settled is None:
            self._settled = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._settled)

    def _commit(self) -> None:
        batch, self._queue = self._queue, []
        events = [event for event, _ in batch]
        if self._log is None or self._worker is None:
            self._finish(batch, None)
            return
        done = asyncio.get_running_loop().run_in_executor(self._worker, self._log.commit, events)
        done.add_done_callback(lambda future: self._finish(batch, future.exception()))

    def _finish(self, batch: list[tuple[Event, asyncio.Future[None]]], error: BaseException | None) -> None:
        if error is None:
            self._apply([event for event, _ in batch])
        else:
            # What is queued was decided on a state that never came to be, so it fails as well.
            batch = batch + self._queue
            self._queue = []
            self._pending.clear()
            self._assigned = self._history.revision
        for _, durable in batch:
            if not durable.done():
                durable.set_result(None) if error is None else durable.set_exception(error)
        settled, self._settled = self._settled, None
        if settled is not None:
            settled.set_result(None)
        self._committing = bool(self._queue)
        if self._committing:
            # Those who were just answered come first: their next writes are then part of this commit.
            asyncio.get_running_loop().call_soon(self._commit)

    def _apply(self, events: list[Event]) -> None:
        for event in events:
            key, _, record, previous = event
            if record is None:
                del self._records[key]
                self._keys.remove(key)
            else:
                if previous is None:
                    self._keys.add(key)
                self._records[key] = record
            if self._pending.get(key) is event:
                del self._pending[key]
            self._history.append(event)
        self._watchers.publish(events)
        self._history.trim(self._clock.now())

    @asynccontextmanager
    async def watch(self, prefix: str, after_revision: int) -> AsyncIterator[AsyncIterator[list[Event]]]:
        if self._closed:
            raise StoreClosed(CLOSED)
        events = self._history.since(min(after_revision, self.revision))
        missed = [event for event in events if event.key.startswith(prefix)]
        watcher = Watcher(after_revision, missed, self._backlog, lambda: self.compacted_revision)
        self._watchers.add(prefix, watcher)
        try:
            yield watcher
        finally:
            self._watchers.remove(prefix, watcher)

    async def compact(self, revision: int) -> None:
        self._history.compact(revision)

    async def close(self) -> None:
        """Commit what is pending, end the watches, release the file. Harmless a second time."""
        if self._closed:
            return
        self._closed = True
        while self._committing:
            await self._until_settled()
        self._watchers.close()
        if self._log is not None and self._worker is not None:
            await asyncio.get_running_loop().run_in_executor(self._worker, self._log.close)
            self._worker.shutdown(wait=False)
