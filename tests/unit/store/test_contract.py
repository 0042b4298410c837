"""What every store does, whatever keeps the records."""

from __future__ import annotations

import asyncio

import pytest

from tests.unit.store.values import is_quiet, stamp, take
from twinplane.controlplane.store.contract import (
    Compacted,
    FutureRevision,
    KeyExists,
    Record,
    RevisionConflict,
    Store,
)


async def fill(store: Store, *keys: str) -> list[Record]:
    return [await store.create(key, b"v") for key in keys]


async def keys_of(store: Store, prefix: str, *, after: str = "", limit: int = 0, revision: int = 0) -> list[str]:
    page = await store.range(prefix, after=after, limit=limit, revision=revision)
    return [record.key for record in page.records]


async def test_an_empty_store_is_at_revision_one(store: Store) -> None:
    assert store.revision >= 1, "clients take revision 0 for 'any'"
    assert await store.get("/a") is None
    assert (await store.range("")).records == []


async def test_create_and_get(store: Store) -> None:
    before = store.revision
    record = await store.create("/a", b"one")
    assert record == Record("/a", stamp(b"one", before + 1), before + 1, before + 1)
    assert await store.get("/a") == record
    assert store.revision == before + 1


async def test_create_twice(store: Store) -> None:
    record = await store.create("/a", b"one")
    with pytest.raises(KeyExists) as caught:
        await store.create("/a", b"two")
    assert caught.value.record == record


async def test_update(store: Store) -> None:
    created = await store.create("/a", b"one")
    updated = await store.update("/a", b"two", created.revision)
    assert updated.revision == store.revision == created.revision + 1
    assert updated.create_revision == created.revision
    assert updated.value == stamp(b"two", updated.revision)


async def test_update_at_another_revision(store: Store) -> None:
    created = await store.create("/a", b"one")
    updated = await store.update("/a", b"two", created.revision)
    with pytest.raises(RevisionConflict) as caught:
        await store.update("/a", b"three", created.revision)
    assert caught.value.record == updated
    with pytest.raises(RevisionConflict) as caught:
        await store.update("/b", b"three", 1)
    assert caught.value.record is None


async def test_delete(store: Store) -> None:
    created = await store.create("/a", b"one")
    with pytest.raises(RevisionConflict):
        await store.delete("/a", created.revision + 5)
    event = await store.delete("/a", created.revision)
    assert event.record is None
    assert event.previous == created
    assert event.revision == store.revision == created.revision + 1
    assert await store.get("/a") is None
    with pytest.raises(RevisionConflict) as caught:
        await store.delete("/a", created.revision)
    assert caught.value.record is None


async def test_a_recreated_key_is_new(store: Store) -> None:
    created = await store.create("/a", b"one")
    await store.delete("/a", created.revision)
    again = await store.create("/a", b"two")
    assert again.create_revision == again.revision > created.revision


async def test_range_is_in_key_order_and_stays_in_its_prefix(store: Store) -> None:
    await fill(store, "/b/2", "/a/1", "/b/10", "/c", "/b/1", "/b")
    assert await keys_of(store, "/b/") == ["/b/1", "/b/10", "/b/2"]
    assert await keys_of(store, "") == ["/a/1", "/b", "/b/1", "/b/10", "/b/2", "/c"]
    assert await keys_of(store, "/d") == []


async def test_order_is_that_of_utf8(store: Store) -> None:
    keys = ["/a", "/z", "/é", "/\uffff", "/\U0001f600"]
    await fill(store, *reversed(keys))
    assert await keys_of(store, "/") == keys == sorted(keys, key=str.encode)


async def test_pages(store: Store) -> None:
    keys = [f"/a/{number:03}" for number in range(25)]
    await fill(store, *keys, "/b")
    revision = store.revision
    seen: list[str] = []
    after = ""
    while True:
        page = await store.range("/a/", after=after, limit=10, revision=revision)
        assert page.revision == revision
        seen += [record.key for record in page.records]
        assert page.remaining == 25 - len(seen)
        if not page.remaining:
            break
        after = seen[-1]
        await store.create(f"/a/{len(seen):03}-new", b"v")
    assert seen == keys


async def test_an_old_revision_reads_as_it_was(store: Store) -> None:
    first, second, _ = await fill(store, "/a", "/b", "/c")
    revision = store.revision
    await store.update("/a", b"changed", first.revision)
    await store.delete("/b", second.revision)
    await store.create("/aa", b"new")
    await store.create("/b", b"again")
    old = await store.range("", revision=revision)
    assert [record.key for record in old.records] == ["/a", "/b", "/c"]
    assert old.records[:2] == [first, second]
    assert old.revision == revision
    assert await keys_of(store, "", revision=first.revision) == ["/a"]
    assert await keys_of(store, "", revision=revision, after="/a", limit=1) == ["/b"]


