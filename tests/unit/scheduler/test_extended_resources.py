"""Extended resources that a DeviceClass backs: the claim that the scheduler makes for a pod, and when it does not."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.unit.scheduler.builders import World, node, pod
from tests.unit.scheduler.device_builders import DRIVER, device, device_claim, device_class, device_slice
from tests.unit.scheduler.test_configuration import place, with_args
from tests.unit.scheduler.test_loop import events, placed, running
from twinplane.controlplane.scheduler.devices.extended import extended_plan
from twinplane.controlplane.scheduler.devices.facts import claim_of
from twinplane.controlplane.scheduler.devices.inventory import DeviceClass, Inventory
from twinplane.controlplane.scheduler.explain import explain
from twinplane.controlplane.scheduler.planner import Planner
from twinplane.controlplane.scheduler.resources import extended_uses
from twinplane.kubeclient.contract import Object, Resource
from twinplane.kubeclient.errors import conflict
from twinplane.kubeclient.resources import DEVICE_CLASSES, NODES, PODS, RESOURCE_CLAIMS, RESOURCE_SLICES
from twinplane.testing.memory_cluster import MemoryCluster
from twinplane.testing.virtual_time import VirtualClock, virtual_time

GPU = "example.com/gpu"
IMPLICIT = "deviceclass.resource.kubernetes.io/gpu"


def container(name: str, *, restart: str = "", **requests: int) -> dict[str, Any]:
    """Amounts of `gpu`, and of whatever else is named."""
    names = {"gpu": GPU, "nic": "example.com/nic"}
    amounts = {names.get(key, key): str(amount) for key, amount in requests.items()}
    return {"name": name, "resources": {"requests": amounts}} | ({"restartPolicy": restart} if restart else {})


def asking(name: str, resource: str = GPU, amount: int = 1, **fields: Any) -> Object:
    body = pod(name, **fields)
    body["spec"]["containers"][0]["resources"]["requests"][resource] = str(amount)
    return body


def with_plugin(body: Object, amount: int) -> Object:
    """A node on which a device plugin has the resource."""
    body["status"]["allocatable"][GPU] = str(amount)
    return body


def world(clock: VirtualClock, *nodes: Object, named: str = GPU) -> MemoryCluster:
    cluster = MemoryCluster(clock)
    cluster.seed(NODES, *(nodes or (node("a"), node("b"))))
    cluster.seed(DEVICE_CLASSES, device_class(**({"extendedResourceName": named} if named else {})))
    cluster.seed(RESOURCE_SLICES, device_slice("s", device("0"), device("1"), node="b"))
    return cluster


@pytest.mark.parametrize("resource", [GPU, IMPLICIT])
@virtual_time
async def test_the_scheduler_makes_the_claim(clock: VirtualClock, resource: str) -> None:
    cluster = world(clock)
    cluster.seed(PODS, asking("p", resource, cpu="1"))
    async with running(cluster, clock):
        await asyncio.sleep(0.1)
    assert placed(cluster) == {"p": "b"}
    (claim,) = cluster.objects(RESOURCE_CLAIMS)
    metadata = claim["metadata"]
    assert metadata["name"].startswith("p-extended-resources-")
    assert metadata["annotations"] == {"resource.kubernetes.io/extended-resource-claim": "true"}
    assert metadata["finalizers"] == ["resource.kubernetes.io/delete-protection"]
    assert metadata["ownerReferences"] == [
        {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "uid-p", "controller": True}
    ]
    exactly = {"deviceClassName": "gpu", "allocationMode": "ExactCount", "count": 1}
    assert claim["spec"]["devices"] == {"requests": [{"name": "container-0-request-1", "exactly": exactly}]}
    assert claim["status"]["reservedFor"] == [{"resource": "pods", "name": "p", "uid": "uid-p"}]
    (result,) = claim["status"]["allocation"]["devices"]["results"]
    assert (result["request"], result["device"]) == ("container-0-request-1", "0")
    made = cluster.object(PODS, "p", "default")
    assert made is not None
    mapping = {"containerName": "main", "resourceName": resource, "requestName": "container-0-request-1"}
    assert made["status"]["extendedResourceClaimStatus"] == {
        "resourceClaimName": metadata["name"],
        "requestMappings": [mapping],
    }


@virtual_time
async def test_devices_are_counted_across_pods(clock: VirtualClock) -> None:
    cluster = world(clock)
    cluster.seed(PODS, *(asking(f"p{number}") for number in range(3)))
    async with running(cluster, clock):
        await asyncio.sleep(1)
        bound = placed(cluster)
        assert sorted(bound.values(), key=str) == [None, "b", "b"]
        (waiting,) = [name for name, where in bound.items() if where is None]
        assert events(cluster, "FailedScheduling")[0].startswith(
            "0/2 nodes are available: 2 cannot allocate all claims. still not schedulable, preemption: "
        )
        given = {claim["status"]["allocation"]["devices"]["results"][0]["device"] for claim in claims(cluster)}
        assert given == {"0", "1"}
        gone = next(name for name, where in bound.items() if where)
        await cluster.delete(PODS, gone, "default", grace_period_seconds=0)
        (claim,) = [claim for claim in claims(cluster) if claim["metadata"]["name"].startswith(gone)]
        # As the controller does.
        name = claim["metadata"]["name"]
        await cluster.patch(RESOURCE_CLAIMS, name, {"metadata": {"finalizers": None}}, "default")
        await cluster.delete(RESOURCE_CLAIMS, name, "default")
        await asyncio.sleep(5)
        assert placed(cluster)[waiting] == "b"


def claims(cluster: MemoryCluster) -> list[Object]:
    return cluster.objects(RESOURCE_CLAIMS)


@virtual_time
async def test_nodes_with_a_device_plugin_need_no_claim(clock: VirtualClock) -> None:
    cluster = world(clock, with_plugin(node("a"), 1), node("b"))
    cluster.seed(PODS, asking("one", nodeSelector={"kubernetes.io/hostname": "a"}))
    async with running(cluster, clock):
        await asyncio.sleep(0.1)
        assert placed(cluster) == {"one": "a"}
        assert claims(cluster) == []
        cluster.seed(PODS, asking("two", nodeSelector={"kubernetes.io/hostname": "a"}))
        await asyncio.sleep(0.1)
        assert placed(cluster)["two"] is None
        assert "1 Insufficient example.com/gpu" in events(cluster, "FailedScheduling")[0]
        cluster.seed(PODS, asking("three"))
        await asyncio.sleep(0.1)
        assert placed(cluster)["three"] == "b"


@virtual_time
async def test_a_class_that_comes_later_helps(clock: VirtualClock) -> None:
    cluster = world(clock, named="")
    cluster.seed(PODS, asking("p"))
    async with running(cluster, clock):
        await asyncio.sleep(0.1)
        assert "2 Insufficient example.com/gpu" in events(cluster, "FailedScheduling")[0]
        await cluster.patch(DEVICE_CLASSES, "gpu", {"spec": {"extendedResourceName": GPU}})
        await asyncio.sleep(2)
    assert placed(cluster) == {"p": "b"}


@virtual_time
async def test_a_claim_of_an_earlier_attempt_goes_first(clock: VirtualClock) -> None:
    owner = {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "uid-p", "controller": True}
    left = {
        "metadata": {
            "name": "p-extended-resources-old",
            "namespace": "default",
            "annotations": {"resource.kubernetes.io/extended-resource-claim": "true"},
            "finalizers": ["resource.kubernetes.io/delete-protection"],
            "ownerReferences": [owner],
        },
        "spec": {"devices": {"requests": []}},
        "status": {"allocation": {"devices": {"results": [result_of("0"), result_of("1")]}}},
    }
    cluster = world(clock)
    cluster.seed(RESOURCE_CLAIMS, left)
    cluster.seed(PODS, asking("p"))
    async with running(cluster, clock):
        await asyncio.sleep(3)
    told = events(cluster, "FailedScheduling")[0]
    assert "2 cannot schedule extended resource claim. deletion of ResourceClaim completed" in told
    assert placed(cluster) == {"p": "b"}
    assert [claim["metadata"]["name"] for claim in claims(cluster)] != ["p-extended-resources-old"]


def result_of(name: str) -> dict[str, str]:
    return {"request": "r", "driver": DRIVER, "pool": "b", "device": name}


@virtual_time
async def test_the_claim_goes_when_the_pod_cannot_be_bound(clock: VirtualClock) -> None:
    refused: list[str] = []

    def refuse(verb: str, resource: Resource, body: Object) -> None:
        if resource == PODS and body.get("spec", {}).get("nodeName") and not refused:
            refused.append(verb)
            raise conflict("", "pods/binding", "p", "not now")

    cluster = world(clock)
    cluster.reactions.append(refuse)
    cluster.seed(PODS, asking("p"))
    async with running(cluster, clock):
        await asyncio.sleep(5)
    assert refused
    assert placed(cluster) == {"p": "b"}
    (claim,) = claims(cluster)
    made = cluster.object(PODS, "p", "default") or {}
    assert made["status"]["extendedResourceClaimStatus"]["resourceClaimName"] == claim["metadata"]["name"]


def test_a_pod_with_extended_resources_is_explained() -> None:
    found = World(node("a"), node("b"))
    devices = found.snapshot.surroundings.devices
    devices.set_class("gpu", DeviceClass({"extendedResourceName": GPU}))
    devices.set_slice("s", device_slice("s", device("0"), node="b")["spec"])
    (asked,) = found.parse(asking("p"))
    verdicts = {verdict.node: verdict.refusals for verdict in explain(found.snapshot, asked)}
    assert verdicts == {"b": {}, "a": {"DynamicResources": ("cannot allocate all claims",)}}


# Which container asks for what --------------------------------------------------------------------------------------


def planned(*containers: dict[str, Any], first: tuple[dict[str, Any], ...] = ()) -> tuple[dict[str, int], set[str]]:
    """Requests with their counts, and `CONTAINER:REQUEST` for each mapping."""
    spec = {"containers": list(containers), "initContainers": list(first)}
    plan = extended_plan(extended_uses(spec), {GPU: "gpu", "example.com/nic": "nic"})
    counts = {request["name"]: request["exactly"]["count"] for request in plan.requests}
    return counts, {f"{entry['containerName']}:{entry['requestName']}" for entry in plan.mappings}


def test_every_container_has_a_request_of_its_own() -> None:
    counts, mappings = planned(container("a", cpu=1, gpu=2), container("b", gpu=1, nic=1), container("c", cpu=1))
    assert counts == {"container-0-request-1": 2, "container-1-request-0": 1, "container-1-request-1": 1}
    assert mappings == {"a:container-0-request-1", "b:container-1-request-0", "b:container-1-request-1"}


def test_init_containers_use_what_comes_later() -> None:
    counts, mappings = planned(container("main", gpu=2), first=(container("init", gpu=1),))
    assert counts == {"container-1-request-0": 2}
    assert mappings == {"init:container-1-request-0", "main:container-1-request-0"}


def test_init_containers_that_want_more_share_what_is_added() -> None:
    first = container("small", gpu=2), container("big", gpu=4)
    counts, mappings = planned(container("main", gpu=1), first=first)
    assert counts == {"container-1-request-0": 3, "container-2-request-0": 1}
    assert mappings == {
        "small:container-2-request-0",
        "small:container-1-request-0",
        "big:container-2-request-0",
        "big:container-1-request-0",
        "main:container-2-request-0",
    }


def test_sidecars_keep_what_they_have() -> None:
    first = container("side", gpu=1, restart="Always"), container("init", gpu=1)
    counts, mappings = planned(container("main", gpu=1), first=first)
    assert counts == {"container-0-request-0": 1, "container-2-request-0": 1}
    assert "init:container-2-request-0" in mappings
    assert "init:container-0-request-0" not in mappings


def test_of_several_classes_the_newest_has_the_resource() -> None:
    found = Inventory()
    for name, created in (
        ("old", "2026-01-01T00:00:00Z"),
        ("b", "2026-02-01T00:00:00Z"),
        ("a", "2026-02-01T00:00:00Z"),
    ):
        found.set_class(name, DeviceClass({"extendedResourceName": GPU}, created))
    assert found.resources[GPU] == "a"
    assert found.resources["deviceclass.resource.kubernetes.io/old"] == "old"
    found.set_class("a", None)
    assert found.resources[GPU] == "b"


def result(name: str, **more: Any) -> Object:
    return {"request": "r", "driver": DRIVER, "pool": "many", "device": name, **more}


def taken(name: str, *results: Object) -> Object:
    claim = device_claim(name)
    return {**claim, "status": {"allocation": {"devices": {"results": list(results)}}}}


def scored(cpu: str = "4") -> World:
    """Node `many` has four devices of the class and one of another, `few` has two, `none` has none."""
    made = World(*(node(name, cpu=cpu) for name in ("many", "few", "none")))
    devices = made.snapshot.surroundings.devices
    models = device_class("gpu", 'device.attributes["gpu.example.com"].model == "a100"')
    devices.set_class("gpu", DeviceClass({**models["spec"], "extendedResourceName": GPU}))
    others = device("other", model="h100")
    for name, count, more in (("many", 4, [others]), ("few", 2, [])):
        made_here = device_slice(name, *(device(str(number)) for number in range(count)), *more, node=name)
        devices.set_slice(name, made_here["spec"])
    return made


MOST = with_args("NodeResourcesFit", scoringStrategy={"type": "MostAllocated", "resources": [{"name": GPU}]})
LEAST = with_args("NodeResourcesFit", scoringStrategy={"type": "LeastAllocated", "resources": [{"name": GPU}]})
EVEN = with_args("NodeResourcesBalancedAllocation", resources=[{"name": "cpu"}, {"name": GPU}])


@pytest.mark.parametrize("resource", [GPU, IMPLICIT])
def test_nodes_score_by_the_devices_that_they_have(resource: str) -> None:
    most, least = (
        with_args("NodeResourcesFit", scoringStrategy={"type": kind, "resources": [{"name": resource}]})
        for kind in ("MostAllocated", "LeastAllocated")
    )
    assert place(scored(), most, asking("p", resource)) == "few"
    assert place(scored(), least, asking("p", resource)) == "many"


def test_scores_follow_what_is_taken() -> None:
    made = scored()
    devices = made.snapshot.surroundings.devices
    planner = Planner(made.snapshot, LEAST.plugins)

    def best() -> str | None:
        """For another pod of the same class; it is taken away again."""
        found = planner.place(made.parse(asking("next"))[0])
        made.snapshot.remove_pod(found.pod.uid)
        if found.devices is not None:
            devices.forget(found.devices)
        return found.node

    assert best() == "many"
    three = taken("c", result("0"), result("1"), result("other"), result("2", shareID="s"))
    devices.set_claim("default/c", claim_of(three))
    assert devices.totals(GPU, made.snapshot.nodes["many"].facts) == (4, 3)
    assert best() == "few"
    devices.set_claim("default/c", None)
    assert best() == "many"
    devices.set_slice("many", None)
    assert best() == "few"


def test_decisions_and_what_confirms_them_do_not_rank_anew() -> None:
    made = scored()
    devices = made.snapshot.surroundings.devices
    planner = Planner(made.snapshot, MOST.plugins)
    decision = planner.place(made.parse(asking("p"))[0])
    version = devices.version
    assert decision.devices is not None
    made_claim = device_claim("x", owner="uid-p")
    made_claim["metadata"]["annotations"] = {"resource.kubernetes.io/extended-resource-claim": "true"}
    devices.set_claim("default/x", claim_of(made_claim))
    allocation = {**decision.devices.allocations["uid-p"], "allocationTimestamp": "2026-01-01T00:00:00Z"}
    devices.set_claim("default/x", claim_of({**made_claim, "status": {"allocation": allocation}}))
    assert devices.version == version
    devices.set_claim("default/x", None)
    assert devices.version == version + 1


def test_the_use_of_devices_is_evened_out_with_that_of_processors() -> None:
    """Half the processor goes with half the devices."""
    assert place(scored(), EVEN, asking("p", cpu="2")) == "few"
    assert place(scored(), EVEN, asking("p", cpu="1")) == "many"


def test_devices_of_a_class_whose_selector_fails_score_nothing() -> None:
    made = scored()
    devices = made.snapshot.surroundings.devices
    broken = device_class("gpu", 'device.attributes["gpu.example.com"].absent == 1')
    devices.set_class("gpu", DeviceClass({**broken["spec"], "extendedResourceName": GPU}))
    facts = made.snapshot.nodes["many"].facts
    assert devices.totals(GPU, facts) == (0, 0)
    assert devices.totals("example.com/nic", facts) == (0, 0)
