"""Fleets that select nodes of node groups: usage, life cycles and failures reach them, and leave them again."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.unit.simulation.test_fleet_file import GROUP, fleet
from tests.unit.simulation.test_fleets import apply, node
from tests.unit.simulation.world import NODE, World, condition, pod
from twinplane.dataplane.simulation.document import InvalidFleet
from twinplane.dataplane.simulation.fleet.failures import Failure
from twinplane.dataplane.simulation.fleet.spec import read_fleet
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.resources import CONFIG_MAPS, LEASES, NODES
from twinplane.testing.virtual_time import VirtualClock, virtual_time

MAIN = {"name": "main", "nodeSelector": {"eks.amazonaws.com/nodegroup": "main"}}
MODELS = {"flat": {"kind": "constant", "cpu": "500m", "memory": "1Gi"}}


def overlay(**spec: Any) -> Object:
    body: Object = fleet(groups=[MAIN], **spec)
    del body["spec"]["cidr"]
    return body


def restarts(world: World, name: str = "web") -> int:
    (status,) = world.pod(name)["status"]["containerStatuses"]
    return int(status["restartCount"])


async def started(world: World) -> None:
    await world.create(pod())
    await asyncio.sleep(1)
    assert condition(world.pod(), "Ready") == "True"


@virtual_time
async def test_usage_models_reach_the_nodes_of_a_node_group(clock: VirtualClock) -> None:
    world = World.new(clock)
    world.account.start(1)
    async with world.running() as simulation:
        await started(world)

        def cpu() -> float:
            running = simulation.pods.find("default", "web")
            assert running is not None
            return simulation.consumption.of_pod(running, clock.now()).total.cpu_cores

        assert cpu() < 0.01
        await apply(world, overlay(usage={"models": MODELS}))
        await asyncio.sleep(0.1)
        assert cpu() < 0.01, "nobody has chosen the model"
        body = overlay(usage={"models": MODELS})
        body["spec"]["groups"] = [MAIN | {"usage": "flat"}]
        await apply(world, body)
        await asyncio.sleep(0.1)
        assert cpu() == 0.5
        await world.cluster.delete(CONFIG_MAPS, "twinplane-fleet-demo", "kube-system")
        await asyncio.sleep(0.1)
        assert cpu() < 0.01
        assert world.cluster.object(NODES, NODE) is not None


@virtual_time
async def test_life_cycles_reach_the_nodes_of_a_node_group(clock: VirtualClock) -> None:
    world = World.new(clock)
    world.account.start(1)
    async with world.running():
        await started(world)
        cycle = {"group": "main", "run": {"seconds": 5, "exitCode": 3}, "restartBackoff": {"first": 1, "max": 1}}
        await apply(world, overlay(lifeCycles=[cycle]))
        await asyncio.sleep(7)
        before = restarts(world)
        assert before > 0
    async with world.running():
        await asyncio.sleep(7)
        assert restarts(world) > before, "after a restart as well"
        await world.cluster.delete(CONFIG_MAPS, "twinplane-fleet-demo", "kube-system")
        await asyncio.sleep(7)
        last = restarts(world)
        await asyncio.sleep(60)
        assert restarts(world) == last


@virtual_time
async def test_a_zone_of_node_groups_is_lost(clock: VirtualClock) -> None:
    world = World.new(clock)
    world.account.start(1)
    elsewhere = world.account.start(2, "us-west-2b")["private_dns_name"]
    async with world.running() as simulation:
        await started(world)
        failure = Failure("zoneLoss", 0, 60, group="main", zone="us-west-2a")
        await apply(world, overlay(), failure.at(clock.now()))
        await asyncio.sleep(0.1)
        leases = {name: world.cluster.object(LEASES, name, "kube-node-lease") for name in (NODE, elsewhere)}
        late = world.account.start(3)["private_dns_name"]
        await asyncio.sleep(30)
        assert world.cluster.object(LEASES, NODE, "kube-node-lease") == leases[NODE]
        assert world.cluster.object(LEASES, elsewhere, "kube-node-lease") != leases[elsewhere]
        assert world.cluster.object(NODES, late) is None, "nothing registers from a zone that is lost"
        running = simulation.pods.find("default", "web")
        assert running is not None
        assert not running.serving
        await asyncio.sleep(35)
        assert world.cluster.object(LEASES, NODE, "kube-node-lease") != leases[NODE]
        assert world.cluster.object(NODES, late) is not None
        assert running.serving


@virtual_time
async def test_failures_of_pods_reach_the_nodes_of_a_node_group(clock: VirtualClock) -> None:
    world = World.new(clock)
    world.account.start(1)
    async with world.running():
        await started(world)
        await apply(world, overlay(), Failure("crashLoop", 0, 30).at(clock.now()))
        await asyncio.sleep(10)
        assert restarts(world) > 0
        await asyncio.sleep(60)
        assert condition(world.pod(), "Ready") == "True"


@virtual_time
async def test_nodes_are_selected_by_the_labels_that_they_have_now(clock: VirtualClock) -> None:
    world = World.new(clock)
    world.account.start(1)
    async with world.running():
        body = overlay()
        body["spec"]["groups"] = [{"name": "weak", "nodeSelector": {"weak": "true"}}]
        failure = Failure("nodeCondition", 0, 1000, type="DiskPressure").at(clock.now())
        await apply(world, body, failure)
        await asyncio.sleep(0.1)
        assert condition(node(world, NODE), "DiskPressure") == "False"
        await world.cluster.patch(NODES, NODE, {"metadata": {"labels": {"weak": "true"}}})
        await asyncio.sleep(0.1)
        assert condition(node(world, NODE), "DiskPressure") == "True"
        await world.cluster.patch(NODES, NODE, {"metadata": {"labels": {"weak": None}}})
        await asyncio.sleep(0.1)
        assert condition(node(world, NODE), "DiskPressure") == "False"


@virtual_time
async def test_a_fleet_may_have_nodes_of_its_own_besides(clock: VirtualClock) -> None:
    world = World.new(clock)
    world.account.start(1)
    async with world.running():
        body = fleet(groups=[GROUP | {"count": 1}, MAIN])
        await apply(world, body, Failure("nodeCondition", 0, 1000, group="main").at(clock.now()))
        await asyncio.sleep(1)
        assert condition(node(world, "demo-general-0"), "Ready") == "True"
        assert condition(node(world, NODE), "Ready") == "False"


@pytest.mark.parametrize(
    ("group", "sentence"),
    [
        (MAIN | {"count": 3, "zones": ["a"]}, "spec.groups[0]: with nodeSelector there can be no count, zones"),
        (MAIN | {"nodeSelector": {"te am": "x"}}, "spec.groups[0].nodeSelector: 'te am' is no key such as"),
        (MAIN | {"usage": "x"}, "spec.groups[0].usage: there is no usage model 'x'"),
        (GROUP, "spec.cidr: is required"),
    ],
)
def test_refusals(group: object, sentence: str) -> None:
    body = overlay()
    body["spec"]["groups"] = [group]
    with pytest.raises(InvalidFleet) as refused:
        read_fleet(body)
    assert sentence in str(refused.value)


def test_such_fleets_overlap_nobody() -> None:
    assert not read_fleet(overlay()).overlaps(read_fleet(overlay()))
    assert not read_fleet(overlay()).overlaps(read_fleet(fleet()))
