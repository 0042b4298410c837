"""The fake must deserve trust: it stands in for the API server in half of the unit tests."""

from __future__ import annotations

import asyncio

import pytest

from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.resources import CONFIG_MAPS, DEPLOYMENTS, NAMESPACES, PODS
from twinplane.testing.memory_cluster import MemoryCluster
from twinplane.testing.virtual_time import VirtualClock, virtual_time


def body(name: str, **fields: object) -> Object:
    return {"metadata": {"name": name, "namespace": "default"}, **fields}


@virtual_time
async def test_conflicts_and_no_op_updates() -> None:
    cluster = MemoryCluster()
    first = await cluster.create(CONFIG_MAPS, body("a", data={"k": "1"}))
    second = await cluster.update(CONFIG_MAPS, {**first, "data": {"k": "2"}})
    assert int(second["metadata"]["resourceVersion"]) > int(first["metadata"]["resourceVersion"])
    with pytest.raises(ApiError) as caught:
        await cluster.update(CONFIG_MAPS, {**first, "data": {"k": "3"}})
    assert caught.value.reason == "Conflict"
    same = await cluster.update(CONFIG_MAPS, second)
    assert same["metadata"]["resourceVersion"] == second["metadata"]["resourceVersion"]


@virtual_time
async def test_generation_and_status() -> None:
    cluster = MemoryCluster()
    made = await cluster.create(DEPLOYMENTS, body("a", spec={"replicas": 1}))
    await cluster.patch(
        DEPLOYMENTS, "a", {"spec": {"replicas": 9}, "status": {"x": 1}}, "default", subresource="status"
    )
    stored = await cluster.get(DEPLOYMENTS, "a", "default")
    assert (stored["spec"], stored["status"], stored["metadata"]["generation"]) == ({"replicas": 1}, {"x": 1}, 1)
    stored["spec"]["replicas"] = 2
    stored["status"] = {}
    updated = await cluster.update(DEPLOYMENTS, stored)
    assert (updated["status"], updated["metadata"]["generation"]) == ({"x": 1}, 2)
    assert made["metadata"]["generation"] == 1


@virtual_time
async def test_finalizers_and_grace(clock: VirtualClock) -> None:
    cluster = MemoryCluster(clock)
    await cluster.create(CONFIG_MAPS, {"metadata": {"name": "a", "namespace": "default", "finalizers": ["x/y"]}})
    await cluster.delete(CONFIG_MAPS, "a", "default", propagation_policy="Foreground")
    held = await cluster.get(CONFIG_MAPS, "a", "default")
    assert held["metadata"]["finalizers"] == ["x/y", "foregroundDeletion"]
    await cluster.patch(CONFIG_MAPS, "a", {"metadata": {"finalizers": None}}, "default")
    assert cluster.objects(CONFIG_MAPS) == []
    await cluster.create(PODS, body("p", spec={"nodeName": "n"}))
    await cluster.delete(PODS, "p", "default")
    assert (await cluster.get(PODS, "p", "default"))["metadata"]["deletionGracePeriodSeconds"] == 30
    await cluster.delete(PODS, "p", "default", grace_period_seconds=0)
    assert cluster.objects(PODS) == []


@virtual_time
async def test_preconditions_and_generated_names() -> None:
    cluster = MemoryCluster()
    made = await cluster.create(CONFIG_MAPS, {"metadata": {"generateName": "a-"}}, "default")
    assert len(made["metadata"]["name"]) == 7
    with pytest.raises(ApiError) as caught:
        await cluster.delete(CONFIG_MAPS, made["metadata"]["name"], "default", uid="other")
    assert caught.value.code == 409
    with pytest.raises(ApiError) as caught:
        await cluster.create(CONFIG_MAPS, body(made["metadata"]["name"]))
    assert caught.value.reason == "AlreadyExists"


@virtual_time
async def test_a_terminating_namespace_takes_nothing_new() -> None:
    cluster = MemoryCluster()
    await cluster.create(NAMESPACES, {"metadata": {"name": "default"}})
    await cluster.delete(NAMESPACES, "default")
    with pytest.raises(ApiError) as caught:
        await cluster.create(CONFIG_MAPS, body("a"))
    assert caught.value.reason == "Forbidden"
    namespace = cluster.object(NAMESPACES, "default")
    assert namespace is not None
    namespace["spec"]["finalizers"] = []
    await cluster.update(NAMESPACES, namespace, subresource="finalize")
    assert cluster.objects(NAMESPACES) == []


@virtual_time
async def test_watches_miss_nothing_and_select() -> None:
    cluster = MemoryCluster()
    await cluster.create(PODS, body("old", spec={}))
    start = str(cluster.revision)
    seen: list[str] = []

    async def watch() -> None:
        async for event in cluster.watch(PODS, resource_version=start, label_selector="app=a"):
            kind = event.type
            seen.append(kind)

    await cluster.create(PODS, {"metadata": {"name": "x", "labels": {"app": "a"}}, "spec": {}}, "default")
    task = asyncio.create_task(watch())
    for label in ("b", "a"):
        await cluster.patch(PODS, "x", {"metadata": {"labels": {"app": label}}}, "default")
    await cluster.patch(PODS, "x", {"spec": {"nodeName": "n"}}, "default")
    await cluster.delete(PODS, "x", "default", grace_period_seconds=0)
    await asyncio.sleep(0.1)
    assert seen == ["ADDED", "DELETED", "ADDED", "MODIFIED", "DELETED"]
    task.cancel()


@virtual_time
async def test_pages() -> None:
    cluster = MemoryCluster()
    for number in range(5):
        await cluster.create(CONFIG_MAPS, body(str(number)))
    first = await cluster.list(CONFIG_MAPS, limit=3)
    rest = await cluster.list(CONFIG_MAPS, limit=3, continue_=first.continue_)
    assert [item["metadata"]["name"] for item in [*first.items, *rest.items]] == list("01234")
    assert rest.continue_ == ""


@virtual_time
async def test_json_patch() -> None:
    cluster = MemoryCluster()
    await cluster.create(CONFIG_MAPS, body("a", data={"k": "1"}))
    operations = [
        {"op": "test", "path": "/data/k", "value": "1"},
        {"op": "add", "path": "/data/a~1b", "value": "2"},
        {"op": "remove", "path": "/data/k"},
    ]
    patched = await cluster.patch(CONFIG_MAPS, "a", operations, "default", patch_type="application/json-patch+json")
    assert patched["data"] == {"a/b": "2"}
