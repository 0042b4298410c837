"""Two API servers over one etcd: a client sees one cluster wherever it is sent, and failures under their own names."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.etcd_cluster import EtcdCluster
from tests.unit.api.harness import Api, api_server
from twinplane.controlplane.api.encoding import stamp
from twinplane.controlplane.api.objects import cache as cache_module
from twinplane.controlplane.api.objects.cache import ObjectCache
from twinplane.controlplane.store.contract import OutcomeUnknown, StoreUnavailable
from twinplane.controlplane.store.etcd.store import EtcdStore
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.resources import CONFIG_MAPS, NAMESPACES

Pair = tuple[Api, Api]


@pytest.fixture
async def pair(etcd: EtcdCluster, tmp_path: Path) -> AsyncIterator[Pair]:
    async with api_server() as alone:
        runtimes = []
        for _ in range(2):
            store = await EtcdStore.open(etcd.configuration(f"/{tmp_path.name}"), stamp=stamp)
            cache = ObjectCache(store, alone.runtime.registry, alone.runtime.rules)
            await cache.start()
            runtimes.append(replace(alone.runtime, store=store, cache=cache))
        here, there = Api(runtimes[0]), Api(runtimes[1])
        await here.client.create(NAMESPACES, {"metadata": {"name": "default"}})
        yield here, there
        for runtime in runtimes:
            await runtime.cache.close()
            await runtime.store.close()


def config_map(name: str, **data: str) -> Object:
    return {"metadata": {"name": name}, "data": data}


async def test_what_one_acknowledged_the_other_shows(pair: Pair) -> None:
    here, there = pair
    for number in range(20):
        name = f"c{number}"
        created = await here.client.create(CONFIG_MAPS, config_map(name), "default")
        assert await there.client.get(CONFIG_MAPS, name, "default") == created
        updated = await there.client.update(CONFIG_MAPS, {**created, "data": {"a": "b"}})
        patched = await here.client.patch(CONFIG_MAPS, name, {"data": {"c": "d"}}, "default")
        assert patched["data"] == {"a": "b", "c": "d"}
        assert int(patched["metadata"]["resourceVersion"]) > int(updated["metadata"]["resourceVersion"])
        listed = await there.client.list(CONFIG_MAPS, "default")
        assert patched in [{**item, "apiVersion": "v1", "kind": "ConfigMap"} for item in listed.items]
        await there.client.delete(CONFIG_MAPS, name, "default")
        with pytest.raises(ApiError, match="not found"):
            await here.client.get(CONFIG_MAPS, name, "default")


async def test_a_list_of_one_is_where_a_watch_of_the_other_begins(pair: Pair) -> None:
    here, there = pair
    for number in range(10):
        listed = await here.client.list(CONFIG_MAPS, "default")
        created = await there.client.create(CONFIG_MAPS, config_map(f"c{number}"), "default")
        watch: Any = there.client.watch(CONFIG_MAPS, "default", resource_version=listed.resource_version)
        async with aclosing(watch), asyncio.timeout(60):
            assert await anext(watch) == ("ADDED", created)
        again = await there.client.list(CONFIG_MAPS, "default", resource_version=listed.resource_version)
        assert len(again.items) == number + 1


async def test_a_watch_goes_on_with_a_replica_that_has_just_started(
    pair: Pair, etcd: EtcdCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also while the store is younger than what a new process loads."""
    monkeypatch.setattr(cache_module, "REPLAYED", 10**9)
    here, _ = pair
    listed = await here.client.list(CONFIG_MAPS, "default")
    created = [await here.client.create(CONFIG_MAPS, config_map(f"c{number}"), "default") for number in range(3)]
    store = await EtcdStore.open(etcd.configuration(f"/{tmp_path.name}"), stamp=stamp)
    cache = ObjectCache(store, here.runtime.registry, here.runtime.rules)
    await cache.start()
    started = Api(replace(here.runtime, store=store, cache=cache))
    watch: Any = started.client.watch(CONFIG_MAPS, "default", resource_version=listed.resource_version)
    async with aclosing(watch), asyncio.timeout(60):
        assert [await anext(watch) for _ in created] == [("ADDED", body) for body in created]
    await cache.close()
    await store.close()


async def test_a_revision_of_other_users_of_etcd_is_reached(etcd: EtcdCluster, pair: Pair) -> None:
    """They raise etcd's revision, which one replica may have told a client and the other not have seen yet."""
    here, there = pair
    neighbour = await EtcdStore.open(etcd.configuration("/neighbour"), stamp=stamp)
    record = await neighbour.get("/n")
    record = await (neighbour.update("/n", b"v", record.revision) if record else neighbour.create("/n", b"v"))
    await neighbour.close()
    listed = await here.client.list(CONFIG_MAPS, "default")
    assert int(listed.resource_version) >= record.revision
    async with asyncio.timeout(60):
        await there.client.list(CONFIG_MAPS, "default", resource_version=listed.resource_version)


@pytest.mark.parametrize(
    ("error", "answer"),
    [(OutcomeUnknown("cut"), ("Timeout", 504, None)), (StoreUnavailable("gone"), ("ServiceUnavailable", 503, 1))],
)
async def test_failures_of_the_store_tell_whether_to_repeat(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, error: Exception, answer: tuple[Any, ...]
) -> None:
    here, _ = pair

    async def fail(*arguments: Any) -> Any:
        raise error

    monkeypatch.setattr(here.runtime.store, "create", fail)
    with pytest.raises(ApiError) as caught:
        await here.client.create(CONFIG_MAPS, config_map("a"), "default")
    assert (caught.value.reason, caught.value.code, caught.value.retry_after) == answer
