"""The smallest strategic merge patch from one pod status to another. Pure.

Only fields that the kubelet owns are compared, and of the conditions only the kubelet's own types, so a condition that
a controller writes at the same time is neither lost nor written over.
"""

from __future__ import annotations

from typing import Any

from twinplane.dataplane.kubelet.status.conditions import OWNED

ATOMIC = (
    "phase",
    "reason",
    "message",
    "startTime",
    "qosClass",
    "hostIP",
    "podIP",
    "observedGeneration",
    "initContainerStatuses",
    "containerStatuses",
    "ephemeralContainerStatuses",
)
BY_ADDRESS = ("podIPs", "hostIPs")
CONDITION_FIELDS = ("status", "reason", "message", "observedGeneration")


def status_patch(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Empty when there is nothing to write."""
    patch: dict[str, Any] = {}
    for name in ATOMIC:
        if pruned(old.get(name)) != pruned(new.get(name)):
            patch[name] = new.get(name)
    for name in BY_ADDRESS:
        if (old.get(name) or []) != (new.get(name) or []):
            patch[name] = [{"$patch": "replace"}, *(new.get(name) or [])]
    conditions = _conditions(old.get("conditions") or [], new.get("conditions") or [])
    if conditions:
        patch["conditions"] = conditions
    return patch


def _conditions(old: list[dict[str, Any]], new: list[dict[str, Any]]) -> list[dict[str, Any]]:
    before = {item["type"]: item for item in old}
    after = {item["type"]: item for item in new}
    made: list[dict[str, Any]] = []
    for name, item in after.items():
        known = before.get(name)
        if known is None:
            made.append(item)
        elif any((known.get(field) or None) != (item.get(field) or None) for field in CONDITION_FIELDS):
            # Nulls take away what the condition said before.
            made.append({**dict.fromkeys(field for field in CONDITION_FIELDS if field in known), **item})
    gone = [name for name in before if name in OWNED and name not in after and name != "DisruptionTarget"]
    return made + [{"$patch": "delete", "type": name} for name in gone]


def pruned(value: Any) -> Any:
    """Without nulls and empty objects, which the API server does not keep (or adds by itself)."""
    if isinstance(value, dict):
        kept = {key: pruned(item) for key, item in value.items()}
        return {key: item for key, item in kept.items() if item not in (None, {}, [], "")}
    if isinstance(value, list):
        return [pruned(item) for item in value]
    return value
