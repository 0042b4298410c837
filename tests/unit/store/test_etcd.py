"""What only the etcd store has: several members and users, lost connections, large ranges, compaction by one owner."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.etcd_cluster import EtcdCluster
from tests.unit.api.harness import types
from tests.unit.store.values import stamp, take
from twinplane.controlplane.api.objects.cache import ObjectCache
from twinplane.controlplane.store.contract import (
    Compacted,
    KeyExists,
    OutcomeUnknown,
    Record,
    RevisionConflict,
    StoreUnavailable,
)
from twinplane.controlplane.store.etcd import client as etcd_client
from twinplane.controlplane.store.etcd import messages
from twinplane.controlplane.store.etcd.client import EtcdClient, Lost, RequestTooLarge, WrongCredentials
from twinplane.controlplane.store.etcd.compaction import Round, turn
from twinplane.controlplane.store.etcd.configuration import EtcdConfiguration
from twinplane.controlplane.store.etcd.keys import Keyspace
from twinplane.controlplane.store.etcd.protobuf import data, integer
from twinplane.controlplane.store.etcd.store import EtcdStore
from twinplane.kubeclient.resources import CONFIG_MAPS


@pytest.fixture
def configuration(etcd: EtcdCluster, tmp_path: Path) -> EtcdConfiguration:
    return etcd.configuration(f"/{tmp_path.name}")


@pytest.fixture
async def store(configuration: EtcdConfiguration) -> AsyncIterator[EtcdStore]:
    opened = await EtcdStore.open(configuration, stamp=stamp)
    yield opened
    await opened.close()


@pytest.fixture
async def other(configuration: EtcdConfiguration) -> AsyncIterator[EtcdStore]:
    """As another replica has it."""
    opened = await EtcdStore.open(configuration, stamp=stamp)
    yield opened
    await opened.close()


async def test_prefixes_do_not_see_one_another(etcd: EtcdCluster, store: EtcdStore, tmp_path: Path) -> None:
    neighbour = await EtcdStore.open(etcd.configuration(f"/{tmp_path.name}2"), stamp=stamp)
    async with store.watch("", store.revision) as watch:
        await neighbour.create("/a", b"theirs")
        mine = await store.create("/a", b"mine")
        assert await take(watch, 1) == [(mine.key, mine.revision, mine, None)]
    assert [record.value for record in (await store.range("")).records] == [mine.value]
    await neighbour.close()


async def test_replicas_see_one_anothers_writes(store: EtcdStore, other: EtcdStore) -> None:
    created = await store.create("/a", b"one")
    assert await other.get("/a") == created
    updated = await other.update("/a", b"two", created.revision)
    with pytest.raises(RevisionConflict) as caught:
        await store.update("/a", b"three", created.revision)
    assert caught.value.record == updated


async def test_the_horizon_is_that_of_all_replicas(etcd: EtcdCluster, store: EtcdStore, other: EtcdStore) -> None:
    written = await other.create("/a", b"v")
    neighbour = await EtcdStore.open(etcd.configuration("/neighbour"), stamp=stamp)
    foreign = await neighbour.create(f"/{written.revision}", b"v")
    await neighbour.close()
    horizon = await store.horizon()
    assert horizon.changed == written.revision
    assert horizon.revision >= foreign.revision
    answers = await asyncio.gather(*(store.horizon() for _ in range(50)))
    assert {answer.changed for answer in answers} == {written.revision}


async def test_who_is_alone_does_not_ask(configuration: EtcdConfiguration) -> None:
    alone = await EtcdStore.open(configuration, stamp=stamp, exclusive=True)
    written = await alone.create("/a", b"v")
    asked = alone.horizon()
    with pytest.raises(StopIteration) as answer:
        asked.send(None)
    assert answer.value.value.changed == written.revision
    await alone.close()


async def test_a_cache_catches_up_with_the_other_replica(configuration: EtcdConfiguration) -> None:
    from twinplane.controlplane.api.encoding import stamp as stamp_object

    registry, rules = types()
    here, there = [await EtcdStore.open(configuration, stamp=stamp_object) for _ in range(2)]
    cache = ObjectCache(here, registry, rules)
    await cache.start()
    body = b'{"kind":"ConfigMap","apiVersion":"v1","metadata":{"resourceVersion":"","name":"%d","namespace":"a"}}'
    for number in range(20):
        written = await there.create(f"/registry/core/configmaps/a/{number}", body % number)
        await cache.catch_up()
        entry = cache.get(CONFIG_MAPS, "a", str(number))
        assert entry is not None
        assert entry.revision == written.revision
        assert cache.revision >= written.revision
    await cache.close()

    # A new process has the history that the store still has, so watches go on with it.
    later = ObjectCache(there, registry, rules)
    await later.start()
    assert later.collection(CONFIG_MAPS).revision == written.revision
    await later.close()
    await asyncio.gather(here.close(), there.close())


async def test_ranges_larger_than_one_answer(store: EtcdStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("twinplane.controlplane.store.etcd.store.PAGE", 7)
    await asyncio.gather(*(store.create(f"/a/{number:03}", b"v") for number in range(40)))
    page = await store.range("/a/")
    assert [record.key for record in page.records] == [f"/a/{number:03}" for number in range(40)]
    page = await store.range("/a/", limit=20, after="/a/009")
    assert (len(page.records), page.remaining, page.records[-1].key) == (20, 10, "/a/029")


async def test_large_values_and_events_in_fragments(store: EtcdStore) -> None:
    value = b"x" * 1_000_000
    start = store.revision
    for number in range(8):
        await store.create(f"/{number}", value)
    assert sum(len(record.value) for record in (await store.range("")).records) > 8 * len(value)
    async with store.watch("", start) as watch:
        events = await take(watch, 8)
    assert [event.key for event in events] == [f"/{number}" for number in range(8)]
    with pytest.raises(RequestTooLarge):
        await store.create("/too-large", b"x" * 2_000_000)


async def written(store: EtcdStore, key: str) -> Record:
    """Also when the member that had the write went before it answered: nobody but its caller can look."""
    try:
        return await store.create(key, b"v")
    except OutcomeUnknown:
        return await store.get(key) or await store.create(key, b"v")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_a_member_goes_and_comes_back(etcd: EtcdCluster, store: EtcdStore, number: int) -> None:
    """The one in use is the first of the list; writes and watches go on with the others."""
    name = etcd.names[0]
    async with store.watch("", store.revision) as watch:
        first = await store.create("/before", b"v")
        etcd.kill(name, number)
        try:
            second = await written(store, "/after")
            assert [event.record for event in await take(watch, 2)] == [first, second]
            assert await store.get("/before") == first
        finally:
            etcd.start_member(name)
            await asyncio.to_thread(etcd.wait)


async def test_without_members_it_says_so(configuration: EtcdConfiguration, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(etcd_client, "RETRY_SECONDS", 0.1)
    nowhere = replace(configuration, servers=("https://127.0.0.1:1",))
    with pytest.raises(StoreUnavailable, match=r"127\.0\.0\.1:1"):
        await EtcdStore.open(nowhere, stamp=stamp)


async def test_a_stranger_is_refused(configuration: EtcdConfiguration, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(etcd_client, "RETRY_SECONDS", 0.1)
    with pytest.raises(StoreUnavailable):
        await EtcdStore.open(replace(configuration, certificate_file="", key_file=""), stamp=stamp)


async def test_compaction_has_one_owner_and_keeps_a_whole_interval(store: EtcdStore, other: EtcdStore) -> None:
    first = await store.create("/a", b"v")
    rounds = [await turn(store, Round()), await turn(other, Round())]
    await store.create("/b", b"v")
    assert await store.range("", revision=first.revision), "nothing goes before a round is over"
    for _ in range(2):
        rounds = [await turn(store, rounds[0]), await turn(other, rounds[1])]
    with pytest.raises(Compacted) as caught:
        await store.range("", revision=first.revision)
    assert caught.value.compacted_revision > first.revision


async def test_a_watch_that_is_compacted_away_says_so(store: EtcdStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that does not read, and a connection that is lost meanwhile."""
    monkeypatch.setattr("twinplane.controlplane.store.etcd.watching.BACKLOG", 1)
    async with store.watch("", store.revision) as watch:
        records = [await store.create(f"/{number}", b"x" * 500_000) for number in range(20)]
        store.client._channel._connection.abort("cut by the test")  # type: ignore[union-attr]
        await store.compact(records[-1].revision)
        with pytest.raises(Compacted):
            await take(watch, len(records))


