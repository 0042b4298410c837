"""Pods whose devices have NoExecute taints go, unless their claims tolerate them; rules say how far it is."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from tests.unit.controllers.world import World, running

from twinplane.clock import rfc3339
from twinplane.controlplane.controllers.contract import Context, Controller
from twinplane.controlplane.controllers.devicetainteviction.controller import DeviceTaintEvictionController
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.meta import condition_of, is_deleting
from twinplane.kubeclient.resources import DEVICE_TAINT_RULES, PODS, RESOURCE_CLAIMS, RESOURCE_SLICES
from twinplane.testing.virtual_time import VirtualClock, virtual_time

DRIVER = "gpu.example.com"
FOREVER = {"operator": "Exists", "effect": "NoExecute"}


def build(context: Context) -> Sequence[Controller]:
    return [DeviceTaintEvictionController(context, with_rules=True)]


def broken(clock: VirtualClock, effect: str = "NoExecute", **fields: Any) -> dict[str, Any]:
    return {"key": "broken", "effect": effect, "timeAdded": rfc3339(clock.now()), **fields}


def slice_of(*taints: Object, name: str = "s", generation: int = 1) -> Object:
    devices: list[Object] = [{"name": "0", "taints": list(taints)}, {"name": "1"}]
    pool = {"name": "a", "generation": generation, "resourceSliceCount": 1}
    return {"metadata": {"name": name}, "spec": {"driver": DRIVER, "pool": pool, "nodeName": "a", "devices": devices}}


async def taint(world: World, *taints: Object) -> None:
    await world.cluster.patch(RESOURCE_SLICES, "s", {"spec": slice_of(*taints)["spec"]})


async def start(world: World, name: str = "p", *tolerations: Object, device: str = "0", node: str = "a") -> None:
    """A pod that has a device."""
    claims = [{"name": "gpu", "resourceClaimName": name}]
    spec: dict[str, Any] = {"resourceClaims": claims, "containers": [{"name": "c"}]} | (
        {"nodeName": node} if node else {}
    )
    pod = await world.cluster.create(PODS, {"metadata": {"name": name, "namespace": "default"}, "spec": spec})
    claim = {"metadata": {"name": name, "namespace": "default"}, "spec": {}}
    await world.cluster.create(RESOURCE_CLAIMS, claim)
    result = {"request": "gpu", "driver": DRIVER, "pool": "a", "device": device, "tolerations": list(tolerations)}
    status = {
        "allocation": {"devices": {"results": [result]}},
        "reservedFor": [{"resource": "pods", "name": name, "uid": pod["metadata"]["uid"]}],
    }
    await world.cluster.patch(RESOURCE_CLAIMS, name, {"status": status}, "default", subresource="status")


def alive(world: World) -> set[str]:
    return {pod["metadata"]["name"] for pod in world.cluster.objects(PODS) if not is_deleting(pod)}


@virtual_time
async def test_pods_of_tainted_devices_go(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        deleted: list[Object] = []
        world.cluster.reactions.append(
            lambda verb, resource, body: deleted.append(body) if (verb, resource) == ("delete", PODS) else None
        )
        await world.cluster.create(RESOURCE_SLICES, slice_of())
        await start(world, "p")
        await start(world, "other", device="1")
        await world.settle()
        await taint(world, broken(clock, "NoSchedule"), broken(clock, "None"))
        await world.settle()
        assert alive(world) == {"p", "other"}
        world.kubelet_works = False
        await taint(world, broken(clock))
        await world.settle()
        assert alive(world) == {"other"}
        condition = condition_of(deleted[0], "DisruptionTarget")
        assert condition is not None
        assert (condition["reason"], condition["message"]) == (
            "DeletionByDeviceTaintManager",
            "Device Taint manager: deleting due to NoExecute taint",
        )
        assert world.events("DeviceTaintManagerEviction") == ["Marking for deletion"]


@pytest.mark.parametrize(
    ("tolerations", "stays"),
    [
        ([FOREVER], None),
        ([{**FOREVER, "tolerationSeconds": 30}], 30),
        ([{**FOREVER, "tolerationSeconds": 30}, {**FOREVER, "key": "broken", "tolerationSeconds": 10}], 10),
        ([{**FOREVER, "key": "other"}], 0),
        # As upstream's controller has it: only tolerations that name the effect count.
        ([{"operator": "Exists"}], 0),
    ],
)
@virtual_time
async def test_tolerations(clock: VirtualClock, tolerations: list[Object], stays: int | None) -> None:
    async with running(clock, build) as world:
        await world.cluster.create(RESOURCE_SLICES, slice_of(broken(clock)))
        await start(world, "p", *tolerations)
        await world.settle()
        assert (alive(world) == {"p"}) == (stays != 0)
        if stays:
            await asyncio.sleep(stays - 3)
            assert alive(world) == {"p"}
        await asyncio.sleep(5)
        assert (alive(world) == {"p"}) == (stays is None)


@virtual_time
async def test_an_eviction_is_cancelled_when_the_taint_goes(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        await world.cluster.create(RESOURCE_SLICES, slice_of(broken(clock)))
        await start(world, "p", {**FOREVER, "tolerationSeconds": 30})
        await world.settle()
        await taint(world)
        await asyncio.sleep(60)
        assert alive(world) == {"p"}
        assert world.events("DeviceTaintManagerEviction") == ["Cancelling deletion"]


@virtual_time
async def test_only_the_latest_generation_of_a_pool_counts(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        await world.cluster.create(RESOURCE_SLICES, slice_of(name="new", generation=2))
        await world.cluster.create(RESOURCE_SLICES, slice_of(broken(clock), name="old"))
        await start(world)
        await world.settle()
        assert alive(world) == {"p"}
        await world.cluster.delete(RESOURCE_SLICES, "new")
        await world.settle()
        assert alive(world) == set()


@virtual_time
async def test_pods_without_a_node_or_a_reservation_stay(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        await world.cluster.create(RESOURCE_SLICES, slice_of(broken(clock)))
        await start(world, "waiting", node="")
        await world.settle()
        assert alive(world) == {"waiting"}
        await world.cluster.patch(PODS, "waiting", {"spec": {"nodeName": "a"}}, "default")
        await world.settle()
        assert alive(world) == set()


# Rules --------------------------------------------------------------------------------------------------------------


def rule(clock: VirtualClock, effect: str = "NoExecute", **selector: str) -> Object:
    spec = {"deviceSelector": selector, "taint": broken(clock, effect)}
    return {"metadata": {"name": "r", "generation": 1}, "spec": spec}


def told(world: World) -> tuple[str, str, str]:
    condition = condition_of(world.one(DEVICE_TAINT_RULES, "r"), "EvictionInProgress") or {}
    return condition["status"], condition["reason"], condition.get("message", "")


@virtual_time
async def test_rules_evict_and_say_how_far_it_is(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        await world.cluster.create(RESOURCE_SLICES, slice_of())
        await start(world, "p")
        await start(world, "patient", {**FOREVER, "tolerationSeconds": 30})
        await start(world, "other", device="1")
        await world.cluster.create(DEVICE_TAINT_RULES, rule(clock, driver=DRIVER, pool="a", device="0"))
        await world.settle()
        assert alive(world) == {"patient", "other"}
        await asyncio.sleep(15)
        waiting = "1 pod needs to be evicted in 1 namespace. 1 pod evicted since starting the controller."
        assert told(world) == ("True", "PodsPendingEviction", waiting)
        await asyncio.sleep(30)
        assert alive(world) == {"other"}
        assert told(world) == ("False", "Completed", "2 pods evicted since starting the controller.")


@virtual_time
async def test_rules_of_other_drivers_and_effects_do_nothing(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        await world.cluster.create(RESOURCE_SLICES, slice_of())
        await start(world)
        await world.cluster.create(DEVICE_TAINT_RULES, rule(clock, driver="other.example.com"))
        await world.settle()
        assert alive(world) == {"p"}
        assert told(world) == ("False", "NotStarted", "")
        changed = {"metadata": {"generation": 2}, "spec": rule(clock, "NoSchedule", driver=DRIVER)["spec"]}
        await world.cluster.patch(DEVICE_TAINT_RULES, "r", changed)
        await world.settle()
        assert alive(world) == {"p"}
        assert told(world) == ("False", "OtherEffect", "Eviction only happens for the NoExecute effect.")


@virtual_time
async def test_a_rule_without_effect_says_what_it_would_do(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        await world.cluster.create(RESOURCE_SLICES, slice_of())
        await start(world, "p")
        await start(world, "q", device="1")
        await world.cluster.create(DEVICE_TAINT_RULES, rule(clock, "None", driver=DRIVER))
        await world.settle()
        assert alive(world) == {"p", "q"}
        assert told(world)[:2] == ("False", "NoEffect")
        assert told(world)[2] == (
            "2 published devices selected. 2 allocated devices selected. 2 pods would be evicted in 1 namespace "
            "if the effect was NoExecute. This information will not be updated again. "
            "Recreate the DeviceTaintRule to trigger an update."
        )
