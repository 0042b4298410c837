from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.unit.controllers.world import World, running

from twinplane.controlplane.controllers.contract import Context, Controller
from twinplane.controlplane.controllers.garbagecollector.controller import GarbageCollector
from twinplane.kubeclient.contract import Object, Resource
from twinplane.kubeclient.resources import (
    CONFIG_MAPS,
    CUSTOM_RESOURCE_DEFINITIONS,
    DEPLOYMENTS,
    NAMESPACES,
    PODS,
    REPLICA_SETS,
)
from twinplane.testing.virtual_time import VirtualClock, virtual_time

WIDGETS = Resource("example.com", "v1", "widgets", "Widget", True)
TYPES = [CONFIG_MAPS, DEPLOYMENTS, NAMESPACES, PODS, REPLICA_SETS]


def build(context: Context) -> Sequence[Controller]:
    return [GarbageCollector(context, lambda: TYPES)]


def reference(owner: Object, *, block: bool = True) -> dict[str, Any]:
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "blockOwnerDeletion": block,
    }


async def make(world: World, resource: Resource, name: str, *owners: Object, block: bool = True) -> Object:
    references = [reference(owner, block=block) for owner in owners]
    body = {"metadata": {"name": name, "ownerReferences": references}, "spec": {}}
    return await world.cluster.create(resource, body, "default")


async def chain(world: World) -> Object:
    deployment = await make(world, DEPLOYMENTS, "web")
    replica_set = await make(world, REPLICA_SETS, "web-1", deployment)
    for number in range(3):
        await make(world, PODS, f"web-1-{number}", replica_set)
    await world.settle()
    return deployment


def left(world: World) -> list[str]:
    return [name for resource in TYPES for name in world.names(resource)]


@virtual_time
async def test_background_deletion_cascades(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        await chain(world)
        await world.cluster.delete(DEPLOYMENTS, "web", "default", propagation_policy="Background")
        await world.settle()
        assert left(world) == []


@virtual_time
async def test_foreground_deletion_goes_from_the_leaves(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        await chain(world)
        world.cluster.reactions.append(lambda verb, resource, body: order.append((verb, body["metadata"]["name"])))
        order: list[tuple[str, str]] = []
        await world.cluster.delete(DEPLOYMENTS, "web", "default", propagation_policy="Foreground")
        await world.settle(2)
        assert left(world) == []
        removed = [name for verb, name in order if verb == "update" or name.startswith("web-1-")]
        assert removed[-2:] == ["web-1", "web"]


@virtual_time
async def test_orphaning_leaves_the_dependents(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        await chain(world)
        await world.cluster.delete(DEPLOYMENTS, "web", "default", propagation_policy="Orphan")
        await world.settle()
        assert world.names(DEPLOYMENTS) == []
        assert "ownerReferences" not in world.one(REPLICA_SETS, "web-1")["metadata"]
        assert len(world.names(PODS)) == 3


@virtual_time
async def test_an_owner_that_never_was(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        ghost = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "ghost", "uid": "no-such"}}
        await make(world, PODS, "p", ghost)
        await world.settle()
        assert left(world) == []


@virtual_time
async def test_a_name_used_again_is_another_owner(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        owner = await make(world, DEPLOYMENTS, "web")
        other = {**owner, "metadata": {**owner["metadata"], "uid": "earlier"}}
        await make(world, PODS, "p", other)
        await world.settle()
        assert left(world) == ["web"]


@virtual_time
async def test_one_of_two_owners_is_enough(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        first, second = [await make(world, CONFIG_MAPS, name) for name in ("a", "b")]
        await make(world, PODS, "p", first, second)
        await world.settle()
        await world.cluster.delete(CONFIG_MAPS, "a", "default")
        await world.settle()
        (kept,) = world.one(PODS, "p")["metadata"]["ownerReferences"]
        assert kept["name"] == "b"


@virtual_time
async def test_foreground_does_not_wait_for_those_that_do_not_block(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        owner = await make(world, DEPLOYMENTS, "web")
        body = {"metadata": {"name": "p", "ownerReferences": [reference(owner, block=False)], "finalizers": ["x/y"]}}
        await world.cluster.create(PODS, {**body, "spec": {}}, "default")
        await world.settle()
        await world.cluster.delete(DEPLOYMENTS, "web", "default", propagation_policy="Foreground")
        await world.settle()
        assert left(world) == ["p"]


@virtual_time
async def test_owners_of_unknown_types_are_respected(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        ghost = {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w", "uid": "w-uid"}}
        await make(world, PODS, "p", ghost)
        await world.settle()
        assert left(world) == ["p"]


@virtual_time
async def test_types_that_come_later(clock: VirtualClock) -> None:
    types = list(TYPES)
    async with running(clock, lambda context: [GarbageCollector(context, lambda: types)]) as world:
        types.append(WIDGETS)
        await world.cluster.create(CUSTOM_RESOURCE_DEFINITIONS, {"metadata": {"name": "widgets.example.com"}})
        widget = await make(world, WIDGETS, "w")
        await make(world, PODS, "p", widget)
        await world.settle()
        await world.cluster.delete(WIDGETS, "w", "default")
        await world.settle()
        assert world.names(PODS) == []


@virtual_time
async def test_a_restart_finds_what_was_missed(clock: VirtualClock) -> None:
    def seed(world: World) -> None:
        references = [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "gone", "uid": "gone-uid"}]
        metadata = {"namespace": "default", "ownerReferences": references}
        world.cluster.seed(PODS, *({"metadata": {**metadata, "name": f"p{n}"}, "spec": {}} for n in range(20)))

    async with running(clock, build, seed=seed) as world:
        await world.settle()
        assert left(world) == []


@virtual_time
async def test_a_circle_does_not_wait_for_itself(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        first = await make(world, PODS, "a")
        second = await make(world, PODS, "b", first)
        third = await make(world, PODS, "c", second)
        closing = {"metadata": {"ownerReferences": [reference(third)]}}
        await world.cluster.patch(PODS, "a", closing, "default")
        await world.settle()
        await world.cluster.delete(PODS, "a", "default", propagation_policy="Foreground")
        await world.settle(5)
        assert left(world) == []
