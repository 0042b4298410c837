"""`spec.backoffLimitPerIndex`: each index fails for itself. Pure.

How often an index failed is written on its latest pod. So the last failed pod of an index keeps its finalizer (and
with it its existence) until its replacement, which carries the count on, is there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set

from twinplane.controlplane.controllers.job import completion_indexes, failure_policy
from twinplane.controlplane.controllers.job.pods import failed, finished_at, index_of, is_tracked
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.meta import annotations_of

FAILURES = "batch.kubernetes.io/job-index-failure-count"
IGNORED_FAILURES = "batch.kubernetes.io/job-index-ignored-failure-count"
BACKOFF_SECONDS = (10.0, 600.0)


def is_limited(job: Object) -> bool:
    return job["spec"].get("backoffLimitPerIndex") is not None


def failed_indexes(job: Object, pods: Iterable[Object]) -> set[int]:
    """Those of the status and those that the pods bring: what failed once stays failed."""
    completions = int(job["spec"].get("completions") or 0)
    result = completion_indexes.parsed((job.get("status") or {}).get("failedIndexes") or "", completions)
    for pod in pods:
        index = index_of(pod)
        if index is not None and index < completions and is_tracked(pod) and _ends_index(job, pod):
            result.add(index)
    return result


def _ends_index(job: Object, pod: Object) -> bool:
    if not failed(job, pod):
        return False
    found = failure_policy.match(job, pod)
    if found.action == "FailIndex":
        return True
    return found.counts and _count(pod, FAILURES) >= int(job["spec"]["backoffLimitPerIndex"])


def kept(job: Object, pods: Sequence[Object], active: Iterable[Object], settled: Set[int]) -> dict[int, Object]:
    """The last failed pod of each index that will be tried again; `settled` indexes completed or failed."""
    completions = int(job["spec"].get("completions") or 0)
    done = settled | {index_of(pod) for pod in active}
    result: dict[int, Object] = {}
    for pod in pods:
        index = index_of(pod)
        if index is None or index >= completions or index in done or not (is_tracked(pod) and failed(job, pod)):
            continue
        other = result.get(index)
        if other is None or (tries(other) <= tries(pod) and finished_at(other) <= finished_at(pod)):
            result[index] = pod
    return result


def tries(pod: Object) -> int:
    return _count(pod, FAILURES) + _count(pod, IGNORED_FAILURES)


def counts_after(job: Object, last: Object | None) -> dict[str, str]:
    """The annotations of the pod that follows `last` in its index."""
    if last is None:
        return {FAILURES: "0"}
    failures, ignored = _count(last, FAILURES), _count(last, IGNORED_FAILURES)
    if failure_policy.match(job, last).counts:
        failures += 1
    else:
        ignored += 1
    return {FAILURES: str(failures)} | ({IGNORED_FAILURES: str(ignored)} if ignored else {})


def pause(last: Object | None, now: float) -> float:
    """Seconds until an index may be tried again."""
    if last is None:
        return 0.0
    first, longest = BACKOFF_SECONDS
    return finished_at(last) + float(min(first * 2 ** min(tries(last), 10), longest)) - now


def ready_to_start(indexes: Iterable[int], last: Mapping[int, Object], now: float) -> tuple[list[int], float | None]:
    """Indexes whose pause is over; if there are none, the shortest pause."""
    pauses = {index: pause(last.get(index), now) for index in indexes}
    ready = [index for index, left in pauses.items() if left <= 0]
    return ready, None if ready else min(pauses.values(), default=None)


def _count(pod: Object, annotation: str) -> int:
    text = annotations_of(pod).get(annotation, "")
    return int(text) if text.isdigit() else 0
