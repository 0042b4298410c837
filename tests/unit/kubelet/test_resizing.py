"""In-place resizes: what may be had and in what order, and a whole kubelet that makes them, in virtual time."""

from __future__ import annotations

import asyncio
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from tests.unit.kubelet.node import TestNode, pod_object, test_node
from tests.unit.kubelet.test_lives import container, main_status
from twinplane.dataplane.kubelet.admission import NodeState
from twinplane.dataplane.kubelet.events import resize_message
from twinplane.dataplane.kubelet.pods.allocation import Waiting, judged, with_most, with_resources
from twinplane.dataplane.runtime.contract import RuntimeFailure
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.meta import name_of
from twinplane.kubeclient.resources import PODS
from twinplane.testing.virtual_time import VirtualClock, virtual_time

Patch = pytest.MonkeyPatch
NEVER = float("inf")
NODE = NodeState({"metadata": {"name": "node"}}, {"cpu": "4", "memory": "4Gi", "pods": "10"}, [])


def pod(name: str, cpu: str, memory: str = "0", *, priority: int = 0, qos: str = "Burstable") -> Object:
    resources = {"requests": {"cpu": cpu, "memory": memory}}
    made = pod_object(name, [container(resources=resources)], priority=priority)
    made["metadata"]["uid"] = name
    return {**made, "status": {"qosClass": qos}}


def waiting(name: str, asked: tuple[str, str], had: tuple[str, str], since: float = NEVER, **more: Any) -> Waiting:
    return Waiting(pod(name, *asked, **more), pod(name, *had, **more), since)


ORDERS: dict[str, tuple[list[Waiting], list[str]]] = {
    "what asks for no more is first, whatever its priority": (
        [
            waiting("more", ("2", "1Gi"), ("1", "1Gi"), priority=9),
            waiting("less", ("1", "1Gi"), ("2", "1Gi")),
        ],
        ["less", "more"],
    ),
    "less of one and more of the other is more": (
        [
            waiting("both", ("1", "2Gi"), ("2", "1Gi")),
            waiting("high", ("2", "1Gi"), ("1", "1Gi"), priority=1),
        ],
        ["high", "both"],
    ),
    "priority before quality of service before time": (
        [
            waiting("early", ("2", "0"), ("1", "0"), 1.0),
            waiting("late", ("2", "0"), ("1", "0"), 2.0),
            waiting("guaranteed", ("2", "0"), ("1", "0"), 3.0, qos="Guaranteed"),
            waiting("high", ("2", "0"), ("1", "0"), 4.0, priority=1000),
        ],
        ["high", "guaranteed", "early", "late"],
    ),
    "what has not been judged yet is last, the older pod first": (
        [
            waiting("new", ("2", "0"), ("1", "0")),
            waiting("newer", ("2", "0"), ("1", "0")),
            waiting("known", ("2", "0"), ("1", "0"), 5.0),
        ],
        ["known", "new", "newer"],
    ),
}


@pytest.mark.parametrize("case", ORDERS.values(), ids=ORDERS.keys())
def test_the_order_of_resizes(case: tuple[list[Waiting], list[str]]) -> None:
    items, expected = case
    held = {name_of(item.asked): item.allotted for item in items}
    assert [name_of(asked) for asked, _ in judged(items, held, NODE)] == expected


def verdicts(items: list[Waiting], held: list[Object]) -> dict[str, str | None]:
    by_uid = {name_of(item): item for item in held}
    return {name_of(asked): found and found.message for asked, found in judged(items, by_uid, NODE)}


def test_one_that_fits_takes_its_room_from_those_after_it() -> None:
    items = [
        waiting("one", ("2500m", "1Gi"), ("1", "1Gi"), 2.0),
        waiting("other", ("2500m", "1Gi"), ("1", "1Gi"), 1.0),
    ]
    assert verdicts(items, [item.allotted for item in items]) == {
        "other": None,
        "one": "Node didn't have enough resource: cpu, requested: 2500, used: 2500, capacity: 4000",
    }


def test_what_shrinks_gives_nothing_until_its_containers_have() -> None:
    items = [waiting("less", ("1", "0"), ("3", "0")), waiting("more", ("2", "0"), ("1", "0"))]
    held = [item.allotted for item in items]
    assert verdicts(items, held)["more"] is not None
    shrunk = [pod("less", "1"), held[1]]
    assert verdicts(items[1:], shrunk) == {"more": None}


