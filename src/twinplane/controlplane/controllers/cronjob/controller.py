"""Starts Jobs on a schedule, and keeps only the last few finished ones."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, datetime, tzinfo
from math import inf
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from twinplane.clock import rfc3339
from twinplane.controlplane.controllers.contract import Context, Enqueue, Key
from twinplane.controlplane.controllers.cronjob.schedule import Schedule, ScheduleError
from twinplane.controlplane.controllers.ownership import key_of
from twinplane.controlplane.controllers.podcontrol import is_namespace_terminating
from twinplane.controlplane.controllers.status import without_zeros, write_status
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.errors import ApiError, go_value
from twinplane.kubeclient.indexes import add_controller_indexes, controlled
from twinplane.kubeclient.meta import (
    annotations_of,
    condition_is,
    controller_of,
    controller_reference,
    copied,
    created_at,
    is_controlled_by,
    is_deleting,
    name_of,
    namespace_of,
    time_of,
    uid_of,
)
from twinplane.kubeclient.resources import CRON_JOBS, JOBS

SCHEDULED_AT = "batch.kubernetes.io/cronjob-scheduled-timestamp"
MISSED_MAX = 100
"""More missed starts than this are told; only the last one is ever made up for."""


class CronJobController:
    name = "cronjob-controller"
    workers = 5

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._clock = context.clock
        self._events = context.events
        self._cron_jobs = context.informers.of(CRON_JOBS)
        self._jobs = context.informers.of(JOBS)
        add_controller_indexes(self._jobs)

    def watch(self, enqueue: Enqueue) -> None:
        def changed(old: Object | None, new: Object | None) -> None:
            if new is not None:
                enqueue(key_of(new))

        def job_changed(old: Object | None, new: Object | None) -> None:
            body = new or old
            reference = controller_of(body) if body is not None else None
            if body is not None and reference is not None and reference["kind"] == CRON_JOBS.kind:
                enqueue(Key(namespace_of(body), reference["name"]))

        self._cron_jobs.add_handler(changed)
        self._jobs.add_handler(job_changed)

    async def reconcile(self, key: Key) -> float | None:
        cron_job = self._cron_jobs.get(key.name, key.namespace)
        if cron_job is None or is_deleting(cron_job):
            return None
        jobs = controlled(self._jobs, cron_job)
        status = await self._status(cron_job, jobs)
        await self._clean_up(cron_job, jobs)
        again = await self._follow_schedule(cron_job, jobs, status)
        await write_status(self._client, CRON_JOBS, cron_job, without_zeros(status))
        return again

    async def _status(self, cron_job: Object, jobs: Sequence[Object]) -> dict[str, Any]:
        before = cron_job.get("status") or {}
        active = list(before.get("active") or [])
        known = {entry["uid"] for entry in active}
        running = sorted((job for job in jobs if not _is_finished(job)), key=name_of)
        if any(uid_of(job) not in known for job in running):
            known |= await self._forgotten(cron_job, [job for job in running if uid_of(job) not in known])
        for job in jobs:
            if uid_of(job) in known and _is_finished(job):
                how = "Complete" if condition_is(job, "Complete") else "Failed"
                message = f"Saw completed job: {name_of(job)}, condition: {how}"
                self._events.event(cron_job, "Normal", "SawCompletedJob", message)
        ends = [time_of(job["status"].get("completionTime")) for job in jobs if condition_is(job, "Complete")]
        latest = max([time_of(before.get("lastSuccessfulTime")), *ends])
        return {
            "active": [
                *(_reference(job) for job in running if uid_of(job) in known),
                *await self._unseen(cron_job, active, {uid_of(job) for job in jobs}),
            ],
            "lastScheduleTime": before.get("lastScheduleTime"),
            "lastSuccessfulTime": rfc3339(latest) if latest else None,
        }

    async def _forgotten(self, cron_job: Object, jobs: Sequence[Object]) -> set[str]:
        """Which of the Jobs are our own, of which the cache does not know yet. Others (of `kubectl create job --from`,
        say) are told, and left alone.
        """
        latest = await self._client.get(CRON_JOBS, name_of(cron_job), namespace_of(cron_job))
        ours = {entry["uid"] for entry in (latest.get("status") or {}).get("active") or []}
        for job in jobs:
            if uid_of(job) not in ours:
                message = f"Saw a job that the controller did not create or forgot: {name_of(job)}"
                self._events.event(cron_job, "Warning", "UnexpectedJob", message)
        return ours

    async def _unseen(self, cron_job: Object, active: Sequence[Object], seen: Collection[str]) -> list[Object]:
        """Active Jobs that the cache has not: those that are there after all stay active, the others are told."""
        found = []
        for reference in active:
            if reference["uid"] in seen:
                continue
            try:
                await self._client.get(JOBS, reference["name"], namespace_of(cron_job))
            except ApiError as error:
                if error.code != 404:
                    raise
                message = f"Active job went missing: {reference['name']}"
                self._events.event(cron_job, "Normal", "MissingJob", message)
            else:
                found.append(reference)
        return found

    async def _follow_schedule(self, cron_job: Object, jobs: Sequence[Object], status: dict[str, Any]) -> float | None:
        now = self._clock.now()
        spec = cron_job["spec"]
        parsed = self._parsed(cron_job)
        if parsed is None:
            return None
        schedule, zone = parsed
        try:
            due = self._last_due(cron_job, schedule, zone, now)
        except ScheduleError as error:
            message = f"invalid schedule: {spec['schedule']} : {error}"
            self._events.event(cron_job, "Warning", "InvalidSchedule", message)
            return None
        following = schedule.next_start(due or _last_start(cron_job), now, zone)
        wait = following - now if following is not None else None
        if due is None:
            return wait
        deadline = spec.get("startingDeadlineSeconds")
        if deadline is not None and due + deadline < now:
            text = datetime.fromtimestamp(due, UTC).strftime("%a, %d %b %Y %H:%M:%S %z")
            message = f"Missed scheduled time to start a job: {text}"
            self._events.event(cron_job, "Warning", "MissSchedule", message)
            return wait
        done = next((job for job in jobs if _scheduled_at(job) == due), None)
        if done is not None:
            _note(status, done, due)
            return wait
        if status["active"] and spec.get("concurrencyPolicy") == "Forbid":
            message = "Not starting job because prior execution is running and concurrency policy is Forbid"
            self._events.event(cron_job, "Normal", "JobAlreadyActive", message)
            return wait
        if spec.get("concurrencyPolicy") == "Replace":
            active = {entry["uid"] for entry in status["active"]}
            for job in jobs:
                if uid_of(job) in active:
                    await self._delete(cron_job, job)
            status["active"] = []
        await self._start(cron_job, due, zone, status)
        return wait

    def _parsed(self, cron_job: Object) -> tuple[Schedule, tzinfo] | None:
        """None for what is suspended; and, with an event, for what cannot be followed until it is changed."""
        spec = cron_job["spec"]
        try:
            zone = _zone(spec.get("timeZone"))
        except (ZoneInfoNotFoundError, ValueError) as error:
            message = f"invalid timeZone: {go_value(spec.get('timeZone'))}: {error}"
            self._events.event(cron_job, "Warning", "UnknownTimeZone", message)
            return None
        if spec.get("suspend"):
            return None
        try:
            return Schedule.parse(spec["schedule"]), zone
        except ScheduleError as error:
            message = f"unparseable schedule: {go_value(spec['schedule'])} : {error}"
            self._events.event(cron_job, "Warning", "UnparseableSchedule", message)
            return None

    def _last_due(self, cron_job: Object, schedule: Schedule, zone: tzinfo, now: float) -> float | None:
        """The latest start that should have happened by now and has not. Raises `ScheduleError`."""
        since = _last_start(cron_job)
        deadline = cron_job["spec"].get("startingDeadlineSeconds")
        if deadline is not None:
            since = max(since, now - deadline)
        due = schedule.last_due(since, now, zone)
        if due.at is not None and due.starts > MISSED_MAX:
            message = "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew"
            self._events.event(cron_job, "Warning", "TooManyMissedTimes", message)
        return due.at

    async def _start(self, cron_job: Object, due: float, zone: tzinfo, status: dict[str, Any]) -> None:
        template = cron_job["spec"]["jobTemplate"]
        metadata = template.get("metadata") or {}
        body = {
            "metadata": {
                # The minute makes the name, so a start can happen only once.
                "name": f"{name_of(cron_job)}-{int(due) // 60}",
                "namespace": namespace_of(cron_job),
                "labels": dict(metadata.get("labels") or {}),
                "annotations": {**(metadata.get("annotations") or {}), SCHEDULED_AT: _in_zone(due, zone)},
                "ownerReferences": [controller_reference(cron_job, CRON_JOBS)],
            },
            "spec": copied(template["spec"]),
        }
        try:
            job = await self._client.create(JOBS, body, namespace_of(cron_job))
        except ApiError as error:
            if is_namespace_terminating(error):
                return
            if error.reason != "AlreadyExists":
                self._events.event(cron_job, "Warning", "FailedCreate", f"Error creating job: {error.message}")
                raise
            job = await self._client.get(JOBS, body["metadata"]["name"], namespace_of(cron_job))
            if not is_controlled_by(job, cron_job):
                # Whoever has that name: this start did not happen.
                return
        else:
            self._events.event(cron_job, "Normal", "SuccessfulCreate", f"Created job {name_of(job)}")
        _note(status, job, due)

    async def _clean_up(self, cron_job: Object, jobs: Sequence[Object]) -> None:
        for condition, field, default in (
            ("Complete", "successfulJobsHistoryLimit", 3),
            ("Failed", "failedJobsHistoryLimit", 1),
        ):
            ended = sorted(
                (job for job in jobs if condition_is(job, condition) and not is_deleting(job)), key=_start_of
            )
            for job in ended[: max(0, len(ended) - cron_job["spec"].get(field, default))]:
                await self._delete(cron_job, job)

    async def _delete(self, cron_job: Object, job: Object) -> None:
        try:
            await self._client.delete(JOBS, name_of(job), namespace_of(job), propagation_policy="Background")
        except ApiError as error:
            if error.code != 404:
                self._events.event(cron_job, "Warning", "FailedDelete", f"Deleted job: {error.message}")
                raise
        else:
            self._events.event(cron_job, "Normal", "SuccessfulDelete", f"Deleted job {name_of(job)}")


def _note(status: dict[str, Any], job: Object, due: float) -> None:
    """That this is the Job of a start."""
    status["lastScheduleTime"] = rfc3339(due)
    if not _is_finished(job) and all(entry["uid"] != uid_of(job) for entry in status["active"]):
        status["active"] = [*status["active"], _reference(job)]


def _zone(name: str | None) -> tzinfo:
    return ZoneInfo(name) if name else UTC


def _last_start(cron_job: Object) -> float:
    return time_of((cron_job.get("status") or {}).get("lastScheduleTime")) or created_at(cron_job)


def _in_zone(seconds: float, zone: tzinfo) -> str:
    """RFC 3339 in the zone of the CronJob, as Jobs are told when they were due."""
    return datetime.fromtimestamp(seconds, zone).isoformat().replace("+00:00", "Z")


def _scheduled_at(job: Object) -> float:
    text = annotations_of(job).get(SCHEDULED_AT, "")
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return 0.0


def _is_finished(job: Object) -> bool:
    return condition_is(job, "Complete") or condition_is(job, "Failed")


def _start_of(job: Object) -> tuple[float, str]:
    """To sort by; one that never started is the last to go."""
    return time_of((job.get("status") or {}).get("startTime")) or inf, name_of(job)


def _reference(job: Object) -> dict[str, Any]:
    return {
        "apiVersion": JOBS.api_version,
        "kind": JOBS.kind,
        "namespace": namespace_of(job),
        "name": name_of(job),
        "uid": uid_of(job),
        "resourceVersion": job["metadata"]["resourceVersion"],
    }
