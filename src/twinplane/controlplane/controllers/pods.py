"""What workload controllers ask of a pod, and how they make one from a template. Pure."""

from __future__ import annotations

from typing import Any

from twinplane.kubeclient.contract import Object, Resource
from twinplane.kubeclient.meta import condition_of, controller_reference, copied, is_deleting, name_of, time_of

TERMINAL_PHASES = ("Succeeded", "Failed")


def phase_of(pod: Object) -> str:
    return str((pod.get("status") or {}).get("phase", ""))


def is_terminal(pod: Object) -> bool:
    return phase_of(pod) in TERMINAL_PHASES


def is_active(pod: Object) -> bool:
    """It counts for its controller: neither finished nor on its way out."""
    return not is_terminal(pod) and not is_deleting(pod)


def is_ready(pod: Object) -> bool:
    condition = condition_of(pod, "Ready")
    return condition is not None and condition["status"] == "True"


def ready_since(pod: Object) -> float | None:
    """Seconds since the epoch, None for a pod that is not ready."""
    condition = condition_of(pod, "Ready")
    if condition is None or condition["status"] != "True":
        return None
    return time_of(condition.get("lastTransitionTime"))


def available_in(pod: Object, min_ready_seconds: int, now: float) -> float | None:
    """Seconds until the pod has been ready for long enough: 0 or less for an available pod, None if not ready."""
    since = ready_since(pod)
    if since is None:
        return None
    return since + min_ready_seconds - now if min_ready_seconds else 0.0


def is_available(pod: Object, min_ready_seconds: int, now: float) -> bool:
    left = available_in(pod, min_ready_seconds, now)
    return left is not None and left <= 0


def restarts_of(pod: Object) -> int:
    """Of the container that restarted most, init containers included."""
    status = pod.get("status") or {}
    statuses = [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]
    return max((int(entry.get("restartCount", 0)) for entry in statuses), default=0)


def pod_from_template(template: Object, owner: Object, resource: Resource) -> Object:
    """The pod as `owner` asks for it: named after it by the server, and controlled by it."""
    metadata: dict[str, Any] = {
        field: copied(template["metadata"][field])
        for field in ("labels", "annotations", "finalizers")
        if (template.get("metadata") or {}).get(field)
    }
    metadata["generateName"] = f"{name_of(owner)}-"
    metadata["namespace"] = owner["metadata"]["namespace"]
    metadata["ownerReferences"] = [controller_reference(owner, resource)]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": copied(template.get("spec") or {})}
