"""A Job's books: every finished pod is counted exactly once, whatever crashes between two writes. Pure.

A finished pod is first listed in `status.uncountedTerminatedPods`; when that is stored its finalizer is removed; when
that is seen the pod moves from the list into `succeeded` or `failed`. So a pod without the finalizer was counted, and
one in the list will be.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from twinplane.controlplane.controllers.job import completion_indexes, failure_policy, per_index
from twinplane.controlplane.controllers.job.pods import active, failed, index_of, is_indexed, is_tracked, succeeded
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.meta import uid_of


@dataclass
class Books:
    succeeded: int = 0
    failed: int = 0
    uncounted_succeeded: list[str] = field(default_factory=list)
    uncounted_failed: list[str] = field(default_factory=list)
    completed_indexes: set[int] = field(default_factory=set)
    failed_indexes: set[int] | None = None
    """None where indexes do not fail one by one."""
    kept: dict[int, Object] = field(default_factory=dict)
    """By index: its last failed pod, which stays until its replacement is there."""
    kept_failures: int = 0
    """How many of them count."""
    new_failures: list[Object] = field(default_factory=list)
    new_successes: list[Object] = field(default_factory=list)
    settled: list[Object] = field(default_factory=list)
    """Pods whose finalizer may go once the books are stored."""

    later_succeeded: int = 0
    later_failed: int = 0
    """How many are entered at the next look."""

    @property
    def total_succeeded(self) -> int:
        return self.succeeded + len(self.uncounted_succeeded) + self.later_succeeded

    @property
    def total_failed(self) -> int:
        return self.failed + len(self.uncounted_failed) + self.later_failed + self.kept_failures

    def put_off(self, most: int) -> None:
        """What would make the status too long waits: for what is listed to be counted."""
        succeeded, failed = self.uncounted_succeeded, self.uncounted_failed
        room = max(0, most - len(succeeded))
        late = {*succeeded[most:], *failed[room:]}
        if late:
            self.later_succeeded, self.later_failed = len(succeeded[most:]), len(failed[room:])
            self.uncounted_succeeded, self.uncounted_failed = succeeded[:most], failed[:room]
            self.settled = [pod for pod in self.settled if uid_of(pod) not in late]

    @property
    def balanced(self) -> bool:
        return not self.uncounted_succeeded and not self.uncounted_failed


def balance(job: Object, pods: Sequence[Object]) -> Books:
    status = job.get("status") or {}
    uncounted = status.get("uncountedTerminatedPods") or {}
    tracked = {uid_of(pod) for pod in pods if is_tracked(pod)}
    books = Books(status.get("succeeded", 0), status.get("failed", 0))
    for uid in uncounted.get("succeeded") or []:
        books.succeeded += uid not in tracked
        if uid in tracked:
            books.uncounted_succeeded.append(uid)
    for uid in uncounted.get("failed") or []:
        books.failed += uid not in tracked
        if uid in tracked:
            books.uncounted_failed.append(uid)
    if is_indexed(job):
        limit = job["spec"].get("completions") or 0
        books.completed_indexes = completion_indexes.parsed(status.get("completedIndexes", ""), limit)
    _enter_succeeded(job, pods, books)
    if is_indexed(job):
        books.succeeded = len(books.completed_indexes)
        if per_index.is_limited(job):
            books.failed_indexes = per_index.failed_indexes(job, pods) - books.completed_indexes
            settled = books.completed_indexes | books.failed_indexes
            books.kept = per_index.kept(job, pods, active(pods), settled)
            books.kept_failures = sum(failure_policy.match(job, pod).counts for pod in books.kept.values())
    _enter_failed(job, pods, books)
    return books


def close(job: Object, pods: Sequence[Object], books: Books, *, failing: bool) -> None:
    """Of a Job at its end: nothing is kept for another try, and what still runs in one that fails has failed."""
    books.kept, books.kept_failures = {}, 0
    settled = {uid_of(pod) for pod in books.settled}
    known = set(books.uncounted_failed)
    for pod in pods:
        if not is_tracked(pod) or uid_of(pod) in settled:
            continue
        books.settled.append(pod)
        if (failing or failed(job, pod)) and uid_of(pod) not in known:
            _enter_failure(job, pod, books)


def _enter_succeeded(job: Object, pods: Sequence[Object], books: Books) -> None:
    known = set(books.uncounted_succeeded)
    for pod in pods:
        if not is_tracked(pod) or not succeeded(pod):
            continue
        books.settled.append(pod)
        if is_indexed(job):
            _complete_index(job, pod, books)
        elif uid_of(pod) not in known:
            books.uncounted_succeeded.append(uid_of(pod))
            books.new_successes.append(pod)


def _enter_failed(job: Object, pods: Sequence[Object], books: Books) -> None:
    known = set(books.uncounted_failed)
    kept = {uid_of(pod) for pod in books.kept.values()}
    for pod in pods:
        uid = uid_of(pod)
        if not is_tracked(pod) or not failed(job, pod) or uid in kept:
            continue
        books.settled.append(pod)
        if uid in known:
            continue
        _enter_failure(job, pod, books)


def _enter_failure(job: Object, pod: Object, books: Books) -> None:
    books.new_failures.append(pod)
    if failure_policy.match(job, pod).counts and _is_valid(job, pod):
        books.uncounted_failed.append(uid_of(pod))


def _is_valid(job: Object, pod: Object) -> bool:
    """Of an Indexed Job only pods within its completions count."""
    if not is_indexed(job):
        return True
    index = index_of(pod)
    return index is not None and index < int(job["spec"].get("completions") or 0)


def _complete_index(job: Object, pod: Object, books: Books) -> None:
    index = index_of(pod)
    if index is not None and index < (job["spec"].get("completions") or 0) and index not in books.completed_indexes:
        books.completed_indexes.add(index)
        books.new_successes.append(pod)
