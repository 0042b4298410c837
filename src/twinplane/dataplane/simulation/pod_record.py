"""What is kept of a pod: the part that a kubelet's simulation reads, with all shared that pods have in common.

A whole parsed pod takes 15 to 20 KB, of which nearly all is the same for every replica. `Records.slim` is the
informer's transform: metadata and status cut to what is read again, and the spec, labels and conditions looked up among
those of pods seen before. A pod then takes about 2 KB.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from twinplane.kubeclient.contract import Object

SIMULATION_ANNOTATIONS = "simulation.twinplane.io/"
SHARED_MAX = 20_000
"""Different values remembered; beyond it they are forgotten all at once, and sharing starts anew."""

_METADATA = (
    "name",
    "namespace",
    "uid",
    "resourceVersion",
    "generation",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
)
_SPEC = (
    "restartPolicy",
    "hostNetwork",
    "terminationGracePeriodSeconds",
    "readinessGates",
    "activeDeadlineSeconds",
    "priority",
    "tolerations",
)
_CONTAINER = (
    "name",
    "image",
    "imagePullPolicy",
    "restartPolicy",
    "restartPolicyRules",
    "ports",
    "resources",
    "resizePolicy",
    "command",
    "args",
)
_STATUS = ("phase", "podIP", "startTime", "qosClass")
_CONTAINER_STATUSES = ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses")
_PROBES = ("startupProbe", "readinessProbe", "livenessProbe")
_PROBE = ("initialDelaySeconds", "exec", "periodSeconds", "failureThreshold")


class Records:
    """`living` says whether a uid's containers are known to this process: then their statuses need not be kept."""

    def __init__(self, living: Callable[[str], bool]) -> None:
        self._living = living
        self._shared: dict[bytes, Any] = {}

    def slim(self, body: Object) -> Object:
        metadata = body["metadata"]
        kept: Object = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {name: metadata[name] for name in _METADATA if name in metadata},
            "spec": {"nodeName": body["spec"].get("nodeName") or "", **self._share(_spec(body["spec"]))},
            "status": self._status(metadata.get("uid") or "", body.get("status") or {}),
        }
        labels = metadata.get("labels")
        annotations = {
            key: value
            for key, value in (metadata.get("annotations") or {}).items()
            if key.startswith(SIMULATION_ANNOTATIONS)
        }
        if labels:
            kept["metadata"]["labels"] = self._share(labels)
        if annotations:
            kept["metadata"]["annotations"] = self._share(annotations)
        if "namespace" in metadata:
            kept["metadata"]["namespace"] = self._share(metadata["namespace"])
        return kept

    def _status(self, uid: str, status: dict[str, Any]) -> dict[str, Any]:
        kept = {name: status[name] for name in _STATUS if name in status}
        if "conditions" in status:
            kept["conditions"] = self._share(status["conditions"])
        if not self._living(uid):
            kept |= {name: status[name] for name in _CONTAINER_STATUSES if name in status}
        return kept

    def _share(self, value: Any) -> Any:
        key = orjson.dumps(value)
        found = self._shared.get(key)
        if found is None:
            if len(self._shared) >= SHARED_MAX:
                self._shared.clear()
            found = self._shared[key] = value
        return found


def _spec(spec: dict[str, Any]) -> dict[str, Any]:
    kept = {name: spec[name] for name in _SPEC if name in spec}
    for name in ("initContainers", "containers", "ephemeralContainers"):
        if spec.get(name):
            kept[name] = [_container(item) for item in spec[name]]
    return kept


def _container(item: dict[str, Any]) -> dict[str, Any]:
    kept = {name: item[name] for name in _CONTAINER if name in item}
    if item.get("command") and item.get("env"):
        # What becomes of a command may depend on its variables.
        kept["env"] = item["env"]
    for name in _PROBES:
        probe = item.get(name) or {}
        if probe.get("exec"):
            kept[name] = {field: probe[field] for field in _PROBE if probe.get(field)}
        elif probe.get("initialDelaySeconds"):
            kept[name] = {"initialDelaySeconds": probe["initialDelaySeconds"]}
    hook = (item.get("lifecycle") or {}).get("preStop")
    if hook:
        kept["lifecycle"] = {"preStop": hook}
    return kept
