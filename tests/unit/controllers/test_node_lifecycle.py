"""Nodes that fall silent, the taints that follow, and the pods that go."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from tests.unit.controllers.world import World, running, running_status

from twinplane.clock import rfc3339, rfc3339_micro
from twinplane.controlplane.controllers.contract import Context, Controller
from twinplane.controlplane.controllers.nodelifecycle.controller import NodeLifecycleController
from twinplane.controlplane.controllers.nodelifecycle.zones import Rates, Zones
from twinplane.controlplane.controllers.podgc.controller import PodGarbageCollector
from twinplane.controlplane.controllers.tainteviction.controller import TaintEvictionController, seconds_left
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.meta import condition_of
from twinplane.kubeclient.resources import LEASES, NODES, PODS
from twinplane.testing.virtual_time import VirtualClock, virtual_time

TOLERATE_300 = [
    {"key": f"node.kubernetes.io/{name}", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}
    for name in ("not-ready", "unreachable")
]


def build(context: Context) -> Sequence[Controller]:
    return [NodeLifecycleController(context), TaintEvictionController(context), PodGarbageCollector(context)]


def node(clock: VirtualClock, name: str, *, ready: str = "True") -> Object:
    now = rfc3339(clock.now())
    condition = {"type": "Ready", "status": ready, "lastHeartbeatTime": now, "lastTransitionTime": now}
    return {"metadata": {"name": name}, "spec": {}, "status": {"conditions": [condition]}}


def pod(clock: VirtualClock, name: str, node_name: str, tolerations: Sequence[Object] = TOLERATE_300) -> Object:
    return {
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"nodeName": node_name, "tolerations": list(tolerations)},
        "status": running_status(clock),
    }


async def heartbeat(world: World, name: str) -> None:
    while True:
        lease = {"spec": {"renewTime": rfc3339_micro(world.clock.now())}}
        if world.cluster.object(LEASES, name, "kube-node-lease") is None:
            metadata = {"name": name, "namespace": "kube-node-lease"}
            await world.cluster.create(LEASES, {"metadata": metadata, **lease})
        await world.cluster.patch(LEASES, name, lease, "kube-node-lease")
        await asyncio.sleep(10)


def taints(world: World, name: str) -> list[tuple[str, str]]:
    return [(entry["key"].split("/")[1], entry["effect"]) for entry in world.one(NODES, name)["spec"].get("taints", [])]


async def start(world: World, clock: VirtualClock, *, silent: str = "n2") -> list[asyncio.Task[None]]:
    for name in ("n1", "n2", "n3"):
        world.cluster.seed(NODES, node(clock, name))
    return [asyncio.create_task(heartbeat(world, name)) for name in ("n1", "n2", "n3") if name != silent]


@virtual_time
async def test_a_silent_node_becomes_unknown_after_the_grace_period(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        tasks = await start(world, clock)
        world.cluster.seed(PODS, pod(clock, "p", "n2"))
        await world.settle(45)
        assert taints(world, "n2") == []
        await world.settle(10)
        condition = condition_of(world.one(NODES, "n2"), "Ready")
        assert condition is not None
        assert (condition["status"], condition["reason"], condition["message"]) == (
            "Unknown",
            "NodeStatusUnknown",
            "Kubelet stopped posting node status.",
        )
        assert taints(world, "n2") == [("unreachable", "NoSchedule"), ("unreachable", "NoExecute")]
        ready = condition_of(world.one(PODS, "p"), "Ready")
        assert ready is not None
        assert ready["status"] == "False"
        assert taints(world, "n1") == taints(world, "n3") == []
        for task in tasks:
            task.cancel()


@virtual_time
async def test_a_node_with_spaced_out_heartbeats_has_the_time_of_its_lease(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        tasks = await start(world, clock)
        metadata = {"name": "n2", "namespace": "kube-node-lease"}
        await world.cluster.create(LEASES, {"metadata": metadata, "spec": {"leaseDurationSeconds": 200}})
        await world.settle(190)
        assert taints(world, "n2") == []
        await world.settle(20)
        assert taints(world, "n2") == [("unreachable", "NoSchedule"), ("unreachable", "NoExecute")]
        for task in tasks:
            task.cancel()


@virtual_time
async def test_its_pods_go_after_their_toleration(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        await start(world, clock)
        world.kubelet_works = False
        world.cluster.seed(PODS, pod(clock, "p", "n2"), pod(clock, "hasty", "n2", []), pod(clock, "other", "n1"))
        await world.settle(60)
        assert "deletionTimestamp" in world.one(PODS, "hasty")["metadata"]
        assert "deletionTimestamp" not in world.one(PODS, "p")["metadata"]
        await world.settle(300)
        evicted = world.one(PODS, "p")
        assert "deletionTimestamp" in evicted["metadata"]
        condition = condition_of(evicted, "DisruptionTarget")
        assert condition is not None
        assert condition["reason"] == "DeletionByTaintManager"
        assert "deletionTimestamp" not in world.one(PODS, "other")["metadata"]


@virtual_time
async def test_a_node_that_comes_back_loses_its_taints(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        await start(world, clock)
        world.cluster.seed(PODS, pod(clock, "p", "n2"))
        await world.settle(100)
        status = node(clock, "n2")["status"]
        await world.cluster.patch(NODES, "n2", {"status": status}, subresource="status")
        task = asyncio.create_task(heartbeat(world, "n2"))
        await world.settle(400)
        assert taints(world, "n2") == []
        assert world.names(PODS) == ["p"]
        task.cancel()


@virtual_time
async def test_nobody_is_evicted_when_no_node_is_left(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        world.cluster.seed(NODES, node(clock, "n1"))
        await world.settle(120)
        assert taints(world, "n1") == [("unreachable", "NoSchedule")]


@virtual_time
async def test_conditions_and_cordon_become_taints(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        await start(world, clock, silent="")
        custom = {"key": "dedicated", "value": "x", "effect": "NoSchedule"}
        conditions = [*node(clock, "n1")["status"]["conditions"], {"type": "DiskPressure", "status": "True"}]
        await world.cluster.patch(NODES, "n1", {"status": {"conditions": conditions}}, subresource="status")
        await world.cluster.patch(NODES, "n1", {"spec": {"unschedulable": True, "taints": [custom]}})
        await world.settle()
        first, *rest = world.one(NODES, "n1")["spec"]["taints"]
        assert first == custom
        assert [entry["key"].split("/")[1] for entry in rest] == ["disk-pressure", "unschedulable"]
        assert {entry["effect"] for entry in rest} == {"NoSchedule"}
        await world.cluster.patch(NODES, "n1", {"spec": {"unschedulable": None}})
        await world.settle()
        assert len(world.one(NODES, "n1")["spec"]["taints"]) == 2


@virtual_time
async def test_a_healthy_cluster_writes_nothing(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        await start(world, clock, silent="")
        await world.settle(600)
        assert {kind for _, kind, _ in world.cluster.writes} == {LEASES}


@virtual_time
async def test_pods_of_a_vanished_node_are_collected(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        await start(world, clock, silent="")
        world.kubelet_works = False
        world.cluster.seed(PODS, pod(clock, "p", "n2"))
        await world.cluster.delete(NODES, "n2")
        await world.settle(30)
        assert world.names(PODS) == ["p"]
        await world.settle(20)
        assert world.names(PODS) == []


@virtual_time
async def test_deleted_pods_that_were_never_bound_go_at_once(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        body = {"metadata": {"name": "p", "deletionTimestamp": rfc3339(clock.now()), "deletionGracePeriodSeconds": 30}}
        world.cluster.seed(PODS, {**body, "spec": {}, "status": {"phase": "Pending"}})
        await world.settle()
        assert world.names(PODS) == []


@virtual_time
async def test_terminated_pods_beyond_the_threshold(clock: VirtualClock) -> None:
    def seed(world: World) -> None:
        for number in range(5):
            metadata = {"name": f"p{number}", "creationTimestamp": rfc3339(clock.now() + number)}
            world.cluster.seed(PODS, {"metadata": metadata, "spec": {}, "status": {"phase": "Succeeded"}})

    async with running(clock, build, options={"terminated-pod-gc-threshold": "3"}, seed=seed) as world:
        await world.settle()
        assert world.names(PODS) == ["p2", "p3", "p4"]


def test_the_shortest_toleration_of_all_taints_counts() -> None:
    taints = [{"key": key, "effect": "NoExecute", "timeAdded": "1970-01-01T00:01:40Z"} for key in "ab"]
    tolerations = [{"key": key, "operator": "Exists", "tolerationSeconds": end} for key, end in (("a", 60), ("b", 30))]
    assert seconds_left(taints, tolerations, {}, 100.0) == 30.0
    assert seconds_left(taints[:1], tolerations, {}, 100.0) == 60.0
    assert seconds_left(taints[:1], [{"operator": "Exists"}], {}, 100.0) is None
    assert seconds_left(taints[:1], [], {}, 100.0) == 0.0


def test_of_several_tolerations_for_one_taint_the_first_counts() -> None:
    taint = {"key": "a", "effect": "NoExecute", "timeAdded": "1970-01-01T00:01:40Z"}
    for_ever, a_minute = {"operator": "Exists"}, {"key": "a", "operator": "Exists", "tolerationSeconds": 60}
    assert seconds_left([taint], [for_ever, a_minute], {}, 100.0) is None
    assert seconds_left([taint], [a_minute, for_ever], {}, 100.0) == 60.0


@virtual_time
async def test_evictions_that_are_called_off_are_told(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        tasks = await start(world, clock, silent="")
        world.cluster.seed(PODS, pod(clock, "p", "n2"))
        unreachable = {"key": "node.kubernetes.io/unreachable", "effect": "NoExecute"}
        await world.cluster.patch(NODES, "n2", {"spec": {"taints": [unreachable]}})
        await world.settle()
        assert world.events("TaintManagerEviction") == ["Cancelling deletion of Pod default/p"]
        for task in tasks:
            task.cancel()


@virtual_time
async def test_an_evicted_node_changes_its_taint_at_once(clock: VirtualClock) -> None:
    """From unreachable to not-ready, without another turn at the zone's eviction rate."""
    async with running(clock, build) as world:
        for number in range(8):
            world.cluster.seed(NODES, node(clock, f"n{number}"))
        tasks = [asyncio.create_task(heartbeat(world, f"n{number}")) for number in range(2, 8)]
        await world.settle(65)
        assert ("unreachable", "NoExecute") in taints(world, "n0")
        now = rfc3339(clock.now())
        conditions = [{"type": "Ready", "status": "False", "lastHeartbeatTime": now, "lastTransitionTime": now}]
        for name in ("n0", "n1"):
            await world.cluster.patch(NODES, name, {"status": {"conditions": conditions}}, subresource="status")
        await world.settle(0.5)
        assert taints(world, "n0") == taints(world, "n1") == [("not-ready", "NoSchedule"), ("not-ready", "NoExecute")]
        for task in tasks:
            task.cancel()


