"""Runs Jobs to completion. A Job that `managedBy` gives to another controller is left alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from twinplane.clock import rfc3339
from twinplane.controlplane.controllers.contract import Context, Enqueue, Key
from twinplane.controlplane.controllers.expectations import TIMEOUT_SECONDS, Expectations
from twinplane.controlplane.controllers.job import accounting, completion_indexes, per_index, verdict
from twinplane.controlplane.controllers.job.accounting import Books
from twinplane.controlplane.controllers.job.pods import (
    TRACKING,
    active,
    finished_at,
    is_indexed,
    is_tracked,
    pod_of,
    replaces_only_failed,
    selector_of_job,
    terminating,
)
from twinplane.controlplane.controllers.ownership import Ownership, key_of
from twinplane.controlplane.controllers.podcontrol import PodControl, gathered, is_namespace_terminating, slow_start
from twinplane.controlplane.controllers.pods import is_ready
from twinplane.controlplane.controllers.status import write_status
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.meta import (
    condition_is,
    conditions_of,
    controller_of,
    finalizers_of,
    is_deleting,
    name_of,
    namespace_of,
    uid_of,
    with_condition,
)
from twinplane.kubeclient.resources import JOBS, PODS

BURST = 500
UNCOUNTED_MAX = 500
"""Pods in `status.uncountedTerminatedPods`: their uids are 20 KB."""
BACKOFF_SECONDS = (10.0, 600.0)
"""Before a failed pod is replaced; doubles with every failure in a row."""
THIS_CONTROLLER = "kubernetes.io/job-controller"


class _Failures(NamedTuple):
    """`last` is when the last one happened; `seen` are the pods of the latest look: some never get into the books."""

    in_a_row: int
    last: float
    seen: frozenset[str]


_NONE = _Failures(0, 0.0, frozenset())


class JobController:
    name = "job-controller"
    workers = 5

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._clock = context.clock
        self._events = context.events
        self._jobs = context.informers.of(JOBS)
        self._pods = context.informers.of(PODS)
        self._expectations = Expectations(context.clock)
        self._control = PodControl(context.client, context.events)
        self._ownership = Ownership(
            context.client,
            self._jobs,
            self._pods,
            selector=selector_of_job,
            expectations=self._expectations,
            finalizer=TRACKING,
        )
        self._failures: dict[str, _Failures] = {}
        """By uid of the Job."""

    def watch(self, enqueue: Enqueue) -> None:
        def changed(old: Object | None, new: Object | None) -> None:
            body = new or old
            assert body is not None
            if new is None:
                self._expectations.forget(key_of(body))
                self._failures.pop(uid_of(body), None)
                for pod in self._ownership.of(body):
                    pod_changed(None, pod)
            enqueue(key_of(body))

        def pod_changed(old: Object | None, new: Object | None) -> None:
            if new is not None and is_tracked(new) and self._is_abandoned(new):
                enqueue(Key(namespace_of(new), name_of(new), PODS.kind))

        self._jobs.add_handler(changed)
        self._ownership.watch(enqueue)
        self._pods.add_handler(pod_changed)

    def _is_abandoned(self, pod: Object) -> bool:
        """Nobody counts it: its Job is gone or let go of it."""
        owner = controller_of(pod)
        if owner is not None and (owner["kind"], owner["apiVersion"]) != (JOBS.kind, JOBS.api_version):
            return False
        return self._ownership.owner_of(pod) is None

    async def reconcile(self, key: Key) -> float | None:
        if key.kind == PODS.kind:
            pod = self._pods.get(key.name, key.namespace)
            if pod is not None and is_tracked(pod) and self._is_abandoned(pod):
                await self._release([pod])
            return None
        job = self._jobs.get(key.name, key.namespace)
        if job is None or job["spec"].get("managedBy", THIS_CONTROLLER) != THIS_CONTROLLER:
            return None
        settled = self._expectations.satisfied(key)
        pods = await self._ownership.claim(job)
        if is_deleting(job) or any(condition_is(job, entry) for entry in verdict.FINISHED):
            await self._release([pod for pod in pods if is_tracked(pod)])
            return None
        if not settled:
            return TIMEOUT_SECONDS
        return await self._advance(key, job, pods)

    async def _advance(self, key: Key, job: Object, pods: Sequence[Object]) -> float | None:
        now = self._clock.now()
        books = accounting.balance(job, pods)
        self._note_failures(job, books)
        outcome = verdict.verdict_of(job, pods, books, now)
        if outcome is not None:
            accounting.close(job, pods, books, failing=outcome.final == "Failed")
        books.put_off(UNCOUNTED_MAX)
        status = self._status(job, pods, books, now)
        failure: BaseException | None = None
        again: float | None = None
        if outcome is not None:
            self._conclude(job, outcome, status)
            await write_status(self._client, JOBS, job, status)
            await self._stop(job, active(pods))
        else:
            self._note_suspension(job, status)
            await write_status(self._client, JOBS, job, status)
            failure, again = await self._manage(key, job, pods, books)
        await self._release(books.settled)
        if failure is not None:
            raise failure
        waits = [again, verdict.seconds_to_deadline({**job, "status": status}, now)]
        return min((max(wait, 0.0) for wait in waits if wait is not None), default=None) if outcome is None else None

    # -- the status ----------------------------------------------------------------------------------------------

    def _status(self, job: Object, pods: Sequence[Object], books: Books, now: float) -> dict[str, Any]:
        before = job.get("status") or {}
        running = active(pods)
        start = before.get("startTime")
        status: dict[str, Any] = {
            "startTime": start or (None if job["spec"].get("suspend") else rfc3339(now)),
            "active": len(running),
            "ready": sum(is_ready(pod) for pod in running),
            "terminating": len(terminating(pods)),
            "succeeded": books.succeeded,
            "failed": books.failed,
            "uncountedTerminatedPods": {
                name: uids
                for name, uids in (("succeeded", books.uncounted_succeeded), ("failed", books.uncounted_failed))
                if uids
            },
        }
        if is_indexed(job):
            status["completedIndexes"] = completion_indexes.rendered(books.completed_indexes)
        if books.failed_indexes is not None:
            status["failedIndexes"] = completion_indexes.rendered(books.failed_indexes)
        status["conditions"] = conditions_of(job)
        kept = ("ready", "terminating", "uncountedTerminatedPods", "failedIndexes")
        return {key: value for key, value in status.items() if value or key in kept}

    def _conclude(self, job: Object, outcome: verdict.Verdict, status: dict[str, Any]) -> None:
        """The verdict at once; the end itself when all pods are gone and counted."""
        now = self._clock.now()
        if not condition_is(job, outcome.type):
            _set(status, verdict.condition(outcome.type, "True", outcome.reason, outcome.message, now))
        if status.get("active") or status["terminating"] or status["uncountedTerminatedPods"]:
            return
        if outcome.final == "Complete":
            status["completionTime"] = rfc3339(now)
            completions = job["spec"].get("completions")
            if completions is not None and status.get("succeeded", 0) > completions:
                message = "Too many succeeded pods running after completion count reached"
                self._events.event(job, "Warning", "TooManySucceededPods", message)
            self._events.event(job, "Normal", "Completed", "Job completed")
        else:
            self._events.event(job, "Warning", outcome.reason, outcome.message)
        _set(status, verdict.condition(outcome.final, "True", outcome.reason, outcome.message, now))

    def _note_suspension(self, job: Object, status: dict[str, Any]) -> None:
        now = self._clock.now()
        suspended = bool(job["spec"].get("suspend"))
        if suspended == condition_is(job, "Suspended"):
            return
        if suspended:
            status.pop("startTime", None)
            _set(status, verdict.condition("Suspended", "True", "JobSuspended", "Job suspended", now))
            self._events.event(job, "Normal", "Suspended", "Job suspended")
        else:
            status["startTime"] = rfc3339(now)
            _set(status, verdict.condition("Suspended", "False", "JobResumed", "Job resumed", now))
            self._events.event(job, "Normal", "Resumed", "Job resumed")

    # -- the pods ------------------------------------------------------------------------------------------------

    async def _manage(
        self, key: Key, job: Object, pods: Sequence[Object], books: Books
    ) -> tuple[BaseException | None, float | None]:
        running = active(pods)
        wanted = verdict.wanted_active(job, pods, books)
        surplus = verdict.surplus(job, pods, len(running) - wanted)
        if surplus:
            # Without the finalizer they are not counted: nobody holds it against the Job that it was suspended.
            await self._release(surplus)
            await self._stop(job, surplus)
            return None, None
        waiting = len(terminating(pods)) if replaces_only_failed(job) else 0
        count = min(wanted - len(running) - waiting, BURST)
        if count <= 0:
            return None, None
        indexes, pause = self._startable(job, pods, books, count)
        if (pause is not None and pause > 0) or not indexes:
            return None, pause
        self._expectations.expect(key, creations=len(indexes))
        made, failure = await slow_start(len(indexes), lambda n: self._create(job, indexes[n], books))
        if made < len(indexes):
            self._expectations.creation_observed(key, len(indexes) - made)
        if isinstance(failure, ApiError) and is_namespace_terminating(failure):
            return None, None
        return failure, None

    def _startable(
        self, job: Object, pods: Sequence[Object], books: Books, count: int
    ) -> tuple[Sequence[int | None], float | None]:
        """The indexes of the next pods, and how long all of them have to wait."""
        if not per_index.is_limited(job):
            return verdict.missing_indexes(job, pods, books, count), self._backoff(job)
        indexes = [index for index in verdict.missing_indexes(job, pods, books, count) if index is not None]
        return per_index.ready_to_start(indexes, books.kept, self._clock.now())

    async def _create(self, job: Object, index: int | None, books: Books) -> str:
        annotations: Mapping[str, str] = {}
        if index is not None and per_index.is_limited(job):
            annotations = per_index.counts_after(job, books.kept.get(index))
        return await self._control.create(pod_of(job, index, annotations), job)

    async def _stop(self, job: Object, pods: Sequence[Object]) -> None:
        failures = await gathered([self._control.delete(pod, job) for pod in pods])
        if failures:
            raise failures[0]

    async def _release(self, pods: Sequence[Object]) -> None:
        """Let counted pods go, by taking the finalizer off."""
        failures = await gathered([self._remove_finalizer(pod) for pod in pods])
        if failures:
            raise failures[0]

    async def _remove_finalizer(self, pod: Object) -> None:
        metadata = {
            "uid": uid_of(pod),
            "resourceVersion": pod["metadata"]["resourceVersion"],
            "finalizers": [entry for entry in finalizers_of(pod) if entry != TRACKING] or None,
        }
        try:
            await self._client.patch(PODS, name_of(pod), {"metadata": metadata}, namespace_of(pod))
        except ApiError as error:
            if error.code != 404:
                raise

    # -- back-off ------------------------------------------------------------------------------------------------

    def _note_failures(self, job: Object, books: Books) -> None:
        count, last, seen = self._failures.get(uid_of(job), _NONE)
        news = [finished_at(pod) for pod in books.new_failures if uid_of(pod) not in seen]
        if books.new_successes:
            success = max(map(finished_at, books.new_successes))
            news = [at for at in news if at > success]
            count, last = 0, 0.0
        if news:
            count, last = count + len(news), max(news)
        self._failures[uid_of(job)] = _Failures(count, last, frozenset(map(uid_of, books.new_failures)))

    def _backoff(self, job: Object) -> float:
        count, last, _ = self._failures.get(uid_of(job), _NONE)
        if count == 0:
            return 0.0
        first, longest = BACKOFF_SECONDS
        pause: float = min(first * 2 ** min(count - 1, 10), longest)
        return last + pause - self._clock.now()


def _set(status: dict[str, Any], condition: dict[str, Any]) -> None:
    status["conditions"] = with_condition(status.get("conditions", []), condition)
