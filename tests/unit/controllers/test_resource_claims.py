"""ResourceClaims of pods: made from templates, reserved, given back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.unit.controllers.world import World, running

from twinplane.controlplane.controllers.contract import Context, Controller
from twinplane.controlplane.controllers.garbagecollector.controller import GarbageCollector
from twinplane.controlplane.controllers.resourceclaim.controller import ResourceClaimController
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.resources import PODS, RESOURCE_CLAIM_TEMPLATES, RESOURCE_CLAIMS
from twinplane.testing.virtual_time import VirtualClock, virtual_time

FINALIZER = "resource.kubernetes.io/delete-protection"


def build(context: Context) -> Sequence[Controller]:
    return [ResourceClaimController(context), GarbageCollector(context, lambda: [PODS, RESOURCE_CLAIMS])]


def template() -> Object:
    request = {"name": "gpu", "exactly": {"deviceClassName": "gpu"}}
    spec = {"metadata": {"labels": {"a": "b"}}, "spec": {"devices": {"requests": [request]}}}
    return {"metadata": {"name": "t", "namespace": "default"}, "spec": spec}


def pod(name: str = "p", *, node: str = "", **entry: str) -> Object:
    claims = [{"name": "g", **(entry or {"resourceClaimTemplateName": "t"})}]
    spec: dict[str, Any] = {"resourceClaims": claims, "containers": [{"name": "c"}]}
    return {"metadata": {"name": name, "namespace": "default"}, "spec": spec | ({"nodeName": node} if node else {})}


async def allocate(world: World, name: str, *consumers: Object) -> None:
    reserved = [
        {"resource": "pods", "name": body["metadata"]["name"], "uid": body["metadata"]["uid"]} for body in consumers
    ]
    await world.cluster.patch(RESOURCE_CLAIMS, name, {"metadata": {"finalizers": [FINALIZER]}}, "default")
    status = {"status": {"allocation": {"devices": {"results": []}}, "reservedFor": reserved}}
    await world.cluster.patch(RESOURCE_CLAIMS, name, status, "default", subresource="status")


@virtual_time
async def test_claims_are_made_from_templates(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        await world.cluster.create(RESOURCE_CLAIM_TEMPLATES, template())
        made = await world.cluster.create(PODS, pod())
        await world.settle()
        (name,) = world.names(RESOURCE_CLAIMS)
        claim = world.one(RESOURCE_CLAIMS, name)
        assert name.startswith("p-g-")
        assert claim["metadata"]["labels"] == {"a": "b"}
        assert claim["metadata"]["annotations"] == {"resource.kubernetes.io/pod-claim-name": "g"}
        assert claim["metadata"]["ownerReferences"] == [
            {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": made["metadata"]["uid"], "controller": True}
        ]
        assert world.one(PODS, "p")["status"]["resourceClaimStatuses"] == [{"name": "g", "resourceClaimName": name}]


@virtual_time
async def test_a_claim_that_was_deleted_is_made_again(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        world.kubelet_works = False
        await world.cluster.create(RESOURCE_CLAIM_TEMPLATES, template())
        await world.cluster.create(PODS, pod())
        await world.settle()
        (first,) = world.names(RESOURCE_CLAIMS)
        await world.cluster.delete(RESOURCE_CLAIMS, first, "default")
        await world.settle()
        (second,) = world.names(RESOURCE_CLAIMS)
        assert second != first
        assert world.one(PODS, "p")["status"]["resourceClaimStatuses"] == [{"name": "g", "resourceClaimName": second}]


@virtual_time
async def test_a_template_may_come_later(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        await world.cluster.create(PODS, pod())
        await world.settle()
        assert world.events("FailedResourceClaimCreation")[0] == (
            'PodResourceClaim g: resource claim template "t": resourceclaimtemplate.resource.k8s.io "t" not found'
        )
        await world.cluster.create(RESOURCE_CLAIM_TEMPLATES, template())
        await world.settle()
        assert len(world.names(RESOURCE_CLAIMS)) == 1


@virtual_time
async def test_claims_of_finished_pods_are_given_back(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        await world.cluster.create(RESOURCE_CLAIM_TEMPLATES, template())
        made = await world.cluster.create(PODS, pod())
        await world.settle()
        (name,) = world.names(RESOURCE_CLAIMS)
        await allocate(world, name, made)
        await world.settle()
        assert world.one(RESOURCE_CLAIMS, name)["status"]["reservedFor"]
        world.kubelet_works = False
        await world.cluster.patch(PODS, "p", {"status": {"phase": "Succeeded"}}, "default", subresource="status")
        await world.settle()
        assert world.names(RESOURCE_CLAIMS) == []


@virtual_time
async def test_a_shared_claim_is_deallocated_with_its_last_pod(clock: VirtualClock) -> None:
    claim = {"metadata": {"name": "c", "namespace": "default"}, "spec": {"devices": {}}}
    async with running(clock, build) as world:
        await world.cluster.create(RESOURCE_CLAIMS, claim)
        pods = [await world.cluster.create(PODS, pod(name, resourceClaimName="c")) for name in ("p", "q")]
        await allocate(world, "c", *pods)
        await world.cluster.delete(PODS, "p", "default")
        await world.settle()
        status = world.one(RESOURCE_CLAIMS, "c")["status"]
        assert [entry["name"] for entry in status["reservedFor"]] == ["q"]
        assert "allocation" in status
        await world.cluster.delete(PODS, "q", "default")
        await world.settle()
        left = world.one(RESOURCE_CLAIMS, "c")
        assert left["status"] == {}
        assert not left["metadata"].get("finalizers")


@virtual_time
async def test_pods_that_were_bound_past_the_scheduler_get_their_reservation(clock: VirtualClock) -> None:
    claim = {"metadata": {"name": "c", "namespace": "default"}, "spec": {"devices": {}}}
    async with running(clock, build) as world:
        await world.cluster.create(RESOURCE_CLAIMS, claim)
        first = await world.cluster.create(PODS, pod("p", resourceClaimName="c"))
        await allocate(world, "c", first)
        await world.cluster.create(PODS, pod("q", node="n", resourceClaimName="c"))
        await world.settle()
        reserved = world.one(RESOURCE_CLAIMS, "c")["status"]["reservedFor"]
        assert [entry["name"] for entry in reserved] == ["p", "q"]


@virtual_time
async def test_claims_for_extended_resources_go_with_the_pods_end(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        body = pod(node="a")
        del body["spec"]["resourceClaims"]
        made = await world.cluster.create(PODS, body)
        owner = {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": made["metadata"]["uid"], "controller": True}
        annotations = {"resource.kubernetes.io/extended-resource-claim": "true"}
        metadata = {"name": "x", "namespace": "default", "annotations": annotations, "ownerReferences": [owner]}
        await world.cluster.create(RESOURCE_CLAIMS, {"metadata": metadata, "spec": {}})
        await allocate(world, "x", made)
        status: Object = {"extendedResourceClaimStatus": {"resourceClaimName": "x", "requestMappings": []}}
        await world.cluster.patch(PODS, "p", {"status": status}, "default", subresource="status")
        await world.settle()
        assert world.names(RESOURCE_CLAIMS) == ["x"]
        await world.cluster.patch(PODS, "p", {"status": {"phase": "Succeeded"}}, "default", subresource="status")
        await world.settle()
        assert world.names(RESOURCE_CLAIMS) == []
