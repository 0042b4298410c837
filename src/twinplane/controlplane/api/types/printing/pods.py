"""Pods: the STATUS, READY and RESTARTS columns, which no single field holds."""

from __future__ import annotations

from typing import Any, NamedTuple

from twinplane.clock import from_rfc3339
from twinplane.controlplane.api.types.printing.column import (
    NONE,
    Printer,
    age,
    containers,
    human_duration,
    labels_text,
    name,
    printer,
    spec,
    status,
)
from twinplane.kubeclient.contract import Object

Status = dict[str, Any]


class _Progress(NamedTuple):
    reason: str
    restarts: int
    ready: int
    last_restart: float


def pod_row(pod: Object, now: float) -> list[Any]:
    wanted, current = spec(pod), status(pod)
    progress = _progress(pod)
    sidecars = [entry for entry in wanted.get("initContainers") or () if entry.get("restartPolicy") == "Always"]
    total = len(wanted.get("containers") or ()) + len(sidecars)
    restarts = str(progress.restarts)
    if progress.restarts and progress.last_restart:
        restarts += f" ({human_duration(now - progress.last_restart)} ago)"
    addresses = current.get("podIPs") or ()
    address = addresses[0].get("ip", "") if addresses else current.get("podIP", "")
    return [
        name(pod),
        f"{progress.ready}/{total}",
        progress.reason,
        restarts,
        age(pod, now),
        address or NONE,
        wanted.get("nodeName") or NONE,
        current.get("nominatedNodeName") or NONE,
        _gates(wanted, current),
    ]


def _gates(wanted: Status, current: Status) -> str:
    gates = wanted.get("readinessGates") or ()
    if not gates:
        return NONE
    met = {entry.get("type") for entry in current.get("conditions") or () if entry.get("status") == "True"}
    return f"{sum(gate.get('conditionType') in met for gate in gates)}/{len(gates)}"


def _progress(pod: Object) -> _Progress:
    current = status(pod)
    reason = current.get("reason") or current.get("phase", "")
    if _condition(current, "PodScheduled").get("reason") == "SchedulingGated":
        reason = "SchedulingGated"
    starting = _initialization(pod)
    progress = starting
    if not starting.reason or _condition(current, "Initialized").get("status") == "True":
        progress = _running(current, starting._replace(reason=reason))
    reason = progress.reason
    if pod["metadata"].get("deletionTimestamp"):
        if current.get("reason") == "NodeLost":
            reason = "Unknown"
        elif current.get("phase") not in ("Succeeded", "Failed"):
            reason = "Terminating"
    return progress._replace(reason=reason)


def _condition(current: Status, kind: str) -> Status:
    return next((entry for entry in current.get("conditions") or () if entry.get("type") == kind), {})


def _initialization(pod: Object) -> _Progress:
    """The first init container that is not done gives the reason; empty when all are.

    Restarts are those of all init containers until then, and of sidecars from then on.
    """
    listed = spec(pod).get("initContainers") or ()
    sidecars = {entry.get("name") for entry in listed if entry.get("restartPolicy") == "Always"}
    initialized = _condition(status(pod), "Initialized").get("status") == "True"
    restarts = ready = of_all = 0
    last = last_of_all = 0.0
    for index, entry in enumerate(status(pod).get("initContainerStatuses") or ()):
        is_sidecar = entry.get("name") in sidecars
        if is_sidecar:
            restarts += entry.get("restartCount", 0)
            last = max(last, _finished(entry))
        if is_sidecar or not initialized:
            of_all += entry.get("restartCount", 0)
            last_of_all = max(last_of_all, _finished(entry))
        state = entry.get("state") or {}
        ended, waiting = state.get("terminated"), state.get("waiting") or {}
        if ended is not None and ended.get("exitCode", 0) == 0:
            continue
        if is_sidecar and entry.get("started"):
            ready += bool(entry.get("ready"))
            continue
        if ended is not None:
            return _Progress("Init:" + _ended(ended), of_all, ready, last_of_all)
        if waiting.get("reason") and waiting["reason"] != "PodInitializing":
            return _Progress("Init:" + waiting["reason"], of_all, ready, last_of_all)
        return _Progress(f"Init:{index}/{len(listed)}", of_all, ready, last_of_all)
    return _Progress("", restarts, ready, last)


def _running(current: Status, progress: _Progress) -> _Progress:
    reason, restarts, ready, last = progress
    has_running = False
    for entry in reversed(current.get("containerStatuses") or ()):
        restarts += entry.get("restartCount", 0)
        last = max(last, _finished(entry))
        state = entry.get("state") or {}
        ended = state.get("terminated")
        if (state.get("waiting") or {}).get("reason"):
            reason = state["waiting"]["reason"]
        elif ended is not None:
            reason = _ended(ended)
        elif entry.get("ready") and "running" in state:
            has_running = True
            ready += 1
    if reason == "Completed" and has_running:
        reason = "Running" if _condition(current, "Ready").get("status") == "True" else "NotReady"
    return _Progress(reason, restarts, ready, last)


def _ended(ended: Status) -> str:
    if ended.get("reason"):
        return str(ended["reason"])
    return f"Signal:{ended['signal']}" if ended.get("signal") else f"ExitCode:{ended.get('exitCode', 0)}"


def _finished(entry: Status) -> float:
    finished = ((entry.get("lastState") or {}).get("terminated") or {}).get("finishedAt")
    return from_rfc3339(finished) if finished else 0.0


def pod_template_row(body: Object, now: float) -> list[Any]:
    template = body.get("template") or {}
    return [name(body), *containers(template), labels_text((template.get("metadata") or {}).get("labels"))]


PRINTERS: dict[tuple[str, str], Printer] = {
    ("", "Pod"): printer("Name,Ready,Status,Restarts,Age", pod_row, wide="IP,Node,Nominated Node,Readiness Gates"),
    ("", "PodTemplate"): printer("Name,Containers,Images,Pod Labels", pod_template_row),
}
