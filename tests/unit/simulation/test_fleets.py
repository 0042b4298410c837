"""Fleets end to end in memory: a ConfigMap becomes nodes, pods live on them, failures come and go."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from tests.unit.simulation.test_fleet_file import GROUP, fleet
from tests.unit.simulation.world import World, condition, pod
from twinplane.dataplane.simulation.fleet.failures import Failure, stored
from twinplane.dataplane.simulation.process import Simulation
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.meta import time_of
from twinplane.kubeclient.resources import CONFIG_MAPS, CSI_NODES, LEASES, NODES, PODS
from twinplane.testing.virtual_time import VirtualClock, virtual_time

FIRST = "demo-general-0"


def config_map(body: Object, *failures: Failure) -> Object:
    name = body["metadata"]["name"]
    return {
        "metadata": {
            "name": f"twinplane-fleet-{name}",
            "namespace": "kube-system",
            "labels": {"twinplane.io/fleet": name},
        },
        "data": {"fleet.json": json.dumps(body), "failures.json": json.dumps([stored(item) for item in failures])},
    }


async def apply(world: World, body: Object, *failures: Failure) -> None:
    wanted = config_map(body, *failures)
    name = wanted["metadata"]["name"]
    if world.cluster.object(CONFIG_MAPS, name, "kube-system") is None:
        await world.cluster.create(CONFIG_MAPS, wanted, "kube-system")
    else:
        await world.cluster.patch(CONFIG_MAPS, name, {"data": wanted["data"]}, "kube-system")


def node(world: World, name: str = FIRST) -> Object:
    found = world.cluster.object(NODES, name)
    assert found is not None
    return found


def names(world: World) -> list[str]:
    return sorted(body["metadata"]["name"] for body in world.cluster.objects(NODES))


def group(**more: Any) -> dict[str, Any]:
    return {**GROUP, **more}


@virtual_time
async def test_config_map_becomes_nodes(clock: VirtualClock) -> None:
    world = World.new(clock)
    async with world.running() as simulation:
        await apply(world, fleet(groups=[group(podsPerNode=40, taints=[{"key": "x", "effect": "NoSchedule"}])]))
        await asyncio.sleep(1)
        assert names(world) == [f"demo-general-{number}" for number in range(4)]
        body = node(world)
        assert body["spec"]["providerID"] == "twinplane:///demo/general-0"
        assert body["spec"]["taints"] == [{"key": "x", "effect": "NoSchedule"}]
        assert body["metadata"]["labels"]["twinplane.io/fleet"] == "demo"
        assert body["metadata"]["labels"]["topology.kubernetes.io/zone"] == "us-west-2a"
        assert body["status"]["allocatable"]["pods"] == "40"
        assert body["status"]["addresses"][0] == {"type": "InternalIP", "address": "100.64.0.1"}
        assert world.cluster.object(LEASES, FIRST, "kube-node-lease") is not None
        assert not [call for call in world.account.calls if call.endswith("Addresses")]
        await world.create(pod(node=FIRST))
        await asyncio.sleep(1)
        assert world.pod()["status"]["podIP"] == "100.64.0.5"
        assert condition(world.pod(), "Ready") == "True"
        assert simulation.pods.by_address("100.64.0.5") is not None


def drivers(world: World, name: str = FIRST) -> list[dict[str, Any]]:
    found = world.cluster.object(CSI_NODES, name)
    assert found is not None
    owner = {"apiVersion": "v1", "kind": "Node", "name": name, "uid": node(world, name)["metadata"]["uid"]}
    assert found["metadata"]["ownerReferences"] == [owner]
    own: list[dict[str, Any]] = found["spec"]["drivers"]
    return own


@virtual_time
async def test_nodes_say_how_many_volumes_they_take(clock: VirtualClock) -> None:
    world = World.new(clock)
    async with world.running():
        await apply(world, fleet())
        await asyncio.sleep(1)
        (driver,) = drivers(world)
        assert (driver["name"], driver["nodeID"]) == ("ebs.csi.aws.com", "demo/general-0")
        assert driver["allocatable"] == {"count": 26}
        labels = node(world)["metadata"]["labels"]
        assert {key: labels[key] for key in driver["topologyKeys"]} == {
            "kubernetes.io/os": "linux",
            "topology.ebs.csi.aws.com/zone": "us-west-2a",
            "topology.kubernetes.io/zone": "us-west-2a",
        }
        other = {"name": "other", "nodeID": "x", "topologyKeys": None}
        await world.cluster.patch(CSI_NODES, FIRST, {"spec": {"drivers": [driver, other]}})
        await apply(world, fleet(groups=[group(volumesPerNode=3)]))
        await asyncio.sleep(1)
        assert drivers(world) == [driver | {"allocatable": {"count": 3}}, other]
        before = world.cluster.revision
    async with world.running():
        await asyncio.sleep(1)
        assert [driver["name"] for driver in drivers(world)] == ["ebs.csi.aws.com", "other"]
        found = world.cluster.object(CSI_NODES, FIRST)
        assert found is not None
        assert int(found["metadata"]["resourceVersion"]) < before


@virtual_time
async def test_smaller_fleet_and_no_fleet(clock: VirtualClock) -> None:
    world = World.new(clock)
    async with world.running():
        await apply(world, fleet())
        await asyncio.sleep(1)
        await apply(world, fleet(groups=[group(count=2)]))
        await asyncio.sleep(1)
        assert names(world) == ["demo-general-0", "demo-general-1"]
        await world.cluster.delete(CONFIG_MAPS, "twinplane-fleet-demo", "kube-system")
        await asyncio.sleep(1)
        assert names(world) == []


@virtual_time
async def test_restart_keeps_what_there_is(clock: VirtualClock) -> None:
    world = World.new(clock)
    async with world.running():
        await apply(world, fleet())
        await asyncio.sleep(1)
        await world.create(pod(node=FIRST))
        await asyncio.sleep(1)
    before, running = node(world), world.pod()
    await apply(world, fleet(groups=[group(count=3)]))
    async with world.running():
        await asyncio.sleep(1)
        assert names(world) == [f"demo-general-{number}" for number in range(3)]
        after = node(world)
        assert after["metadata"]["uid"] == before["metadata"]["uid"]
        assert after["status"]["addresses"] == before["status"]["addresses"]
        assert world.pod()["status"] == running["status"]
        await world.create(pod("other", node=FIRST))
        await asyncio.sleep(1)
        assert world.pod("other")["status"]["podIP"] != running["status"]["podIP"]


@virtual_time
async def test_changed_group_keeps_its_pods(clock: VirtualClock) -> None:
    world = World.new(clock)
    async with world.running():
        await apply(world, fleet())
        await asyncio.sleep(1)
        await world.create(pod(node=FIRST))
        await asyncio.sleep(1)
        before = world.pod()["status"]
        await apply(world, fleet(groups=[group(labels={"tier": "gold"})]))
        await asyncio.sleep(1)
        assert node(world)["metadata"]["labels"]["tier"] == "gold"
        assert world.pod()["status"] == before
        await world.cluster.delete(PODS, "web", "default")
        await asyncio.sleep(1)
        assert world.cluster.object(PODS, "web", "default") is None


@virtual_time
async def test_unreadable_file_stops_nothing(clock: VirtualClock) -> None:
    world = World.new(clock)
    async with world.running():
        await apply(world, fleet())
        await asyncio.sleep(1)
        await apply(world, fleet(colour="red"))
        await asyncio.sleep(1)
        assert len(names(world)) == 4
        assert world.events("InvalidFleet") == ["spec: unknown field colour"]


async def with_failure(world: World, simulation: Simulation, failure: Failure) -> None:
    await apply(world, fleet())
    await asyncio.sleep(1)
    await world.create(pod(node=FIRST))
    await asyncio.sleep(1)
    now = world.clock.now()
    await apply(world, fleet(), failure.at(now))
    await asyncio.sleep(0.1)


@virtual_time
async def test_lost_node_falls_silent_and_comes_back(clock: VirtualClock) -> None:
    world = World.new(clock)
    async with world.running() as simulation:
        await with_failure(world, simulation, Failure("nodeLoss", 0, 60, nodes=(FIRST,)))
        lease = world.cluster.object(LEASES, FIRST, "kube-node-lease")
        other = world.cluster.object(LEASES, "demo-general-1", "kube-node-lease")
        address = world.pod()["status"]["podIP"]
        await world.cluster.delete(PODS, "web", "default")
        await asyncio.sleep(50)
        assert world.cluster.object(LEASES, FIRST, "kube-node-lease") == lease
        assert world.cluster.object(LEASES, "demo-general-1", "kube-node-lease") != other
        assert world.cluster.object(PODS, "web", "default") is not None
        lost = simulation.pods.by_address(address)
        assert lost is not None
        assert not lost.serving
        await asyncio.sleep(15)
        assert world.cluster.object(LEASES, FIRST, "kube-node-lease") != lease
        assert world.cluster.object(PODS, "web", "default") is None


@virtual_time
async def test_flapping_node(clock: VirtualClock) -> None:
    world = World.new(clock)
    async with world.running() as simulation:
        await with_failure(world, simulation, Failure("flapping", 0, 60, nodes=(FIRST,), period=20))
        seen = []
        for _ in range(8):
            await asyncio.sleep(5)
            seen.append(condition(node(world), "Ready"))
        assert {"True", "False"} <= set(seen)
        assert condition(node(world, "demo-general-1"), "Ready") == "True"
        await asyncio.sleep(30)
        assert condition(node(world), "Ready") == "True"


@virtual_time
async def test_crash_loop_ends_cleanly(clock: VirtualClock) -> None:
    world = World.new(clock)
    async with world.running() as simulation:
        await with_failure(world, simulation, Failure("crashLoop", 0, 30, namespace="default"))
        await asyncio.sleep(10)
        (status,) = world.pod()["status"]["containerStatuses"]
        assert status["restartCount"] > 0
        await asyncio.sleep(60)
        assert condition(world.pod(), "Ready") == "True"
        restarts = world.pod()["status"]["containerStatuses"][0]["restartCount"]
        await asyncio.sleep(600)
        assert world.pod()["status"]["containerStatuses"][0]["restartCount"] == restarts


@virtual_time
async def test_images_cannot_be_pulled_for_a_while(clock: VirtualClock) -> None:
    world = World.new(clock)
    async with world.running() as simulation:
        await with_failure(world, simulation, Failure("imagePullError", 0, 15))
        await world.create(pod("late", node="demo-general-1"))
        await asyncio.sleep(5)
        (status,) = world.pod("late")["status"]["containerStatuses"]
        assert status["state"]["waiting"]["reason"] == "ImagePullBackOff"
        await asyncio.sleep(30)
        assert condition(world.pod("late"), "Ready") == "True"


@virtual_time
async def test_slow_start(clock: VirtualClock) -> None:
    world = World.new(clock)
    async with world.running() as simulation:
        await with_failure(world, simulation, Failure("slowStart", 0, 600, factor=100))
        await world.create(pod("late", node="demo-general-1"))
        await asyncio.sleep(3)
        assert world.pod("late")["status"]["phase"] == "Pending"
        await asyncio.sleep(30)
        assert world.pod("late")["status"]["phase"] == "Running"


def statuses_written(world: World, name: str) -> int:
    """How often the kubelet wrote the pod's status; its creation is one more write."""
    return sum(verb != "create" for verb, resource, of in world.cluster.writes if resource == PODS and of == name)


