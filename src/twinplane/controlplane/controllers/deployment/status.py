"""The status of a Deployment: counts, and the conditions that `kubectl rollout status` waits for. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from twinplane.clock import rfc3339
from twinplane.controlplane.controllers.deployment.rolling import max_unavailable, replicas_of
from twinplane.controlplane.controllers.status import without_zeros
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.meta import condition_of, name_of, time_of

NO_DEADLINE = 2**31 - 1
AVAILABLE, PROGRESSING, REPLICA_FAILURE = "Available", "Progressing", "ReplicaFailure"
TIMED_OUT = "ProgressDeadlineExceeded"
NEW_AVAILABLE = "NewReplicaSetAvailable"

Conditions = dict[str, dict[str, Any]]
"""By type, in the order in which they were first set."""


class Verdict(NamedTuple):
    """The content of a condition."""

    status: str
    reason: str
    message: str


_ENOUGH = Verdict("True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
_NOT_ENOUGH = Verdict("False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.")


def deadline_of(deployment: Object) -> int | None:
    """Seconds, None when progress is not watched."""
    seconds = deployment["spec"].get("progressDeadlineSeconds")
    return None if seconds is None or seconds == NO_DEADLINE else int(seconds)


def set_condition(conditions: Conditions, type: str, verdict: Verdict, now: float, *, renew: bool = False) -> None:
    """A condition whose status and reason stay keeps its message and times, unless it shall be renewed."""
    old = conditions.get(type)
    if old is not None and old["status"] == verdict.status and old.get("reason") == verdict.reason and not renew:
        return
    at = rfc3339(now)
    kept = old.get("lastTransitionTime", at) if old is not None and old["status"] == verdict.status else at
    conditions[type] = {
        "type": type,
        "status": verdict.status,
        "lastUpdateTime": at,
        "lastTransitionTime": kept,
        "reason": verdict.reason,
        "message": verdict.message,
    }


def counted(
    deployment: Object, every: Sequence[Object], new: Object | None, conditions: Conditions, now: float
) -> dict[str, Any]:
    """The whole status; `conditions` is brought up to date in place."""
    available = _total(every, "availableReplicas")
    status = {
        "observedGeneration": deployment["metadata"].get("generation", 0),
        "replicas": _total(every, "replicas"),
        "updatedReplicas": _total([new] if new is not None else [], "replicas"),
        "readyReplicas": _total(every, "readyReplicas"),
        "availableReplicas": available,
        "unavailableReplicas": max(0, sum(map(replicas_of, every)) - available),
        "collisionCount": (deployment.get("status") or {}).get("collisionCount"),
    }
    enough = available >= replicas_of(deployment) - max_unavailable(deployment)
    set_condition(conditions, AVAILABLE, _ENOUGH if enough else _NOT_ENOUGH, now)
    synced = [found for entry in every if (found := entry.get("status") or {}).get("observedGeneration")]
    terminating = [found["terminatingReplicas"] for found in synced if found.get("terminatingReplicas") is not None]
    # Only where all ReplicaSets say it that were ever looked at; upstream leaves it out until then.
    more = {"terminatingReplicas": sum(terminating)} if synced and len(terminating) == len(synced) else {}
    return without_zeros(status) | more


def judge_progress(
    deployment: Object, status: dict[str, Any], new: Object | None, conditions: Conditions, now: float
) -> None:
    """Set, renew or remove `Progressing`."""
    if deadline_of(deployment) is None:
        conditions.pop(PROGRESSING, None)
        return
    current = conditions.get(PROGRESSING)
    settled = status.get("replicas", 0) == status.get("updatedReplicas", 0)
    if settled and current is not None and current.get("reason") == NEW_AVAILABLE:
        return
    subject = f'ReplicaSet "{name_of(new)}"' if new is not None else f'Deployment "{name_of(deployment)}"'
    if is_complete(deployment, status):
        verdict = Verdict("True", NEW_AVAILABLE, f"{subject} has successfully progressed.")
        set_condition(conditions, PROGRESSING, verdict, now)
    elif _has_progressed(deployment.get("status") or {}, status):
        verdict = Verdict("True", "ReplicaSetUpdated", f"{subject} is progressing.")
        set_condition(conditions, PROGRESSING, verdict, now, renew=True)
    elif _is_late(deployment, current, now):
        verdict = Verdict("False", TIMED_OUT, f"{subject} has timed out progressing.")
        set_condition(conditions, PROGRESSING, verdict, now)


def copy_failure(every: Sequence[Object], new: Object | None, conditions: Conditions) -> None:
    """The new ReplicaSet's failure to make pods is the Deployment's; failing that, any other one's."""
    candidates = [new] if new is not None else []
    failures = (condition_of(entry, REPLICA_FAILURE) for entry in [*candidates, *every])
    failure = next((failure for failure in failures if failure is not None), None)
    if failure is None:
        conditions.pop(REPLICA_FAILURE, None)
        return
    at = failure.get("lastTransitionTime", "")
    conditions[REPLICA_FAILURE] = {
        "type": REPLICA_FAILURE,
        "status": failure["status"],
        "lastUpdateTime": at,
        "lastTransitionTime": at,
        "reason": failure.get("reason", ""),
        "message": failure.get("message", ""),
    }


def is_complete(deployment: Object, status: dict[str, Any]) -> bool:
    wanted = replicas_of(deployment)
    counts = (status.get(field, 0) for field in ("updatedReplicas", "replicas", "availableReplicas"))
    observed = status.get("observedGeneration", 0) >= deployment["metadata"].get("generation", 0)
    return observed and all(count == wanted for count in counts)


def seconds_to_deadline(deployment: Object, status: dict[str, Any], conditions: Conditions, now: float) -> float | None:
    """When a rollout that does not move must be looked at again; None when nothing is awaited."""
    current = conditions.get(PROGRESSING)
    deadline = deadline_of(deployment)
    if deadline is None or current is None or is_complete(deployment, status):
        return None
    if current.get("reason") in (TIMED_OUT, NEW_AVAILABLE, "DeploymentPaused"):
        return None
    return max(time_of(current["lastUpdateTime"]) + deadline - now, 0.0) + 1.0


def _has_progressed(old: dict[str, Any], new: dict[str, Any]) -> bool:
    def outdated(status: dict[str, Any]) -> int:
        return int(status.get("replicas", 0)) - int(status.get("updatedReplicas", 0))

    grown = any(
        new.get(field, 0) > old.get(field, 0) for field in ("updatedReplicas", "readyReplicas", "availableReplicas")
    )
    return grown or outdated(new) < outdated(old)


def _is_late(deployment: Object, current: dict[str, Any] | None, now: float) -> bool:
    deadline = deadline_of(deployment)
    if current is None or deadline is None or current.get("reason") == NEW_AVAILABLE:
        return False
    if current.get("reason") == TIMED_OUT:
        return True
    return now > time_of(current["lastUpdateTime"]) + deadline


def _total(replica_sets: Sequence[Object], field: str) -> int:
    return sum(int((entry.get("status") or {}).get(field, 0)) for entry in replica_sets)
