"""Life cycles and node conditions by data, end to end in memory: in the fleet file, on a pod, changed while it runs."""

from __future__ import annotations

import asyncio
from copy import deepcopy
from typing import Any

from tests.unit.simulation.test_fleet_file import fleet
from tests.unit.simulation.test_fleets import FIRST, apply, group, node
from tests.unit.simulation.world import NODE, World, condition, pod
from twinplane.dataplane.simulation.fleet.failures import Failure
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.resources import PODS
from twinplane.testing.virtual_time import VirtualClock, virtual_time

STAGES = "simulation.twinplane.io/stages"


def container(world: World, name: str = "web") -> dict[str, Any]:
    found: dict[str, Any] = world.pod(name)["status"]["containerStatuses"][0]
    return found


async def annotate(world: World, text: str | None) -> None:
    await world.cluster.patch(PODS, "web", {"metadata": {"annotations": {STAGES: text}}}, "default")
    await asyncio.sleep(1)


@virtual_time
async def test_a_rule_of_the_file_says_how_its_pods_live(clock: VirtualClock) -> None:
    world = World.new(clock)
    run = {"seconds": 60, "exitCode": 137, "reason": "OOMKilled", "message": "out of memory"}
    cycles = [{"selector": {"app": "trainer"}, "pull": {"seconds": 20}, "ready": {"seconds": 5}, "run": run}]
    async with world.running():
        await apply(world, fleet(lifeCycles=cycles))
        await asyncio.sleep(1)
        made = pod(node=FIRST)
        made["metadata"]["labels"] = {"app": "trainer"}
        await world.create(made)
        await world.create(pod("other", node=FIRST))
        await asyncio.sleep(19)
        assert condition(world.pod("other"), "Ready") == "True"
        assert world.pod()["status"]["phase"] == "Pending"
        await asyncio.sleep(4)
        assert world.pod()["status"]["phase"] == "Running"
        assert condition(world.pod(), "Ready") == "False"
        await asyncio.sleep(4)
        assert condition(world.pod(), "Ready") == "True"
        await asyncio.sleep(54.5)
        ended = container(world)["lastState"]["terminated"]
        assert (ended["exitCode"], ended["reason"], ended["message"]) == (137, "OOMKilled", "out of memory")
        assert container(world)["restartCount"] == 1


@virtual_time
async def test_a_file_that_changes_reaches_pods_that_run(clock: VirtualClock) -> None:
    world = World.new(clock)
    async with world.running():
        await apply(world, fleet())
        await asyncio.sleep(1)
        await world.create(pod(node=FIRST))
        await asyncio.sleep(100)
        assert container(world)["restartCount"] == 0
        await apply(world, fleet(lifeCycles=[{"run": {"seconds": 10, "exitCode": 2}}]))
        await asyncio.sleep(12)
        assert container(world)["restartCount"] == 1
        await apply(world, fleet())
        await asyncio.sleep(600)
        assert container(world)["restartCount"] == 1
        assert condition(world.pod(), "Ready") == "True"


@virtual_time
async def test_an_annotation_works_on_nodes_of_ec2_too_and_while_the_pod_runs(clock: VirtualClock) -> None:
    world = World.new(clock)
    world.account.start(1)
    async with world.running():
        await world.create(pod(node=NODE))
        await asyncio.sleep(10)
        assert condition(world.pod(), "Ready") == "True"
        await annotate(world, "{run: {seconds: 0, exitCode: 9}, restartBackoff: {first: 1, max: 2}}")
        assert container(world)["restartCount"] >= 1
        assert container(world)["lastState"]["terminated"]["exitCode"] == 9
        await annotate(world, None)
        await asyncio.sleep(5)
        assert container(world)["state"].keys() == {"running"}


@virtual_time
async def test_what_containers_print_is_data(clock: VirtualClock) -> None:
    world = World.new(clock)
    async with world.running() as simulation:
        await apply(world, fleet(lifeCycles=[{"log": "loading\nready to serve"}]))
        await asyncio.sleep(1)
        await world.create(pod(node=FIRST))
        await world.create(pod("own", node=FIRST, annotations={STAGES: "{log: [mine]}"}))
        await asyncio.sleep(1)
        for name, lines in (("web", ["loading", "ready to serve"]), ("own", ["mine"])):
            ring = simulation.logs.ring(world.pod(name)["metadata"]["uid"], "main")
            assert ring is not None
            assert [line.text for line in ring.lines] == lines


