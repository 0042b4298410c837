"""The small controllers: budgets, Endpoints, aggregation, quota, the `kubernetes` Service; and the list of all."""

from __future__ import annotations

from collections.abc import Sequence

from tests.unit.controllers.world import World, running, running_status

from twinplane.controlplane.controllers import all as everything
from twinplane.controlplane.controllers.apiserverendpoint.controller import ApiServerEndpoint
from twinplane.controlplane.controllers.clusterroleaggregation.controller import ClusterRoleAggregationController
from twinplane.controlplane.controllers.contract import Context, Controller
from twinplane.controlplane.controllers.disruption.controller import DisruptionController
from twinplane.controlplane.controllers.endpoints.controller import EndpointsController
from twinplane.controlplane.controllers.resourcequota.controller import RESYNC_SECONDS, ResourceQuotaController
from twinplane.controlplane.controllers.scales import Scales
from twinplane.kubeclient.contract import Object, Resource
from twinplane.kubeclient.meta import condition_of
from twinplane.kubeclient.resources import (
    CLUSTER_ROLES,
    DEVICE_CLASSES,
    ENDPOINT_SLICES,
    ENDPOINTS,
    PERSISTENT_VOLUME_CLAIMS,
    POD_DISRUPTION_BUDGETS,
    PODS,
    REPLICA_SETS,
    RESOURCE_CLAIMS,
    RESOURCE_QUOTAS,
    SECRETS,
    SERVICES,
)
from twinplane.testing.virtual_time import VirtualClock, virtual_time

LABELS = {"app": "web"}
WIDGETS = Resource("example.com", "v1", "widgets", "Widget", True)
SERVED = [PODS, SECRETS, WIDGETS, PERSISTENT_VOLUME_CLAIMS, SERVICES, RESOURCE_CLAIMS]


def build(context: Context) -> Sequence[Controller]:
    return [
        DisruptionController(context),
        EndpointsController(context),
        ClusterRoleAggregationController(context),
        ResourceQuotaController(context, lambda: SERVED),
        ApiServerEndpoint(context),
    ]


def pod(clock: VirtualClock, number: int, *, ready: bool = True, owner: Object | None = None) -> Object:
    metadata: Object = {"name": f"web-{number}", "namespace": "default", "labels": LABELS}
    if owner is not None:
        reference = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "controller": True}
        metadata["ownerReferences"] = [{**reference, "uid": owner["metadata"]["uid"]}]
    status = running_status(clock, ready=ready, ip=f"10.0.0.{number}")
    return {"metadata": metadata, "spec": {"nodeName": "n1", "containers": []}, "status": status}


async def owned_pods(world: World, clock: VirtualClock, replicas: int, ready: int) -> None:
    template = {"metadata": {"labels": LABELS}}
    body = {"metadata": {"name": "web"}, "spec": {"replicas": replicas, "selector": {}, "template": template}}
    owner = await world.cluster.create(REPLICA_SETS, body, "default")
    world.cluster.seed(PODS, *(pod(clock, n, ready=n <= ready, owner=owner) for n in range(1, replicas + 1)))


async def budget(world: World, **spec: object) -> None:
    body = {"metadata": {"name": "web"}, "spec": {"selector": {"matchLabels": LABELS}, **spec}}
    await world.cluster.create(POD_DISRUPTION_BUDGETS, body, "default")
    await world.settle()


def budget_status(world: World) -> tuple[int, int, int, int]:
    found = world.one(POD_DISRUPTION_BUDGETS, "web")["status"]
    return found["expectedPods"], found["desiredHealthy"], found["currentHealthy"], found["disruptionsAllowed"]


@virtual_time
async def test_budgets(clock: VirtualClock) -> None:
    cases: list[tuple[Object, tuple[int, int, int, int]]] = [
        ({"minAvailable": 3}, (5, 3, 4, 1)),
        ({"minAvailable": "50%"}, (5, 3, 4, 1)),
        ({"maxUnavailable": 1}, (5, 4, 4, 0)),
        ({"maxUnavailable": "50%"}, (5, 2, 4, 2)),
    ]
    for spec, expected in cases:
        async with running(clock, build) as world:
            await owned_pods(world, clock, 5, ready=4)
            await budget(world, **spec)
            assert budget_status(world) == expected, spec
            condition = condition_of(world.one(POD_DISRUPTION_BUDGETS, "web"), "DisruptionAllowed")
            assert condition is not None
            assert condition["reason"] == ("SufficientPods" if expected[3] else "InsufficientPods")