def test_resources_laid_over_a_pod() -> None:
    one = pod("one", "1", "1Gi")
    assert with_resources(one, {"main": one["spec"]["containers"][0]["resources"]}) is one
    less = with_resources(one, {"main": {"requests": {"cpu": "500m"}}, "other": {}})
    assert less["spec"]["containers"][0]["resources"] == {"requests": {"cpu": "500m"}}
    most = with_most(less, {"main": {"requests": {"cpu": "250m", "memory": "2Gi"}}})
    assert most["spec"]["containers"][0]["resources"]["requests"] == {"cpu": "500m", "memory": "2Gi"}
    assert one["spec"]["containers"][0]["resources"]["requests"] == {"cpu": "1", "memory": "1Gi"}


def test_the_message_of_events() -> None:
    resources = {"requests": {"memory": "100", "cpu": "100m"}, "limits": {"memory": "100", "cpu": "200m"}}
    made = pod_object("web", [container(resources=resources)], initContainers=[container("side")])
    assert resize_message("Pod resize Deferred", made, 2, "no room") == (
        'Pod resize Deferred: {"initContainers":[{"name":"side","resources":{}}],"containers":[{"name":"main",'
        '"resources":{"limits":{"cpu":"200m","memory":"100"},"requests":{"cpu":"100m","memory":"100"}}}],'
        '"generation":2,"error":"no room"}'
    )


@virtual_time
async def test_resize_in_place(clock: VirtualClock, tmp_path: Path, monkeypatch: Patch) -> None:
    async with test_node(clock, tmp_path, monkeypatch) as node:
        before = {"requests": {"cpu": "100m"}, "limits": {"cpu": "200m", "memory": "64Mi"}}
        await node.create(pod_object("web", [container(resources=before)]))
        await asyncio.sleep(3)
        await _patch_resources(node, {"requests": {"cpu": "200m"}, "limits": {"cpu": "400m", "memory": "64Mi"}})
        await asyncio.sleep(3)
        [given] = node.runtime.container("main").resources
        assert (given.cpu_quota, given.cpu_shares) == (40_000, 204)
        assert main_status(node)["restartCount"] == 0
        assert main_status(node)["resources"]["limits"]["cpu"] == "400m"
        assert main_status(node)["allocatedResources"] == {"cpu": "200m"}
        await _patch_resources(node, {"requests": {"cpu": "64"}, "limits": {"cpu": "64", "memory": "64Mi"}})
        await asyncio.sleep(3)
        pending = next(item for item in node.status("web")["conditions"] if item["type"] == "PodResizePending")
        assert pending["reason"] == "Deferred"
        assert pending["message"].startswith("Node didn't have enough resource: cpu, requested: 64000, used: 0, ")
        assert main_status(node)["allocatedResources"] == {"cpu": "200m"}


@virtual_time
async def test_a_resize_while_a_container_starts(clock: VirtualClock, tmp_path: Path, monkeypatch: Patch) -> None:
    """It has what it was started with, whatever the pod asks for when it is first seen to run."""
    async with test_node(clock, tmp_path, monkeypatch) as node:
        start = node.runtime.start_container

        async def started(*arguments: Any) -> None:
            await start(*arguments)
            await _patch_resources(node, {"limits": {"cpu": "400m"}})
            await asyncio.sleep(0.1)

        monkeypatch.setattr(node.runtime, "start_container", started)
        await node.create(pod_object("web", [container(resources={"limits": {"cpu": "200m"}})]))
        await asyncio.sleep(5)
        [given] = node.runtime.container("main").resources
        assert given.cpu_quota == 40_000


async def _patch_resources(node: TestNode, resources: dict[str, Any], name: str = "web") -> None:
    pod = deepcopy(node.pod(name))
    assert pod is not None
    pod["spec"]["containers"][0]["resources"] = resources
    await node.cluster.update(PODS, pod)


def pending(node: TestNode, names: list[str]) -> list[str]:
    return [name for name in names if node.condition(name, "PodResizePending") == "True"]