@virtual_time
async def test_an_annotation_that_is_wrong_is_told_and_left_out(clock: VirtualClock) -> None:
    world = World.new(clock)
    world.account.start(1)
    async with world.running():
        await world.create(pod(node=NODE, annotations={STAGES: "{pul: {seconds: 3}}"}))
        await world.create(pod("other", node=NODE, annotations={STAGES: "{pull: [}"}))
        await asyncio.sleep(2)
        assert [world.pod(name)["status"]["phase"] for name in ("web", "other")] == ["Running", "Running"]
        second, first = sorted(world.events("InvalidStages"), key=len, reverse=True)
        assert first == f"{STAGES}: unknown field pul"
        assert "line 1, column" in second
        await world.create(pod("twin", node=NODE, annotations={STAGES: "{pul: {seconds: 3}}"}))
        await asyncio.sleep(2)
        assert world.events("InvalidStages").count(first) == 2, "each pod says so"


@virtual_time
async def test_init_containers_are_made_to_fail(clock: VirtualClock) -> None:
    world = World.new(clock)
    world.account.start(1)
    async with world.running():
        init = [{"name": "one", "image": "i"}, {"name": "two", "image": "i", "command": ["true"]}]
        text = "{initRun: {seconds: 1, exitCode: 4, container: two, reason: BadSetup}}"
        await world.create(pod(node=NODE, annotations={STAGES: text}, initContainers=init, restartPolicy="Never"))
        await asyncio.sleep(5)
        assert world.pod()["status"]["phase"] == "Failed"
        one, two = (item["state"]["terminated"] for item in world.pod()["status"]["initContainerStatuses"])
        assert (one["exitCode"], two["exitCode"], two["reason"]) == (0, 4, "BadSetup")


@virtual_time
async def test_conditions_of_nodes_come_and_go(clock: VirtualClock) -> None:
    world = World.new(clock)
    async with world.running():
        await apply(world, fleet())
        await asyncio.sleep(20)
        now = clock.now()
        pressure = Failure("nodeCondition", now, now + 60, nodes=(FIRST,), type="DiskPressure")
        custom = Failure("nodeCondition", now, now + 60, type="KernelDeadlock", reason="Hung", message="a task hung")
        await apply(world, fleet(), pressure, custom)
        await asyncio.sleep(1)
        found = {item["type"]: item for item in node(world)["status"]["conditions"]}
        assert (found["DiskPressure"]["status"], found["DiskPressure"]["reason"]) == ("True", "KubeletHasDiskPressure")
        assert (found["KernelDeadlock"]["status"], found["KernelDeadlock"]["message"]) == ("True", "a task hung")
        assert found["DiskPressure"]["lastTransitionTime"] > found["Ready"]["lastTransitionTime"]
        assert condition(node(world, "demo-general-1"), "DiskPressure") == "False"
        assert condition(node(world, "demo-general-1"), "KernelDeadlock") == "True"
        await asyncio.sleep(61)
        assert condition(node(world), "DiskPressure") == "False"
        assert condition(node(world), "KernelDeadlock") == "None"
        assert condition(node(world), "Ready") == "True"


@virtual_time
async def test_a_node_that_registers_meanwhile_has_the_condition_too(clock: VirtualClock) -> None:
    world = World.new(clock)
    async with world.running():
        now = clock.now()
        await apply(world, fleet(), Failure("nodeCondition", now, now + 60, type="PIDPressure"))
        await asyncio.sleep(5)
        assert condition(node(world), "PIDPressure") == "True"
        assert condition(node(world), "Ready") == "True"


@virtual_time
async def test_nodes_have_the_capacity_and_annotations_of_their_group(clock: VirtualClock) -> None:
    world = World.new(clock)
    async with world.running():
        gpus = group(capacity={"nvidia.com/gpu": 8, "cpu": "64"}, annotations={"team": "ml"})
        await apply(world, fleet(groups=[gpus]))
        await asyncio.sleep(1)
        status = node(world)["status"]
        for kind in ("capacity", "allocatable"):
            assert (status[kind]["nvidia.com/gpu"], status[kind]["cpu"]) == ("8", "64")
        assert node(world)["metadata"]["annotations"]["team"] == "ml"
        wanted = {"requests": {"nvidia.com/gpu": "9"}, "limits": {"nvidia.com/gpu": "9"}}
        made = pod(node=FIRST)
        made["spec"]["containers"][0]["resources"] = wanted
        await world.create(made)
        await asyncio.sleep(1)
        assert world.pod()["status"]["reason"] == "OutOfnvidia.com/gpu"