@virtual_time
async def test_nodes_are_told_of_and_labelled(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        body = node(clock, "n1")
        body["metadata"] |= {"creationTimestamp": rfc3339(clock.now()), "labels": {"kubernetes.io/os": "linux"}}
        world.cluster.seed(NODES, body)
        await world.settle()
        assert world.events("RegisteredNode") == ["Node n1 event: Registered Node n1 in Controller"]
        assert world.one(NODES, "n1")["metadata"]["labels"]["beta.kubernetes.io/os"] == "linux"
        await world.cluster.delete(NODES, "n1")
        await world.settle()
        assert world.events("RemovingNode") == ["Node n1 event: Removing Node n1 from Controller"]


def test_a_rate_that_rises_shortens_the_wait() -> None:
    zones = Zones()
    for number in range(60):
        zones.put(f"a{number}", "a", ready=number >= 40)
    assert zones.wait("a0", 0.0) == 0.0
    assert zones.wait("a1", 0.0) == 100.0
    for number in range(20, 40):
        zones.put(f"a{number}", "a", ready=True)
    assert zones.wait("a1", 1.0) == 10.0


def test_zone_rates() -> None:
    zones = Zones()
    for number in range(60):
        zones.put(f"a{number}", "a", ready=number >= 3)
    assert zones.wait("a0", 0.0) == 0.0
    assert zones.wait("a1", 0.0) == 10.0
    assert zones.wait("a1", 10.0) == 0.0
    for number in range(40):
        zones.put(f"a{number}", "a", ready=False)
    assert zones.wait("a2", 20.0) == 0.0
    assert zones.wait("a4", 20.0) == 100.0
    for number in range(60):
        zones.put(f"a{number}", "a", ready=False)
    assert zones.all_disrupted
    assert zones.wait("a5", 1000.0) is None


def test_small_zones_stop_when_most_nodes_are_gone() -> None:
    zones = Zones()
    for number in range(5):
        zones.put(f"a{number}", "a", ready=number >= 3)
    assert zones.wait("a0", 0.0) is None


def test_excluded_nodes_say_nothing_about_their_zone() -> None:
    zones = Zones()
    for number in range(60):
        # Of those that count only two are lost; the others are known to come and go.
        zones.put(f"a{number}", "a", ready=number >= 40, counted=number < 2 or number >= 40)
    assert zones.wait("a0", 0.0) == 0.0
    assert zones.wait("a1", 0.0) == 10.0
    for number in range(40, 60):
        zones.put(f"a{number}", "a", ready=True, counted=False)
    assert zones.all_disrupted


def test_the_rates_are_the_flags() -> None:
    zones = Zones(Rates(eviction=1.0, secondary=0.5, large_zone=5, unhealthy_part=0.8))
    for number in range(10):
        zones.put(f"a{number}", "a", ready=number >= 7)
    assert (zones.wait("a0", 0.0), zones.wait("a1", 0.0)) == (0.0, 1.0)
    zones.put("a7", "a", ready=False)
    zones.wait("a1", 1.0)
    assert zones.wait("a2", 1.0) == 2.0


@virtual_time
async def test_pods_of_a_node_out_of_service_are_failed_and_go(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        tasks = await start(world, clock)
        world.kubelet_works = False
        world.cluster.seed(PODS, pod(clock, "p", "n2"))
        await world.settle(70)
        out_of_service = {"key": "node.kubernetes.io/out-of-service", "value": "nodeshutdown", "effect": "NoExecute"}
        taints = [*world.one(NODES, "n2")["spec"]["taints"], out_of_service]
        phases = asyncio.create_task(phases_of(world, "p"))
        await world.cluster.patch(NODES, "n2", {"spec": {"taints": taints}})
        await world.settle(5)
        assert world.names(PODS) == []
        assert (await phases)[-1] == "Failed"
        for task in tasks:
            task.cancel()


async def phases_of(world: World, name: str) -> list[str]:
    """Of a pod until it is gone."""
    seen: list[str] = []
    async for event in world.cluster.watch(PODS):
        if event.object["metadata"]["name"] == name:
            seen.append(event.object["status"]["phase"])
            if event.type == "DELETED":
                return seen
    return seen