# -- outcomes of writes whose connection was lost ----------------------------------------------------------------------


class Scripted:
    """Stands for the client: each write is answered by the next of `answers`."""

    def __init__(self, *answers: bytes | Exception) -> None:
        self.answers = list(answers)

    async def write(self, method: str, request: bytes) -> bytes:
        assert method == messages.TXN
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def answer(*, succeeded: bool, revision: int = 9, value: bytes = b"") -> bytes:
    found = data(1, b"/p/a") + integer(2, revision) + integer(3, revision) + data(5, value)
    operation = data(3, data(1, data(2, found)))
    return data(1, integer(3, revision)) + integer(2, succeeded) + operation


def scripted(*answers: bytes | Exception) -> EtcdStore:
    client: Any = Scripted(*answers)
    return EtcdStore(client, Keyspace("/p"), stamp)


async def test_a_lost_write_that_holds_when_repeated_was_not_done_before() -> None:
    store = scripted(Lost("cut"), answer(succeeded=True))
    assert await store.create("/a", b"v") == Record("/a", b"v@9", 9, 9)


async def test_a_lost_write_that_does_not_hold_when_repeated_is_unknown() -> None:
    for value in (b"v", b"another's"):
        store = scripted(Lost("cut"), answer(succeeded=False, value=value))
        with pytest.raises(OutcomeUnknown, match="cut"):
            await store.update("/a", b"v", 5)