@virtual_time
async def test_pods_are_evicted(clock: VirtualClock) -> None:
    world = World.new(clock)
    async with world.running():
        await apply(world, fleet())
        await asyncio.sleep(1)
        await world.create(pod(node=FIRST))
        await asyncio.sleep(1)
        now = clock.now()
        await apply(world, fleet(), Failure("eviction", now, now + 30, resource="ephemeral-storage"))
        await asyncio.sleep(1)
        status: Object = world.pod()["status"]
        assert (status["phase"], status["reason"]) == ("Failed", "Evicted")
        assert status["message"] == "The node was low on resource: ephemeral-storage. "
        assert condition(world.pod(), "DisruptionTarget") == "True"
        assert status["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 137
        assert world.events("Evicted") == ["The node was low on resource: ephemeral-storage. "]


@virtual_time
async def test_a_pod_is_resized_in_place(clock: VirtualClock) -> None:
    world = World.new(clock)
    async with world.running():
        await apply(world, fleet())
        await asyncio.sleep(1)
        for name, cpu in (("web", "500m"), ("other", "1")):
            made = pod(name, node=FIRST)
            made["spec"]["containers"][0]["resources"] = {"requests": {"cpu": cpu}}
            made["spec"]["containers"][0]["resizePolicy"] = [
                {"resourceName": "cpu", "restartPolicy": "NotRequired"},
                {"resourceName": "memory", "restartPolicy": "RestartContainer"},
            ]
            await world.create(made)
        await asyncio.sleep(1)
        await resize(world, {"cpu": "600m"})
        assert container(world)["allocatedResources"] == {"cpu": "600m"}
        assert container(world)["resources"] == {"requests": {"cpu": "600m"}}
        assert container(world)["restartCount"] == 0
        await resize(world, {"cpu": "600m", "memory": "64Mi"})
        assert container(world)["restartCount"] == 1
        await resize(world, {"cpu": "100"})
        assert pending(world) == (
            "Deferred",
            "Node didn't have enough resource: cpu, requested: 100000, used: 1000, capacity: 1930",
        )
        await resize(world, {"cpu": "1200m"})
        assert pending(world)[0] == "Deferred"
        assert container(world)["allocatedResources"] == {"cpu": "600m", "memory": "64Mi"}
        await world.cluster.delete(PODS, "other", "default")
        await asyncio.sleep(2)
        assert condition(world.pod(), "PodResizePending") == "None"
        assert container(world)["allocatedResources"] == {"cpu": "1200m"}


@virtual_time
async def test_deferred_resizes_are_made_in_order(clock: VirtualClock) -> None:
    """Upstream's `pod-resize-retry-deferred-test-2`, with one that shrinks as the node's last room."""
    world = World.new(clock)
    async with world.running():
        await apply(world, fleet())
        await asyncio.sleep(1)
        for name, requests, priority, qos in (
            ("large", {"cpu": "1200m"}, 0, "Burstable"),
            ("important", {"cpu": "100m"}, 1000, "Burstable"),
            ("guaranteed", {"cpu": "100m"}, 0, "Guaranteed"),
            ("early", {"cpu": "100m"}, 0, "Burstable"),
            ("late", {"cpu": "100m"}, 0, "Burstable"),
        ):
            made = pod(name, node=FIRST)
            made["spec"]["containers"][0]["resources"] = {"requests": requests}
            made["spec"]["priority"] = priority
            made["status"] = {"qosClass": qos}
            await world.create(made)
        await asyncio.sleep(1)
        order = ["early", "guaranteed", "important", "late"]
        for name in order:
            await resize(world, {"cpu": "1200m"}, name)
        assert [condition(world.pod(name), "PodResizePending") for name in order] == ["True"] * 4
        await resize(world, {"cpu": "200m"}, "large")
        for name in ("important", "guaranteed", "early", "late"):
            still = [other for other in order if condition(world.pod(other), "PodResizePending") == "True"]
            assert name not in still
            assert len(still) == len(order) - 1
            order.remove(name)
            await world.cluster.delete(PODS, name, "default")
            await asyncio.sleep(2)


async def resize(world: World, requests: dict[str, str], name: str = "web") -> None:
    body = deepcopy(world.pod(name))
    body["spec"]["containers"][0]["resources"] = {"requests": requests}
    await world.cluster.update(PODS, body, subresource="resize")
    await asyncio.sleep(1)


def pending(world: World) -> tuple[str, str]:
    found = next(item for item in world.pod()["status"]["conditions"] if item["type"] == "PodResizePending")
    return found["reason"], found["message"]
