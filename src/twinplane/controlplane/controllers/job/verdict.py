"""Whether a Job is at its end, and how many pods it needs until then. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from twinplane.clock import rfc3339
from twinplane.controlplane.controllers.job import failure_policy, success_policy
from twinplane.controlplane.controllers.job.accounting import Books
from twinplane.controlplane.controllers.job.pods import (
    active,
    index_of,
    is_indexed,
    progress,
    replaces_only_failed,
    restarts,
    terminating,
)
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.meta import time_of

BACKOFF_LIMIT = 6
"""Unless indexes have a limit each: then there is none over all."""
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
_TOO_MANY_INDEXES = Verdict(
    "FailureTarget", "MaxFailedIndexesExceeded", "Job has exceeded the specified maximal number of failed indexes"
)
_FAILED_INDEXES = Verdict("FailureTarget", "FailedIndexes", "Job has failed indexes")
_DEADLINE = Verdict("FailureTarget", "DeadlineExceeded", "Job was active longer than specified deadline")


def verdict_of(job: Object, pods: Sequence[Object], books: Books, now: float) -> Verdict | None:
    """The first verdict stands: it is in the conditions, which are looked at before anything else."""
    for condition in (job.get("status") or {}).get("conditions") or []:
        if condition["status"] == "True" and condition["type"] in ("SuccessCriteriaMet", "FailureTarget"):
            return Verdict(condition["type"], condition.get("reason", ""), condition.get("message", ""))
    return _failure(job, pods, books, now) or _success(job, pods, books)


def _failure(job: Object, pods: Sequence[Object], books: Books, now: float) -> Verdict | None:
    message = failure_policy.job_failure(job, pods)
    if message:
        return Verdict("FailureTarget", "PodFailurePolicy", message)
    limit = job["spec"].get("backoffLimit")
    if limit is None and job["spec"].get("backoffLimitPerIndex") is None:
        limit = BACKOFF_LIMIT
    if limit is not None and (books.total_failed > limit or _restarted_too_often(job, pods, limit)):
        return _BACKOFF
    left = seconds_to_deadline(job, now)
    if left is not None and left <= 0:
        return _DEADLINE
    return _index_failure(job, books)


def _index_failure(job: Object, books: Books) -> Verdict | None:
    lost = len(books.failed_indexes or ())
    most = job["spec"].get("maxFailedIndexes")
    if most is not None and lost > most:
        return _TOO_MANY_INDEXES
    if lost and lost + len(books.completed_indexes) >= int(job["spec"].get("completions") or 0):
        return _FAILED_INDEXES
    return None


def _success(job: Object, pods: Sequence[Object], books: Books) -> Verdict | None:
    message = success_policy.met(job, books.completed_indexes) if is_indexed(job) else ""
    if message:
        return Verdict("SuccessCriteriaMet", "SuccessPolicy", message)
    return _REACHED if _is_reached(job, pods, books) else None


def _restarted_too_often(job: Object, pods: Sequence[Object], limit: int) -> bool:
    if job["spec"]["template"]["spec"].get("restartPolicy") != "OnFailure":
        return False
    count = restarts(pods)
    return count > 0 if limit == 0 else count >= limit


def _is_reached(job: Object, pods: Sequence[Object], books: Books) -> bool:
    completions = job["spec"].get("completions")
    if completions is not None:
        return books.total_succeeded >= int(completions)
    # A work queue: once one pod succeeded no others start, and the Job ends with the last of them.
    return books.total_succeeded > 0 and not active(pods)


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
        return len(active(pods)) if books.total_succeeded > 0 else parallelism
    return min(parallelism, max(0, int(completions) - books.total_succeeded))


def missing_indexes(job: Object, pods: Sequence[Object], books: Books, count: int) -> list[int | None]:
    """Which indexes the next `count` pods have; None for each where the Job has no indexes."""
    if not is_indexed(job):
        return [None] * count
    waiting = terminating(pods) if replaces_only_failed(job) else []
    taken = books.completed_indexes | (books.failed_indexes or set()) | {index_of(pod) for pod in active(pods)}
    taken |= {index_of(pod) for pod in waiting}
    free = (index for index in range(int(job["spec"]["completions"])) if index not in taken)
    return [index for index, _ in zip(free, range(count), strict=False)]


def surplus(job: Object, pods: Sequence[Object], count: int) -> list[Object]:
    """Active pods to stop: at least `count`, and of an Indexed Job those outside of its indexes or there twice."""
    ranked = sorted(active(pods), key=progress)
    if not is_indexed(job):
        return ranked[: max(count, 0)]
    completions = int(job["spec"].get("completions") or 0)
    useless: list[Object] = []
    useful: list[Object] = []
    seen: set[int] = set()
    # From the most useful pod down, so that of two for one index the better one stays.
    for pod in reversed(ranked):
        index = index_of(pod)
        if index is None or index >= completions or index in seen:
            useless.append(pod)
        else:
            seen.add(index)
            useful.append(pod)
    useful.reverse()
    return [*useless, *useful[: max(count - len(useless), 0)]]


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
