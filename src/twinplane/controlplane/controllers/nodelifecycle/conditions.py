"""What a node's conditions mean for it: its taints, and the conditions of one that is not heard of. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from twinplane.clock import rfc3339
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.meta import condition_of, conditions_of, with_condition

NOT_READY = "node.kubernetes.io/not-ready"
UNREACHABLE = "node.kubernetes.io/unreachable"
UNSCHEDULABLE = "node.kubernetes.io/unschedulable"

_TAINT_BY_CONDITION = {
    ("Ready", "False"): NOT_READY,
    ("Ready", "Unknown"): UNREACHABLE,
    ("MemoryPressure", "True"): "node.kubernetes.io/memory-pressure",
    ("DiskPressure", "True"): "node.kubernetes.io/disk-pressure",
    ("PIDPressure", "True"): "node.kubernetes.io/pid-pressure",
    ("NetworkUnavailable", "True"): "node.kubernetes.io/network-unavailable",
}
_MANAGED = frozenset(_TAINT_BY_CONDITION.values()) | {UNSCHEDULABLE}
_KUBELET_CONDITIONS = ("Ready", "MemoryPressure", "DiskPressure", "PIDPressure")

Taint = dict[str, Any]


def readiness(node: Object) -> str:
    """True, False or Unknown; a node that never reported is Unknown."""
    condition = condition_of(node, "Ready")
    return str(condition["status"]) if condition is not None else "Unknown"


def no_schedule_keys(node: Object) -> list[str]:
    keys = [_TAINT_BY_CONDITION.get((entry["type"], entry["status"])) for entry in conditions_of(node)]
    if node["spec"].get("unschedulable"):
        keys.append(UNSCHEDULABLE)
    return [key for key in keys if key is not None]


def no_execute_key(node: Object) -> str | None:
    return {"False": NOT_READY, "Unknown": UNREACHABLE}.get(readiness(node))


def with_taints(taints: Iterable[Taint], no_schedule: Iterable[str], no_execute: str | None, now: float) -> list[Taint]:
    """`taints` with those that follow from conditions exchanged; all others, and times, are kept."""
    wanted: dict[tuple[str, str], Taint] = {}
    for key in no_schedule:
        wanted[(key, "NoSchedule")] = {"key": key, "effect": "NoSchedule"}
    if no_execute is not None:
        wanted[(no_execute, "NoExecute")] = {"key": no_execute, "effect": "NoExecute", "timeAdded": rfc3339(now)}
    result = []
    for taint in taints:
        at = taint["key"], taint["effect"]
        if at in wanted:
            del wanted[at]
            result.append(taint)
        elif not _is_managed(taint):
            result.append(taint)
    return [*result, *wanted.values()]


def _is_managed(taint: Taint) -> bool:
    if taint["effect"] == "NoExecute":
        return taint["key"] in (NOT_READY, UNREACHABLE)
    return taint["effect"] == "NoSchedule" and taint["key"] in _MANAGED


def unknown_conditions(node: Object, now: float) -> list[dict[str, Any]]:
    """The conditions of a node that has not been heard of for too long."""
    conditions = conditions_of(node)
    at = rfc3339(now)
    for kind in _KUBELET_CONDITIONS:
        old = condition_of(node, kind)
        if old is not None and old["status"] == "Unknown":
            continue
        new = {"type": kind, "status": "Unknown", "lastTransitionTime": at}
        if old is None:
            created = node["metadata"].get("creationTimestamp", at)
            new |= {"reason": "NodeStatusNeverUpdated", "message": "Kubelet never posted node status."}
            new["lastHeartbeatTime"] = created
        else:
            new |= {"reason": "NodeStatusUnknown", "message": "Kubelet stopped posting node status."}
            new["lastHeartbeatTime"] = old.get("lastHeartbeatTime", at)
        conditions = with_condition(conditions, new)
    return conditions