@virtual_time
async def test_deferred_resizes_are_made_in_order(clock: VirtualClock, tmp_path: Path, monkeypatch: Patch) -> None:
    """Upstream's `pod-resize-retry-deferred-test-2`."""
    async with test_node(clock, tmp_path, monkeypatch) as node:
        await node.create(pod_object("large", [container(resources={"requests": {"cpu": "1200m"}})]))
        limited = {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"cpu": "100m", "memory": "64Mi"}}
        burstable: dict[str, Any] = {"requests": {"cpu": "100m"}}
        await node.create(pod_object("important", [container(resources=burstable)], priority=1000))
        await node.create(pod_object("guaranteed", [container(resources=limited)]))
        await node.create(pod_object("early", [container(resources=burstable)]))
        await node.create(pod_object("late", [container(resources=burstable)]))
        await asyncio.sleep(3)
        names = ["early", "guaranteed", "important", "late"]
        for name in names:
            more = {
                kind: {**found, "cpu": "1200m"}
                for kind, found in (limited if name == "guaranteed" else burstable).items()
            }
            await _patch_resources(node, more, name)
            await asyncio.sleep(2)
        assert pending(node, names) == names
        last = "large"
        for name in ("important", "guaranteed", "early", "late"):
            await node.cluster.delete(PODS, last, "default")
            await asyncio.sleep(40)
            names.remove(name)
            assert pending(node, names) == names
            assert node.condition(name, "PodResizePending") == ""
            assert node.condition(name, "PodResizeInProgress") == ""
            assert main_status(node, name)["allocatedResources"]["cpu"] == "1200m"
            assert main_status(node, name)["resources"]["requests"]["cpu"] == "1200m"
            last = name
        assert len(node.events("ResizeDeferred")) == 4
        assert len(node.events("ResizeStarted")) == len(node.events("ResizeCompleted")) == 4


@virtual_time
async def test_a_resize_that_is_taken_back(clock: VirtualClock, tmp_path: Path, monkeypatch: Patch) -> None:
    async with test_node(clock, tmp_path, monkeypatch) as node:
        before = {"requests": {"cpu": "100m"}}
        await node.create(pod_object("web", [container(resources=before)]))
        await asyncio.sleep(3)
        await _patch_resources(node, {"requests": {"cpu": "64"}})
        await asyncio.sleep(3)
        assert pending(node, ["web"]) == ["web"]
        await _patch_resources(node, before)
        await asyncio.sleep(3)
        assert pending(node, ["web"]) == []
        assert not node.events("ResizeStarted")


@virtual_time
async def test_a_deferred_resize_outlives_the_agent(clock: VirtualClock, tmp_path: Path, monkeypatch: Patch) -> None:
    """And what runs keeps what it was allotted: a container that is started anew gets no more."""
    async with test_node(clock, tmp_path, monkeypatch) as node:
        await node.create(pod_object("web", [container(resources={"requests": {"cpu": "100m"}})]))
        await node.create(pod_object("other", [container(resources={"requests": {"cpu": "1500m"}})]))
        await asyncio.sleep(3)
        await _patch_resources(node, {"requests": {"cpu": "1200m"}})
        await asyncio.sleep(3)
        since = next(item for item in node.status("web")["conditions"] if item["type"] == "PodResizePending")
        await node.stop()
        await asyncio.sleep(60)
        await node.start()
        await asyncio.sleep(5)
        assert since in node.status("web")["conditions"]
        assert main_status(node)["allocatedResources"] == {"cpu": "100m"}
        await node.cluster.delete(PODS, "other", "default")
        await asyncio.sleep(40)
        assert pending(node, ["web"]) == []
        assert main_status(node)["allocatedResources"] == {"cpu": "1200m"}


@virtual_time
async def test_a_resize_that_the_runtime_refuses(clock: VirtualClock, tmp_path: Path, monkeypatch: Patch) -> None:
    """Told once, tried again."""
    async with test_node(clock, tmp_path, monkeypatch) as node:
        await node.create(pod_object("web", [container(resources={"limits": {"cpu": "200m"}})]))
        await asyncio.sleep(3)
        update, tries = node.runtime.update_container_resources, []

        async def refused(*arguments: Any) -> None:
            tries.append(clock.now())
            raise RuntimeFailure("no such cgroup")

        monkeypatch.setattr(node.runtime, "update_container_resources", refused)
        await _patch_resources(node, {"limits": {"cpu": "400m"}})
        await asyncio.sleep(35)
        progress = next(item for item in node.status("web")["conditions"] if item["type"] == "PodResizeInProgress")
        assert (progress["reason"], progress["message"]) == ("Error", "no such cgroup")
        assert len(node.events("ResizeError")) == 1
        assert 3 <= len(tries) <= 5
        monkeypatch.setattr(node.runtime, "update_container_resources", update)
        await asyncio.sleep(15)
        assert node.condition("web", "PodResizeInProgress") == ""
        assert len(node.events("ResizeCompleted")) == 1
