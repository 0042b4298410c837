"""HorizontalPodAutoscaler between autoscaling/v1 and v2, without loss.

v1 knows one CPU target; whatever else a v2 object says travels in annotations, in the shape of the first version that
had metrics. Upstream: kubernetes/pkg/apis/autoscaling/v1/conversion.go.
"""

from __future__ import annotations

from typing import Any

import orjson

from twinplane.kubeclient.contract import Object

PREFIX = "autoscaling.alpha.kubernetes.io/"
METRICS, CURRENT, CONDITIONS, BEHAVIOR = (
    PREFIX + name for name in ("metrics", "current-metrics", "conditions", "behavior")
)
_SOURCES = {
    "Resource": "resource",
    "ContainerResource": "containerResource",
    "Pods": "pods",
    "Object": "object",
    "External": "external",
}
Metric = dict[str, Any]


def to_v2(body: Object) -> Object:
    annotations = dict((body.get("metadata") or {}).get("annotations") or {})
    spec, status = dict(body.get("spec") or {}), dict(body.get("status") or {})
    metrics = [_metric_to_v2(metric) for metric in _read(annotations, METRICS)]
    target = spec.pop("targetCPUUtilizationPercentage", None)
    if target is not None:
        cpu = {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": target}}
        metrics.insert(0, {"type": "Resource", "resource": cpu})
    if metrics:
        spec["metrics"] = metrics
    behavior = _read(annotations, BEHAVIOR)
    if behavior:
        spec["behavior"] = behavior
    current = [_current_to_v2(metric) for metric in _read(annotations, CURRENT)]
    measured = status.pop("currentCPUUtilizationPercentage", None)
    if measured is not None and not any(_is_cpu(metric) for metric in current):
        value = {"averageUtilization": measured}
        current.insert(0, {"type": "Resource", "resource": {"name": "cpu", "current": value}})
    if current:
        status["currentMetrics"] = current
    conditions = _read(annotations, CONDITIONS)
    if conditions:
        status["conditions"] = conditions
    for name in (METRICS, CURRENT, CONDITIONS, BEHAVIOR):
        annotations.pop(name, None)
    return _assembled(body, annotations, spec, status)


def to_v1(body: Object) -> Object:
    annotations = dict((body.get("metadata") or {}).get("annotations") or {})
    spec, status = dict(body.get("spec") or {}), dict(body.get("status") or {})
    others = []
    for metric in spec.pop("metrics", None) or ():
        target = (metric.get("resource") or {}).get("target") or {}
        if _is_cpu(metric) and target.get("averageUtilization") is not None:
            spec["targetCPUUtilizationPercentage"] = target["averageUtilization"]
        else:
            others.append(_metric_to_v1(metric))
    current = status.pop("currentMetrics", None) or []
    for metric in current:
        measured = ((metric.get("resource") or {}).get("current") or {}).get("averageUtilization")
        if _is_cpu(metric) and measured is not None:
            status["currentCPUUtilizationPercentage"] = measured
    _write(annotations, METRICS, others)
    _write(annotations, BEHAVIOR, spec.pop("behavior", None))
    _write(annotations, CURRENT, [_current_to_v1(metric) for metric in current])
    _write(annotations, CONDITIONS, status.pop("conditions", None))
    return _assembled(body, annotations, spec, status)


def _assembled(body: Object, annotations: dict[str, str], spec: Object, status: Object) -> Object:
    metadata = {key: value for key, value in (body.get("metadata") or {}).items() if key != "annotations"}
    if annotations:
        metadata["annotations"] = annotations
    result = body | {"metadata": metadata, "spec": spec}
    if status or "status" in body:
        result["status"] = status
    return result


def _read(annotations: dict[str, str], name: str) -> Any:
    """An annotation nobody can parse is ignored, as upstream does."""
    try:
        return orjson.loads(annotations.get(name, "[]"))
    except orjson.JSONDecodeError:
        return []


def _write(annotations: dict[str, str], name: str, value: Any) -> None:
    if value:
        annotations[name] = orjson.dumps(value).decode()


def _is_cpu(metric: Metric) -> bool:
    return metric.get("type") == "Resource" and (metric.get("resource") or {}).get("name") == "cpu"


_FLAT_TARGETS = {
    "targetAverageUtilization": ("Utilization", "averageUtilization"),
    "targetAverageValue": ("AverageValue", "averageValue"),
    "targetValue": ("Value", "value"),
}


def _metric_to_v1(metric: Metric) -> Metric:
    """v2 nests a target and a metric identifier; v1's annotation has flat fields."""
    field = _SOURCES.get(metric.get("type", ""), "")
    source = dict(metric.get(field) or {})
    target = source.pop("target", {})
    identifier = source.pop("metric", {})
    if identifier:
        source["metricName"] = identifier.get("name", "")
        if identifier.get("selector"):
            source["metricSelector" if field == "external" else "selector"] = identifier["selector"]
    if field == "object":
        source["target"] = source.pop("describedObject", {})
        flat = {"value": "targetValue", "averageValue": "averageValue"}
    else:
        flat = {
            "averageUtilization": "targetAverageUtilization",
            "averageValue": "targetAverageValue",
            "value": "targetValue",
        }
    source |= {flat[key]: value for key, value in target.items() if key in flat}
    return {"type": metric.get("type", ""), field: source}


def _metric_to_v2(metric: Metric) -> Metric:
    field = _SOURCES.get(metric.get("type", ""), "")
    source = dict(metric.get(field) or {})
    if field == "object":
        source["describedObject"] = source.pop("target", {})
        if "averageValue" in source:
            source["targetAverageValue"] = source.pop("averageValue")
    target: Metric = {}
    for flat, (kind, name) in _FLAT_TARGETS.items():
        value = source.pop(flat, None)
        if value not in (None, "0"):
            target = {"type": kind, name: value}
    source["target"] = target
    return {"type": metric.get("type", ""), field: _with_identifier(source)}


def _with_identifier(source: Metric) -> Metric:
    name = source.pop("metricName", None)
    selector = source.pop("metricSelector", None) or source.pop("selector", None)
    if name is not None:
        source["metric"] = {"name": name} | ({"selector": selector} if selector else {})
    return source


_FLAT_CURRENT = {
    "currentAverageUtilization": "averageUtilization",
    "currentAverageValue": "averageValue",
    "currentValue": "value",
}


def _unmeasured(metric: Metric) -> Metric:
    """What the controller puts in the place of a metric that it could not get."""
    return {"type": metric.get("type", "")}


def _current_to_v1(metric: Metric) -> Metric:
    field = _SOURCES.get(metric.get("type", ""), "")
    if not field:
        return _unmeasured(metric)
    source = dict(metric.get(field) or {})
    current = source.pop("current", {})
    identifier = source.pop("metric", {})
    if identifier:
        source["metricName"] = identifier.get("name", "")
    if field == "object":
        source["target"] = source.pop("describedObject", {})
    source |= {flat: current[name] for flat, name in _FLAT_CURRENT.items() if name in current}
    return {"type": metric.get("type", ""), field: source}


def _current_to_v2(metric: Metric) -> Metric:
    field = _SOURCES.get(metric.get("type", ""), "")
    if not field:
        return _unmeasured(metric)
    source = dict(metric.get(field) or {})
    if field == "object":
        source["describedObject"] = source.pop("target", {})
    source["current"] = {name: source.pop(flat) for flat, name in _FLAT_CURRENT.items() if flat in source}
    return {"type": metric.get("type", ""), field: _with_identifier(source)}
