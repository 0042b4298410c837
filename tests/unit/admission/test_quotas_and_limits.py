"""ResourceQuota under concurrency, with scopes and messages; LimitRanger defaults and bounds."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.unit.admission.requests import request, send
from tests.unit.auth.fakes import Cluster, FixedClock, named
from twinplane.controlplane.admission.limit_ranger import LimitRanger
from twinplane.controlplane.admission.pod_resources import total
from twinplane.controlplane.admission.quota_usage import in_scope, usage
from twinplane.controlplane.admission.resource_quota import ResourceQuota
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.resources import (
    DEPLOYMENTS,
    DEVICE_CLASSES,
    LIMIT_RANGES,
    PERSISTENT_VOLUME_CLAIMS,
    PODS,
    RESOURCE_CLAIMS,
    RESOURCE_QUOTAS,
    SERVICES,
)


def container(requests: Object | None = None, limits: Object | None = None, **more: Any) -> Object:
    return {"name": "c", "resources": {"requests": requests or {}, "limits": limits or {}}, **more}


def pod(name: str = "web", *containers: Object, **spec: Any) -> Object:
    return named(name, "shop", spec={"containers": list(containers) or [container()], **spec})


def quota(hard: Object, used: Object | None = None, name: str = "q", **spec: Any) -> Object:
    status = {"hard": hard, "used": used} if used is not None else {}
    return named(name, "shop", spec={"hard": hard, **spec}, status=status)


class World:
    def __init__(self, *quotas: Object) -> None:
        self.cluster = Cluster(*((RESOURCE_QUOTAS, each) for each in quotas))
        self.clock = FixedClock()
        self.plugin = ResourceQuota(self.cluster.reader, self.cluster, self.clock)

    async def send(self, *arguments: Any, **options: Any) -> None:
        await send(request(*arguments, **options), self.plugin)

    def used(self, name: str = "q") -> Object:
        found = self.cluster.reader.get(RESOURCE_QUOTAS, name, "shop")
        assert found is not None
        used: Object = found["status"]["used"]
        return used


async def refusal(coroutine: Any) -> str:
    with pytest.raises(ApiError) as caught:
        await coroutine
    assert caught.value.code == 403
    return caught.value.message


async def test_a_pod_is_charged_and_the_next_one_refused() -> None:
    world = World(quota({"pods": "3", "requests.cpu": "1"}, {"pods": "2", "requests.cpu": "500m"}))
    await world.send(PODS, pod("a", container({"cpu": "250m"})))
    assert world.used() == {"pods": "3", "requests.cpu": "750m"}
    world.clock.time += 60
    for number in range(3):
        world.cluster.put(PODS, pod(f"old-{number}", container({"cpu": "250m"})))
    assert await refusal(world.send(PODS, pod("b", container({"cpu": "500m"})))) == (
        'pods "b" is forbidden: exceeded quota: q, requested: pods=1,requests.cpu=500m, '
        "used: pods=3,requests.cpu=750m, limited: pods=3,requests.cpu=1"
    )


async def test_concurrent_creates_take_exactly_what_there_is() -> None:
    world = World(quota({"pods": "7"}, {"pods": "0"}))
    results = await asyncio.gather(*(world.send(PODS, pod(f"p{n}")) for n in range(9)), return_exceptions=True)
    assert sum(result is None for result in results) == 7
    assert world.used() == {"pods": "7"}


async def test_usage_is_counted_when_the_status_knows_nothing() -> None:
    world = World(quota({"pods": "2"}))
    world.cluster.put(PODS, pod("a"))
    done = pod("done") | {"status": {"phase": "Succeeded"}}
    world.cluster.put(PODS, done)
    await world.send(PODS, pod("b"))
    assert world.used() == {"pods": "2"}


async def test_what_was_deleted_is_free_again() -> None:
    world = World(quota({"pods": "2"}, {"pods": "2"}))
    await world.send(PODS, pod("a"))
    assert world.used() == {"pods": "1"}


async def test_no_quota_is_charged_for_what_another_one_refuses() -> None:
    first = quota({"pods": "5"}, {"pods": "0"}, "a")
    world = World(first, quota({"requests.cpu": "1"}, {"requests.cpu": "0"}, "b"))
    assert await refusal(world.send(PODS, pod("web"))) == (
        'pods "web" is forbidden: failed quota: b: must specify requests.cpu for: c'
    )
    too_much = pod("web", container({"cpu": "2"}))
    assert "exceeded quota: b, requested: requests.cpu=2" in await refusal(world.send(PODS, too_much))
    assert world.used("a") == {"pods": "0"}


async def test_a_charge_and_its_object_count_once() -> None:
    world = World(quota({"pods": "1"}, {"pods": "0"}))
    await world.send(PODS, pod("a"))
    world.cluster.put(PODS, pod("a"))
    assert "used: pods=1, limited: pods=1" in await refusal(world.send(PODS, pod("b")))


async def test_a_dry_run_charges_nothing() -> None:
    world = World(quota({"pods": "1"}, {"pods": "0"}))
    await world.send(PODS, pod("a"), dry_run=True)
    assert world.used() == {"pods": "0"}


async def test_computing_quotas_make_requests_mandatory() -> None:
    world = World(quota({"requests.cpu": "1", "limits.memory": "1Gi"}))
    message = await refusal(world.send(PODS, pod("a", container({"cpu": "1"}))))
    assert message.endswith("failed quota: q: must specify limits.memory for: c")


async def test_scopes() -> None:
    best = quota({"pods": "0"}, {"pods": "0"}, "best", scopes=["BestEffort"])
    urgent = {"matchExpressions": [{"scopeName": "PriorityClass", "operator": "In", "values": ["high"]}]}
    world = World(best, quota({"pods": "0"}, {"pods": "0"}, "urgent", scopeSelector=urgent))
    await world.send(PODS, pod("a", container({"cpu": "1"})))
    assert "exceeded quota: best" in await refusal(world.send(PODS, pod("b")))
    high = pod("c", container({"cpu": "1"}), priorityClassName="high")
    assert "exceeded quota: urgent" in await refusal(world.send(PODS, high))
    await world.send(SERVICES, named("s", "shop", spec={}))


def classed(spec: str, current: str = "", target: str = "") -> Object:
    status: Object = {"currentVolumeAttributesClassName": current} if current else {}
    if target:
        status["modifyVolumeStatus"] = {"targetVolumeAttributesClassName": target, "status": "InProgress"}
    return named("data", "shop", spec={"volumeAttributesClassName": spec} if spec else {}, status=status)


@pytest.mark.parametrize(
    ("operator", "values", "claim", "selected"),
    [
        ("In", ["gold"], classed("silver", "gold"), True),
        ("In", ["gold"], classed("silver", "bronze", "gold"), True),
        ("In", ["gold"], classed("silver", "silver"), False),
        ("NotIn", ["gold"], classed("silver", "gold"), True),
        ("NotIn", ["gold"], classed("gold", "gold"), False),
        ("NotIn", ["gold"], classed(""), True),
        ("Exists", [], classed("", "gold"), True),
        ("Exists", [], classed(""), False),
        ("DoesNotExist", [], classed(""), True),
    ],
)
def test_a_claim_counts_for_every_class_it_names(
    operator: str, values: list[str], claim: Object, selected: bool
) -> None:
    scope = {"scopeName": "VolumeAttributesClass", "operator": operator, "values": values}
    limit = quota({"persistentvolumeclaims": "1"}, scopeSelector={"matchExpressions": [scope]})
    assert in_scope(limit, PERSISTENT_VOLUME_CLAIMS, claim) == selected


async def test_other_types() -> None:
    hard = {"services.loadbalancers": "1", "requests.storage": "10Gi", "count/deployments.apps": "1"}
    world = World(
        quota(hard, {"services.loadbalancers": "0", "requests.storage": "8Gi", "count/deployments.apps": "1"})
    )
    balancer = named("s", "shop", spec={"type": "LoadBalancer", "ports": [{"port": 80}]})
    await world.send(SERVICES, balancer)
    await world.send(SERVICES, named("t", "shop", spec={"type": "ClusterIP"}))
    claim = named("c", "shop", spec={"resources": {"requests": {"storage": "2Gi"}}})
    await world.send(PERSISTENT_VOLUME_CLAIMS, claim)
    assert world.used()["requests.storage"] == "10Gi"
    world.cluster.put(DEPLOYMENTS, named("d", "shop"))
    world.clock.time += 60
    assert "count/deployments.apps=1" in await refusal(world.send(DEPLOYMENTS, named("e", "shop")))


async def test_devices_count_by_their_class() -> None:
    def claim(name: str, *requests: Object) -> Object:
        return named(name, "shop", spec={"devices": {"requests": list(requests)}})

    gpus = {"name": "a", "exactly": {"deviceClassName": "gpu", "allocationMode": "ExactCount", "count": 2}}
    every = {"name": "b", "exactly": {"deviceClassName": "nic", "allocationMode": "All"}}
    subrequests = [{"name": str(count), "deviceClassName": "gpu", "count": count} for count in (3, 1)]
    devices = "deviceclass.resource.k8s.io/devices"
    counted = usage(
        RESOURCE_CLAIMS, claim("c", gpus, every, {"name": "c", "firstAvailable": subrequests}), Cluster().reader
    )
    assert counted == {"count/resourceclaims.resource.k8s.io": 1, f"gpu.{devices}": 5, f"nic.{devices}": 32}
    world = World(quota({f"gpu.{devices}": "3"}, {f"gpu.{devices}": "0"}))
    await world.send(RESOURCE_CLAIMS, claim("c", gpus))
    assert world.used()[f"gpu.{devices}"] == "2"
    assert "exceeded quota: q" in await refusal(world.send(RESOURCE_CLAIMS, claim("d", gpus)))


GPU = "requests.example.com/gpu"
IMPLICIT = "requests.deviceclass.resource.kubernetes.io/gpu"


def gpu_claim(name: str = "c", count: int = 3, owner: str = "", made: str = "2026-01-01T00:00:00Z") -> Object:
    gpus = {"name": "a", "exactly": {"deviceClassName": "gpu", "allocationMode": "ExactCount", "count": count}}
    body = named(name, "shop", spec={"devices": {"requests": [gpus]}})
    body["metadata"]["creationTimestamp"] = made
    if owner:
        body["metadata"]["annotations"] = {"resource.kubernetes.io/extended-resource-claim": "true"}
        reference = {"apiVersion": "v1", "kind": "Pod", "name": "web", "uid": owner, "controller": True}
        body["metadata"]["ownerReferences"] = [reference]
    return body


def gpu_cluster(*more: Any, resource: str = "example.com/gpu", **status: Any) -> Cluster:
    spec = {"extendedResourceName": resource} if resource else {}
    body = pod("web", container({"example.com/gpu": "2"}))
    body["metadata"]["uid"] = "u"
    return Cluster((DEVICE_CLASSES, named("gpu", spec=spec)), (PODS, {**body, "status": status}), *more)


def told(name: str) -> dict[str, Any]:
    return {"extendedResourceClaimStatus": {"resourceClaimName": name, "requestMappings": []}}


OLDER = (RESOURCE_CLAIMS, gpu_claim("b", owner="u", made="2025-01-01T00:00:00Z"))
NEWER = (RESOURCE_CLAIMS, gpu_claim("d", owner="u"))


@pytest.mark.parametrize(
    ("cluster", "claim", "counted"),
    [
        (gpu_cluster(), gpu_claim(), {GPU: 3, IMPLICIT: 3}),
        (gpu_cluster(resource=""), gpu_claim(), {IMPLICIT: 3}),
        (Cluster(), gpu_claim(), {}),
        (gpu_cluster(), gpu_claim(owner="u"), {GPU: 1, IMPLICIT: 3}),
        (gpu_cluster(), gpu_claim(owner="u", count=2), {IMPLICIT: 2}),
        (gpu_cluster(**told("c")), gpu_claim(owner="u"), {GPU: 1, IMPLICIT: 3}),
        (gpu_cluster(**told("other")), gpu_claim(owner="u"), {GPU: 3, IMPLICIT: 3}),
        (gpu_cluster(phase="Succeeded"), gpu_claim(owner="u"), {GPU: 3, IMPLICIT: 3}),
        (gpu_cluster(), gpu_claim(owner="another"), {GPU: 3, IMPLICIT: 3}),
        (gpu_cluster(NEWER), gpu_claim(owner="u"), {GPU: 1, IMPLICIT: 3}),
        (gpu_cluster(OLDER), gpu_claim(owner="u"), {GPU: 3, IMPLICIT: 3}),
    ],
)
def test_claims_count_for_what_their_classes_stand_for(cluster: Cluster, claim: Object, counted: Object) -> None:
    found = usage(RESOURCE_CLAIMS, claim, cluster.reader)
    assert {name: value for name, value in found.items() if name.startswith("requests.")} == counted


async def test_pods_and_claims_share_a_quota_of_an_extended_resource() -> None:
    world = World(quota({GPU: "4"}, {GPU: "0"}))
    world.cluster.put(DEVICE_CLASSES, named("gpu", spec={"extendedResourceName": "example.com/gpu"}))
    asking = pod("web", container({"example.com/gpu": "2"}))
    await world.send(PODS, asking)
    made = world.cluster.put(PODS, asking)
    await world.send(RESOURCE_CLAIMS, gpu_claim("pods", 2, owner=made["metadata"]["uid"]))
    assert world.used() == {GPU: "2"}
    world.clock.time += 60
    message = await refusal(world.send(RESOURCE_CLAIMS, gpu_claim("free", 3)))
    assert f"exceeded quota: q, requested: {GPU}=3, used: {GPU}=2, limited: {GPU}=4" in message
    await world.send(RESOURCE_CLAIMS, gpu_claim("free", 2))
    assert world.used() == {GPU: "4"}


async def test_an_update_is_charged_for_its_growth() -> None:
    world = World(quota({"services.loadbalancers": "1"}, {"services.loadbalancers": "0"}))
    old = named("s", "shop", spec={"type": "ClusterIP"})
    new = named("s", "shop", spec={"type": "LoadBalancer"})
    await world.send(SERVICES, new, old=old)
    assert world.used() == {"services.loadbalancers": "1"}
    await world.send(SERVICES, new, old=new)
    assert world.used() == {"services.loadbalancers": "1"}


def test_what_a_pod_asks_for() -> None:
    sidecar = container({"cpu": "1"}, restartPolicy="Always")
    spec = {
        "initContainers": [container({"cpu": "3"}), sidecar, container({"cpu": "3"})],
        "containers": [container({"cpu": "1"}), container({"cpu": "500m", "memory": "1Gi"})],
        "overhead": {"cpu": "100m"},
    }
    assert total(spec, "requests") == {
        "cpu": 4 + total({"overhead": {"cpu": "100m"}}, "requests")["cpu"],
        "memory": 1 << 30,
    }
    assert usage(PODS, {"spec": spec}, Cluster().reader)["count/pods"] == 1


def ranger(*items: Object) -> LimitRanger:
    return LimitRanger(Cluster((LIMIT_RANGES, named("l", "shop", spec={"limits": list(items)}))).reader)


async def test_containers_get_the_defaults_they_lack() -> None:
    item = {"type": "Container", "default": {"cpu": "1", "memory": "1Gi"}, "defaultRequest": {"cpu": "100m"}}
    made = await send(request(PODS, pod("a", container({"cpu": "200m"}, {"memory": "2Gi"}))), ranger(item))
    assert made["spec"]["containers"][0]["resources"] == {
        "requests": {"cpu": "200m"},
        "limits": {"cpu": "1", "memory": "2Gi"},
    }
    assert made["metadata"]["annotations"]["kubernetes.io/limit-ranger"] == (
        "LimitRanger plugin set: cpu limit for container c"
    )


@pytest.mark.parametrize(
    ("item", "requests", "limits", "why"),
    [
        ({"min": {"cpu": "1"}}, {}, {}, "minimum cpu usage per Container is 1.  No request is specified"),
        ({"min": {"cpu": "1"}}, {"cpu": "500m"}, {}, "minimum cpu usage per Container is 1, but request is 500m"),
        ({"max": {"cpu": "1"}}, {}, {}, "maximum cpu usage per Container is 1.  No limit is specified"),
        ({"max": {"cpu": "1"}}, {}, {"cpu": "2"}, "maximum cpu usage per Container is 1, but limit is 2"),
        (
            {"maxLimitRequestRatio": {"cpu": "2"}},
            {"cpu": "1"},
            {"cpu": "3"},
            "cpu max limit to request ratio per Container is 2, but provided ratio is 3.000000",
        ),
        ({"maxLimitRequestRatio": {"cpu": "2"}}, {}, {}, "but no request is specified or request is 0"),
    ],
)
async def test_bounds(item: Object, requests: Object, limits: Object, why: str) -> None:
    plugin = ranger({"type": "Container"} | item)
    message = await refusal(send(request(PODS, pod("a", container(requests, limits))), plugin))
    assert message == f'pods "a" is forbidden: {why}' or message.endswith(why)


async def test_bounds_of_pods_and_claims() -> None:
    plugin = ranger(
        {"type": "Pod", "max": {"memory": "1Gi"}}, {"type": "PersistentVolumeClaim", "max": {"storage": "1Gi"}}
    )
    half = container({}, {"memory": "600Mi"})
    assert "maximum memory usage per Pod is 1Gi, but limit is" in await refusal(
        send(request(PODS, pod("a", half, half)), plugin)
    )
    claim = named("c", "shop", spec={"resources": {"requests": {"storage": "2Gi"}}})
    assert "maximum storage usage per PersistentVolumeClaim is 1Gi, but request is" in await refusal(
        send(request(PERSISTENT_VOLUME_CLAIMS, claim), plugin)
    )
