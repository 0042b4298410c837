"""How many replicas a measurement asks for. Pure: numbers in, numbers out; metric values are in thousandths.

desired = ceil(replicas that count x measured / target), unless the ratio is within the tolerance. Pods without a sample
and pods that do not count yet dampen the change: they are taken to use what argues against it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import NamedTuple

from twinplane.controlplane.admission.pod_resources import total
from twinplane.controlplane.controllers.horizontalpodautoscaler.metrics import MetricsError, Sample, Samples
from twinplane.controlplane.controllers.pods import is_ready, phase_of
from twinplane.kubeclient import quantity
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.meta import condition_of, is_deleting, name_of, time_of

CPU_INITIALIZATION_SECONDS = 300.0
INITIAL_READINESS_DELAY_SECONDS = 30.0


Measure = Callable[[Mapping[str, int]], float]
"""Values of pods -> how much they are of the target."""


class Tolerance(NamedTuple):
    down: float = 0.1
    up: float = 0.1

    def covers(self, ratio: float) -> bool:
        return 1.0 - self.down <= ratio <= 1.0 + self.up


@dataclass(frozen=True)
class Situation:
    """What is scaled, as it is now. `wanted` replicas are those of its spec, `observed` those of its status."""

    namespace: str
    selector: str
    """Of `pods`, as a text."""
    wanted: int
    observed: int
    pods: Sequence[Object]
    tolerance: Tolerance
    now: float


class Proposal(NamedTuple):
    """`utilization` is in percent of the requests, None for metrics without; `value` is per pod or of the metric."""

    replicas: int
    value: int
    utilization: int | None = None


@dataclass
class Groups:
    """Pods by what their samples are worth."""

    ready: int = 0
    unready: set[str] = field(default_factory=set)
    """Not started or not ready yet: they count for nothing, or zero when scaling up."""
    missing: set[str] = field(default_factory=set)
    ignored: set[str] = field(default_factory=set)
    """Failed, or on their way out."""


def grouped(pods: Iterable[Object], samples: Mapping[str, Sample], resource: str, now: float) -> Groups:
    groups = Groups()
    for pod in pods:
        name = name_of(pod)
        if is_deleting(pod) or phase_of(pod) == "Failed":
            groups.ignored.add(name)
        elif phase_of(pod) == "Pending":
            groups.unready.add(name)
        elif name not in samples:
            groups.missing.add(name)
        elif resource == "cpu" and _is_starting(pod, samples[name], now):
            groups.unready.add(name)
        else:
            groups.ready += 1
    return groups


def _is_starting(pod: Object, sample: Sample, now: float) -> bool:
    condition = condition_of(pod, "Ready")
    started = (pod.get("status") or {}).get("startTime")
    if condition is None or not started:
        return True
    unready = condition["status"] == "False"
    changed = time_of(condition.get("lastTransitionTime"))
    if time_of(started) + CPU_INITIALIZATION_SECONDS > now:
        return unready or sample.timestamp < changed + sample.window
    return unready and time_of(started) + INITIAL_READINESS_DELAY_SECONDS > changed


def from_utilization(
    situation: Situation, target: int, samples: Samples, resource: str, container: str = ""
) -> Proposal:
    """`target` is in percent of what the pods request. Raises `MetricsError`."""
    groups, counting = _counting(situation, samples, resource)
    requests = {name_of(pod): _request(pod, resource, container) for pod in situation.pods}

    def measure(values: Mapping[str, int]) -> tuple[float, int, int]:
        known = [name for name in values if name in requests]
        requested = sum(requests[name] for name in known)
        if requested == 0:
            raise MetricsError("no metrics returned matched known pods")
        used = sum(values[name] for name in known)
        utilization = used * 100 // requested
        return utilization / target, utilization, used // len(known)

    _, utilization, raw = measure(counting)
    # Of a target above all that is requested, a pod that says nothing may use that much.
    full = {name: requests[name] * max(100, target) // 100 for name in groups.missing}
    replicas = _replicas(situation, groups, counting, full, lambda values: measure(values)[0])
    return Proposal(replicas, raw, utilization)


def from_average(situation: Situation, target: int, samples: Samples, resource: str) -> Proposal:
    """`target` is a value per pod. Raises `MetricsError`."""
    groups, counting = _counting(situation, samples, resource)

    def measure(values: Mapping[str, int]) -> float:
        return (sum(values.values()) // len(values)) / target

    replicas = _replicas(situation, groups, counting, dict.fromkeys(groups.missing, target), measure)
    return Proposal(replicas, sum(counting.values()) // len(counting))


def _counting(situation: Situation, samples: Samples, resource: str) -> tuple[Groups, dict[str, int]]:
    """And the values by pod that count."""
    if not situation.pods:
        raise MetricsError("no pods returned by selector while calculating replica count")
    groups = grouped(situation.pods, samples, resource, situation.now)
    out = groups.ignored | groups.unready
    counting = {name: sample.value for name, sample in samples.items() if name not in out}
    if not counting:
        raise MetricsError("did not receive metrics for targeted pods (pods might be unready)")
    return groups, counting


def _replicas(
    situation: Situation,
    groups: Groups,
    counting: Mapping[str, int],
    full: Mapping[str, int],
    measure: Measure,
) -> int:
    """`full` is what pods without a sample are taken to use when that argues against a change."""
    current, tolerance, ratio = situation.wanted, situation.tolerance, measure(counting)
    rising = bool(groups.unready) and ratio > 1.0
    if not rising and not groups.missing:
        return current if tolerance.covers(ratio) else ceil(ratio * groups.ready)
    values = dict(counting)
    if ratio < 1.0:
        values |= full
    elif ratio > 1.0:
        values |= dict.fromkeys(groups.missing, 0)
    if rising:
        values |= dict.fromkeys(groups.unready, 0)
    second = measure(values)
    if tolerance.covers(second) or (ratio < 1.0 < second) or (second < 1.0 < ratio):
        return current
    wanted = ceil(second * len(values))
    if (second < 1.0 and wanted > current) or (second > 1.0 and wanted < current):
        return current
    return wanted


def from_total(situation: Situation, target: int, value: int) -> Proposal:
    """One value for all pods, which shall be `target` whatever their number."""
    ratio = value / target
    if situation.wanted == 0:
        return Proposal(ceil(ratio), value)
    if situation.tolerance.covers(ratio):
        return Proposal(situation.wanted, value)
    if not situation.pods:
        raise MetricsError(
            "unable to calculate ready pods: no pods returned by selector while calculating replica count"
        )
    ready = sum(phase_of(pod) == "Running" and is_ready(pod) for pod in situation.pods)
    return Proposal(ceil(ratio * ready), value)


def from_total_per_pod(situation: Situation, target: int, value: int) -> Proposal:
    """One value that is shared by the observed replicas, which shall be `target` for each."""
    replicas = observed = situation.observed
    if observed == 0 or not situation.tolerance.covers(value / (target * observed)):
        replicas = ceil(value / target)
    return Proposal(replicas, ceil(value / observed) if observed else 0)


def _request(pod: Object, resource: str, container: str) -> int:
    """In thousandths: of one container, of the pod where it says so itself, else of all that run as long as it does."""
    spec = pod["spec"]
    if not container and (spec.get("resources") or {}).get("requests"):
        of_pod = total(spec, "requests").get(resource)
        if of_pod is None:
            raise MetricsError(f"missing pod-level request for {resource} in Pod {name_of(pod)}")
        return ceil(of_pod * 1000)
    lasting = [entry for entry in spec.get("initContainers") or [] if entry.get("restartPolicy") == "Always"]
    entries = [*(spec.get("containers") or []), *lasting]
    if container:
        entries = [entry for entry in entries if entry["name"] == container]
        if not entries:
            raise MetricsError(f"container {container} not found in Pod {name_of(pod)}")
    requested = 0
    for entry in entries:
        text = ((entry.get("resources") or {}).get("requests") or {}).get(resource)
        if text is None:
            raise MetricsError(f"missing request for {resource} in container {entry['name']} of Pod {name_of(pod)}")
        requested += quantity.milli(text)
    return requested
