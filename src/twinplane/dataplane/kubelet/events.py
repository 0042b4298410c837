"""Events about pods and their containers, with the field path by which `kubectl describe` names the container."""

from __future__ import annotations

from typing import Any, Protocol

import orjson

from twinplane.dataplane.kubelet.pods.spec import MIRROR_ANNOTATION, is_static
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.meta import annotations_of


class Recorder(Protocol):
    def event(self, regarding: Object, type: str, reason: str, message: str) -> None: ...


class PodEvents:
    """Of a static pod they are about its mirror, whose uid differs: the API server knows no other."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def normal(self, pod: Object, reason: str, message: str, container: dict[str, Any] | None = None) -> None:
        self._record(pod, "Normal", reason, message, container)

    def warning(self, pod: Object, reason: str, message: str, container: dict[str, Any] | None = None) -> None:
        self._record(pod, "Warning", reason, message, container)

    def _record(self, pod: Object, type: str, reason: str, message: str, container: dict[str, Any] | None) -> None:
        regarding = {"apiVersion": "v1", "kind": "Pod", **pod}
        if is_static(pod):
            # As upstream: a static pod's events name it by the hash that its mirror carries.
            metadata = {**pod["metadata"], "uid": annotations_of(pod).get(MIRROR_ANNOTATION) or pod["metadata"]["uid"]}
            regarding["metadata"] = metadata
        if container is not None:
            regarding["fieldPath"] = field_path(pod, container["name"])
        self._recorder.event(regarding, type, reason, message)


def field_path(pod: Object, name: str) -> str:
    for field in ("containers", "initContainers", "ephemeralContainers"):
        if any(container["name"] == name for container in pod["spec"].get(field) or ()):
            return f"spec.{field}{{{name}}}"
    return ""


def resize_message(what: str, pod: Object, generation: int, error: str = "") -> str:
    """As upstream's `events/resize.go`: the resources of the pod's containers as JSON."""
    summary: dict[str, Any] = {}
    for field in ("initContainers", "containers"):
        found = [
            {"name": item["name"], "resources": _in_order(item.get("resources") or {})}
            for item in pod["spec"].get(field) or ()
        ]
        if found:
            summary[field] = found
    summary["generation"] = generation
    if error:
        summary["error"] = error
    return f"{what}: {orjson.dumps(summary).decode()}"


def _in_order(resources: dict[str, Any]) -> dict[str, Any]:
    made = {kind: dict(sorted(resources[kind].items())) for kind in ("limits", "requests") if resources.get(kind)}
    return {**made, "claims": resources["claims"]} if resources.get("claims") else made


def go_duration(seconds: float) -> str:
    """As Go prints a time.Duration, to milliseconds: `10s`, `2m40s`, `1.234s`, `86ms`."""
    if 0 < seconds < 1:
        return f"{round(seconds * 1000)}ms"
    minutes, rest = divmod(round(seconds, 3), 60)
    hours, minutes = divmod(int(minutes), 60)
    shown = f"{rest:.3f}".rstrip("0").rstrip(".") + "s"
    if hours:
        return f"{hours}h{minutes}m{shown}"
    return f"{minutes}m{shown}" if minutes else shown
