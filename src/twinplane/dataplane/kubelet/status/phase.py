"""The phase of a pod. Pure. Source: kubelet `getPhase`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twinplane.dataplane.kubelet.pods.spec import (
    Container,
    containers_of,
    init_containers_of,
    is_sidecar,
    should_restart,
)
from twinplane.kubeclient.contract import Object

Statuses = Mapping[str, dict[str, Any]]


def pod_phase(pod: Object, inits: Statuses, mains: Statuses, *, over: bool) -> str:
    """`over` is a pod all of whose containers have been stopped and will not run again."""
    if over:
        return _last_phase(pod, mains)
    begun = any(_has_run(status) for status in mains.values())
    if not begun and any(
        _blocks(pod, container, inits.get(container["name"])) for container in init_containers_of(pod)
    ):
        failed = any(_failed_for_good(pod, item, inits.get(item["name"])) for item in init_containers_of(pod))
        return "Failed" if failed else "Pending"
    running = waiting = 0
    ended: list[tuple[Container, int]] = []
    for container in containers_of(pod):
        status = mains.get(container["name"]) or {}
        state, last = status.get("state") or {}, status.get("lastState") or {}
        terminated = state.get("terminated") or last.get("terminated")
        if "running" in state:
            running += 1
        elif terminated is not None:
            ended.append((container, terminated["exitCode"]))
        else:
            waiting += 1
    if waiting:
        return "Pending"
    if running or not ended:
        return "Running" if running else "Pending"
    if any(should_restart(pod, container, code) for container, code in ended):
        return "Running"
    return "Succeeded" if all(code == 0 for _, code in ended) else "Failed"


def _last_phase(pod: Object, mains: Statuses) -> str:
    ended = [
        (mains.get(container["name"]) or {}).get("state", {}).get("terminated") for container in containers_of(pod)
    ]
    return "Succeeded" if all(item and item["exitCode"] == 0 for item in ended) else "Failed"


def _has_run(status: dict[str, Any]) -> bool:
    state, last = status.get("state") or {}, status.get("lastState") or {}
    return "running" in state or "terminated" in state or "terminated" in last


def _blocks(pod: Object, container: Container, status: dict[str, Any] | None) -> bool:
    """An init container that has yet to come to its end (a sidecar: to its start)."""
    if status is None:
        return True
    if is_sidecar(container):
        return not status.get("started") and "terminated" not in (status.get("state") or {})
    terminated = (status.get("state") or {}).get("terminated")
    return terminated is None or terminated["exitCode"] != 0


def _failed_for_good(pod: Object, container: Container, status: dict[str, Any] | None) -> bool:
    terminated = ((status or {}).get("state") or {}).get("terminated")
    if is_sidecar(container) or terminated is None or terminated["exitCode"] == 0:
        return False
    return not should_restart(pod, container, terminated["exitCode"])