async def test_a_write_that_is_lost_again_and_again_is_unknown() -> None:
    with pytest.raises(OutcomeUnknown):
        await scripted(*[Lost("cut")] * 3).delete("/a", 5)


async def test_a_refused_write_is_no_unknown_one() -> None:
    with pytest.raises(KeyExists):
        await scripted(answer(succeeded=False)).create("/a", b"v")


# -- users -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def guarded(tmp_path: Path) -> Any:
    """A cluster of one member with a user `root`; authentication cannot be taken back, so it is not the shared one."""
    from tests.etcd_cluster import PROGRAM

    if PROGRAM is None:
        pytest.skip("there is no etcd")
    cluster = EtcdCluster(tmp_path, names=("alone",))
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


async def test_user_and_password(guarded: EtcdCluster, tmp_path: Path) -> None:
    plain = guarded.configuration("/x")
    client = EtcdClient(plain)
    root, role = data(1, b"root"), data(1, b"root") + data(2, b"root")
    await client.read("/etcdserverpb.Auth/UserAdd", root + data(2, b"secret"))
    await client.read("/etcdserverpb.Auth/RoleAdd", root)
    await client.read("/etcdserverpb.Auth/UserGrantRole", role)
    await client.read("/etcdserverpb.Auth/AuthEnable", b"")
    await client.close()
    (tmp_path / "right").write_text("secret\n")
    (tmp_path / "wrong").write_text("guess")
    for user, password in (("", ""), ("root", "wrong")):
        with pytest.raises(WrongCredentials):
            await EtcdStore.open(
                replace(plain, user=user, password_file=password and str(tmp_path / password)), stamp=stamp
            )
    store = await EtcdStore.open(replace(plain, user="root", password_file=str(tmp_path / "right")), stamp=stamp)
    async with store.watch("", store.revision) as watch:
        created = await store.create("/a", b"v")
        assert [event.record for event in await take(watch, 1)] == [created]
    # Tokens do not survive a restart of the member.
    guarded.kill("alone")
    guarded.start_member("alone")
    assert await store.get("/a") == created
    await store.close()
