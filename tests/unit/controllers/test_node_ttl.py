"""How long kubelets may keep Secrets, by the number of nodes, in virtual time."""

from __future__ import annotations

from tests.unit.controllers.world import World, running

from twinplane.controlplane.controllers.nodettl.controller import ANNOTATION, NodeTtlController
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.meta import annotations_of
from twinplane.kubeclient.resources import NODES
from twinplane.testing.virtual_time import VirtualClock, virtual_time


def node(number: int) -> Object:
    return {"metadata": {"name": f"n{number}", "annotations": {"kept": "yes"}}}


def written(world: World) -> dict[str, str]:
    found = {body["metadata"]["name"]: annotations_of(body) for body in world.cluster.objects(NODES)}
    assert all(annotations["kept"] == "yes" for annotations in found.values())
    return {name: annotations[ANNOTATION] for name, annotations in found.items()}


@virtual_time
async def test_nodes_are_told_by_the_size_of_the_cluster(clock: VirtualClock) -> None:
    async with running(clock, lambda context: [NodeTtlController(context)]) as world:
        for number in range(100):
            await world.cluster.create(NODES, node(number))
        await world.settle()
        assert set(written(world).values()) == {"0"}

        await world.cluster.create(NODES, node(100))
        await world.settle()
        assert written(world)["n100"] == "15"
        assert written(world)["n0"] == "0", "a node learns of it with its next change"
        await world.cluster.patch(NODES, "n0", {"metadata": {"labels": {"a": "b"}}})
        await world.settle()
        assert written(world)["n0"] == "15"

        for number in range(90, 101):
            await world.cluster.delete(NODES, f"n{number}")
        await world.cluster.patch(NODES, "n0", {"metadata": {"labels": {"a": "c"}}})
        await world.settle()
        assert written(world)["n0"] == "15", "90 nodes are still in the second step"
        await world.cluster.delete(NODES, "n89")
        await world.cluster.patch(NODES, "n0", {"metadata": {"labels": {"a": "d"}}})
        await world.settle()
        assert written(world)["n0"] == "0"


@virtual_time
async def test_what_somebody_else_wrote_is_put_right(clock: VirtualClock) -> None:
    async with running(clock, lambda context: [NodeTtlController(context)]) as world:
        await world.cluster.create(NODES, node(0))
        await world.cluster.patch(NODES, "n0", {"metadata": {"annotations": {ANNOTATION: "nonsense"}}})
        await world.settle()
        assert written(world) == {"n0": "0"}
