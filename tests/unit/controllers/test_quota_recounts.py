"""When a quota's usage is counted anew: not while pods are bound, as charges may be there before their pods."""

from __future__ import annotations

from collections.abc import Sequence

from tests.unit.controllers.world import World, running

from twinplane.controlplane.controllers.contract import Context, Controller
from twinplane.controlplane.controllers.resourcequota.controller import ResourceQuotaController
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.resources import PODS, RESOURCE_QUOTAS
from twinplane.testing.virtual_time import VirtualClock, virtual_time


def build(context: Context) -> Sequence[Controller]:
    return [ResourceQuotaController(context, lambda: [PODS])]


def used(world: World) -> Object:
    found: Object = world.one(RESOURCE_QUOTAS, "q")["status"]["used"]
    return found


@virtual_time
async def test_binding_a_pod_counts_nothing(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        world.kubelet_works = False
        resources = {"requests": {"cpu": "200m"}}
        spec = {"containers": [{"name": "app", "image": "app:1", "resources": resources}]}
        await world.cluster.create(PODS, {"metadata": {"name": "a", "namespace": "default"}, "spec": spec})
        hard = {"pods": "2", "requests.cpu": "1"}
        quota = {"metadata": {"name": "q", "namespace": "default"}, "spec": {"hard": hard}}
        await world.cluster.create(RESOURCE_QUOTAS, quota)
        await world.settle(60)
        assert used(world) == {"pods": "1", "requests.cpu": "200m"}
        charged = {"status": {"used": {"pods": "2", "requests.cpu": "400m"}}}
        await world.cluster.patch(RESOURCE_QUOTAS, "q", charged, "default", subresource="status")
        await world.cluster.patch(PODS, "a", {"spec": {"nodeName": "n"}}, "default")
        await world.settle(20)
        assert used(world)["pods"] == "2"
        smaller = [{"name": "app", "image": "app:1", "resources": {"requests": {"cpu": "100m"}}}]
        await world.cluster.patch(PODS, "a", {"spec": {"containers": smaller}}, "default")
        await world.settle(20)
        assert used(world) == {"pods": "1", "requests.cpu": "100m"}
