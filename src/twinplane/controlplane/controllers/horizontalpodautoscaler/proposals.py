"""One metric of an autoscaler, from its specification to a proposal and what the status says of it.

Each kind of metric is one function; `proposal` picks it and gives failures the reasons and words of upstream.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from fractions import Fraction
from typing import Any, NamedTuple

from twinplane.controlplane.controllers.horizontalpodautoscaler import replicas
from twinplane.controlplane.controllers.horizontalpodautoscaler.metrics import MetricsError, MetricsReader
from twinplane.controlplane.controllers.horizontalpodautoscaler.replicas import Proposal, Situation
from twinplane.kubeclient import quantity

_MOST = (1 << 63) - 1
"""The largest quantity."""


class Measured(NamedTuple):
    replicas: int
    name: str
    """For events and conditions, e.g. `cpu resource utilization (percentage of request)`."""
    status: dict[str, Any]
    """An entry of `status.currentMetrics`."""


class UnmeasuredError(Exception):
    """`reason` and the message are those of the ScalingActive condition; `summary` that of the failed reconcile."""

    def __init__(self, reason: str, message: str, summary: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.summary = summary


async def proposal(reader: MetricsReader, spec: Mapping[str, Any], situation: Situation) -> Measured:
    """Raises `UnmeasuredError`."""
    named = spec["type"]
    kind = _KINDS.get(named)
    if kind is None:
        text = f'unknown metric source type "{named}"'
        raise UnmeasuredError("InvalidMetricSourceType", text, text)
    source = spec[named[0].lower() + named[1:]]
    try:
        return await kind.measure(reader, source, situation)
    except MetricsError as error:
        raise UnmeasuredError(f"FailedGet{named}Metric", str(error), _summary(kind, source, str(error))) from error


def _summary(kind: _Kind, source: Mapping[str, Any], error: str) -> str:
    """The words of the failed reconcile, in which upstream names what was looked for once more."""
    metric = (source.get("metric") or {}).get("name", "")
    target = source.get("target") or {}
    if kind.shared and target.get("averageValue") is not None:
        error = f"failed to get {metric} {kind.shared} metric: {error}"
    elif kind.shared == "external" and target.get("value") is not None:
        error = f"failed to get external metric {metric}: {error}"
    names = {"name": source.get("name", metric), "container": source.get("container", "")}
    return f"failed to get {kind.subject.format(**names)}: {error}"


async def _resource(reader: MetricsReader, source: Mapping[str, Any], situation: Situation) -> Measured:
    return await _of_pods_resource(reader, source, situation, "")


async def _container_resource(reader: MetricsReader, source: Mapping[str, Any], situation: Situation) -> Measured:
    return await _of_pods_resource(reader, source, situation, source["container"])


async def _of_pods_resource(
    reader: MetricsReader, source: Mapping[str, Any], situation: Situation, container: str
) -> Measured:
    name = source["name"]
    utilization = source["target"].get("averageUtilization")
    average = source["target"].get("averageValue")
    if utilization is None and average is None:
        raise MetricsError(
            "invalid resource metric source: neither an average utilization target nor an average value (usage) target "
            "was set"
        )
    try:
        samples = await reader.resource(situation.namespace, situation.selector, name, container)
    except MetricsError as error:
        what = "utilization" if average is None else "usage"
        text = f"failed to get {name} {what}: unable to get metrics for resource {name}: {error}"
        raise MetricsError(text) from error
    if average is not None:
        found = _worded(
            f"failed to get {name} usage",
            lambda: replicas.from_average(situation, quantity.milli(average), samples, name),
        )
        label = f"{name} resource"
    else:
        found = _worded(
            f"failed to get {name} utilization",
            lambda: replicas.from_utilization(situation, utilization, samples, name, container),
        )
        label = f"{name} {'container ' if container else ''}resource utilization (percentage of request)"
    # Memory in powers of two, as the resource metrics API gives it.
    current: dict[str, Any] = {"averageValue": _text(found.value, "BinarySI" if name == "memory" else "DecimalSI")}
    if found.utilization is not None:
        current["averageUtilization"] = found.utilization
    if container:
        status = {"name": name, "container": container, "current": current}
        return Measured(found.replicas, label, {"type": "ContainerResource", "containerResource": status})
    return Measured(found.replicas, label, {"type": "Resource", "resource": {"name": name, "current": current}})


async def _pods(reader: MetricsReader, source: Mapping[str, Any], situation: Situation) -> Measured:
    metric = source["metric"]
    average = quantity.milli(source["target"]["averageValue"])
    try:
        samples = await reader.pods(situation.namespace, situation.selector, metric)
    except MetricsError as error:
        raise MetricsError(f"unable to get metric {metric['name']}: {error}") from error
    found = replicas.from_average(situation, average, samples, "")
    status = {"metric": dict(metric), "current": {"averageValue": _text(found.value)}}
    return Measured(found.replicas, f"pods metric {metric['name']}", {"type": "Pods", "pods": status})


async def _object(reader: MetricsReader, source: Mapping[str, Any], situation: Situation) -> Measured:
    metric, described = source["metric"], source["describedObject"]
    try:
        value = await reader.object(situation.namespace, described, metric)
    except MetricsError as error:
        # Upstream's words, in upstream's order.
        subject = f"{described['kind']} on {situation.namespace} {described['name']}"
        raise MetricsError(f"unable to get metric {metric['name']}: {subject}/{error}") from error
    found, current = _of_one_value(source, situation, value, "object")
    status = {"metric": dict(metric), "describedObject": dict(described), "current": current}
    label = f"{described['kind']} metric {metric['name']}"
    if source["target"].get("value") is None:
        label = f"external metric {metric['name']}({_selector(metric.get('selector'))})"
    return Measured(found.replicas, label, {"type": "Object", "object": status})


async def _external(reader: MetricsReader, source: Mapping[str, Any], situation: Situation) -> Measured:
    metric = source["metric"]
    selector = metric.get("selector")
    try:
        value = min(sum(await reader.external(situation.namespace, metric)), _MOST)
    except MetricsError as error:
        text = f"unable to get external metric {situation.namespace}/{metric['name']}/{_selector(selector)}: {error}"
        raise MetricsError(text) from error
    found, current = _of_one_value(source, situation, value, "external")
    label = f"external metric {metric['name']}({_selector(selector)})"
    status = {"metric": dict(metric), "current": current}
    return Measured(found.replicas, label, {"type": "External", "external": status})


def _of_one_value(
    source: Mapping[str, Any], situation: Situation, value: int, type: str
) -> tuple[Proposal, dict[str, Any]]:
    wanted = source["target"]
    if wanted.get("averageValue") is not None:
        average = quantity.milli(wanted["averageValue"])
        found = replicas.from_total_per_pod(situation, average, value)
        return found, {"averageValue": _text(found.value)}
    if wanted.get("value") is not None:
        total = quantity.milli(wanted["value"])
        found = replicas.from_total(situation, total, value)
        return found, {"value": _text(found.value)}
    raise MetricsError(f"invalid {type} metric source: neither a value target nor an average value target was set")


def _worded(what: str, compute: Callable[[], Proposal]) -> Proposal:
    try:
        return compute()
    except MetricsError as error:
        raise MetricsError(f"{what}: {error}") from error


def _text(thousandths: int, family: quantity.Format = "DecimalSI") -> str:
    if family == "BinarySI" and thousandths >= 1024_000:
        # Whole units only, rounded up.
        return quantity.render(-(-thousandths // 1000), family)
    return quantity.render(Fraction(thousandths, 1000) if thousandths % 1000 else thousandths // 1000)


def _selector(selector: Mapping[str, Any] | None) -> str:
    """As Go prints a pointer to a LabelSelector."""
    if selector is None:
        return "nil"
    labels = "".join(f"{key}: {value}," for key, value in sorted((selector.get("matchLabels") or {}).items()))
    expressions = "".join(
        f"LabelSelectorRequirement{{Key:{item['key']},Operator:{item['operator']},"
        f"Values:[{' '.join(item.get('values') or ())}],}},"
        for item in selector.get("matchExpressions") or ()
    )
    fields = f"MatchLabels:map[string]string{{{labels}}},MatchExpressions:[]LabelSelectorRequirement{{{expressions}}}"
    return f"&LabelSelector{{{fields},}}"


class _Kind(NamedTuple):
    measure: Callable[[MetricsReader, Mapping[str, Any], Situation], Awaitable[Measured]]
    subject: str
    shared: str = ""
    """What one value for all pods is called."""


_KINDS = {
    "Resource": _Kind(_resource, "{name} resource metric value"),
    "ContainerResource": _Kind(_container_resource, "{container} container metric value"),
    "Pods": _Kind(_pods, "pods metric value"),
    "Object": _Kind(_object, "object metric value", "object"),
    "External": _Kind(_external, "{name} external metric value", "external"),
}
