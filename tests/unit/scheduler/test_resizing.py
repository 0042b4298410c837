"""What a pod counts with while it is resized in place."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.unit.scheduler.builders import node, pod
from tests.unit.scheduler.test_loop import placed, running
from twinplane.controlplane.scheduler.resizing import as_counted
from twinplane.controlplane.scheduler.resources import pod_requests
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.resources import NODES, PODS
from twinplane.testing.memory_cluster import MemoryCluster
from twinplane.testing.virtual_time import VirtualClock, virtual_time


def resized(asked: str, actual: str, allotted: str = "", *, reason: str = "") -> Object:
    body = pod("p", cpu=asked)
    told: dict[str, Any] = {"name": "main", "resources": {"requests": {"cpu": actual}}}
    told["allocatedResources"] = {"cpu": allotted or actual}
    conditions = [{"type": "PodResizePending", "status": "True", "reason": reason}] if reason else []
    return {**body, "status": {"containerStatuses": [told], "conditions": conditions}}


def cpu(body: Object) -> int:
    return pod_requests(as_counted(body)["spec"]).amounts["cpu"]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (resized("1", "1"), 1000),
        (resized("1000m", "1"), 1000),
        (resized("2", "1"), 2000),
        (resized("1", "2"), 2000),
        (resized("1", "2", "3"), 3000),
        (resized("4", "1", reason="Deferred"), 4000),
        (resized("4", "1", reason="Infeasible"), 1000),
        (resized("4", "1", "2", reason="Infeasible"), 2000),
    ],
)
def test_the_most_of_asked_actual_and_allotted_counts(body: Object, expected: int) -> None:
    assert cpu(body) == expected


def test_pods_that_are_what_they_ask_for_are_left_alone() -> None:
    for body in (pod("p", cpu="1"), resized("1", "1")):
        assert as_counted(body) is body


def test_init_containers_count_with_their_spec_and_sidecars_with_their_status() -> None:
    body = pod("p", cpu="1")
    body["spec"]["initContainers"] = [
        {"name": "setup", "resources": {"requests": {"cpu": "3"}}},
        {"name": "proxy", "restartPolicy": "Always", "resources": {"requests": {"cpu": "1"}}},
    ]
    told = {"allocatedResources": {"cpu": "4"}, "resources": {"requests": {"cpu": "4"}}}
    running = {"name": "main", "allocatedResources": {"cpu": "1"}, "resources": {"requests": {"cpu": "1"}}}
    body["status"] = {
        "containerStatuses": [running],
        "initContainerStatuses": [{"name": "setup", **told}, {"name": "proxy", **told}],
    }
    assert cpu(body) == 5000


def test_pod_level_requests_are_compared_as_well() -> None:
    body = pod("p", cpu="1")
    body["spec"]["resources"] = {"requests": {"cpu": "2"}}
    body["status"] = {
        "containerStatuses": [{"name": "main"}],
        "resources": {"requests": {"cpu": "3"}},
        "allocatedResources": {"cpu": "2"},
    }
    assert cpu(body) == 3000


@virtual_time
async def test_room_is_free_when_the_kubelet_has_taken_it_back(clock: VirtualClock) -> None:
    cluster = MemoryCluster(clock)
    cluster.seed(NODES, node("a", cpu="4"))
    big = resized("3", "3")
    big["metadata"] = {**big["metadata"], "name": "big", "uid": "uid-big"}
    big["spec"]["nodeName"] = "a"
    cluster.seed(PODS, big)
    async with running(cluster, clock):
        container = {"name": "main", "resources": {"requests": {"cpu": "1"}}}
        await cluster.patch(PODS, "big", {"spec": {"containers": [container]}}, "default")
        await cluster.create(PODS, pod("waiting", cpu="3"), "default")
        await asyncio.sleep(2)
        assert placed(cluster)["waiting"] is None
        told = {"name": "main", "resources": {"requests": {"cpu": "1"}}, "allocatedResources": {"cpu": "1"}}
        await cluster.patch(PODS, "big", {"status": {"containerStatuses": [told]}}, "default", subresource="status")
        await asyncio.sleep(2)
    assert placed(cluster)["waiting"] == "a"
