"""Dynamic resource allocation: which devices claims get, on which nodes, and what is written about it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.scheduler.builders import node, pod
from tests.unit.scheduler.device_builders import DRIVER, device, device_claim, device_class, device_slice, request, uses
from tests.unit.scheduler.test_loop import events, placed, running
from twinplane.controlplane.scheduler.devices.allocation import (
    STEPS_MAX,
    STEPS_ON_NODE_MAX,
    AllocationFailed,
    Patience,
    allocate,
)
from twinplane.controlplane.scheduler.devices.facts import claim_of
from twinplane.controlplane.scheduler.devices.inventory import DeviceClass, DevicePlan, Inventory
from twinplane.controlplane.scheduler.node import node_facts
from twinplane.kubeclient.contract import Object, Resource
from twinplane.kubeclient.meta import condition_of
from twinplane.kubeclient.resources import (
    DEVICE_CLASSES,
    NODES,
    PODS,
    RESOURCE_CLAIMS,
    RESOURCE_SLICES,
)
from twinplane.testing.memory_cluster import MemoryCluster
from twinplane.testing.virtual_time import VirtualClock, virtual_time


def inventory(
    *slices: Object, classes: tuple[Object, ...] = (device_class(),), claims: tuple[Object, ...] = ()
) -> Inventory:
    found = Inventory()
    for body in slices:
        found.set_slice(body["metadata"]["name"], body["spec"])
    for body in classes:
        found.set_class(body["metadata"]["name"], DeviceClass(body["spec"]))
    for body in claims:
        claim = claim_of(body)
        found.set_claim(claim.key, claim)
    return found


def chosen(claim: Object, found: Inventory, on: Object | None = None) -> list[str] | None:
    """Names of the devices that the claim gets on node `a`."""
    result = allocate([claim_of(claim)], node_facts(on or node("a")), found, Patience())
    if result is None:
        return None
    return [entry["device"] for entry in next(iter(result.values()))["devices"]["results"]]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("device.capacity['gpu.example.com'].memory.compareTo(quantity('60Gi')) > 0", ["big"]),
        ("device.attributes['gpu.example.com'].model == 'h100'", ["new"]),
        ("device.attributes['gpu.example.com'].version.isGreaterThan(semver('1.2.0'))", ["small"]),
        ("'nothing' in device.attributes['other.example.com']", None),
        ("device.driver == 'other'", None),
    ],
)
def test_selectors(expression: str, expected: list[str] | None) -> None:
    gpus = device("small"), device("big", "80Gi"), device("new", model="h100")
    found = inventory(device_slice("s", *gpus, node="a"))
    assert chosen(device_claim("c", request("gpu", expression)), found) == expected


def test_a_selector_that_fails_says_so() -> None:
    found = inventory(device_slice("s", device("0"), node="a"))
    with pytest.raises(AllocationFailed, match=r"claim default/c: selector #0: CEL runtime error: .*no such key"):
        chosen(device_claim("c", request("gpu", "device.attributes['x.example.com'].y == 1")), found)


def test_where_devices_can_be_used() -> None:
    term = {"matchExpressions": [{"key": "rack", "operator": "In", "values": ["1"]}]}
    found = inventory(
        device_slice("s1", device("b0"), node="b"),
        device_slice("s2", device("r1"), nodeSelector={"nodeSelectorTerms": [term]}),
        device_slice("s3", device("any"), allNodes=True),
    )
    claim = claim_of(device_claim("c"))
    in_rack, elsewhere = node_facts(node("a", labels={"rack": "1"})), node_facts(node("c"))
    allocation = allocate([claim], in_rack, found, Patience())
    assert allocation is not None
    assert allocation["default/c"]["devices"]["results"] == [
        {"request": "gpu", "driver": DRIVER, "pool": "s2", "device": "r1"}
    ]
    assert allocation["default/c"]["nodeSelector"] == {"nodeSelectorTerms": [term]}
    allocation = allocate([claim], elsewhere, found, Patience())
    assert allocation is not None
    assert "nodeSelector" not in allocation["default/c"]


def test_counts_constraints_and_going_back() -> None:
    gpus = [device("a0", model="x"), device("b0", model="y"), device("b1", model="y")]
    found = inventory(device_slice("s", *gpus, node="a"))
    pair = request("pair", count=2)
    assert chosen(device_claim("c", pair), found) == ["a0", "b0"]
    same: list[dict[str, Any]] = [{"matchAttribute": f"{DRIVER}/model"}]
    assert chosen(device_claim("c", pair, constraints=same), found) == ["b0", "b1"]
    assert chosen(device_claim("c", request("all", count=3), constraints=same), found) is None
    assert chosen(device_claim("c", request("all", allocationMode="All")), found) == ["a0", "b0", "b1"]
    other: list[dict[str, Any]] = [{"distinctAttribute": f"{DRIVER}/model"}]
    assert chosen(device_claim("c", request("one"), request("two"), constraints=other), found) == ["a0", "b0"]


def test_a_search_with_too_many_combinations_ends() -> None:
    """The second request can never be met, whichever 12 of the 24 devices the first one has."""
    found = inventory(device_slice("s", *[device(f"d{number:02}") for number in range(24)], node="a"))
    same: list[dict[str, Any]] = [{"matchAttribute": f"{DRIVER}/nowhere", "requests": ["other"]}]
    claim = claim_of(device_claim("c", request("first", count=12), request("other"), constraints=same))
    patience = Patience()
    for _ in range(STEPS_MAX // STEPS_ON_NODE_MAX + 1):
        with pytest.raises(AllocationFailed, match="timed out trying to allocate devices"):
            allocate([claim], node_facts(node("a")), found, patience)
    # All is spent on the nodes before: the next one is refused without a look.
    easy = claim_of(device_claim("easy", request()))
    with pytest.raises(AllocationFailed, match="timed out"):
        allocate([easy], node_facts(node("a")), found, patience)
    assert allocate([easy], node_facts(node("a")), found, Patience()) is not None


def test_the_first_alternative_that_works() -> None:
    found = inventory(device_slice("s", device("0"), device("1"), node="a"))
    big = {"name": "big", "deviceClassName": "gpu", "count": 4}
    small = {"name": "small", "deviceClassName": "gpu", "count": 1}
    claim = claim_of(device_claim("c", {"name": "gpu", "firstAvailable": [big, small]}))
    allocation = allocate([claim], node_facts(node("a")), found, Patience())
    assert allocation is not None
    assert [entry["request"] for entry in allocation["default/c"]["devices"]["results"]] == ["gpu/small"]


def test_taints_and_admin_access() -> None:
    taint = {"key": "broken", "effect": "NoSchedule"}
    taken = device_claim("other")
    taken["status"] = {"allocation": {"devices": {"results": [{"driver": DRIVER, "pool": "a", "device": "ok"}]}}}
    found = inventory(device_slice("s", device("bad", taints=[taint]), device("ok"), node="a"), claims=(taken,))
    assert chosen(device_claim("c"), found) is None
    tolerant = request("gpu", tolerations=[{"key": "broken", "operator": "Exists"}])
    assert chosen(device_claim("c", tolerant), found) == ["bad"]
    assert chosen(device_claim("c", request("gpu", adminAccess=True)), found) == ["ok"]


def test_partitions_share_counters() -> None:
    def part(name: str, slots: int) -> dict[str, Any]:
        counters = {"counterSet": "card", "counters": {"slots": {"value": str(slots)}}}
        return device(name, consumesCounters=[counters])

    sets = [{"name": "card", "counters": {"slots": {"value": "4"}}}]
    counters = device_slice("s1", node="a", count=2, sharedCounters=sets)
    parts = device_slice("s2", part("whole", 4), part("half0", 2), part("half1", 2), node="a", count=2)
    found = inventory(counters, parts)
    assert chosen(device_claim("c", request("pair", count=2)), found) == ["half0", "half1"]
    assert chosen(device_claim("c"), found) == ["whole"]
    assert chosen(device_claim("c", request("three", count=3)), found) is None


def test_pools_that_are_being_updated_are_left_alone() -> None:
    found = inventory(
        device_slice("old", device("0"), device("1"), node="a", generation=1),
        device_slice("new", device("0"), node="a", generation=2, count=2),
    )
    assert chosen(device_claim("c"), found) is None
    with pytest.raises(AllocationFailed, match=r"resource pool gpu\.example\.com/a is currently being updated"):
        chosen(device_claim("c", request("gpu", allocationMode="All")), found)
    found.set_slice("rest", device_slice("rest", device("2"), node="a", generation=2, count=2)["spec"])
    assert chosen(device_claim("c", request("gpu", allocationMode="All")), found) == ["0", "2"]


def test_configuration_of_class_and_claim() -> None:
    mine = {"opaque": {"driver": DRIVER, "parameters": {"sharing": 1}}}
    theirs = {"opaque": {"driver": DRIVER, "parameters": {"mode": "fast"}}}
    found = inventory(device_slice("s", device("0"), node="a"), classes=(device_class(config=[theirs]),))
    claim = claim_of(device_claim("c", config=[mine, {"requests": ["none"], **mine}]))
    allocation = allocate([claim], node_facts(node("a")), found, Patience())
    assert allocation is not None
    assert allocation["default/c"]["devices"]["config"] == [
        {"source": "FromClass", "requests": ["gpu"], **theirs},
        {"source": "FromClaim", **mine},
    ]


@given(
    devices=st.lists(st.integers(0, 2), max_size=6),
    claims=st.lists(st.tuples(st.integers(1, 3), st.integers(0, 2)), max_size=6),
)
@settings(max_examples=60, deadline=None)
def test_no_device_is_given_twice_and_none_is_kept_back(devices: list[int], claims: list[tuple[int, int]]) -> None:
    """Claims one after the other, each for so many devices of at least such a size."""
    gpus = [device(str(number), f"{size + 1}Gi") for number, size in enumerate(devices)]
    found = inventory(device_slice("s", *gpus, node="a"))
    free = {str(number): size for number, size in enumerate(devices)}
    for number, (count, least) in enumerate(claims):
        text = f"device.capacity['{DRIVER}'].memory.compareTo(quantity('{least + 1}Gi')) >= 0"
        claim = claim_of(device_claim(f"c{number}", request("gpu", text, count=count)))
        found.set_claim(claim.key, claim)
        allocation = allocate([claim], node_facts(node("a")), found, Patience())
        fitting = [name for name, size in free.items() if size >= least]
        assert (allocation is not None) == (len(fitting) >= count)
        if allocation is not None:
            found.assume(DevicePlan("a", (claim.key,), allocation))
            taken = [entry["device"] for entry in allocation[claim.key]["devices"]["results"]]
            assert len(set(taken)) == count
            assert set(taken) <= set(fitting)
            free = {name: size for name, size in free.items() if name not in taken}


# Through the loop ---------------------------------------------------------------------------------------------------


def world(clock: VirtualClock, *claims: Object, cluster: MemoryCluster | None = None) -> MemoryCluster:
    cluster = cluster or MemoryCluster(clock)
    cluster.seed(NODES, node("a"), node("b"))
    cluster.seed(DEVICE_CLASSES, device_class())
    cluster.seed(RESOURCE_SLICES, device_slice("s", device("0"), node="b"))
    cluster.seed(RESOURCE_CLAIMS, *claims)
    return cluster


def claim_status(cluster: MemoryCluster, name: str) -> Object:
    found = cluster.object(RESOURCE_CLAIMS, name, "default")
    assert found is not None
    return found.get("status") or {}


@virtual_time
async def test_pods_go_where_their_devices_are(clock: VirtualClock) -> None:
    cluster = world(clock, device_claim("c"), device_claim("late"))
    cluster.seed(PODS, pod("p", **uses("c")))
    async with running(cluster, clock):
        await asyncio.sleep(0.1)
        assert placed(cluster) == {"p": "b"}
        status = claim_status(cluster, "c")
        assert status["reservedFor"] == [{"resource": "pods", "name": "p", "uid": "uid-p"}]
        assert status["allocation"]["devices"]["results"][0]["device"] == "0"
        held = cluster.object(RESOURCE_CLAIMS, "c", "default")
        assert held is not None
        assert held["metadata"]["finalizers"] == ["resource.kubernetes.io/delete-protection"]
        cluster.seed(PODS, pod("q", **uses("late")))
        await asyncio.sleep(0.1)
        waiting = cluster.object(PODS, "q", "default")
        assert waiting is not None
        condition = condition_of(waiting, "PodScheduled")
        assert condition is not None
        assert condition["message"].startswith(
            "0/2 nodes are available: 2 cannot allocate all claims. still not schedulable, preemption: "
        )
        # The first one gives its device back.
        await cluster.patch(RESOURCE_CLAIMS, "c", {"status": {"allocation": None}}, "default", subresource="status")
        await asyncio.sleep(2)
        assert placed(cluster)["q"] == "b"


@virtual_time
async def test_shared_claims_bring_pods_together(clock: VirtualClock) -> None:
    cluster = world(clock, device_claim("c"))
    cluster.seed(PODS, pod("p", **uses("c")), pod("q", **uses("c")))
    async with running(cluster, clock):
        await asyncio.sleep(3)
    assert placed(cluster) == {"p": "b", "q": "b"}
    assert {entry["name"] for entry in claim_status(cluster, "c")["reservedFor"]} == {"p", "q"}


@virtual_time
async def test_pods_wait_for_their_claims_and_classes(clock: VirtualClock) -> None:
    cluster = world(clock)
    template = [{"name": "g", "resourceClaimTemplateName": "t"}]
    cluster.seed(PODS, pod("p", **uses("c")), pod("q", resourceClaims=template))
    async with running(cluster, clock):
        await asyncio.sleep(1)
        assert placed(cluster) == {"p": None, "q": None}
        assert events(cluster, "FailedScheduling") == []
        cluster.seed(RESOURCE_CLAIMS, device_claim("c", request("gpu", device_class="none")))
        await asyncio.sleep(0.1)
        assert events(cluster, "FailedScheduling") == [
            (
                "0/2 nodes are available: request gpu: device class none does not exist. no new claims to deallocate, "
                "preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling."
            )
        ]
        cluster.seed(DEVICE_CLASSES, device_class("none"))
        await asyncio.sleep(2)
        assert placed(cluster)["p"] == "b"
        cluster.seed(RESOURCE_SLICES, device_slice("s2", device("0"), node="a"))
        cluster.seed(RESOURCE_CLAIMS, device_claim("q-g-x", owner="uid-q"))
        statuses = {"status": {"resourceClaimStatuses": [{"name": "g", "resourceClaimName": "q-g-x"}]}}
        await cluster.patch(PODS, "q", statuses, "default", subresource="status")
        await asyncio.sleep(0.1)
        assert placed(cluster)["q"] == "a"


@virtual_time
async def test_idle_claims_on_the_wrong_node_are_deallocated(clock: VirtualClock) -> None:
    claim = device_claim("c")
    term = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["gone"]}]}
    result = {"request": "gpu", "driver": DRIVER, "pool": "gone", "device": "0"}
    claim["status"] = {"allocation": {"devices": {"results": [result]}, "nodeSelector": {"nodeSelectorTerms": [term]}}}
    cluster = world(clock, claim)
    cluster.seed(PODS, pod("p", **uses("c")))
    async with running(cluster, clock):
        await asyncio.sleep(3)
    assert "deallocation of ResourceClaim completed" in "".join(events(cluster, "FailedScheduling"))
    assert placed(cluster) == {"p": "b"}


@virtual_time
async def test_devices_with_binding_conditions_are_waited_for(clock: VirtualClock) -> None:
    cluster = world(clock, device_claim("c"))
    attachable = device("0", bindingConditions=["attached"], bindingFailureConditions=["broken"])
    await cluster.patch(RESOURCE_SLICES, "s", {"spec": {"devices": [attachable]}})
    cluster.seed(PODS, pod("p", **uses("c")))
    async with running(cluster, clock):
        await asyncio.sleep(1)
        assert placed(cluster) == {"p": None}
        ready = {"type": "attached", "status": "True"}
        devices = [{"driver": DRIVER, "pool": "b", "device": "0", "conditions": [ready]}]
        await cluster.patch(RESOURCE_CLAIMS, "c", {"status": {"devices": devices}}, "default", subresource="status")
        await asyncio.sleep(0.1)
    assert placed(cluster) == {"p": "b"}


@virtual_time
async def test_a_server_that_is_away_during_the_binding_keeps_no_pod_from_its_next_attempt(clock: VirtualClock) -> None:
    class Faltering(MemoryCluster):
        away = False

        async def get(self, resource: Resource, name: str, namespace: str | None = None, **more: Any) -> Object:
            if self.away and resource == RESOURCE_CLAIMS:
                raise ConnectionError("the server is away")
            return await super().get(resource, name, namespace, **more)

    cluster = world(clock, device_claim("c"), cluster=Faltering(clock))
    assert isinstance(cluster, Faltering)
    cluster.away = True
    cluster.seed(PODS, pod("p", **uses("c")))
    async with running(cluster, clock):
        await asyncio.sleep(0.1)
        assert placed(cluster) == {"p": None}
        cluster.away = False
        await asyncio.sleep(5)
    assert placed(cluster) == {"p": "b"}