async def test_a_future_revision_is_refused(store: Store) -> None:
    with pytest.raises(FutureRevision) as caught:
        await store.range("", revision=store.revision + 1)
    assert caught.value.current == store.revision


async def test_compaction(store: Store) -> None:
    records = await fill(store, "/a", "/b", "/c")
    middle = records[1].revision
    await store.compact(middle)
    assert store.compacted_revision == middle
    assert await keys_of(store, "", revision=middle) == ["/a", "/b"]
    with pytest.raises(Compacted) as caught:
        await store.range("", revision=middle - 1)
    assert caught.value.compacted_revision == middle
    with pytest.raises(Compacted):
        async with store.watch("", middle - 1):
            pass
    async with store.watch("", middle) as watch:
        assert [event.key for event in await take(watch, 1)] == ["/c"]
    await store.compact(records[0].revision)
    assert store.compacted_revision == middle, "it never goes back"


async def test_compaction_of_the_future_is_refused(store: Store) -> None:
    with pytest.raises(FutureRevision):
        await store.compact(store.revision + 1)


async def test_watch_from_now(store: Store) -> None:
    await fill(store, "/a/1")
    async with store.watch("/a/", store.revision) as watch:
        assert await is_quiet(watch)
        created = await store.create("/a/2", b"one")
        updated = await store.update("/a/2", b"two", created.revision)
        await store.create("/b/1", b"other")
        deleted = await store.delete("/a/2", updated.revision)
        events = await take(watch, 3)
    assert [event.record for event in events] == [created, updated, None]
    assert [event.previous for event in events] == [None, created, updated]
    assert events[2] == deleted


async def test_watch_from_the_past(store: Store) -> None:
    start = store.revision
    records = await fill(store, "/a/1", "/b/1", "/a/2")
    async with store.watch("/a/", start) as watch:
        assert [event.record for event in await take(watch, 2)] == [records[0], records[2]]
        more = await store.create("/a/3", b"v")
        assert [event.record for event in await take(watch, 1)] == [more]
    async with store.watch("/a/", records[0].revision) as watch:
        assert [event.key for event in await take(watch, 2)] == ["/a/2", "/a/3"]


async def test_watch_from_the_future_waits_for_it(store: Store) -> None:
    async with store.watch("", store.revision + 1) as watch:
        await store.create("/a", b"v")
        second = await store.create("/b", b"v")
        assert [event.record for event in await take(watch, 1)] == [second]


async def test_many_watchers_see_the_same_bytes(store: Store) -> None:
    async with store.watch("/", store.revision) as one, store.watch("/a", store.revision) as two:
        record = await store.create("/a", b"v")
        first, second = (await take(one, 1))[0], (await take(two, 1))[0]
    assert first.record is not None
    assert second.record is not None
    assert first.record.value == second.record.value == record.value


async def test_revisions_are_one_for_every_change_in_order(store: Store) -> None:
    start = store.revision
    async with store.watch("", start) as watch:
        records = await asyncio.gather(*(store.create(f"/{number % 7}/{number}", b"v") for number in range(200)))
        events = await take(watch, 200)
    assert [event.revision for event in events] == list(range(start + 1, start + 201))
    assert sorted(record.revision for record in records) == [event.revision for event in events]


async def test_of_many_creates_one_wins(store: Store) -> None:
    outcomes = await asyncio.gather(*(store.create("/a", b"%d" % n) for n in range(20)), return_exceptions=True)
    winners = [outcome for outcome in outcomes if isinstance(outcome, Record)]
    losers = [outcome for outcome in outcomes if isinstance(outcome, KeyExists)]
    assert (len(winners), len(losers)) == (1, 19)
    assert {loser.record for loser in losers} == {winners[0]}


async def test_of_many_updates_one_wins(store: Store) -> None:
    created = await store.create("/a", b"v")
    outcomes = await asyncio.gather(
        *(store.update("/a", b"%d" % n, created.revision) for n in range(10)),
        store.delete("/a", created.revision),
        return_exceptions=True,
    )
    assert sum(isinstance(outcome, RevisionConflict) for outcome in outcomes) == 10


async def test_a_cancelled_writer_leaves_the_store_whole(store: Store) -> None:
    writer = asyncio.create_task(store.create("/a", b"v"))
    await asyncio.sleep(0)
    writer.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writer
    await store.create("/b", b"v")
    record = await store.get("/a")
    assert record is None or record.value == stamp(b"v", record.revision)
    assert await store.get("/b") is not None


async def test_closing_ends_watches(store: Store) -> None:
    async with store.watch("", store.revision) as watch:
        await store.create("/a", b"v")
        await store.close()
        assert [event.key async for batch in watch for event in batch] == ["/a"]
