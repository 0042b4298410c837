"""Cases of the Kubernetes documentation on horizontal pod autoscaling, in virtual time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.controllers.world import World, pod_template, running

from twinplane.clock import rfc3339
from twinplane.controlplane.controllers.contract import Context, Controller
from twinplane.controlplane.controllers.horizontalpodautoscaler import behavior, replicas
from twinplane.controlplane.controllers.horizontalpodautoscaler.behavior import Event, History, Size
from twinplane.controlplane.controllers.horizontalpodautoscaler.controller import HorizontalPodAutoscalerController
from twinplane.controlplane.controllers.horizontalpodautoscaler.metrics import (
    MetricsApi,
    MetricsError,
    Sample,
    Samples,
    go_seconds,
)
from twinplane.controlplane.controllers.horizontalpodautoscaler.replicas import Situation, Tolerance
from twinplane.controlplane.controllers.replicaset.controller import ReplicaSetController
from twinplane.controlplane.controllers.replicaset.kinds import REPLICA_SET_KIND
from twinplane.controlplane.controllers.scales import Scales
from twinplane.kubeclient.contract import Object, Resource
from twinplane.kubeclient.errors import ApiError, not_found
from twinplane.kubeclient.meta import condition_of, is_deleting, name_of
from twinplane.kubeclient.resources import HORIZONTAL_POD_AUTOSCALERS, PODS, REPLICA_SETS
from twinplane.testing.memory_cluster import MemoryCluster
from twinplane.testing.virtual_time import EPOCH, VirtualClock, virtual_time

LABELS = {"app": "web"}


class Meter:
    """A `MetricsReader` that shows `cpu` (thousandths of each pod) for the pods that are there."""

    def __init__(self, cluster: MemoryCluster) -> None:
        self._cluster = cluster
        self.cpu: int | None = None
        self.load: int | None = None
        """Shared evenly by the pods, in the place of `cpu`."""
        self.queue: int | None = None

    async def resource(self, namespace: str, selector: str, resource: str, container: str = "") -> Samples:
        if self.cpu is None and self.load is None:
            raise MetricsError("no metrics returned from resource metrics API")
        pods = [pod for pod in self._cluster.objects(PODS, namespace) if not is_deleting(pod)]
        each = self.load // max(len(pods), 1) if self.load is not None else self.cpu or 0
        return {name_of(pod): Sample(each, EPOCH + 1e6) for pod in pods}

    async def pods(self, namespace: str, selector: str, metric: Mapping[str, Any]) -> Samples:
        return await self.resource(namespace, selector, metric["name"])

    async def object(self, namespace: str, described: Mapping[str, Any], metric: Mapping[str, Any]) -> int:
        return (await self.external(namespace, metric))[0]

    async def external(self, namespace: str, metric: Mapping[str, Any]) -> list[int]:
        if self.queue is None:
            raise MetricsError("no metrics returned from external metrics API")
        return [self.queue]


class ReplicaSetScales(Scales):
    """The scale subresource of ReplicaSets, which the cluster of these tests has not."""

    def __init__(self, cluster: MemoryCluster) -> None:
        super().__init__(cluster, lambda: [REPLICA_SETS])
        self._cluster = cluster

    async def get(self, api_version: str, kind: str, namespace: str, name: str) -> tuple[Resource, Object]:
        resource = self.resource_of(api_version, kind)
        body = self._cluster.object(resource, name, namespace)
        if body is None:
            raise not_found("apps", "replicasets", name)
        status = {"replicas": (body.get("status") or {}).get("replicas", 0), "selector": "app=web"}
        metadata = {"name": name, "namespace": namespace}
        return resource, {"metadata": metadata, "spec": {"replicas": body["spec"]["replicas"]}, "status": status}

    async def set(self, resource: Resource, scale: Object, replicas: int) -> None:
        patch = {"spec": {"replicas": replicas}}
        await self._cluster.patch(resource, name_of(scale), patch, scale["metadata"]["namespace"])


METERS: dict[int, Meter] = {}


def build(context: Context) -> Sequence[Controller]:
    assert isinstance(context.client, MemoryCluster)
    meter = METERS[id(context.client)] = Meter(context.client)
    scales = ReplicaSetScales(context.client)
    return [
        ReplicaSetController(context, REPLICA_SET_KIND),
        HorizontalPodAutoscalerController(context, scales, meter),
    ]


def meter_of(world: World) -> Meter:
    return METERS[id(world.cluster)]


CPU_HALF = {
    "type": "Resource",
    "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}},
}


def autoscaler(*metrics: Object, **spec: Any) -> Object:
    target = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web"}
    defaults = {"minReplicas": 1, "maxReplicas": 10, "scaleTargetRef": target, "metrics": list(metrics or [CPU_HALF])}
    return {"metadata": {"name": "web", "namespace": "default"}, "spec": {**defaults, **spec}}


def replica_set(count: int, cpu: str = "100m") -> Object:
    template = pod_template(LABELS)
    template["spec"]["containers"][0]["resources"] = {"requests": {"cpu": cpu}}
    spec = {"replicas": count, "selector": {"matchLabels": LABELS}, "template": template}
    return {"metadata": {"name": "web", "namespace": "default"}, "spec": spec}


async def grown(world: World, clock: VirtualClock, body: Object, count: int = 2, cpu: str = "100m") -> None:
    """The pods ran for ten minutes before the autoscaler came."""
    await world.cluster.create(REPLICA_SETS, replica_set(count, cpu))
    await world.settle()
    await started(world)
    await world.settle(600)
    await world.cluster.create(HORIZONTAL_POD_AUTOSCALERS, body)
    await world.settle()


async def started(world: World) -> None:
    for pod in world.pods():
        patch = {"status": {"startTime": rfc3339(world.clock.now())}}
        await world.cluster.patch(PODS, name_of(pod), patch, "default", subresource="status")


def size(world: World) -> int:
    return int(world.one(REPLICA_SETS, "web")["spec"]["replicas"])


def condition(world: World, type: str) -> tuple[str, str, str]:
    found = condition_of(world.one(HORIZONTAL_POD_AUTOSCALERS, "web"), type)
    assert found is not None
    return found["status"], found["reason"], found["message"]


@virtual_time
async def test_scales_up_and_down_again(clock: VirtualClock) -> None:
    def busy(world: World) -> None:
        meter_of(world).cpu = 50

    async with running(clock, build) as world:
        busy(world)
        await grown(world, clock, autoscaler())
        assert size(world) == 2
        assert condition(world, "AbleToScale")[:2] == ("True", "ReadyForNewScale")
        meter_of(world).cpu = 90
        await world.settle(15)
        assert size(world) == 4
        assert world.events("SuccessfulRescale") == [
            "New size: 4; reason: cpu resource utilization (percentage of request) above target"
        ]
        text = (
            "the HPA was able to successfully calculate a replica count from "
            "cpu resource utilization (percentage of request)"
        )
        assert condition(world, "ScalingActive") == ("True", "ValidMetricFound", text)
        status = world.one(HORIZONTAL_POD_AUTOSCALERS, "web")["status"]
        assert (status["currentReplicas"], status["desiredReplicas"]) == (2, 4)
        current = {"averageUtilization": 90, "averageValue": "90m"}
        assert status["currentMetrics"] == [{"type": "Resource", "resource": {"name": "cpu", "current": current}}]
        await started(world)
        meter_of(world).cpu = 20
        await world.settle(250)
        assert size(world) == 4, "five minutes of stabilization"
        assert condition(world, "AbleToScale")[1] == "ScaleDownStabilized"
        await world.settle(400)
        assert size(world) == 1


@virtual_time
async def test_bounds(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        await grown(world, clock, autoscaler(minReplicas=3))
        assert size(world) == 3
        assert world.events("SuccessfulRescale") == [
            "New size: 3; reason: Current number of replicas below Spec.MinReplicas"
        ]
        patch = {"spec": {"minReplicas": 1, "maxReplicas": 2}}
        await world.cluster.patch(HORIZONTAL_POD_AUTOSCALERS, "web", patch, "default")
        await world.settle(20)
        assert size(world) == 2
        await world.cluster.patch(REPLICA_SETS, "web", {"spec": {"replicas": 0}}, "default")
        await world.settle(20)
        assert size(world) == 0
        assert condition(world, "ScalingActive")[:2] == ("False", "ScalingDisabled")


@virtual_time
async def test_without_metrics(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        await grown(world, clock, autoscaler())
        reason = "failed to get cpu utilization: unable to get metrics for resource cpu: "
        reason += "no metrics returned from resource metrics API"
        assert condition(world, "ScalingActive") == (
            "False",
            "FailedGetResourceMetric",
            f"the HPA was unable to compute the replica count: {reason}",
        )
        assert world.events("FailedGetResourceMetric")[0] == reason
        assert world.events("FailedComputeMetricsReplicas")[0] == (
            f"invalid metrics (1 invalid out of 1), first error is: failed to get cpu resource metric value: {reason}"
        )


@virtual_time
async def test_without_target(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        await world.cluster.create(HORIZONTAL_POD_AUTOSCALERS, autoscaler())
        await world.settle()
        assert condition(world, "AbleToScale") == (
            "False",
            "FailedGetScale",
            'the HPA controller was unable to get the target\'s current scale: replicasets.apps "web" not found',
        )


@virtual_time
async def test_external_metrics_and_a_silent_one(clock: VirtualClock) -> None:
    queue = {"metric": {"name": "queue"}, "target": {"type": "AverageValue", "averageValue": "10"}}
    async with running(clock, build) as world:
        await grown(world, clock, autoscaler(CPU_HALF, {"type": "External", "external": queue}))
        meter_of(world).queue = 30_000
        await world.settle(15)
        assert size(world) == 3, "one metric is enough to grow"
        meter_of(world).queue = 5_000
        await world.settle(600)
        assert size(world) == 3, "but not to shrink"
        assert condition(world, "ScalingActive")[1] == "FailedGetResourceMetric"


@virtual_time
async def test_behavior_limits_both_directions(clock: VirtualClock) -> None:
    rules = {
        "scaleUp": {"policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}]},
        "scaleDown": {"selectPolicy": "Disabled"},
    }
    async with running(clock, build) as world:
        meter_of(world).cpu = 100
        await grown(world, clock, autoscaler(behavior=rules))
        assert size(world) == 3
        assert condition(world, "ScalingLimited")[:2] == ("True", "ScaleUpLimit")
        await started(world)
        await world.settle(45)
        assert size(world) == 3
        await world.settle(20)
        assert size(world) == 4
        meter_of(world).cpu = 1
        await world.settle(900)
        assert size(world) == 4
        assert condition(world, "ScalingLimited")[:2] == ("True", "ScaleDownLimit")


@virtual_time
async def test_two_autoscalers_for_the_same_pods(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        meter_of(world).cpu = 50
        await grown(world, clock, autoscaler())
        other = autoscaler()
        other["metadata"]["name"] = "other"
        await world.cluster.create(HORIZONTAL_POD_AUTOSCALERS, other)
        await world.settle(20)
        assert condition(world, "ScalingActive") == (
            "False",
            "AmbiguousSelector",
            "pods by selector app=web are controlled by multiple HPAs: [default/other default/web]",
        )


# -- the arithmetic ----------------------------------------------------------------------------------------------


def pods(*phases: str, ready: bool = True, started_at: float = EPOCH - 3600) -> list[Object]:
    condition = {
        "type": "Ready",
        "status": "True" if ready else "False",
        "lastTransitionTime": rfc3339(started_at + 5),
    }
    container = {"name": "app", "resources": {"requests": {"cpu": "1"}}}
    return [
        {
            "metadata": {"name": f"p{number}"},
            "spec": {"containers": [container]},
            "status": {"phase": phase, "conditions": [condition], "startTime": rfc3339(started_at)},
        }
        for number, phase in enumerate(phases)
    ]


def situation(bodies: Sequence[Object], *, tolerance: float = 0.1) -> Situation:
    return Situation("default", "app=web", len(bodies), len(bodies), bodies, Tolerance(tolerance, tolerance), EPOCH)


def samples(*values: int) -> Samples:
    return {f"p{number}": Sample(value, EPOCH) for number, value in enumerate(values)}


@pytest.mark.parametrize(
    ("phases", "values", "target", "expected"),
    [
        # Of upstream's replica calculator: all ready; missing samples; pending pods.
        (["Running"] * 3, [300, 500, 700], 30, 5),
        (["Running"] * 3, [1010, 1030, 1020], 100, 3),
        (["Running"] * 5, [100, 300, 500, 250, 250], 50, 3),
        (["Running"] * 4, [1000], 50, 4),
        (["Running"] * 2, [1000], 100, 2),
        (["Running", "Running", "Pending"], [300, 500, 700], 30, 3),
        (["Running", "Pending", "Pending"], [900, 0, 0], 30, 3),
    ],
)
def test_utilization(phases: list[str], values: list[int], target: int, expected: int) -> None:
    found = replicas.from_utilization(situation(pods(*phases)), target, samples(*values), "cpu")
    assert found.replicas == expected


def test_cpu_of_starting_pods_is_ignored() -> None:
    young = pods("Running", "Running", ready=False, started_at=EPOCH - 60)
    with pytest.raises(MetricsError, match=r"did not receive metrics for targeted pods \(pods might be unready\)"):
        replicas.from_utilization(situation(young), 50, samples(900, 900), "cpu")
    old = pods("Running", "Running", ready=False, started_at=EPOCH - 3600)
    for pod in old:
        pod["status"]["conditions"][0]["lastTransitionTime"] = rfc3339(EPOCH - 100)
    assert replicas.from_utilization(situation(old), 50, samples(1000, 1000), "cpu").replicas == 4


def test_requests_must_be_there() -> None:
    bodies = pods("Running")
    bodies[0]["spec"]["containers"][0]["resources"] = {}
    with pytest.raises(MetricsError, match="missing request for cpu in container app of Pod p0"):
        replicas.from_utilization(situation(bodies), 50, samples(900), "cpu")


values_of_pods = st.lists(st.integers(0, 4000), min_size=1, max_size=30)


@given(values_of_pods, st.integers(1, 200))
def test_within_tolerance_nothing_changes(values: list[int], target: int) -> None:
    bodies = pods(*["Running"] * len(values))
    found = replicas.from_utilization(situation(bodies), target, samples(*values), "cpu")
    assert found.utilization is not None
    ratio = found.utilization / target
    if 0.9 <= ratio <= 1.1:
        assert found.replicas == len(values)
    elif ratio > 1.1:
        assert found.replicas > len(values)
    else:
        assert found.replicas <= len(values)


@given(values_of_pods, st.integers(1, 4000), st.integers(0, 10), st.integers(0, 10))
def test_what_is_unknown_never_turns_the_direction(values: list[int], target: int, missing: int, pending: int) -> None:
    bodies = pods(*["Running"] * (len(values) + missing), *["Pending"] * pending)
    known = replicas.from_average(situation(bodies[: len(values)]), target, samples(*values), "memory")
    found = replicas.from_average(situation(bodies), target, samples(*values), "memory")
    if known.value >= target:
        assert found.replicas >= len(bodies) or known.value == target or not (missing or pending)
    if known.value < target:
        assert found.replicas <= len(bodies)


@given(
    st.lists(st.integers(0, 60), min_size=1, max_size=40),
    st.integers(1, 20),
    st.integers(20, 60),
    st.sampled_from([None, {"scaleUp": {}, "scaleDown": {}}, {"scaleDown": {"stabilizationWindowSeconds": 0}}]),
)
def test_decisions_stay_within_their_bounds(
    proposals: list[int], minimum: int, maximum: int, rules: Object | None
) -> None:
    history = History([Event(0.0, minimum)])
    current = minimum
    for number, proposed in enumerate(proposals):
        now = 15.0 * number
        spec = {"behavior": rules} if rules else {}
        found = behavior.decided(spec, history, Size(current, minimum, maximum, now), proposed)
        assert minimum <= found.replicas <= maximum
        assert found.replicas <= max(2 * current, current + 4)
        if rules and found.replicas > current:
            assert proposed > current
        if found.replicas != current:
            history.note_scaling(current, found.replicas, now)
        current = found.replicas
    assert len(history.recommendations) <= 22


def test_scale_up_stabilization_takes_the_lowest() -> None:
    spec = {"behavior": {"scaleUp": {"stabilizationWindowSeconds": 60}}}
    history = History([Event(0.0, 3)])
    found = behavior.decided(spec, history, Size(3, 1, 20, 30.0), 9)
    assert (found.replicas, found.able.reason) == (3, "ScaleUpStabilized")
    assert behavior.decided(spec, history, Size(3, 1, 20, 70.0), 9).replicas == 9 - 2


def test_tolerance_of_one_autoscaler() -> None:
    assert behavior.tolerance_of({"behavior": {"scaleUp": {"tolerance": "50m"}}}) == Tolerance(0.1, 0.05)


# -- the metrics APIs --------------------------------------------------------------------------------------------


class Answers(MemoryCluster):
    """Answers GET with what is prepared for the path."""

    def __init__(self, answers: Mapping[str, Object]) -> None:
        super().__init__()
        self._answers = answers
        self.queries: list[dict[str, str]] = []

    async def get(
        self, resource: Resource, name: str, namespace: str | None = None, *, query: Mapping[str, str] | None = None
    ) -> Object:
        path = resource.path(namespace, name)
        self.queries.append(dict(query or {}))
        if path not in self._answers:
            raise ApiError("NotFound", "the server could not find the requested resource")
        return self._answers[path]


async def test_the_metrics_apis() -> None:
    usage = [{"name": "app", "usage": {"cpu": "250m"}}, {"name": "proxy", "usage": {"cpu": "50m"}}]
    item = {"metadata": {"name": "p0"}, "timestamp": rfc3339(EPOCH), "window": "1m30s", "containers": usage}
    pods = "/apis/metrics.k8s.io/v1beta1/namespaces/ns/pods"
    custom = "/apis/custom.metrics.k8s.io/v1beta2/namespaces/ns"
    external = "/apis/external.metrics.k8s.io/v1beta1/namespaces/ns/queue"
    of_p0 = {"describedObject": {"kind": "Pod", "name": "p0"}, "value": "3", "timestamp": rfc3339(EPOCH)}
    values = [{"metricLabels": {"name": "a"}, "value": "5"}, {"metricLabels": {"name": "b"}, "value": "7500m"}]
    client = Answers(
        {
            pods: {"items": [item]},
            f"{custom}/pods/*/rps": {"items": [of_p0]},
            f"{custom}/replicasets.apps/web/rps": {"items": [{"value": "11"}]},
            external: {"items": values},
        }
    )
    api = MetricsApi(client, Scales(client, lambda: [REPLICA_SETS]).resource_of)
    assert await api.resource("ns", "app=web", "cpu") == {"p0": Sample(300, EPOCH, 90.0)}
    assert await api.resource("ns", "app=web", "cpu", "app") == {"p0": Sample(250, EPOCH, 90.0)}
    assert client.queries[-1] == {"labelSelector": "app=web"}
    measured = {"name": "rps", "selector": {"matchLabels": {"verb": "GET"}}}
    assert await api.pods("ns", "app=web", measured) == {"p0": Sample(3000, EPOCH, 60.0)}
    assert client.queries[-1] == {"labelSelector": "app=web", "metricLabelSelector": "verb=GET"}
    described = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web"}
    assert await api.object("ns", described, {"name": "rps"}) == 11_000
    assert await api.external("ns", {"name": "queue"}) == [5000, 7500]
    await api.external("ns", {"name": "queue", "selector": {"matchLabels": {"name": "b"}}})
    assert client.queries[-1] == {"labelSelector": "name=b"}
    with pytest.raises(MetricsError, match=r"the requested resource \(get pods.metrics.k8s.io\)"):
        await api.resource("other", "", "cpu")
    with pytest.raises(MetricsError, match="unable to map object to resource"):
        await api.object("ns", {"kind": "Nothing", "name": "x"}, {"name": "rps"})


async def test_an_adapter_of_the_older_version_of_custom_metrics() -> None:
    of_p0 = {"describedObject": {"kind": "Pod", "name": "p0"}, "value": "3", "timestamp": rfc3339(EPOCH)}
    client = Answers({"/apis/custom.metrics.k8s.io/v1beta1/namespaces/ns/pods/*/rps": {"items": [of_p0]}})
    api = MetricsApi(client, Scales(client, list).resource_of)
    for asked in (2, 3):
        assert await api.pods("ns", "", {"name": "rps"}) == {"p0": Sample(3000, EPOCH, 60.0)}
        assert len(client.queries) == asked  # once more for the newer version, and then no more
    with pytest.raises(MetricsError, match=r"could not find the requested resource \(get pods.custom.metrics.k8s.io\)"):
        await api.pods("other", "", {"name": "rps"})


def _of_pod(requests: Object, *containers: Object, container: str = "") -> int:
    body = pods("Running")[0]
    body["spec"] = {"resources": {"requests": requests}, "containers": list(containers)}
    used = {"p0": Sample(50)}
    return 5000 // (replicas.from_utilization(situation([body]), 50, used, "cpu", container).utilization or 1)


def test_requests_of_the_pod_itself() -> None:
    app = {"name": "app", "resources": {"requests": {"cpu": "100m"}}}
    assert _of_pod({"cpu": "1"}, app, {"name": "side"}) == 1000
    assert _of_pod({"cpu": "1"}, app, {"name": "side"}, container="app") == 100
    assert _of_pod({"memory": "1Gi"}, app, {"name": "side"}) == 100
    with pytest.raises(MetricsError, match="missing pod-level request for cpu in Pod p0"):
        _of_pod({"memory": "1Gi"}, {"name": "side"})
    with pytest.raises(MetricsError, match="missing request for cpu in container side of Pod p0"):
        _of_pod({}, app, {"name": "side"})
    with pytest.raises(MetricsError, match="container other not found in Pod p0"):
        _of_pod({}, app, container="other")


def test_durations() -> None:
    assert [go_seconds(text) for text in ("30s", "1h1m1.5s", "", "nonsense")] == [30.0, 3661.5, 0.0, 0.0]
