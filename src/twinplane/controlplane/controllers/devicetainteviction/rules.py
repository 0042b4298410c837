"""The condition of a DeviceTaintRule: how far the eviction is, or what an eviction would do. Pure."""

from __future__ import annotations

from typing import Any, NamedTuple

from twinplane.controlplane.controllers.devicetainteviction.taints import NO_EXECUTE
from twinplane.kubeclient.contract import Object

EVICTION_IN_PROGRESS = "EvictionInProgress"
NO_EFFECT = "None"


class Counts(NamedTuple):
    pods: int = 0
    """That wait for their eviction, or would have to go."""
    namespaces: int = 0
    published: int = 0
    """Devices that the rule selects; counted only for rules without effect."""
    allocated: int = 0
    evicted: int = 0
    """Pods, since the controller started."""


def condition(rule: Object, counts: Counts) -> dict[str, Any]:
    """Without its time."""
    effect = rule["spec"]["taint"]["effect"]
    status, reason, message = "False", "OtherEffect", "Eviction only happens for the NoExecute effect."
    if effect == NO_EXECUTE:
        message = ""
        if counts.pods:
            status, reason = "True", "PodsPendingEviction"
            message = f"{_pods(counts.pods, 'needs', 'need')} to be evicted in {_namespaces(counts.namespaces)}."
        else:
            reason = "Completed" if counts.evicted else "NotStarted"
    elif effect == NO_EFFECT:
        reason, message = "NoEffect", _outlook(counts)
    if counts.evicted:
        told = f"{_counted(counts.evicted, 'pod', 'pods')} evicted since starting the controller."
        message = f"{message} {told}" if message else told
    return {
        "type": EVICTION_IN_PROGRESS,
        "status": status,
        "reason": reason,
        "message": message,
        "observedGeneration": rule["metadata"].get("generation") or 0,
    }


def _outlook(counts: Counts) -> str:
    return (
        f"{_counted(counts.published, 'published device', 'published devices')} selected. "
        f"{_counted(counts.allocated, 'allocated device', 'allocated devices')} selected. "
        f"{_pods(counts.pods, 'would', 'would')} be evicted in {_namespaces(counts.namespaces)} "
        "if the effect was NoExecute. This information will not be updated again. "
        "Recreate the DeviceTaintRule to trigger an update."
    )


def _counted(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def _pods(number: int, one: str, many: str) -> str:
    return _counted(number, f"pod {one}", f"pods {many}")


def _namespaces(number: int) -> str:
    return _counted(number, "namespace", "different namespaces")
