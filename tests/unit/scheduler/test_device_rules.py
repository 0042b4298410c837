"""What else keeps devices from claims or decides between them: taints of rules, pools that are wrong, alternatives."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.unit.scheduler.builders import node, pod
from tests.unit.scheduler.device_builders import DRIVER, device, device_claim, device_class, device_slice, request, uses
from tests.unit.scheduler.test_configuration import profile_of
from tests.unit.scheduler.test_devices import chosen, claim_status, inventory, world
from tests.unit.scheduler.test_loop import events, placed, running
from twinplane.controlplane.scheduler.configuration import SchedulerConfiguration
from twinplane.controlplane.scheduler.devices.allocation import (
    AllocationError,
    AllocationFailed,
    Patience,
    allocate,
)
from twinplane.controlplane.scheduler.devices.facts import claim_of
from twinplane.controlplane.scheduler.devices.pools import Pools
from twinplane.controlplane.scheduler.node import node_facts
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.meta import condition_of
from twinplane.kubeclient.resources import DEVICE_CLASSES, NODES, PODS, RESOURCE_CLAIMS, RESOURCE_SLICES
from twinplane.testing.memory_cluster import MemoryCluster
from twinplane.testing.virtual_time import VirtualClock, virtual_time


def tainting(effect: str, **selector: str) -> Object:
    return {"deviceSelector": selector, "taint": {"key": "broken", "effect": effect}}


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (tainting("NoSchedule", driver=DRIVER, pool="a", device="0"), ["1"]),
        (tainting("NoExecute", device="0"), ["1"]),
        (tainting("None", device="0"), ["0"]),
        (tainting("NoSchedule", driver="other"), ["0"]),
        (tainting("NoSchedule", pool="b"), ["0"]),
        (tainting("NoSchedule"), None),
        ({"taint": {"key": "broken", "effect": "NoSchedule"}}, ["0"]),
    ],
)
def test_rules_taint_devices(rule: Object, expected: list[str] | None) -> None:
    found = inventory(device_slice("s", device("0"), device("1"), node="a"))
    assert chosen(device_claim("c"), found) == ["0"]
    assert found.set_rule("r", rule)
    assert not found.set_rule("r", rule)
    assert chosen(device_claim("c"), found) == expected
    tolerant = request("gpu", tolerations=[{"key": "broken", "operator": "Exists"}])
    assert chosen(device_claim("c", tolerant), found) == ["0"]
    found.set_rule("r", None)
    assert chosen(device_claim("c"), found) == ["0"]


def test_admin_access_has_a_device_once_in_a_claim() -> None:
    found = inventory(device_slice("s", device("0"), device("1"), node="a"))
    one, two = request("one", adminAccess=True), request("two", adminAccess=True)
    assert chosen(device_claim("c", one, two), found) == ["0", "1"]
    assert chosen(device_claim("c", request("mine"), two), found) == ["0", "1"]


def test_more_devices_than_a_claim_may_have() -> None:
    found = inventory(device_slice("s", *(device(f"{number:02}") for number in range(40)), node="a"))
    with pytest.raises(AllocationFailed, match="number of requested devices 33 exceeds the claim limit of 32"):
        chosen(device_claim("c", request("all", count=33)), found)
    many = {"name": "many", "deviceClassName": "gpu", "count": 33}
    few = {"name": "few", "deviceClassName": "gpu", "count": 2}
    assert chosen(device_claim("c", {"name": "gpu", "firstAvailable": [many, few]}), found) == ["00", "01"]


def test_all_devices_must_meet_the_constraints() -> None:
    found = inventory(device_slice("s", device("0", model="x"), device("1", model="y"), node="a"))
    same: list[dict[str, Any]] = [{"matchAttribute": f"{DRIVER}/model"}]
    with pytest.raises(AllocationFailed, match=r"cannot add device .*/a/1 because a claim constraint would not be"):
        chosen(device_claim("c", request("gpu", allocationMode="All"), constraints=same), found)


CARD = {"name": "card", "counters": {"slots": {"value": "4"}}}
PART = [{"counterSet": "card", "counters": {"slots": {"value": "1"}}}]


@pytest.mark.parametrize(
    "slices",
    [
        [device_slice("s", device("0"), device("0"), node="a")],
        [device_slice("s", device("0", consumesCounters=PART), node="a")],
        [
            device_slice("s1", node="a", count=2, sharedCounters=[CARD, CARD]),
            device_slice("s2", device("0", consumesCounters=PART), node="a", count=2),
        ],
    ],
    ids=["device names", "no such counter set", "counter sets"],
)
def test_pools_that_contradict_themselves_are_left_alone(slices: list[Object]) -> None:
    found = inventory(*slices)
    with pytest.raises(AllocationFailed, match=r"^invalid resource pools were encountered$"):
        chosen(device_claim("c"), found)
    with pytest.raises(AllocationFailed, match=r"resource pool gpu\.example\.com/a is currently invalid"):
        chosen(device_claim("c", request("gpu", allocationMode="All")), found)
    assert found.set_slice("other", device_slice("other", device("ok"), node="a", pool="z")["spec"])
    assert chosen(device_claim("c"), found) == ["ok"]


def test_devices_that_must_be_attached_first_come_last() -> None:
    fabric = device("0", bindingConditions=["attached"], bindsToNode=True)
    found = inventory(
        device_slice("s1", fabric, pool="a-fabric", allNodes=True), device_slice("s2", device("1"), node="a", pool="b")
    )
    claim = claim_of(device_claim("c", request("gpu", count=2)))
    allocation = (allocate([claim], node_facts(node("a")), found, Patience()) or {})[claim.key]
    assert [entry["device"] for entry in allocation["devices"]["results"]] == ["1", "0"]
    only = claim_of(device_claim("c", request("gpu", "device.attributes['gpu.example.com'].model == 'a100'")))
    found.set_slice("s2", None)
    allocation = (allocate([only], node_facts(node("a")), found, Patience()) or {})[claim.key]
    # It could have been used everywhere; now it is this node's.
    name = {"key": "metadata.name", "operator": "In", "values": ["a"]}
    assert allocation["nodeSelector"] == {"nodeSelectorTerms": [{"matchFields": [name]}]}


def test_a_node_does_not_look_at_the_pools_of_others() -> None:
    pools = Pools()
    for name in ("a", "b"):
        pools.set_slice(name, device_slice(name, device("0"), node=name)["spec"])
    pools.set_slice("net", device_slice("net", device("0"), allNodes=True)["spec"])
    facts = node_facts(node("a"))
    assert [found.pool.id[1] for found in pools.near(facts)] == ["a", "net"]
    assert pools.near(facts) is pools.near(facts)
    assert pools.set_slice("b", None)
    assert [found.pool.id[1] for found in pools.near(facts)] == ["a", "net"]


def test_devices_that_are_not_needed_are_not_judged() -> None:
    found = inventory(device_slice("s", device("0"), {"name": "1"}, node="a"))
    text = "device.attributes['gpu.example.com'].model == 'a100'"
    assert chosen(device_claim("c", request("gpu", text)), found) == ["0"]
    with pytest.raises(AllocationError, match="selector #0: CEL runtime error"):
        chosen(device_claim("c", request("gpu", text, count=2)), found)


# Through the loop ---------------------------------------------------------------------------------------------------


@virtual_time
async def test_nodes_with_the_better_alternative_win(clock: VirtualClock) -> None:
    cluster = MemoryCluster(clock)
    # The other plugins like `empty` better.
    cluster.seed(NODES, node("empty"), node("full"))
    cluster.seed(PODS, bound("busy", "full", cpu="100m"))
    cluster.seed(DEVICE_CLASSES, device_class())
    small, big = device_slice("s1", device("0", "10Gi"), node="empty"), device_slice("s2", device("0"), node="full")
    cluster.seed(RESOURCE_SLICES, small, big)
    text = f"device.capacity['{DRIVER}'].memory.compareTo(quantity('{{}}')) >= 0"
    alternatives = [
        {"name": name, "deviceClassName": "gpu", "count": 1, "selectors": [{"cel": {"expression": text.format(size)}}]}
        for name, size in (("big", "40Gi"), ("any", "1Gi"))
    ]
    cluster.seed(RESOURCE_CLAIMS, device_claim("c", {"name": "gpu", "firstAvailable": alternatives}))
    cluster.seed(PODS, pod("p", **uses("c")))
    async with running(cluster, clock):
        await asyncio.sleep(0.1)
    assert placed(cluster)["p"] == "full"
    assert claim_status(cluster, "c")["allocation"]["devices"]["results"][0]["request"] == "gpu/big"


@virtual_time
async def test_a_selector_that_fails_on_one_node_stops_the_pod(clock: VirtualClock) -> None:
    text = "device.attributes['gpu.example.com'].model == 'a100'"
    cluster = world(clock, device_claim("c", request("gpu", text)))
    cluster.seed(RESOURCE_SLICES, device_slice("odd", {"name": "0"}, node="a"))
    cluster.seed(PODS, pod("p", **uses("c")))
    async with running(cluster, clock):
        await asyncio.sleep(0.1)
        assert placed(cluster) == {"p": None}
        condition = condition_of(cluster.object(PODS, "p", "default") or {}, "PodScheduled") or {}
        assert condition["reason"] == "SchedulerError"
        assert condition["message"].startswith(
            'running "DynamicResources" filter plugin: claim default/c: selector #0: CEL runtime error: '
        )
        await cluster.delete(RESOURCE_SLICES, "odd")
        await asyncio.sleep(5)
    assert placed(cluster) == {"p": "b"}


def bound(name: str, on: str, **fields: Any) -> Object:
    body = pod(name, **fields)
    body["spec"]["nodeName"] = on
    return body


async def with_conditions(cluster: MemoryCluster) -> None:
    attachable = device("0", bindingConditions=["attached"], bindingFailureConditions=["broken"])
    await cluster.patch(RESOURCE_SLICES, "s", {"spec": {"devices": [attachable, device("1", "1Gi")]}})


@virtual_time
async def test_a_failure_of_the_binding_gives_the_claim_other_devices(clock: VirtualClock) -> None:
    cluster = world(clock, device_claim("c"))
    await with_conditions(cluster)
    cluster.seed(PODS, pod("p", **uses("c")))
    async with running(cluster, clock):
        await asyncio.sleep(1)
        assert claim_status(cluster, "c")["allocation"]["allocationTimestamp"]
        failed = {"type": "broken", "status": "True", "reason": "Smoke", "message": "it burns"}
        devices = [{"driver": DRIVER, "pool": "b", "device": "0", "conditions": [failed]}]
        taint = [{"key": "broken", "effect": "NoSchedule"}]
        await cluster.patch(RESOURCE_SLICES, "s", {"spec": {"devices": [device("0", taints=taint), device("1")]}})
        await cluster.patch(RESOURCE_CLAIMS, "c", {"status": {"devices": devices}}, "default", subresource="status")
        await asyncio.sleep(10)
    told = events(cluster, "FailedScheduling")
    assert any(
        text == 'running PreBind plugin "DynamicResources": device binding failed: '
        'claim=c, reason=Smoke, message="it burns"'
        for text in told
    )
    assert any(
        "resourceclaim not available on the node. deallocation of ResourceClaim completed" in text for text in told
    )
    assert placed(cluster) == {"p": "b"}
    assert claim_status(cluster, "c")["allocation"]["devices"]["results"][0]["device"] == "1"


@virtual_time
async def test_devices_that_never_become_ready_are_given_up(clock: VirtualClock) -> None:
    cluster = world(clock, device_claim("c"))
    await with_conditions(cluster)
    cluster.seed(PODS, pod("p", **uses("c")))
    async with running(cluster, clock):
        await asyncio.sleep(590)
        assert events(cluster, "FailedScheduling") == []
        assert events(cluster, "BindingConditionsPending") == ["waiting for binding conditions for device on node b"]
        await asyncio.sleep(15)
        first = 'running PreBind plugin "DynamicResources": device binding timeout: claim=c'
        assert first in events(cluster, "FailedScheduling")
        # It tries the same device again, as nothing says that it is broken.
        assert placed(cluster) == {"p": None}


@virtual_time
async def test_how_long_devices_may_take_is_configured(clock: VirtualClock) -> None:
    cluster = world(clock, device_claim("c"))
    await with_conditions(cluster)
    cluster.seed(PODS, pod("p", **uses("c")))
    args = {"name": "DynamicResources", "args": {"bindingTimeout": "1m30s"}}
    async with running(cluster, clock, SchedulerConfiguration((profile_of(pluginConfig=[args]),))):
        await asyncio.sleep(85)
        assert events(cluster, "FailedScheduling") == []
        await asyncio.sleep(10)
        assert any("device binding timeout: claim=c" in text for text in events(cluster, "FailedScheduling"))


@virtual_time
async def test_a_claim_with_too_many_consumers_is_in_use(clock: VirtualClock) -> None:
    claim = device_claim("c")
    reserved = [{"resource": "pods", "name": f"o{number}", "uid": f"uid-o{number}"} for number in range(256)]
    result = {"request": "gpu", "driver": DRIVER, "pool": "b", "device": "0"}
    claim["status"] = {"allocation": {"devices": {"results": [result]}}, "reservedFor": reserved}
    cluster = world(clock, claim)
    cluster.seed(PODS, pod("p", **uses("c")))
    async with running(cluster, clock):
        await asyncio.sleep(1)
    assert events(cluster, "FailedScheduling")[0].startswith("0/2 nodes are available: resourceclaim in use. ")
