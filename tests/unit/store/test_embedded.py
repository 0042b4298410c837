"""The embedded store's own promises: restarts, disks that are full, damaged files, bounded memory."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
from pathlib import Path

import pytest

from tests.unit.store.values import FixedClock, stamp, take
from twinplane.controlplane.store.contract import (
    Compacted,
    Event,
    KeyExists,
    Record,
    RevisionConflict,
    StorageFull,
    StoreError,
)
from twinplane.controlplane.store.embedded import EmbeddedStore, StoreClosed
from twinplane.controlplane.store.history import KEPT_SECONDS, History
from twinplane.controlplane.store.log import SWEEP_AFTER, SqliteLog, UnusableDatabase
from twinplane.controlplane.store.watching import Watcher


async def reopen(path: Path, *, quota: int = 1 << 30, kept_events: int = 1000, backlog: int = 100) -> EmbeddedStore:
    return await EmbeddedStore.open(
        path, stamp=stamp, clock=FixedClock(), quota=quota, kept_events=kept_events, backlog=backlog
    )


async def test_a_restart_changes_nothing(tmp_path: Path) -> None:
    store = await reopen(tmp_path / "s.db")
    first = await store.create("/a", b"one")
    kept = await store.update("/a", b"two", first.revision)
    gone = await store.create("/b", b"one")
    await store.delete("/b", gone.revision)
    revision = store.revision
    await store.close()

    store = await reopen(tmp_path / "s.db")
    assert store.revision == revision, "the last change was a delete, which counts as well"
    assert (await store.range("")).records == [kept]
    assert store.compacted_revision == revision
    with pytest.raises(Compacted):
        async with store.watch("", revision - 1):
            pass
    async with store.watch("", revision) as watch:
        again = await store.create("/b", b"two")
        assert again.revision == revision + 1
        assert (await take(watch, 1))[0].previous is None
    await store.close()


async def test_the_file_is_private(tmp_path: Path) -> None:
    store = await reopen(tmp_path / "s.db")
    await store.create("/a", b"secret")
    modes = {name: stat.S_IMODE(os.stat(tmp_path / name).st_mode) for name in os.listdir(tmp_path)}
    assert modes == {"s.db": 0o600, "s.db-wal": 0o600}
    await store.close()


async def test_two_processes_cannot_share_a_file(tmp_path: Path) -> None:
    store = await reopen(tmp_path / "s.db")
    with pytest.raises(UnusableDatabase, match="is in use by another process"):
        await reopen(tmp_path / "s.db")
    await store.create("/a", b"v")
    await store.close()


async def test_files_that_are_no_store(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello, I am not a database at all\n" * 100)
    with pytest.raises(UnusableDatabase, match="is not a database"):
        await reopen(tmp_path / "text")
    other = sqlite3.connect(tmp_path / "other")
    other.execute("CREATE TABLE theirs (id)")
    other.close()
    with pytest.raises(UnusableDatabase, match="is a database of another program"):
        await reopen(tmp_path / "other")
    with pytest.raises(FileNotFoundError):
        await reopen(tmp_path / "missing" / "s.db")


async def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    await (await reopen(tmp_path / "s.db")).close()
    connection = sqlite3.connect(tmp_path / "s.db")
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(UnusableDatabase, match="has format 99"):
        await reopen(tmp_path / "s.db")


async def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    store = await reopen(path)
    for number in range(200):
        await store.create(f"/{number}", b"x" * 1000)
    await store.close()
    content = bytearray(path.read_bytes())
    content[4096 * 3 : 4096 * 8] = b"\xff" * 4096 * 5
    path.write_bytes(content)
    with pytest.raises(UnusableDatabase, match="is damaged"):
        await reopen(path)


async def test_a_full_store_refuses_and_recovers(tmp_path: Path) -> None:
    store = await reopen(tmp_path / "s.db", quota=200_000)
    written: list[Record] = []

    async def write_until_refused() -> None:
        for number in range(1000):
            written.append(await store.create(f"/{number}", b"x" * 2000))  # noqa: PERF401 (it ends by an exception)

    with pytest.raises(StorageFull):
        await write_until_refused()
    revision = store.revision
    assert revision == written[-1].revision
    assert [record.key for record in (await store.range("")).records] == sorted(record.key for record in written)
    outcomes = await asyncio.gather(
        *(store.create(f"/more/{number}", b"x" * 4000) for number in range(5)), return_exceptions=True
    )
    assert all(isinstance(outcome, StorageFull) for outcome in outcomes)
    assert store.revision == revision, "nothing half-done"

    for record in written[:10]:
        await store.delete(record.key, record.revision)
    await store.create("/fits", b"x" * 2000)
    await store.close()
    store = await reopen(tmp_path / "s.db", quota=200_000)
    assert await store.get("/fits") is not None
    assert await store.get(written[0].key) is None
    await store.close()


class FailingLog:
    """Stands in for the SQLite log: holds each commit until it is told how to end."""

    def __init__(self) -> None:
        self.release = asyncio.Event()
        self.fail = False
        self.commits: list[list[Event]] = []
        self.loop = asyncio.get_running_loop()

    def commit(self, events: list[Event]) -> None:
        self.commits.append(list(events))
        asyncio.run_coroutine_threadsafe(self.release.wait(), self.loop).result(60)
        if self.fail:
            raise StorageFull("full")


@pytest.fixture
async def held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[EmbeddedStore, FailingLog]:
    log = FailingLog()
    monkeypatch.setattr(SqliteLog, "commit", lambda _, events: log.commit(events))
    return await reopen(tmp_path / "s.db"), log


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_writes_are_seen_when_they_are_durable(held: tuple[EmbeddedStore, FailingLog]) -> None:
    store, log = held
    async with store.watch("", store.revision) as watch:
        writers = [asyncio.create_task(store.create("/a", b"v")), asyncio.create_task(store.create("/a", b"w"))]
        await turns()
        assert await store.get("/a") is None
        assert store.revision == 1
        assert not any(writer.done() for writer in writers), "the second cannot be refused before the first is durable"
        log.release.set()
        record = await writers[0]
        with pytest.raises(KeyExists) as caught:
            await writers[1]
        assert caught.value.record == record
        assert [event.record for event in await take(watch, 1)] == [record]
    await store.close()


async def test_what_arrives_during_a_commit_is_the_next_one(held: tuple[EmbeddedStore, FailingLog]) -> None:
    store, log = held
    first = asyncio.create_task(store.create("/a", b"v"))
    await turns()
    others = [asyncio.create_task(store.create(f"/b/{number}", b"v")) for number in range(10)]
    await turns()
    log.release.set()
    await asyncio.gather(first, *others)
    assert [len(events) for events in log.commits] == [1, 10]
    await store.close()


async def test_a_failed_commit_takes_back_all_that_was_built_on_it(held: tuple[EmbeddedStore, FailingLog]) -> None:
    store, log = held
    log.fail = True
    first = asyncio.create_task(store.create("/a", b"v"))
    await turns()
    other = asyncio.create_task(store.create("/b", b"v"))
    loser = asyncio.create_task(store.create("/a", b"w"))
    await turns()
    log.release.set()
    for task in (first, other):
        with pytest.raises(StorageFull):
            await task
    with pytest.raises(StorageFull):
        await loser, "decided again, on the state without /a, and refused by the disk itself"
    assert store.revision == 1
    log.fail = False
    assert (await store.create("/a", b"x")).revision == 2
    await store.close()


async def test_closing_waits_for_what_is_pending(held: tuple[EmbeddedStore, FailingLog]) -> None:
    store, log = held
    writer = asyncio.create_task(store.create("/a", b"v"))
    await turns()
    closing = asyncio.create_task(store.close())
    await turns()
    assert not closing.done()
    log.release.set()
    await closing
    assert (await writer).key == "/a"
    with pytest.raises(StoreClosed):
        await store.create("/b", b"v")
    with pytest.raises(StoreClosed):
        async with store.watch("", 1):
            pass
    await store.close()


async def test_a_slow_reader_is_cut_off_and_the_others_are_not() -> None:
    store = await EmbeddedStore.open(None, stamp=stamp, clock=FixedClock(), backlog=10)
    async with store.watch("", 1) as slow, store.watch("/a", 1) as other:
        for number in range(11):
            await store.create(f"/{'a' if number == 5 else 'b'}/{number}", b"v")
        with pytest.raises(Compacted) as caught:
            await anext(slow)
        assert caught.value.compacted_revision == store.revision
        assert len(await take(other, 1)) == 1
    await store.close()


async def test_history_is_bounded_by_count() -> None:
    store = await EmbeddedStore.open(None, stamp=stamp, clock=FixedClock(), kept_events=80)
    for number in range(200):
        await store.create(f"/{number}", b"v")
    assert store.revision - 90 <= store.compacted_revision <= store.revision - 80
    await store.range("", revision=store.compacted_revision)
    await store.close()


async def test_history_is_bounded_by_age() -> None:
    clock = FixedClock()
    store = await EmbeddedStore.open(None, stamp=stamp, clock=clock)
    await store.create("/a", b"v")
    clock.seconds = KEPT_SECONDS / 2
    await store.create("/b", b"v")
    clock.seconds = KEPT_SECONDS + 1
    await store.create("/c", b"v")
    assert store.compacted_revision == 2
    await store.close()


def test_history_is_bounded_by_bytes() -> None:
    history = History(1, 1)
    value = b"x" * (1 << 20)
    for revision in range(2, 102):
        previous = Record("/a", value, revision - 1, 1)
        history.append(Event("/a", revision, Record("/a", value, revision, 1), previous))
        history.trim(0.0)
    assert 101 - 73 <= history.compacted <= 101 - 63


async def test_deleted_keys_are_swept_and_the_revision_survives(tmp_path: Path) -> None:
    log = SqliteLog(tmp_path / "s.db")
    events = [Event(f"/{number}", number, None, None) for number in range(2, SWEEP_AFTER + 4)]
    log.commit(events)
    log.commit([Event("/last", events[-1].revision + 1, None, None)])
    log.close()
    rows = sqlite3.connect(tmp_path / "s.db")
    assert rows.execute("SELECT count(*) FROM record").fetchone() == (2,)
    rows.close()
    store = await reopen(tmp_path / "s.db")
    assert store.revision == events[-1].revision + 1
    await store.close()


async def test_a_batch_larger_than_a_statement(tmp_path: Path) -> None:
    store = await reopen(tmp_path / "s.db")
    await asyncio.gather(*(store.create(f"/{number}", b"v") for number in range(1000)))
    await store.close()
    store = await reopen(tmp_path / "s.db")
    assert len((await store.range("")).records) == 1000
    await store.close()


async def test_writers_wait_when_too_much_is_pending(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("twinplane.controlplane.store.embedded.MAX_BATCH", 3)
    store = await EmbeddedStore.open(None, stamp=stamp, clock=FixedClock())
    records = await asyncio.gather(*(store.create(f"/{number}", b"v") for number in range(20)))
    updates = (store.update(record.key, b"w", record.revision) for record in records)
    assert len({record.revision for record in await asyncio.gather(*updates)}) == 20
    await store.close()


async def test_refusals_are_store_errors() -> None:
    assert issubclass(UnusableDatabase, StoreError)
    assert issubclass(StoreClosed, StoreError)
    assert issubclass(RevisionConflict, StoreError)


async def test_a_watcher_skips_what_its_caller_has() -> None:
    watcher = Watcher(5, [], 10, lambda: 0)
    watcher.offer(Event("/a", 5, None, None))
    watcher.offer(Event("/a", 6, None, None))
    assert [event.revision for event in await anext(watcher)] == [6]
