"""The conditions of a pod that the kubelet owns. Pure. Source: kubelet `status/generate.go`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from twinplane.clock import rfc3339
from twinplane.dataplane.kubelet.pods.spec import containers_of, init_containers_of, is_sidecar
from twinplane.kubeclient.contract import Object

OWNED = (
    "PodReadyToStartContainers",
    "Initialized",
    "Ready",
    "ContainersReady",
    "PodScheduled",
    "PodResizePending",
    "PodResizeInProgress",
    "DisruptionTarget",
)
"""DisruptionTarget only where the kubelet itself sets it; another's is left alone."""

Statuses = Mapping[str, dict[str, Any]]
Verdict = tuple[bool, str, str]
"""Status, reason, message."""


def pod_conditions(
    pod: Object, phase: str, inits: Statuses, mains: Statuses, before: Sequence[dict[str, Any]], *, sandboxed: bool
) -> dict[str, Verdict]:
    containers = _containers_ready(pod, phase, inits, mains)
    return {
        "PodReadyToStartContainers": (sandboxed, "", ""),
        "Initialized": _initialized(pod, phase, inits, mains),
        "Ready": _ready(pod, containers, before),
        "ContainersReady": containers,
        "PodScheduled": (True, "", ""),
    }


def condition(
    type: str, verdict: Verdict, generation: int, before: Sequence[dict[str, Any]], now: float
) -> dict[str, Any]:
    """The transition time is kept while the status stays."""
    well, reason, message = verdict
    status = "True" if well else "False"
    old = next((item for item in before if item["type"] == type), None)
    same = old is not None and old.get("status") == status and old.get("lastTransitionTime")
    made: dict[str, Any] = {"type": type, "status": status, "lastProbeTime": None}
    made["lastTransitionTime"] = old["lastTransitionTime"] if same and old is not None else rfc3339(now)
    if generation:
        made["observedGeneration"] = generation
    if reason:
        made["reason"] = reason
    if message:
        made["message"] = message
    return made


def _initialized(pod: Object, phase: str, inits: Statuses, mains: Statuses) -> Verdict:
    unknown, incomplete = [], []
    for container in init_containers_of(pod):
        name = container["name"]
        status = inits.get(name)
        if status is None:
            unknown.append(name)
        elif not (status.get("started") if is_sidecar(container) else status.get("ready")):
            incomplete.append(name)
    if phase == "Succeeded" and not unknown:
        return True, "PodCompleted", ""
    if any("running" in (status.get("state") or {}) for status in mains.values()):
        # Main containers run only when everything before them was done, whatever a sidecar does now.
        return True, "", ""
    if unknown or incomplete:
        return False, "ContainersNotInitialized", _not_so("incomplete", unknown, incomplete)
    return True, "", ""


def _containers_ready(pod: Object, phase: str, inits: Statuses, mains: Statuses) -> Verdict:
    if phase == "Succeeded":
        return False, "PodCompleted", ""
    if phase == "Failed":
        return False, "PodFailed", ""
    unknown, unready = [], []
    wanted = [(item, inits) for item in init_containers_of(pod) if is_sidecar(item)]
    wanted += [(item, mains) for item in containers_of(pod)]
    for container, statuses in wanted:
        status = statuses.get(container["name"])
        if status is None:
            unknown.append(container["name"])
        elif not status.get("ready"):
            unready.append(container["name"])
    if unknown or unready:
        return False, "ContainersNotReady", _not_so("unready", unknown, unready)
    return True, "", ""


def _ready(pod: Object, containers: Verdict, before: Sequence[dict[str, Any]]) -> Verdict:
    if not containers[0]:
        return containers
    known = {item["type"]: item for item in before}
    messages = []
    for gate in pod["spec"].get("readinessGates") or ():
        name = gate["conditionType"]
        if name not in known:
            messages.append(f'corresponding condition of pod readiness gate "{name}" does not exist.')
        elif known[name].get("status") != "True":
            status = known[name].get("status", "Unknown")
            messages.append(f'the status of pod readiness gate "{name}" is not "True", but {status}')
    if messages:
        return False, "ReadinessGatesNotReady", ", ".join(messages)
    return True, "", ""


def _not_so(what: str, unknown: list[str], known: list[str]) -> str:
    parts = [f"containers with unknown status: [{' '.join(unknown)}]"] if unknown else []
    parts += [f"containers with {what} status: [{' '.join(known)}]"] if known else []
    return ", ".join(parts)
