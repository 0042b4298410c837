"""Which log of a container is meant, and why there may be none: the kubelet's words (`validateContainerLogStatus`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.meta import name_of

STATUSES = ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses")
_WAITING = {
    "ErrImagePull": "image can't be pulled",
    "ImagePullBackOff": "trying and failing to pull image",
}


class NoLog(Exception):
    """str() is for the user."""


def container_status(pod: Object, container: str) -> Mapping[str, Any] | None:
    status = pod.get("status") or {}
    items = (item for kind in STATUSES for item in status.get(kind) or ())
    return next((item for item in items if item.get("name") == container), None)


def logged_container(pod: Object, container: str, *, previous: bool) -> str:
    """The runtime's id of the container whose log is shown. Raises `NoLog`."""
    named = f'container "{container}" in pod "{name_of(pod)}"'
    status = container_status(pod, container)
    if status is None:
        raise NoLog(f"{named} is not available")
    state, last = status.get("state") or {}, (status.get("lastState") or {}).get("terminated") or {}
    if previous:
        if not last.get("containerID"):
            raise NoLog(f"previous terminated {named} not found")
        return _bare(last["containerID"])
    terminated = state.get("terminated") or {}
    if "running" in state:
        found = status.get("containerID")
    else:
        found = terminated.get("containerID") or last.get("containerID")
        if not found and ("terminated" in state or last):
            raise NoLog(f"{named} is terminated")
    if not found:
        reason = (state.get("waiting") or {}).get("reason", "")
        if "waiting" not in state:
            raise NoLog(f"{named} is waiting to start - no logs yet")
        raise NoLog(f"{named} is waiting to start: {_WAITING.get(reason, reason)}")
    return _bare(found)


def _bare(container_id: str) -> str:
    """Without `containerd://`."""
    return container_id.rpartition("//")[2]
