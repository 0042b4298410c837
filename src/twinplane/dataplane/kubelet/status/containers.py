"""The status of containers. Pure. Source: kubelet `convertToAPIContainerStatuses`.

A container that waits keeps what is known of its last instance; why it waits is told by whoever tried to start it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from twinplane.clock import rfc3339
from twinplane.dataplane.kubelet.pods.spec import Container, Kind, all_containers, init_containers_of
from twinplane.dataplane.kubelet.pods.state import ContainerState, PodState
from twinplane.dataplane.kubelet.probes.container import Findings
from twinplane.kubeclient.contract import Object

FIELDS: dict[Kind, str] = {
    "init": "initContainerStatuses",
    "sidecar": "initContainerStatuses",
    "main": "containerStatuses",
    "ephemeral": "ephemeralContainerStatuses",
}
VOLUME_MOUNT_FIELDS = ("name", "mountPath", "readOnly", "recursiveReadOnly")
LOST_MESSAGE = "The container could not be located when the pod was terminated"
LOST_CODE = 137


@dataclass(frozen=True, slots=True)
class Observed:
    """What a status is made of, beside the pod."""

    state: PodState
    waiting: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """By container: reason and message of the last start that did not come about."""
    findings: Mapping[str, Findings] = field(default_factory=dict)
    """By container id."""
    resources: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    """By container: what its cgroup has been given, where that is not what the spec says."""
    stopped: bool = False
    """Nothing is started any more."""
    over: bool = False
    """Nothing runs any more, and nothing will."""
    restarts: Callable[[Container, ContainerState], bool] = lambda _, __: False
    """Whether a container that has ended is to run again."""


def container_statuses(pod: Object, observed: Observed) -> dict[str, list[dict[str, Any]]]:
    """By field of the status, in the order of the spec. The pod is as it has been allotted."""
    before = {item["name"]: item for name in set(FIELDS.values()) for item in (pod.get("status") or {}).get(name) or ()}
    made: dict[str, list[dict[str, Any]]] = {}
    for kind, container in all_containers(pod):
        status = _status(pod, kind, container, observed, before.get(container["name"]))
        made.setdefault(FIELDS[kind], []).append(status)
    return made


def _status(
    pod: Object, kind: Kind, container: Container, observed: Observed, before: dict[str, Any] | None
) -> dict[str, Any]:
    name = container["name"]
    current = observed.state.latest(name)
    if current is None:
        return _without_instance(pod, kind, container, observed, before)
    findings = observed.findings.get(current.id) or Findings(started=False)
    last = observed.state.previous(current)
    status: dict[str, Any] = {"name": name, "lastState": {}, "restartCount": current.restarts}
    status["image"] = current.image or container.get("image", "")
    status["imageID"] = current.image_id
    status["containerID"] = f"containerd://{current.id}"
    status["state"] = _state(pod, container, current, observed)
    if "waiting" in status["state"] and current.state == "exited":
        status["lastState"] = {"terminated": terminated(current)}
    elif last is not None and last.state == "exited":
        status["lastState"] = {"terminated": terminated(last)}
    elif before is not None and (before.get("lastState") or {}).get("terminated") and current.restarts:
        # The instance before was taken away by garbage collection.
        status["lastState"] = before["lastState"]
    running = current.running
    status["started"] = running and findings.started
    status["ready"] = _ready(kind, current, findings)
    _add_details(status, kind, container, current, observed, running=running)
    return status


def _state(pod: Object, container: Container, current: ContainerState, observed: Observed) -> dict[str, Any]:
    if current.running:
        return {"running": {"startedAt": rfc3339(current.started_at)}}
    why = observed.waiting.get(container["name"])
    if current.state == "exited":
        if why is not None and not observed.stopped and observed.restarts(container, current):
            return {"waiting": _waiting(*why)}
        return {"terminated": terminated(current)}
    if current.state == "unknown":
        lost = {"exitCode": LOST_CODE, "reason": "ContainerStatusUnknown", "message": LOST_MESSAGE}
        return {"terminated": {**lost, "startedAt": None, "finishedAt": None}}
    return {"waiting": _waiting(*(why or _default_waiting(pod)))}


def _without_instance(
    pod: Object, kind: Kind, container: Container, observed: Observed, before: dict[str, Any] | None
) -> dict[str, Any]:
    name = container["name"]
    status: dict[str, Any] = {
        "name": name,
        "image": container.get("image", ""),
        "imageID": "",
        "lastState": {},
        "ready": False,
        "restartCount": (before or {}).get("restartCount", 0),
        "started": False,
        "state": {"waiting": _waiting(*(observed.waiting.get(name) or _default_waiting(pod)))},
    }
    if before is None:
        return status
    old = (before.get("state") or {}).get("terminated")
    if old is not None and (kind == "init" or observed.stopped):
        # It came to its end, and its record was collected since.
        kept: dict[str, Any] = {
            key: before[key] for key in ("image", "imageID", "containerID", "lastState", "ready") if key in before
        }
        return {**status, **kept, "state": before["state"], "started": False}
    if (before.get("state") or {}).get("running") and observed.over:
        lost = {"exitCode": LOST_CODE, "reason": "ContainerStatusUnknown", "message": LOST_MESSAGE}
        status["state"] = {"terminated": {**lost, "startedAt": None, "finishedAt": None}}
    return status


def _ready(kind: Kind, current: ContainerState, findings: Findings) -> bool:
    if kind == "init":
        return current.state == "exited" and current.exit_code == 0
    return kind != "ephemeral" and current.running and findings.ready


def _add_details(
    status: dict[str, Any],
    kind: Kind,
    container: Container,
    current: ContainerState,
    observed: Observed,
    *,
    running: bool,
) -> None:
    resources = observed.resources.get(container["name"]) or container.get("resources") or {}
    if running and kind != "ephemeral":
        if (container.get("resources") or {}).get("requests"):
            status["allocatedResources"] = container["resources"]["requests"]
        status["resources"] = {key: resources[key] for key in ("limits", "requests", "claims") if resources.get(key)}
    if running and current.user is not None:
        uid, gid, groups = current.user
        status["user"] = {"linux": {"uid": uid, "gid": gid, "supplementalGroups": list(groups)}}
    mounts = container.get("volumeMounts") or ()
    if mounts:
        status["volumeMounts"] = [_volume_mount(mount) for mount in mounts]


def _volume_mount(mount: dict[str, Any]) -> dict[str, Any]:
    made = {key: mount[key] for key in VOLUME_MOUNT_FIELDS[:3] if mount.get(key)}
    if mount.get("readOnly"):
        asked = mount.get("recursiveReadOnly")
        made["recursiveReadOnly"] = "Disabled" if asked in (None, "IfPossible") else asked
    return made


def terminated(state: ContainerState) -> dict[str, Any]:
    made: dict[str, Any] = {
        "exitCode": state.exit_code,
        "reason": state.reason or ("Completed" if state.exit_code == 0 else "Error"),
        "startedAt": rfc3339(state.started_at) if state.started_at > 0 else None,
        "finishedAt": rfc3339(state.finished_at) if state.finished_at > 0 else None,
        "containerID": f"containerd://{state.id}",
    }
    if state.exit_code > 128 and state.reason == "Signal":
        made["signal"] = state.exit_code - 128
    if state.message:
        made["message"] = state.message
    return made


def _waiting(reason: str, message: str) -> dict[str, Any]:
    return {"reason": reason, "message": message} if message else {"reason": reason}


def _default_waiting(pod: Object) -> tuple[str, str]:
    return ("PodInitializing" if init_containers_of(pod) else "ContainerCreating"), ""