@virtual_time
async def test_budget_follows_its_pods(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        await owned_pods(world, clock, 3, ready=3)
        await budget(world, minAvailable=2)
        assert budget_status(world)[3] == 1
        status = running_status(clock, ready=False)
        await world.cluster.patch(PODS, "web-1", {"status": status}, "default", subresource="status")
        await world.settle()
        assert budget_status(world)[3] == 0


@virtual_time
async def test_budget_over_anything_with_a_scale(clock: VirtualClock) -> None:
    rollouts = Resource("argoproj.io", "v1alpha1", "rollouts", "Rollout", True)

    def scaled(context: Context) -> Sequence[Controller]:
        return [DisruptionController(context, Scales(context.client, lambda: [rollouts]))]

    async with running(clock, scaled) as world:
        owner = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "name": "web", "uid": "1", "controller": True}
        for number in range(3):
            body = pod(clock, number)
            body["metadata"]["ownerReferences"] = [owner]
            world.cluster.seed(PODS, body)
        await budget(world, maxUnavailable="25%")
        condition = condition_of(world.one(POD_DISRUPTION_BUDGETS, "web"), "DisruptionAllowed")
        assert condition is not None
        assert (condition["reason"], condition["message"]) == (
            "SyncFailed",
            "rollouts.argoproj.io does not implement the scale subresource",
        )
        scale = {"metadata": {"name": "web/scale", "namespace": "default", "uid": "1"}, "spec": {"replicas": 4}}
        world.cluster.seed(rollouts, scale)
        await world.cluster.patch(PODS, "web-0", {"metadata": {"labels": {"touched": "yes"}}}, "default")
        await world.settle()
        assert budget_status(world) == (4, 3, 3, 0)