@virtual_time
async def test_a_pod_that_runs_at_once_says_so_with_one_write(clock: VirtualClock) -> None:
    world = World.new(clock)
    async with world.running():
        await apply(world, fleet(groups=[group()]))
        await asyncio.sleep(1)
        await world.create(pod("quick", node=FIRST))
        await asyncio.sleep(2)
        assert condition(world.pod("quick"), "Ready") == "True"
        assert statuses_written(world, "quick") == 1


@virtual_time
async def test_a_pod_that_takes_its_time_is_seen_being_created(clock: VirtualClock) -> None:
    world = World.new(clock)
    async with world.running() as simulation:
        await with_failure(world, simulation, Failure("slowStart", 0, 600, factor=100))
        await world.create(pod("slow", node=FIRST))
        await asyncio.sleep(1)
        (status,) = world.pod("slow")["status"]["containerStatuses"]
        assert status["state"]["waiting"]["reason"] == "ContainerCreating"
        assert statuses_written(world, "slow") == 1


@virtual_time
async def test_heartbeats_go_out_together(clock: VirtualClock) -> None:
    world = World.new(clock)
    async with world.running():
        await apply(world, fleet(groups=[group(count=40)]))
        await asyncio.sleep(20)
        leases = world.cluster.objects(LEASES)
        assert len(leases) == 40
        times = {lease["spec"]["renewTime"] for lease in leases}
        # Ten seconds at most between two of them, of which the last tenth is drawn, on the half second.
        assert len(times) <= 4
        assert all(clock.now() - time_of(text) <= 10 for text in times)
