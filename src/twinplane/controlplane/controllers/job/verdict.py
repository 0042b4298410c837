"""Whether a Job is at its end, and how many pods it needs until then. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from twinplane.clock import rfc3339
from twinplane.controlplane.controllers.job.accounting import Books, active, terminating
from twinplane.controlplane.controllers.job.pods import index_of, is_indexed, restarts
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.meta import time_of

BACKOFF_LIMIT = 6
FINISHED = ("Complete", "Failed")


class Verdict(NamedTuple):
    """`type` is SuccessCriteriaMet or FailureTarget: what the Job will be once its last pods are gone."""

    type: str
    reason: str
    message: str

    @property
    def final(self) -> str:
        return "Complete" if self.type == "SuccessCriteriaMet" else "Failed"


_REACHED = Verdict("SuccessCriteriaMet", "CompletionsReached", "Reached expected number of succeeded pods")
_BACKOFF = Verdict("FailureTarget", "BackoffLimitExceeded", "Job has reached the specified backoff limit")
_DEADLINE = Verdict("FailureTarget", "DeadlineExceeded", "Job was active longer than specified deadline")


def verdict_of(job: Object, pods: Sequence[Object], books: Books, now: float) -> Verdict | None:
    """The first verdict stands: it is in the conditions, which are looked at before anything else."""
    for condition in (job.get("status") or {}).get("conditions") or []:
        if condition["status"] == "True" and condition["type"] in ("SuccessCriteriaMet", "FailureTarget"):
            return Verdict(condition["type"], condition.get("reason", ""), condition.get("message", ""))
    limit = job["spec"].get("backoffLimit", BACKOFF_LIMIT)
    if books.total_failed > limit or _restarted_too_often(job, pods, limit):
        return _BACKOFF
    left = seconds_to_deadline(job, now)
    if left is not None and left <= 0:
        return _DEADLINE
    return _REACHED if _is_reached(job, pods, books) else None


def _restarted_too_often(job: Object, pods: Sequence[Object], limit: int) -> bool:
    if job["spec"]["template"]["spec"].get("restartPolicy") != "OnFailure":
        return False
    count = restarts(active(pods))
    return count > 0 if limit == 0 else count >= limit


def _is_reached(job: Object, pods: Sequence[Object], books: Books) -> bool:
    completions = job["spec"].get("completions")
    if completions is not None:
        return books.total_succeeded >= int(completions)
    # A work queue: once one pod succeeded no others start, and the Job ends with the last of them.
    return books.total_succeeded > 0 and not active(pods) and not terminating(pods)


def seconds_to_deadline(job: Object, now: float) -> float | None:
    deadline = job["spec"].get("activeDeadlineSeconds")
    start = (job.get("status") or {}).get("startTime")
    if deadline is None or not start or job["spec"].get("suspend"):
        return None
    return time_of(start) + int(deadline) - now


def wanted_active(job: Object, pods: Sequence[Object], books: Books) -> int:
    if job["spec"].get("suspend"):
        return 0
    parallelism = int(job["spec"].get("parallelism", 1))
    completions = job["spec"].get("completions")
    if completions is None:
        running = len(active(pods))
        return min(running, parallelism) if books.total_succeeded > 0 else parallelism
    return min(parallelism, max(0, int(completions) - books.total_succeeded))


def missing_indexes(job: Object, pods: Sequence[Object], books: Books, count: int) -> list[int | None]:
    """Which indexes the next `count` pods have; None for each where the Job has no indexes."""
    if not is_indexed(job):
        return [None] * count
    taken = books.completed_indexes | {index_of(pod) for pod in [*active(pods), *terminating(pods)]}
    free = (index for index in range(int(job["spec"]["completions"])) if index not in taken)
    return [index for index, _ in zip(free, range(count), strict=False)]


def condition(type: str, status: str, reason: str, message: str, now: float) -> dict[str, Any]:
    at = rfc3339(now)
    return {
        "type": type,
        "status": status,
        "lastProbeTime": at,
        "lastTransitionTime": at,
        "reason": reason,
        "message": message,
    }
