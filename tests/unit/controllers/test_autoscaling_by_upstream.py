"""Autoscaling as upstream has it in tests and documentation: tolerances, samples that are missing, words.

The first two are upstream's end-to-end tests `Horizontal pod autoscaling (configurable tolerance)`, with the numbers
that their resource consumers burn: on two cores nobody can.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from tests.unit.controllers.test_horizontal_pod_autoscaler import (
    CPU_HALF,
    Meter,
    ReplicaSetScales,
    autoscaler,
    build,
    condition,
    grown,
    meter_of,
    pods,
    samples,
    situation,
    size,
    started,
)
from tests.unit.controllers.world import World, running

from twinplane.controlplane.api.types.autoscaling import to_v1, to_v2
from twinplane.controlplane.controllers.contract import Context, Controller
from twinplane.controlplane.controllers.horizontalpodautoscaler import behavior, replicas
from twinplane.controlplane.controllers.horizontalpodautoscaler.behavior import Event, History, Size
from twinplane.controlplane.controllers.horizontalpodautoscaler.controller import HorizontalPodAutoscalerController
from twinplane.controlplane.controllers.horizontalpodautoscaler.metrics import MetricsError, Samples
from twinplane.controlplane.controllers.horizontalpodautoscaler.proposals import UnmeasuredError, proposal
from twinplane.controlplane.controllers.horizontalpodautoscaler.replicas import Situation, Tolerance
from twinplane.controlplane.controllers.replicaset.controller import ReplicaSetController
from twinplane.controlplane.controllers.replicaset.kinds import REPLICA_SET_KIND
from twinplane.kubeclient.contract import Object, Resource
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.resources import HORIZONTAL_POD_AUTOSCALERS
from twinplane.testing.memory_cluster import MemoryCluster
from twinplane.testing.virtual_time import EPOCH, VirtualClock, virtual_time

WAIT = 60 + 30 + 120
"""Upstream's: reaction of the autoscaler, delay of the consumer, two minutes."""


def usage_for(count: int, request: int, percent: int) -> int:
    """Half a replica less than `count` would use at the target."""
    each = request * percent // 100
    return count * each - each // 2


def utilization(percent: int) -> Object:
    target = {"type": "Utilization", "averageUtilization": percent}
    return {"type": "Resource", "resource": {"name": "cpu", "target": target}}


async def settled(world: World, seconds: float) -> None:
    """New pods start as they come."""
    await world.settle(20)
    await started(world)
    await world.settle(seconds - 20)


@virtual_time
async def test_a_large_tolerance_keeps_a_target_from_growing(clock: VirtualClock) -> None:
    rules = {"scaleUp": {"tolerance": "10"}, "scaleDown": {"tolerance": "10"}}
    async with running(clock, build) as world:
        meter_of(world).load = usage_for(1, 500, 25)
        await grown(world, clock, autoscaler(utilization(25), behavior=rules), count=1, cpu="500m")
        meter_of(world).load = usage_for(8, 500, 25)
        await settled(world, WAIT)
        assert size(world) == 1
        assert not world.events("SuccessfulRescale")
        meter_of(world).load = 12 * 125
        await settled(world, 30)
        assert size(world) == 5, "more than eleven times the target is beyond it"


@virtual_time
async def test_a_small_tolerance_up_and_a_large_one_down(clock: VirtualClock) -> None:
    rules = {"scaleUp": {"tolerance": "20m"}, "scaleDown": {"tolerance": "300m"}}
    async with running(clock, build) as world:
        meter_of(world).load = usage_for(10, 200, 60)
        body = autoscaler(utilization(60), minReplicas=10, maxReplicas=12, behavior=rules)
        await grown(world, clock, body, count=10, cpu="200m")
        await settled(world, 90)
        assert size(world) == 10
        for wanted in (11, 12):
            meter_of(world).load = usage_for(wanted, 200, 60)
            await settled(world, WAIT)
            assert size(world) == wanted, "less than the 10% that are the default, and more than 2%"
        meter_of(world).load = usage_for(10, 200, 60)
        await settled(world, WAIT + 600)
        assert size(world) == 12
        assert condition(world, "AbleToScale")[1] == "ReadyForNewScale"
        # 30% less and a bit.
        meter_of(world).load = 12 * 83
        await settled(world, WAIT + 300)
        assert size(world) == 10


# -- samples that are missing, pods that do not count --------------------------------------------------------------


