"""Which nodes a pod may be on: node selectors, required node affinity, taints. Pure.

What the DaemonSet controller, taint eviction and the kubelets' own last check need; placing pods by resources is the
scheduler's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.meta import labels_of, name_of
from twinplane.kubeclient.selectors import go_int64

Taint = Mapping[str, Any]
Toleration = Mapping[str, Any]


def matches_node(spec: Mapping[str, Any], node: Object) -> bool:
    """The node selector and the required node affinity of a pod spec."""
    labels = labels_of(node)
    if any(labels.get(key) != value for key, value in (spec.get("nodeSelector") or {}).items()):
        return False
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    return required is None or any(_term_matches(term, node) for term in required.get("nodeSelectorTerms") or [])


def _term_matches(term: Mapping[str, Any], node: Object) -> bool:
    expressions, fields = term.get("matchExpressions") or [], term.get("matchFields") or []
    if not expressions and not fields:
        return False
    labels = labels_of(node)
    return all(_holds(entry, labels.get(entry["key"])) for entry in expressions) and all(
        entry["key"] == "metadata.name" and _holds(entry, name_of(node)) for entry in fields
    )


def _holds(requirement: Mapping[str, Any], value: str | None) -> bool:
    values = requirement.get("values") or []
    match requirement["operator"]:
        case "In":
            return value in values
        case "NotIn":
            return value not in values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
    number, bound = go_int64(value), go_int64(values[0] if values else None)
    if number is None or bound is None:
        return False
    return number > bound if requirement["operator"] == "Gt" else number < bound


def tolerates(toleration: Toleration, taint: Taint) -> bool:
    if toleration.get("effect") and toleration["effect"] != taint["effect"]:
        return False
    if toleration.get("key") and toleration["key"] != taint["key"]:
        return False
    if toleration.get("operator", "Equal") == "Exists":
        return True
    return bool(toleration.get("key")) and toleration.get("value", "") == taint.get("value", "")


def untolerated(taints: Iterable[Taint], tolerations: Sequence[Toleration], effects: Iterable[str]) -> list[Taint]:
    wanted = set(effects)
    return [
        taint
        for taint in taints
        if taint["effect"] in wanted and not any(tolerates(toleration, taint) for toleration in tolerations)
    ]


def taints_of(node: Object) -> list[dict[str, Any]]:
    return node["spec"].get("taints") or []
