"""The loop against an in-memory cluster: binding, reporting, waiting, preempting."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

from tests.unit.scheduler.builders import node, pod
from twinplane.controlplane.scheduler.loop import Scheduler
from twinplane.kubeclient.contract import Object, Resource
from twinplane.kubeclient.errors import ApiError, conflict
from twinplane.kubeclient.event_recorder import EventBroadcaster
from twinplane.kubeclient.informer import SharedInformers
from twinplane.kubeclient.meta import condition_of
from twinplane.kubeclient.resources import EVENTS, NODES, PODS
from twinplane.testing.memory_cluster import MemoryCluster
from twinplane.testing.virtual_time import VirtualClock, virtual_time


@asynccontextmanager
async def running(cluster: MemoryCluster, clock: VirtualClock) -> AsyncIterator[Scheduler]:
    informers = SharedInformers(cluster)
    broadcaster = EventBroadcaster(cluster, clock)
    recorder = broadcaster.recorder("default-scheduler")
    scheduler = Scheduler(cluster, informers, clock, Random(1), recorder)
    tasks = [asyncio.create_task(part.run()) for part in (informers, broadcaster, scheduler)]
    try:
        await asyncio.sleep(0.1)
        yield scheduler
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def placed(cluster: MemoryCluster) -> dict[str, str | None]:
    return {body["metadata"]["name"]: body["spec"].get("nodeName") for body in cluster.objects(PODS)}


def events(cluster: MemoryCluster, reason: str) -> list[str]:
    return [body["message"] for body in cluster.objects(EVENTS) if body["reason"] == reason]


@virtual_time
async def test_pods_are_bound_and_told(clock: VirtualClock) -> None:
    cluster = MemoryCluster(clock)
    cluster.seed(NODES, node("a"), node("b"))
    cluster.seed(PODS, *(pod(f"p{number}", cpu="1") for number in range(8)))
    async with running(cluster, clock):
        await asyncio.sleep(0.1)
    assert sorted(filter(None, placed(cluster).values())) == ["a"] * 4 + ["b"] * 4
    assert "Successfully assigned default/p0 to " in "".join(events(cluster, "Scheduled"))


@virtual_time
async def test_other_schedulers_pods_are_left_alone(clock: VirtualClock) -> None:
    cluster = MemoryCluster(clock)
    cluster.seed(NODES, node("a"))
    cluster.seed(PODS, pod("other", schedulerName="mine"), pod("gated", schedulingGates=[{"name": "wait"}]))
    async with running(cluster, clock):
        await asyncio.sleep(1)
        assert placed(cluster) == {"other": None, "gated": None}
        await cluster.patch(PODS, "gated", {"spec": {"schedulingGates": None}}, "default")
        await asyncio.sleep(0.1)
    assert placed(cluster) == {"other": None, "gated": "a"}


@virtual_time
async def test_failure_is_reported_and_a_new_node_helps(clock: VirtualClock) -> None:
    cluster = MemoryCluster(clock)
    cluster.seed(NODES, node("a", cpu="1"))
    cluster.seed(PODS, pod("big", cpu="2"))
    async with running(cluster, clock):
        await asyncio.sleep(2)
        body = cluster.object(PODS, "big", "default")
        assert body is not None
        condition = condition_of(body, "PodScheduled")
        assert condition is not None
        assert condition["status"] == "False"
        assert condition["reason"] == "Unschedulable"
        assert condition["message"] == (
            "0/1 nodes are available: 1 Insufficient cpu. "
            "preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
        )
        assert events(cluster, "FailedScheduling") == [condition["message"]]
        await cluster.create(NODES, node("b", cpu="4"))
        await asyncio.sleep(0.1)
    assert placed(cluster) == {"big": "b"}


@virtual_time
async def test_no_nodes_at_all(clock: VirtualClock) -> None:
    cluster = MemoryCluster(clock)
    cluster.seed(PODS, pod("early"))
    async with running(cluster, clock):
        await asyncio.sleep(0.1)
        assert events(cluster, "FailedScheduling") == ["no nodes available to schedule pods"]
        await cluster.create(NODES, node("a"))
        await asyncio.sleep(1.1)
    assert placed(cluster) == {"early": "a"}


@virtual_time
async def test_room_made_by_a_deleted_pod_is_used(clock: VirtualClock) -> None:
    cluster = MemoryCluster(clock)
    cluster.seed(NODES, node("a", cpu="1"))
    cluster.seed(PODS, pod("old", cpu="1", nodeName="a"), pod("new", cpu="1"))
    async with running(cluster, clock):
        await asyncio.sleep(5)
        assert placed(cluster)["new"] is None
        await cluster.delete(PODS, "old", "default", grace_period_seconds=0)
        await asyncio.sleep(0.1)
        assert placed(cluster) == {"new": "a"}


@virtual_time
async def test_refused_binding_is_tried_again(clock: VirtualClock) -> None:
    cluster = MemoryCluster(clock)
    cluster.seed(NODES, node("a", cpu="1"))
    refusals: list[ApiError] = [conflict("", "pods/binding", "p", "not now")]

    def refuse_once(verb: str, resource: Resource, body: Object) -> None:
        if resource == PODS and body.get("spec", {}).get("nodeName") and refusals:
            raise refusals.pop()

    cluster.reactions.append(refuse_once)
    async with running(cluster, clock):
        await cluster.create(PODS, pod("p", cpu="1"), "default")
        await asyncio.sleep(0.5)
        if not refusals:
            assert placed(cluster) == {"p": None}
        await asyncio.sleep(2)
    assert placed(cluster) == {"p": "a"}


@virtual_time
async def test_preemption_makes_room(clock: VirtualClock) -> None:
    cluster = MemoryCluster(clock)
    cluster.seed(NODES, node("a", cpu="1"))
    cluster.seed(PODS, pod("low", cpu="1", nodeName="a", terminationGracePeriodSeconds=0))
    async with running(cluster, clock):
        await cluster.create(PODS, pod("high", cpu="1", priority=1000), "default")
        await asyncio.sleep(3)
        low = cluster.object(PODS, "low", "default")
        if low is not None:
            assert "deletionTimestamp" in low["metadata"]
            high = cluster.object(PODS, "high", "default")
            assert high is not None
            assert high["status"]["nominatedNodeName"] == "a"
            await cluster.delete(PODS, "low", "default", grace_period_seconds=0)
        await asyncio.sleep(11)
    assert placed(cluster) == {"high": "a"}
    assert events(cluster, "Preempted")[0].startswith("Preempted by pod ")
