"""Moving a cluster's objects between the stores: all, under revisions that only grow, again after an interruption."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.etcd_cluster import EtcdCluster
from tests.unit.store.values import FixedClock
from twinplane.controlplane import migration
from twinplane.controlplane.api.encoding import stamp
from twinplane.controlplane.store.contract import Compacted, Record, Store
from twinplane.controlplane.store.embedded import EmbeddedStore
from twinplane.controlplane.store.etcd.configuration import EtcdConfiguration
from twinplane.controlplane.store.etcd.maintenance import Keys, purge
from twinplane.controlplane.store.etcd.store import EtcdStore
from twinplane.controlplane.store.log import UnusableDatabase

VALUE = (
    b'{"kind":"ConfigMap","apiVersion":"v1","metadata":{"resourceVersion":"","name":"a"},'
    b'"data":{"x":"\\"resourceVersion\\":\\"\\""}}'
)
COUNT = 250


@pytest.fixture
async def etcd_place(etcd: EtcdCluster, tmp_path: Path) -> AsyncIterator[EtcdConfiguration]:
    configuration = etcd.configuration(f"/{tmp_path.name}")
    yield configuration
    await purge(configuration)


async def open_file(path: Path) -> EmbeddedStore:
    return await EmbeddedStore.open(path, stamp=stamp, clock=FixedClock())


async def fill(store: Store, count: int = COUNT) -> list[Record]:
    """Objects that were changed, and some that are gone."""
    for number in range(count + 5):
        record = await store.create(f"/registry/core/configmaps/a/{number:04}", VALUE)
        if number % 3 == 0:
            record = await store.update(record.key, VALUE, record.revision)
        if number >= count:
            await store.delete(record.key, record.revision)
    return (await store.range("")).records


def ignore(done: int, total: int) -> None:
    assert done <= total


def contents(records: list[Record]) -> dict[str, bytes]:
    return {record.key: migration.unstamped(record) for record in records}


async def test_there_and_back(etcd_place: EtcdConfiguration, tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    store = await open_file(path)
    before, last = await fill(store), store.revision
    await store.close()

    moved = await migration.to_etcd(path, etcd_place, ignore)
    assert moved == migration.Moved(COUNT, last)
    remote = await EtcdStore.open(etcd_place, stamp=stamp)
    there = (await remote.range("")).records
    assert contents(there) == contents(before) == dict.fromkeys((record.key for record in before), VALUE)
    assert min(record.revision for record in there) > last
    assert all(b'"resourceVersion":"%d"' % record.revision in record.value for record in there)
    written = await remote.create("/registry/core/configmaps/a/new", VALUE)
    assert written.revision > max(record.revision for record in there)
    await _refuses_the_past(remote, last)
    there = (await remote.range("")).records
    await remote.close()

    await migration.to_embedded(etcd_place, path, ignore)
    store = await open_file(path)
    assert (await store.range("")).records == there, "records keep even their revisions"
    assert store.revision >= written.revision
    await _refuses_the_past(store, written.revision - 1)
    assert (await store.create("/x", VALUE)).revision > written.revision
    await store.close()


async def _refuses_the_past(store: Store, revision: int) -> None:
    """A client with a resourceVersion of before the move lists again."""
    with pytest.raises(Compacted):
        await store.range("", revision=revision)
    with pytest.raises(Compacted):
        async with store.watch("", revision):
            pass


async def test_revisions_far_above_those_of_etcd(etcd_place: EtcdConfiguration, tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    store = await open_file(path)
    await fill(store, 3)
    await store.close()
    migration._write(path, [], 10**12, ignore)
    await migration.to_etcd(path, etcd_place, ignore)
    remote = await EtcdStore.open(etcd_place, stamp=stamp)
    assert (await remote.create("/a", VALUE)).revision > 10**12
    await remote.close()


async def test_an_interrupted_move_is_made_again(etcd_place: EtcdConfiguration, tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    store = await open_file(path)
    before = await fill(store)
    await store.close()

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await migration.to_etcd(path, etcd_place, interrupt)
    keys = Keys(etcd_place)
    assert await keys.is_unfinished()
    await keys.put([("/registry/left/over", b"{}")])
    await keys.close()
    await migration.to_etcd(path, etcd_place, ignore)
    remote = await EtcdStore.open(etcd_place, stamp=stamp)
    assert contents((await remote.range("")).records) == contents(before)
    await remote.close()

    back = tmp_path / "back.sqlite"
    with pytest.raises(KeyboardInterrupt):
        await migration.to_embedded(etcd_place, back, interrupt)
    assert not back.exists()
    await migration.to_embedded(etcd_place, back, ignore)
    store = await open_file(back)
    assert contents((await store.range("")).records) == contents(before)
    await store.close()
    assert [name for name in os.listdir(tmp_path) if name.startswith("back")] == ["back.sqlite"]


async def test_what_is_there_already_is_not_overwritten(etcd_place: EtcdConfiguration, tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    store = await open_file(path)
    await fill(store, 3)
    await store.close()
    remote = await EtcdStore.open(etcd_place, stamp=stamp)
    theirs = await remote.create("/registry/core/pods/a/b", VALUE)
    with pytest.raises(migration.TargetNotEmpty, match="1 objects"):
        await migration.to_etcd(path, etcd_place, ignore)
    assert await remote.get(theirs.key) == theirs
    await remote.close()


async def test_a_store_in_use_is_refused(etcd_place: EtcdConfiguration, tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    store = await open_file(path)
    with pytest.raises(UnusableDatabase, match="in use"):
        await migration.to_etcd(path, etcd_place, ignore)
    await store.close()
    with pytest.raises(FileNotFoundError):
        await migration.to_etcd(tmp_path / "missing", etcd_place, ignore)