def deleting(bodies: list[Object], *numbers: int) -> list[Object]:
    for number in numbers:
        bodies[number]["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    return bodies


RUNNING = ["Running"] * 4
CASES: dict[str, tuple[list[Object], Samples, int, int]] = {
    "all ready": (pods(*RUNNING), samples(300, 500, 500, 700), 30, 7),
    "a deleted pod's sample is no sample": (deleting(pods(*RUNNING), 3), samples(500, 500, 500, 9000), 50, 4),
    "nor is a failed one's": (pods("Running", "Running", "Failed"), samples(1000, 1000, 10), 50, 4),
    "one that succeeded and says nothing is missing": (
        pods("Running", "Running", "Succeeded"),
        samples(100, 100),
        50,
        3,
    ),
    "missing ones use all that they request when shrinking": (pods(*RUNNING), samples(100, 100, 100), 50, 3),
    "or the target, where that is more": (pods(*RUNNING), samples(1000, 1000, 1000), 200, 3),
    "missing ones use nothing when growing": (pods(*RUNNING), samples(1000, 1000), 50, 4),
    "both": (pods(*RUNNING, "Pending"), samples(2000, 2000, 2000), 50, 12),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_what_counts(case: tuple[list[Object], Samples, int, int]) -> None:
    bodies, found, target, expected = case
    assert replicas.from_utilization(situation(bodies), target, found, "cpu").replicas == expected


def test_nothing_that_counts() -> None:
    with pytest.raises(MetricsError, match=r"did not receive metrics for targeted pods \(pods might be unready\)"):
        replicas.from_average(situation(deleting(pods("Running"), 0)), 50, samples(10), "memory")
    bodies = pods("Running")
    bodies[0]["spec"]["containers"][0]["resources"] = {}
    with pytest.raises(MetricsError, match="did not receive metrics"):
        replicas.from_utilization(situation(deleting(bodies, 0)), 50, samples(10), "cpu")


def test_requests_of_a_pod_with_overhead() -> None:
    body = pods("Running")[0]
    body["spec"] |= {"resources": {"requests": {"cpu": "400m"}}, "overhead": {"cpu": "100m"}}
    assert replicas.from_utilization(situation([body]), 50, samples(250), "cpu").utilization == 50


# -- limits --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("direction", "policies", "current", "wanted", "expected"),
    [
        ("scaleUp", [("Percent", 10)], 100, 500, 111),  # 100 x 1.1 is a little more than 110, and is rounded up
        ("scaleUp", [("Percent", 10)], 5, 50, 6),
        ("scaleUp", [("Pods", 3), ("Percent", 10)], 5, 50, 8),
        ("scaleDown", [("Percent", 30)], 5, 1, 3),
        ("scaleDown", [("Percent", 10)], 3, 1, 2),
        ("scaleDown", [("Pods", 1), ("Percent", 50)], 10, 1, 5),
    ],
)
def test_policies(direction: str, policies: list[tuple[str, int]], current: int, wanted: int, expected: int) -> None:
    listed = [{"type": kind, "value": value, "periodSeconds": 60} for kind, value in policies]
    spec = {"behavior": {direction: {"stabilizationWindowSeconds": 0, "policies": listed}}}
    found = behavior.decided(spec, History([Event(0.0, current)]), Size(current, 1, 1000, 600.0), wanted)
    assert found.replicas == expected


# -- words ---------------------------------------------------------------------------------------------------------


class Broken(Meter):
    """Every metrics API fails."""

    def __init__(self) -> None:
        super().__init__(MemoryCluster())

    async def object(self, namespace: str, described: Mapping[str, Any], metric: Mapping[str, Any]) -> int:
        raise MetricsError("no")


DESCRIBED = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "api"}
QUEUE = {"name": "queue", "selector": {"matchLabels": {"verb": "GET", "app": "api"}}}
GO_SELECTOR = (
    "&LabelSelector{MatchLabels:map[string]string{app: api,verb: GET,},MatchExpressions:[]LabelSelectorRequirement{},}"
)
NO_OBJECT = "unable to get metric queue: Deployment on default api/no"
NO_QUEUE = f"unable to get external metric default/queue/{GO_SELECTOR}: no metrics returned from external metrics API"
NO_PLAIN_QUEUE = "unable to get external metric default/queue/nil: no metrics returned from external metrics API"
NO_USAGE = (
    "failed to get cpu usage: unable to get metrics for resource cpu: no metrics returned from resource metrics API"
)
AVERAGE, VALUE = {"type": "AverageValue", "averageValue": "10"}, {"type": "Value", "value": "10"}


