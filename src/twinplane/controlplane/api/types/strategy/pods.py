"""Pods: the status a new one has, and what updates of the pod and its subresources may touch."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from twinplane.controlplane.api.types.defaulting.pods import containers_of
from twinplane.kubeclient import quantity
from twinplane.kubeclient.contract import Object

_COMPUTE = ("cpu", "memory")
_GATED = {
    "type": "PodScheduled",
    "status": "False",
    "lastProbeTime": None,
    "reason": "SchedulingGated",
    "message": "Scheduling is blocked due to non-empty scheduling gates",
}


def create_pod(pod: Object) -> None:
    spec = pod.get("spec") or {}
    # Of an alpha feature that is off (GenericWorkload).
    spec.pop("schedulingGroup", None)
    _select_own_labels(spec, pod["metadata"].get("labels") or {})
    pod["status"] = {"phase": "Pending", "qosClass": qos_class(spec)}
    if spec.get("schedulingGates"):
        since = pod["metadata"].get("creationTimestamp")
        pod["status"]["conditions"] = [{**_GATED, "lastTransitionTime": since}]


def _select_own_labels(spec: dict[str, Any], labels: dict[str, str]) -> None:
    """`matchLabelKeys` and `mismatchLabelKeys` become expressions of their selectors, with the pod's own values."""
    for term in _selecting(spec):
        selector = term.get("labelSelector")
        if selector is None:
            # Selects nothing, whatever else is asked.
            continue
        own = [
            {"key": key, "operator": operator, "values": [labels[key]]}
            for field, operator in (("matchLabelKeys", "In"), ("mismatchLabelKeys", "NotIn"))
            for key in term.get(field) or ()
            if key in labels
        ]
        if own:
            term["labelSelector"] = {**selector, "matchExpressions": [*(selector.get("matchExpressions") or ()), *own]}


def _selecting(spec: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Whatever in a spec selects other pods."""
    yield from spec.get("topologySpreadConstraints") or ()
    affinity = spec.get("affinity")
    if not affinity:
        return
    for kind in ("podAffinity", "podAntiAffinity"):
        terms = affinity.get(kind) or {}
        yield from terms.get("requiredDuringSchedulingIgnoredDuringExecution") or ()
        for preferred in terms.get("preferredDuringSchedulingIgnoredDuringExecution") or ():
            yield preferred.get("podAffinityTerm") or {}


def update_pod(pod: Object, old: Object) -> None:
    """Ephemeral containers have their own subresource."""
    before = old.get("spec") or {}
    spec = pod.setdefault("spec", {})
    if "ephemeralContainers" in before:
        spec.setdefault("ephemeralContainers", before["ephemeralContainers"])


def update_status(pod: Object, old: Object) -> None:
    status, before = pod.setdefault("status", {}), old.get("status") or {}
    if "qosClass" in before:
        status["qosClass"] = before["qosClass"]


def update_ephemeral_containers(pod: Object, old: Object) -> None:
    added = (pod.get("spec") or {}).get("ephemeralContainers")
    pod["spec"] = {key: value for key, value in (old.get("spec") or {}).items() if key != "ephemeralContainers"}
    if added:
        pod["spec"]["ephemeralContainers"] = added
    pod["status"] = old.get("status", {})
    _keep_metadata(pod, old)


def resize(pod: Object, old: Object) -> None:
    """Only resources of containers that exist; their names say which."""
    spec = pod.get("spec") or {}
    wanted = {container.get("name"): container for container in containers_of(spec)}
    result = dict(old.get("spec") or {})
    for field in ("containers", "initContainers"):
        if result.get(field):
            result[field] = [_resized(container, wanted.get(container.get("name"))) for container in result[field]]
    if "resources" in spec:
        result["resources"] = spec["resources"]
    pod["spec"] = result
    pod["status"] = old.get("status", {})
    _keep_metadata(pod, old)


def _resized(container: dict[str, Any], wanted: dict[str, Any] | None) -> dict[str, Any]:
    if wanted is None:
        return container
    changed = {field: wanted[field] for field in ("resources", "resizePolicy") if field in wanted}
    return container | changed


def _keep_metadata(pod: Object, old: Object) -> None:
    managed = pod["metadata"].get("managedFields")
    pod["metadata"] = dict(old["metadata"])
    if managed:
        pod["metadata"]["managedFields"] = managed


def qos_class(spec: dict[str, Any]) -> str:
    """Guaranteed, Burstable or BestEffort, from cpu and memory of all containers (and of the pod, where given)."""
    if spec.get("resources"):
        return _qos([spec["resources"]])
    return _qos([container.get("resources") or {} for container in containers_of(spec)])


def _qos(resources: list[dict[str, Any]]) -> str:
    requested = any(_positive(entry, field) for entry in resources for field in ("requests", "limits"))
    if not requested:
        return "BestEffort"
    return "Guaranteed" if all(_is_guaranteed(entry) for entry in resources) else "Burstable"


def _positive(entry: dict[str, Any], field: str) -> bool:
    values = entry.get(field) or {}
    return any(name in values and _is_positive(values[name]) for name in _COMPUTE)


@lru_cache(maxsize=1024)
def _is_positive(text: str) -> bool:
    """Comparing fractions is slow, and the same few amounts come again and again."""
    return _value(text) > 0


def _is_guaranteed(entry: dict[str, Any]) -> bool:
    limits = entry.get("limits") or {}
    requests = entry.get("requests") or limits
    if not all(name in limits and _value(limits[name]) > 0 for name in _COMPUTE):
        return False
    return all(_value(requests.get(name, limits[name])) == _value(limits[name]) for name in _COMPUTE)


def _value(text: str) -> quantity.Value:
    try:
        return quantity.parse(text)
    except ValueError:
        return 0
