"""A Job's books: every finished pod is counted exactly once, whatever crashes between two writes. Pure.

A finished pod is first listed in `status.uncountedTerminatedPods`; when that is stored its finalizer is removed; when
that is seen the pod moves from the list into `succeeded` or `failed`. So a pod without the finalizer was counted, and
one in the list will be.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from twinplane.controlplane.controllers.job import completion_indexes
from twinplane.controlplane.controllers.job.pods import failed, index_of, is_indexed, is_tracked, succeeded
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.meta import is_deleting, uid_of


@dataclass
class Books:
    succeeded: int = 0
    failed: int = 0
    uncounted_succeeded: list[str] = field(default_factory=list)
    uncounted_failed: list[str] = field(default_factory=list)
    completed_indexes: set[int] = field(default_factory=set)
    new_failures: list[Object] = field(default_factory=list)
    new_successes: int = 0
    settled: list[Object] = field(default_factory=list)
    """Pods whose finalizer may go once the books are stored."""

    @property
    def total_succeeded(self) -> int:
        return self.succeeded + len(self.uncounted_succeeded)

    @property
    def total_failed(self) -> int:
        return self.failed + len(self.uncounted_failed)

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
    _enter_finished(job, pods, books)
    if is_indexed(job):
        books.succeeded = len(books.completed_indexes)
    return books


def _enter_finished(job: Object, pods: Sequence[Object], books: Books) -> None:
    only_failed = job["spec"].get("podReplacementPolicy") == "Failed"
    known = {*books.uncounted_succeeded, *books.uncounted_failed}
    for pod in pods:
        if not is_tracked(pod):
            continue
        uid = uid_of(pod)
        if succeeded(pod):
            books.settled.append(pod)
            if is_indexed(job):
                _complete_index(job, pod, books)
            elif uid not in known:
                books.uncounted_succeeded.append(uid)
                books.new_successes += 1
        elif failed(pod, only_failed=only_failed):
            books.settled.append(pod)
            if uid not in known:
                books.uncounted_failed.append(uid)
                books.new_failures.append(pod)


def _complete_index(job: Object, pod: Object, books: Books) -> None:
    index = index_of(pod)
    if index is not None and index < (job["spec"].get("completions") or 0) and index not in books.completed_indexes:
        books.completed_indexes.add(index)
        books.new_successes += 1


def active(pods: Sequence[Object]) -> list[Object]:
    return [pod for pod in pods if not succeeded(pod) and not failed(pod, only_failed=True) and not is_deleting(pod)]


def terminating(pods: Sequence[Object]) -> list[Object]:
    return [pod for pod in pods if is_deleting(pod) and not succeeded(pod) and not failed(pod, only_failed=True)]