@virtual_time
async def test_what_is_odd_about_a_budget_is_told(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        await budget(world, maxUnavailable=1)
        assert world.events("NoPods") == ["No matching pods found"]
        world.cluster.seed(PODS, pod(clock, 1))
        await world.settle()
        (message,) = world.events("UnmanagedPods")
        shown = (
            "&LabelSelector{MatchLabels:map[string]string{app: web,},MatchExpressions:[]LabelSelectorRequirement{},}"
        )
        assert message.startswith(f"Pods selected by this PodDisruptionBudget (selector: {shown}) were found to be unm")

        lost = {"metadata": {"uid": "gone"}}
        world.cluster.seed(PODS, pod(clock, 2, owner=lost))
        await world.settle()
        text = 'found no controllers for pod "web-2"'
        condition = condition_of(world.one(POD_DISRUPTION_BUDGETS, "web"), "DisruptionAllowed")
        assert condition is not None
        assert (condition["reason"], condition["message"]) == ("SyncFailed", text)
        assert f"Failed to calculate the number of expected pods: {text}" in world.events(
            "CalculateExpectedPodCountFailed"
        )

        second = {"metadata": {"name": "other"}, "spec": {"selector": {"matchLabels": LABELS}, "minAvailable": 1}}
        await world.cluster.create(POD_DISRUPTION_BUDGETS, second, "default")
        world.cluster.seed(PODS, pod(clock, 3))
        await world.settle()
        (message,) = world.events("MultiplePodDisruptionBudgets")
        assert message.startswith('Pod "default"/"web-3" matches multiple PodDisruptionBudgets.  Chose "')


@virtual_time
async def test_disrupted_pods_are_taken_off_until_they_run_out(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        await owned_pods(world, clock, 3, ready=3)
        await budget(world, minAvailable=1)
        patch = {"status": {"disruptedPods": {"web-1": "2023-11-14T22:13:21Z"}}}
        await world.cluster.patch(POD_DISRUPTION_BUDGETS, "web", patch, "default", subresource="status")
        await world.settle()
        assert budget_status(world)[2:] == (2, 1)
        await world.settle(120)
        assert budget_status(world)[2:] == (3, 2)


@virtual_time
async def test_endpoints(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        world.cluster.seed(PODS, pod(clock, 1), pod(clock, 2, ready=False))
        ports = [{"port": 80, "targetPort": 8080, "protocol": "TCP"}]
        body = {"metadata": {"name": "web"}, "spec": {"selector": LABELS, "clusterIP": "10.1.1.1", "ports": ports}}
        await world.cluster.create(SERVICES, body, "default")
        await world.settle()
        (subset,) = world.one(ENDPOINTS, "web")["subsets"]
        assert [entry["ip"] for entry in subset["addresses"]] == ["10.0.0.1"]
        assert [entry["ip"] for entry in subset["notReadyAddresses"]] == ["10.0.0.2"]
        assert subset["ports"] == [{"port": 8080, "protocol": "TCP"}]
        before = world.cluster.revision
        await world.settle(1000)
        assert world.cluster.revision == before
        await world.cluster.delete(SERVICES, "web", "default")
        await world.settle()
        assert world.names(ENDPOINTS) == []


def rule(name: str) -> Object:
    return {"apiGroups": [""], "resources": [name], "verbs": ["get"]}


@virtual_time
async def test_cluster_roles_are_aggregated(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        selectors = [{"matchLabels": {"to-view": "true"}}]
        view = {"metadata": {"name": "view"}, "aggregationRule": {"clusterRoleSelectors": selectors}, "rules": None}
        await world.cluster.create(CLUSTER_ROLES, view)
        for name in ("b", "a"):
            metadata = {"name": name, "labels": {"to-view": "true"}}
            await world.cluster.create(CLUSTER_ROLES, {"metadata": metadata, "rules": [rule(name), rule("both")]})
        await world.settle()
        assert world.one(CLUSTER_ROLES, "view")["rules"] == [rule("a"), rule("both"), rule("b")]
        await world.cluster.delete(CLUSTER_ROLES, "a")
        await world.settle()
        assert world.one(CLUSTER_ROLES, "view")["rules"] == [rule("b"), rule("both")]


@virtual_time
async def test_quota_is_given_back(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        world.cluster.seed(PODS, pod(clock, 1), pod(clock, 2))
        body = {"metadata": {"name": "q"}, "spec": {"hard": {"pods": "5", "count/secrets": "1"}}}
        await world.cluster.create(RESOURCE_QUOTAS, body, "default")
        await world.settle()
        status = {"hard": {"pods": "5", "count/secrets": "1"}, "used": {"pods": "2", "count/secrets": "0"}}
        assert world.one(RESOURCE_QUOTAS, "q")["status"] == status
        await world.cluster.delete(PODS, "web-1", "default", grace_period_seconds=0)
        await world.settle(2)
        assert world.one(RESOURCE_QUOTAS, "q")["status"]["used"]["pods"] == "1"


@virtual_time
async def test_quota_is_given_back_when_an_object_uses_less(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        scope = {"scopeName": "VolumeAttributesClass", "operator": "In", "values": ["gold"]}
        claims = {"hard": {"persistentvolumeclaims": "1"}, "scopeSelector": {"matchExpressions": [scope]}}
        await world.cluster.create(RESOURCE_QUOTAS, {"metadata": {"name": "gold"}, "spec": claims}, "default")
        ports = {"hard": {"services.nodeports": "1"}}
        await world.cluster.create(RESOURCE_QUOTAS, {"metadata": {"name": "ports"}, "spec": ports}, "default")
        claim = {"metadata": {"name": "data"}, "spec": {"volumeAttributesClassName": "silver"}}
        current = {"currentVolumeAttributesClassName": "gold"}
        await world.cluster.create(PERSISTENT_VOLUME_CLAIMS, claim | {"status": current}, "default")
        service = {
            "metadata": {"name": "web"},
            "spec": {"type": "NodePort", "ports": [{"port": 80, "nodePort": 30000}]},
        }
        await world.cluster.create(SERVICES, service, "default")
        for quota in ("gold", "ports"):
            # What admission charged.
            await world.cluster.patch(
                RESOURCE_QUOTAS, quota, {"status": {"used": {"n": "1"}}}, "default", subresource="status"
            )
        await world.settle(2)
        status = {"status": {"currentVolumeAttributesClassName": "silver"}}
        await world.cluster.patch(PERSISTENT_VOLUME_CLAIMS, "data", status, "default", subresource="status")
        await world.cluster.patch(SERVICES, "web", {"spec": {"type": "ClusterIP"}}, "default")
        await world.settle(2)
        assert world.one(RESOURCE_QUOTAS, "gold")["status"]["used"] == {"persistentvolumeclaims": "0"}
        assert world.one(RESOURCE_QUOTAS, "ports")["status"]["used"] == {"services.nodeports": "0"}


@virtual_time
async def test_what_a_failed_write_was_charged_is_given_back_in_time(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        body = {"metadata": {"name": "q"}, "spec": {"hard": {"pods": "5"}}}
        await world.cluster.create(RESOURCE_QUOTAS, body, "default")
        await world.settle()
        charged = {"status": {"used": {"pods": "1"}}}
        await world.cluster.patch(RESOURCE_QUOTAS, "q", charged, "default", subresource="status")
        await world.settle(RESYNC_SECONDS + 1)
        assert world.one(RESOURCE_QUOTAS, "q")["status"]["used"] == {"pods": "0"}


@virtual_time
async def test_quota_of_custom_resources(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        for number in (1, 2):
            await world.cluster.create(WIDGETS, {"metadata": {"name": f"w{number}"}}, "default")
        hard = {"count/widgets.example.com": "5", "count/later.example.com": "1"}
        await world.cluster.create(RESOURCE_QUOTAS, {"metadata": {"name": "q"}, "spec": {"hard": hard}}, "default")
        await world.settle()
        used = {"count/widgets.example.com": "2", "count/later.example.com": "0"}
        assert world.one(RESOURCE_QUOTAS, "q")["status"] == {"hard": hard, "used": used}
        await world.cluster.delete(WIDGETS, "w1", "default")
        await world.settle(2)
        assert world.one(RESOURCE_QUOTAS, "q")["status"]["used"]["count/widgets.example.com"] == "1"


@virtual_time
async def test_quota_of_an_extended_resource_counts_claims_and_pods(clock: VirtualClock) -> None:
    name = "requests.example.com/gpu"
    async with running(clock, build) as world:
        exactly = {"deviceClassName": "gpu", "allocationMode": "ExactCount", "count": 2}
        claim = {"metadata": {"name": "c"}, "spec": {"devices": {"requests": [{"name": "r", "exactly": exactly}]}}}
        await world.cluster.create(RESOURCE_CLAIMS, claim, "default")
        asking = pod(clock, 1)
        requests = {"requests": {"example.com/gpu": "1"}}
        asking["spec"]["containers"] = [{"name": "c", "resources": requests}]
        world.cluster.seed(PODS, asking)
        world.cluster.seed(
            DEVICE_CLASSES, {"metadata": {"name": "gpu"}, "spec": {"extendedResourceName": "example.com/gpu"}}
        )
        body = {"metadata": {"name": "q"}, "spec": {"hard": {name: "5"}}}
        await world.cluster.create(RESOURCE_QUOTAS, body, "default")
        await world.settle()
        assert world.one(RESOURCE_QUOTAS, "q")["status"]["used"] == {name: "3"}
        await world.cluster.delete(RESOURCE_CLAIMS, "c", "default")
        await world.settle(2)
        assert world.one(RESOURCE_QUOTAS, "q")["status"]["used"] == {name: "1"}


@virtual_time
async def test_the_kubernetes_service(clock: VirtualClock) -> None:
    options = {"advertise-addresses": "127.0.0.1", "advertise-port": "6443", "kubernetes-service-ip": "10.100.0.1"}
    async with running(clock, build, options=options) as world:
        await world.settle()
        service = world.one(SERVICES, "kubernetes")
        assert service["spec"]["clusterIP"] == "10.100.0.1"
        (entry,) = world.cluster.objects(ENDPOINT_SLICES)
        assert entry["endpoints"] == [{"addresses": ["127.0.0.1"], "conditions": {"ready": True}}]
        assert world.one(ENDPOINTS, "kubernetes")["subsets"][0]["addresses"] == [{"ip": "127.0.0.1"}]
        for resource in (SERVICES, ENDPOINTS):
            await world.cluster.delete(resource, "kubernetes", "default")
        await world.settle()
        assert world.names(SERVICES) == world.names(ENDPOINTS) == ["kubernetes"]


@virtual_time
async def test_all_controllers_start_and_idle(clock: VirtualClock) -> None:
    async with running(
        clock, lambda context: everything.controllers(context, types=list, root_certificate="")
    ) as world:
        await world.settle(10)
        before = world.cluster.revision
        await world.settle(10_000)
        assert world.cluster.revision == before


@virtual_time
async def test_controllers_have_distinct_names(clock: VirtualClock) -> None:
    world = World(clock)
    names = [entry.name for entry in everything.controllers(world.context, types=list, root_certificate="")]
    assert len(names) == len(set(names))
