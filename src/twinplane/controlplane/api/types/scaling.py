"""The `scale` subresource: a workload seen as autoscaling/v1 Scale, and a Scale put back into the workload.

Used by the API server for deployments, replica sets, stateful sets, replication controllers, and for custom resources
whose definition names the paths (`ResourceType.extra["scale"]`: specReplicasPath, statusReplicasPath,
labelSelectorPath).
"""

from __future__ import annotations

from typing import Any

from twinplane.controlplane.api.types.contract import ResourceType
from twinplane.kubeclient.contract import Object

DEFAULT_PATHS = {
    "specReplicasPath": ".spec.replicas",
    "statusReplicasPath": ".status.replicas",
    "labelSelectorPath": ".spec.selector",
}
_OPERATORS = {
    "In": "{key} in ({values})",
    "NotIn": "{key} notin ({values})",
    "Exists": "{key}",
    "DoesNotExist": "!{key}",
}
_METADATA = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")


def to_scale(type: ResourceType, body: Object) -> Object:
    paths = type.extra.get("scale", DEFAULT_PATHS)
    status: Object = {"replicas": _read(body, paths["statusReplicasPath"]) or 0}
    selector = _selector_text(_read(body, paths.get("labelSelectorPath") or ""))
    if selector:
        status["selector"] = selector
    metadata = body.get("metadata") or {}
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {key: metadata[key] for key in _METADATA if key in metadata},
        "spec": {"replicas": _read(body, paths["specReplicasPath"]) or 0},
        "status": status,
    }


def from_scale(type: ResourceType, body: Object, scale: Object) -> Object:
    """A copy of the workload with the replicas that the Scale asks for; the caller validates and writes it."""
    path = type.extra.get("scale", DEFAULT_PATHS)["specReplicasPath"].strip(".").split(".")
    result = dict(body)
    place = result
    for key in path[:-1]:
        place[key] = dict(place.get(key) or {})
        place = place[key]
    place[path[-1]] = (scale.get("spec") or {}).get("replicas", 0)
    return result


def _read(body: Object, path: str) -> Any:
    value: Any = body
    for key in path.strip(".").split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _selector_text(selector: Any) -> str:
    if isinstance(selector, str):
        return selector
    if not isinstance(selector, dict):
        return ""
    is_selector = "matchLabels" in selector or "matchExpressions" in selector
    labels = (selector.get("matchLabels") or {}) if is_selector else selector
    terms = [f"{key}={value}" for key, value in labels.items()]
    for term in (selector.get("matchExpressions") or ()) if is_selector else ():
        values = ",".join(sorted(term.get("values") or ()))
        terms.append(_OPERATORS.get(term.get("operator"), "{key}").format(key=term.get("key"), values=values))
    return ",".join(sorted(terms))
