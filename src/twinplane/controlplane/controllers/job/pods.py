"""The pods of a Job: what they look like, and how far they got. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from twinplane.controlplane.controllers.pods import (
    is_ready,
    is_terminal,
    phase_of,
    pod_from_template,
    ready_since,
    restarts_of,
)
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.meta import (
    annotations_of,
    condition_of,
    created_at,
    finalizers_of,
    is_deleting,
    name_of,
    time_of,
    uid_of,
)
from twinplane.kubeclient.resources import JOBS

TRACKING = "batch.kubernetes.io/job-tracking"
INDEX = "batch.kubernetes.io/job-completion-index"
NAME_MAX = 58
"""Of the part before what the API server adds to a name: beyond it, the index would be cut off."""


def is_indexed(job: Object) -> bool:
    return bool(job["spec"].get("completionMode") == "Indexed")


def selector_of_job(job: Object) -> dict[str, Any]:
    return job["spec"].get("selector") or {"matchLabels": {"batch.kubernetes.io/controller-uid": uid_of(job)}}


def pod_of(job: Object, index: int | None, annotations: Mapping[str, str] | None = None) -> Object:
    pod = pod_from_template(job["spec"]["template"], job, JOBS)
    metadata = pod["metadata"]
    own = {"controller-uid": uid_of(job), "job-name": name_of(job)}
    labels = metadata.setdefault("labels", {})
    if not job["spec"].get("manualSelector"):
        labels |= own | {f"batch.kubernetes.io/{key}": value for key, value in own.items()}
    metadata["finalizers"] = [*metadata.get("finalizers", []), TRACKING]
    if index is not None:
        labels[INDEX] = str(index)
        metadata.setdefault("annotations", {}).update({INDEX: str(index), **(annotations or {})})
        tail = f"-{index}-"
        metadata["generateName"] = f"{name_of(job)[: NAME_MAX - len(tail)]}{tail}"
        pod["spec"]["hostname"] = f"{name_of(job)}-{index}"
        _add_index_variable(pod["spec"])
    return pod


def _add_index_variable(spec: dict[str, Any]) -> None:
    source = {"fieldRef": {"fieldPath": f"metadata.labels['{INDEX}']"}}
    for container in [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]:
        variables = container.setdefault("env", [])
        if not any(variable["name"] == "JOB_COMPLETION_INDEX" for variable in variables):
            variables.append({"name": "JOB_COMPLETION_INDEX", "valueFrom": source})


def index_of(pod: Object) -> int | None:
    text = annotations_of(pod).get(INDEX, "")
    return int(text) if text.isdigit() else None


def is_tracked(pod: Object) -> bool:
    return TRACKING in finalizers_of(pod)


def succeeded(pod: Object) -> bool:
    return phase_of(pod) == "Succeeded"


def replaces_only_failed(job: Object) -> bool:
    """Whether a pod that is being deleted still counts until it has ended."""
    policy = job["spec"].get("podReplacementPolicy")
    return policy == "Failed" if policy else bool(job["spec"].get("podFailurePolicy"))


def failed(job: Object, pod: Object) -> bool:
    """A pod that is being deleted counts as failed, unless `podReplacementPolicy: Failed` waits for its end."""
    if phase_of(pod) == "Failed":
        return True
    return is_deleting(pod) and not replaces_only_failed(job) and not succeeded(pod)


def finished_at(pod: Object) -> float:
    """When its last container ended; else when it stopped being ready, was deleted, or was made."""
    status, metadata = pod.get("status") or {}, pod["metadata"]
    sidecars = {
        item["name"] for item in pod["spec"].get("initContainers") or [] if item.get("restartPolicy") == "Always"
    }
    inits = (entry for entry in status.get("initContainerStatuses") or [] if entry["name"] in sidecars)
    ends = [
        time_of(((entry.get("state") or {}).get("terminated") or {}).get("finishedAt"))
        for entry in [*(status.get("containerStatuses") or []), *inits]
    ]
    if ends and all(ends):
        return max(ends)
    ready = condition_of(pod, "Ready")
    if ready is not None and ready["status"] == "False" and ready.get("lastTransitionTime"):
        return time_of(ready["lastTransitionTime"])
    if is_deleting(pod):
        return time_of(metadata["deletionTimestamp"]) - float(metadata.get("deletionGracePeriodSeconds") or 0)
    return created_at(pod)


_PHASES = {"Pending": 0, "Unknown": 1, "Running": 2}


def progress(pod: Object) -> tuple[Any, ...]:
    """To sort by, the least useful active pod first: upstream's `ActivePods`."""
    return (
        bool(pod["spec"].get("nodeName")),
        _PHASES.get(phase_of(pod), 0),
        is_ready(pod),
        -(ready_since(pod) or 0.0),
        -restarts_of(pod),
        -created_at(pod),
        name_of(pod),
    )


def active(pods: Iterable[Object]) -> list[Object]:
    return [pod for pod in pods if not is_terminal(pod) and not is_deleting(pod)]


def terminating(pods: Iterable[Object]) -> list[Object]:
    return [pod for pod in pods if is_deleting(pod) and not is_terminal(pod)]


def restarts(pods: Iterable[Object]) -> int:
    """Of running and pending pods, for `restartPolicy: OnFailure`, where the kubelet repeats containers."""
    total = 0
    for pod in pods:
        if phase_of(pod) in ("Running", "Pending"):
            status = pod.get("status") or {}
            for entry in [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]:
                total += int(entry.get("restartCount", 0))
    return total