@pytest.mark.parametrize(
    ("metric", "message", "summary"),
    [
        (
            {"type": "Object", "object": {"metric": QUEUE, "describedObject": DESCRIBED, "target": VALUE}},
            NO_OBJECT,
            f"failed to get object metric value: {NO_OBJECT}",
        ),
        (
            {"type": "Object", "object": {"metric": QUEUE, "describedObject": DESCRIBED, "target": AVERAGE}},
            NO_OBJECT,
            f"failed to get object metric value: failed to get queue object metric: {NO_OBJECT}",
        ),
        (
            {"type": "External", "external": {"metric": QUEUE, "target": VALUE}},
            NO_QUEUE,
            f"failed to get queue external metric value: failed to get external metric queue: {NO_QUEUE}",
        ),
        (
            {"type": "External", "external": {"metric": {"name": "queue"}, "target": AVERAGE}},
            NO_PLAIN_QUEUE,
            f"failed to get queue external metric value: failed to get queue external metric: {NO_PLAIN_QUEUE}",
        ),
        (
            {"type": "ContainerResource", "containerResource": {"name": "cpu", "container": "app", "target": AVERAGE}},
            NO_USAGE,
            f"failed to get app container metric value: {NO_USAGE}",
        ),
    ],
)
async def test_failures_in_upstreams_words(metric: Object, message: str, summary: str) -> None:
    with pytest.raises(UnmeasuredError) as found:
        await proposal(Broken(), metric, situation(pods("Running")))
    assert (found.value.message, found.value.summary) == (message, summary)


async def test_what_was_measured_in_upstreams_words() -> None:
    meter = Meter(MemoryCluster())
    meter.queue = 30_000
    metric = {"type": "External", "external": {"metric": QUEUE, "target": AVERAGE}}
    found = await proposal(meter, metric, situation(pods("Running", "Running")))
    assert (found.name, found.replicas) == (f"external metric queue({GO_SELECTOR})", 3)


class OfMemory(Meter):
    async def resource(self, namespace: str, selector: str, resource: str, container: str = "") -> Samples:
        return samples(100 * 1024**2 * 1000, 101 * 1024**2 * 1000)


async def test_memory_is_shown_in_powers_of_two() -> None:
    target = {"type": "AverageValue", "averageValue": "100Mi"}
    metric = {"type": "Resource", "resource": {"name": "memory", "target": target}}
    found = await proposal(OfMemory(MemoryCluster()), metric, situation(pods("Running", "Running")))
    assert found.status["resource"]["current"]["averageValue"] == "102912Ki"


# -- the controller ------------------------------------------------------------------------------------------------


@virtual_time
async def test_a_metric_that_fails_keeps_its_place(clock: VirtualClock) -> None:
    queue = {"type": "External", "external": {"metric": {"name": "queue"}, "target": AVERAGE}}
    async with running(clock, build) as world:
        meter_of(world).cpu = 90
        await grown(world, clock, autoscaler(queue, CPU_HALF))
        status = world.one(HORIZONTAL_POD_AUTOSCALERS, "web")["status"]
        assert [entry["type"] for entry in status["currentMetrics"]] == ["", "Resource"]
        assert size(world) == 4
        meter_of(world).cpu = None
        await world.settle(15)
        status = world.one(HORIZONTAL_POD_AUTOSCALERS, "web")["status"]
        assert status["currentMetrics"] == [{"type": ""}, {"type": ""}]
        assert status["desiredReplicas"] == 4


def test_what_was_not_measured_survives_the_older_version() -> None:
    body = {**autoscaler(), "status": {"currentMetrics": [{"type": ""}]}}
    assert to_v2(to_v1(body))["status"]["currentMetrics"] == [{"type": ""}]


class BusyScales(ReplicaSetScales):
    """Somebody else writes to the target at the same time, so many times."""

    conflicts = 0

    async def set(self, resource: Resource, scale: Object, replicas: int) -> None:
        if self.conflicts:
            self.conflicts -= 1
            raise ApiError("Conflict", "the object has been modified")
        await super().set(resource, scale, replicas)


@virtual_time
@pytest.mark.parametrize(("conflicts", "expected"), [(4, 4), (5, 2)])
async def test_conflicts_are_tried_again(clock: VirtualClock, conflicts: int, expected: int) -> None:
    def busy(context: Context) -> Sequence[Controller]:
        assert isinstance(context.client, MemoryCluster)
        scales, meter = BusyScales(context.client), Meter(context.client)
        scales.conflicts, meter.cpu = conflicts, 90
        sets = ReplicaSetController(context, REPLICA_SET_KIND)
        return [sets, HorizontalPodAutoscalerController(context, scales, meter)]

    async with running(clock, busy) as world:
        await grown(world, clock, autoscaler())
        assert size(world) == expected
        assert len(world.events("FailedRescale")) == (expected == 2)


def test_tolerances_of_a_direction() -> None:
    within = Situation("default", "", 10, 10, pods(*["Running"] * 10), Tolerance(0.3, 0.02), EPOCH)
    assert [
        replicas.from_average(within, 100, samples(*[value] * 10), "cpu").replicas for value in (69, 70, 102, 103)
    ] == [
        7,
        10,
        10,
        11,
    ]
