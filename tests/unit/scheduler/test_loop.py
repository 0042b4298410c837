"""The loop against an in-memory cluster: binding, reporting, waiting, preempting."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

from tests.unit.scheduler.builders import node, pod
from tests.unit.scheduler.storage_builders import attachment, capacity, claim, csi_node, mounts, storage_class, volume
from twinplane.controlplane.scheduler.configuration import SchedulerConfiguration, parse
from twinplane.controlplane.scheduler.loop import DEFAULT_CONFIGURATION, Scheduler
from twinplane.kubeclient.contract import Object, Resource
from twinplane.kubeclient.errors import ApiError, conflict
from twinplane.kubeclient.event_recorder import EventBroadcaster
from twinplane.kubeclient.informer import SharedInformers
from twinplane.kubeclient.meta import condition_of
from twinplane.kubeclient.resources import (
    CSI_DRIVERS,
    CSI_NODES,
    CSI_STORAGE_CAPACITIES,
    EVENTS,
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    PODS,
    STORAGE_CLASSES,
    VOLUME_ATTACHMENTS,
)
from twinplane.testing.memory_cluster import MemoryCluster
from twinplane.testing.virtual_time import VirtualClock, virtual_time


@asynccontextmanager
async def running(
    cluster: MemoryCluster, clock: VirtualClock, configuration: SchedulerConfiguration = DEFAULT_CONFIGURATION
) -> AsyncIterator[Scheduler]:
    informers = SharedInformers(cluster)
    broadcaster = EventBroadcaster(cluster, clock)
    scheduler = Scheduler(cluster, informers, clock, Random(1), broadcaster.recorder, configuration=configuration)
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
            "no new claims to deallocate, preemption: 0/1 nodes are available: "
            "1 Preemption is not helpful for scheduling."
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


@virtual_time
async def test_pods_wait_for_their_claims(clock: VirtualClock) -> None:
    cluster = MemoryCluster(clock)
    cluster.seed(NODES, node("a"))
    cluster.seed(STORAGE_CLASSES, storage_class())
    cluster.seed(PERSISTENT_VOLUME_CLAIMS, claim("data"))
    cluster.seed(PODS, pod("p", **mounts("data")))
    async with running(cluster, clock):
        await asyncio.sleep(1)
        assert placed(cluster) == {"p": None}
        expected = cluster.object(PODS, "p", "default")
        assert expected is not None
        assert expected["status"]["nominatedNodeName"] == "a"
        waiting = cluster.object(PERSISTENT_VOLUME_CLAIMS, "data", "default")
        assert waiting is not None
        assert waiting["metadata"]["annotations"]["volume.kubernetes.io/selected-node"] == "a"
        await cluster.create(PERSISTENT_VOLUMES, volume("v", claim="data"))
        bound = {"metadata": {"annotations": {"pv.kubernetes.io/bind-completed": "yes"}}, "spec": {"volumeName": "v"}}
        await cluster.patch(PERSISTENT_VOLUME_CLAIMS, "data", bound, "default")
        await asyncio.sleep(0.1)
    assert placed(cluster) == {"p": "a"}


@virtual_time
async def test_matching_volumes_are_reserved_for_the_claim(clock: VirtualClock) -> None:
    cluster = MemoryCluster(clock)
    cluster.seed(NODES, node("a"))
    cluster.seed(STORAGE_CLASSES, storage_class(provisioner="kubernetes.io/no-provisioner"))
    cluster.seed(PERSISTENT_VOLUMES, volume("v"))
    cluster.seed(PERSISTENT_VOLUME_CLAIMS, claim("data"))
    cluster.seed(PODS, pod("p", **mounts("data")))
    async with running(cluster, clock):
        await asyncio.sleep(0.5)
        reserved = cluster.object(PERSISTENT_VOLUMES, "v")
        assert reserved is not None
        assert reserved["spec"]["claimRef"]["name"] == "data"
        assert reserved["spec"]["claimRef"]["uid"]
        assert reserved["metadata"]["annotations"] == {"pv.kubernetes.io/bound-by-controller": "yes"}
        assert placed(cluster) == {"p": None}


@virtual_time
async def test_a_provisioner_that_gives_up_sends_the_pod_back(clock: VirtualClock) -> None:
    cluster = MemoryCluster(clock)
    cluster.seed(NODES, node("a"), node("b"))
    cluster.seed(STORAGE_CLASSES, storage_class())
    cluster.seed(PERSISTENT_VOLUME_CLAIMS, claim("data"))
    cluster.seed(PODS, pod("p", **mounts("data")))
    async with running(cluster, clock):
        await asyncio.sleep(0.5)
        gone = {"metadata": {"annotations": {"volume.kubernetes.io/selected-node": None}}}
        await cluster.patch(PERSISTENT_VOLUME_CLAIMS, "data", gone, "default")
        await asyncio.sleep(0.1)
        assert events(cluster, "FailedScheduling") == [
            'running PreBind plugin "VolumeBinding": binding volumes: provisioning failed for PVC "data"'
        ]
        body = cluster.object(PODS, "p", "default")
        assert body is not None
        condition = condition_of(body, "PodScheduled")
        assert condition is not None
        assert condition["reason"] == "SchedulerError"
        assert "nominatedNodeName" not in body["status"]
        await asyncio.sleep(2)
        again = cluster.object(PERSISTENT_VOLUME_CLAIMS, "data", "default")
        assert again is not None
        assert again["metadata"]["annotations"]["volume.kubernetes.io/selected-node"] in ("a", "b")


@virtual_time
async def test_claims_that_are_never_bound_time_out(clock: VirtualClock) -> None:
    cluster = MemoryCluster(clock)
    cluster.seed(NODES, node("a"))
    cluster.seed(STORAGE_CLASSES, storage_class())
    cluster.seed(PERSISTENT_VOLUME_CLAIMS, claim("data"))
    cluster.seed(PODS, pod("p", **mounts("data")))
    async with running(cluster, clock):
        await asyncio.sleep(601)
        assert "binding volumes: context deadline exceeded" in events(cluster, "FailedScheduling")[0]


@virtual_time
async def test_an_unbound_claim_is_reported_and_a_binding_helps(clock: VirtualClock) -> None:
    cluster = MemoryCluster(clock)
    cluster.seed(NODES, node("a"))
    cluster.seed(STORAGE_CLASSES, storage_class(waits=False))
    cluster.seed(PERSISTENT_VOLUME_CLAIMS, claim("data"))
    cluster.seed(PERSISTENT_VOLUMES, volume("v", claim="data"))
    cluster.seed(PODS, pod("p", **mounts("data")))
    async with running(cluster, clock):
        await asyncio.sleep(2)
        assert events(cluster, "FailedScheduling") == [
            "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims. not found"
        ]
        bound = {"metadata": {"annotations": {"pv.kubernetes.io/bind-completed": "yes"}}, "spec": {"volumeName": "v"}}
        await cluster.patch(PERSISTENT_VOLUME_CLAIMS, "data", bound, "default")
        await asyncio.sleep(0.1)
    assert placed(cluster) == {"p": "a"}


@virtual_time
async def test_capacity_that_grows_helps(clock: VirtualClock) -> None:
    cluster = MemoryCluster(clock)
    cluster.seed(NODES, node("a", zone="a"))
    cluster.seed(STORAGE_CLASSES, storage_class())
    cluster.seed(CSI_DRIVERS, {"metadata": {"name": "ebs.csi.aws.com"}, "spec": {"storageCapacity": True}})
    cluster.seed(CSI_STORAGE_CAPACITIES, capacity("c", zone="a", capacity="1Gi"))
    cluster.seed(PERSISTENT_VOLUME_CLAIMS, claim("data", size="5Gi"))
    cluster.seed(PODS, pod("p", **mounts("data")))
    async with running(cluster, clock):
        await asyncio.sleep(2)
        assert "1 node(s) did not have enough free storage" in events(cluster, "FailedScheduling")[0]
        await cluster.patch(CSI_STORAGE_CAPACITIES, "c", {"capacity": "5Gi"}, "kube-system")
        await asyncio.sleep(0.1)
        selected = cluster.objects(PERSISTENT_VOLUME_CLAIMS)[0]["metadata"]["annotations"]
    assert selected["volume.kubernetes.io/selected-node"] == "a"


@virtual_time
async def test_a_volume_detached_makes_room_for_another(clock: VirtualClock) -> None:
    cluster = MemoryCluster(clock)
    cluster.seed(NODES, node("a"))
    cluster.seed(CSI_NODES, csi_node("a", 1))
    cluster.seed(PERSISTENT_VOLUMES, volume("old"), volume("v", claim="data"))
    cluster.seed(VOLUME_ATTACHMENTS, attachment("csi-old", "a", "old"))
    cluster.seed(PERSISTENT_VOLUME_CLAIMS, claim("data", volume="v"))
    cluster.seed(PODS, pod("p", **mounts("data")))
    async with running(cluster, clock):
        await asyncio.sleep(2)
        assert "1 node(s) exceed max volume count" in events(cluster, "FailedScheduling")[0]
        await cluster.delete(VOLUME_ATTACHMENTS, "csi-old")
        await asyncio.sleep(0.1)
    assert placed(cluster) == {"p": "a"}


@virtual_time
async def test_each_profile_schedules_its_own_pods(clock: VirtualClock) -> None:
    cluster = MemoryCluster(clock)
    cluster.seed(NODES, node("empty"), node("half"))
    cluster.seed(PODS, pod("there", cpu="2", memory="8Gi", nodeName="half"))
    most = {"name": "NodeResourcesFit", "args": {"scoringStrategy": {"type": "MostAllocated"}}}
    configuration = parse(
        {
            "apiVersion": "kubescheduler.config.k8s.io/v1",
            "kind": "KubeSchedulerConfiguration",
            "profiles": [{}, {"schedulerName": "packer", "pluginConfig": [most]}],
        }
    )
    cluster.seed(PODS, pod("packed", cpu="1", memory="4Gi", schedulerName="packer"))
    cluster.seed(PODS, pod("ignored", cpu="1", schedulerName="unknown"))
    async with running(cluster, clock, configuration):
        await asyncio.sleep(0.1)
    assert placed(cluster) == {"there": "half", "packed": "half", "ignored": None}
    assert {body["source"]["component"] for body in cluster.objects(EVENTS)} == {"packer"}


@virtual_time
async def test_many_preemptors_are_served_without_a_storm(clock: VirtualClock) -> None:
    cluster = MemoryCluster(clock)
    cluster.seed(NODES, *(node(f"n{number}", cpu="1") for number in range(10)))
    for number in range(10):
        low = pod(f"low{number}", cpu="1", nodeName=f"n{number}", terminationGracePeriodSeconds=0)
        cluster.seed(PODS, low)
    async with running(cluster, clock):
        for number in range(10):
            await cluster.create(PODS, pod(f"high{number}", cpu="1", priority=1000), "default")
        await asyncio.sleep(3)
    found = placed(cluster)
    assert sorted(filter(None, found.values())) == sorted(f"n{number}" for number in range(10))
    # One report each, and one binding: nobody was tried while his victims were still leaving.
    assert len(events(cluster, "FailedScheduling")) == 10
