from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from tests.unit.controllers.world import World, pod_template, running

from twinplane.controlplane.controllers.contract import Context, Controller
from twinplane.controlplane.controllers.cronjob.controller import CronJobController
from twinplane.controlplane.controllers.cronjob.schedule import Schedule, ScheduleError
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.resources import CRON_JOBS, JOBS
from twinplane.testing.virtual_time import VirtualClock, virtual_time


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("text", "after", "expected"),
    [
        ("*/15 * * * *", "2024-01-01T00:00:00", "2024-01-01T00:15:00"),
        ("0 9-17/4 * * mon-fri", "2024-01-05T17:00:00", "2024-01-08T09:00:00"),
        ("30 4 1,15 * 5", "2024-01-01T04:30:00", "2024-01-05T04:30:00"),
        ("@monthly", "2024-01-31T10:00:00", "2024-02-01T00:00:00"),
        ("0 0 29 feb *", "2023-01-01T00:00:00", "2024-02-29T00:00:00"),
        ("5/20 * * * 7", "2024-01-01T00:00:00", "2024-01-07T00:05:00"),
    ],
)
def test_next(text: str, after: str, expected: str) -> None:
    assert Schedule.parse(text).next_after(at(after)) == at(expected)


def test_time_zones() -> None:
    zone = ZoneInfo("America/New_York")
    assert Schedule.parse("0 9 * * *").next_after(at("2024-07-01T00:00:00"), zone) == at("2024-07-01T13:00:00")


def test_a_date_that_never_comes() -> None:
    assert Schedule.parse("0 0 30 2 *").next_after(0.0) is None


@pytest.mark.parametrize("text", ["", "* * * *", "60 * * * *", "a * * * *", "5-1 * * * *", "*/0 * * * *"])
def test_nonsense_is_refused(text: str) -> None:
    with pytest.raises(ScheduleError):
        Schedule.parse(text)


def build(context: Context) -> Sequence[Controller]:
    return [CronJobController(context)]


def cron_job(**spec: Any) -> Object:
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"template": pod_template({"a": "b"})}}
    defaults = {"schedule": "*/1 * * * *", "concurrencyPolicy": "Allow", "jobTemplate": template}
    return {"metadata": {"name": "tick", "namespace": "default"}, "spec": {**defaults, **spec}}


async def finish(world: World, name: str, kind: str = "Complete") -> None:
    status = {"conditions": [{"type": kind, "status": "True"}], "completionTime": "2023-11-14T22:20:00Z"}
    await world.cluster.patch(JOBS, name, {"status": status}, "default", subresource="status")


@virtual_time
async def test_a_job_a_minute(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        await world.cluster.create(CRON_JOBS, cron_job())
        await world.settle(130)
        jobs = world.cluster.objects(JOBS)
        assert len(jobs) == 2
        first = jobs[0]
        minute = int(clock.now() // 60) - 1
        assert first["metadata"]["name"] == f"tick-{minute}"
        assert first["metadata"]["annotations"]["batch.kubernetes.io/cronjob-scheduled-timestamp"].endswith(":00Z")
        status = world.one(CRON_JOBS, "tick")["status"]
        assert len(status["active"]) == 2
        assert "lastScheduleTime" in status


@virtual_time
async def test_forbid_and_replace(clock: VirtualClock) -> None:
    for policy, expected in (("Forbid", 1), ("Replace", 1), ("Allow", 3)):
        async with running(clock, build) as world:
            await world.cluster.create(CRON_JOBS, cron_job(concurrencyPolicy=policy))
            await world.settle(190)
            assert len(world.names(JOBS)) == expected, policy


@virtual_time
async def test_suspended_does_nothing(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        await world.cluster.create(CRON_JOBS, cron_job(suspend=True))
        await world.settle(200)
        assert world.names(JOBS) == []


@virtual_time
async def test_history_limits(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        await world.cluster.create(CRON_JOBS, cron_job(successfulJobsHistoryLimit=2, failedJobsHistoryLimit=0))
        for number in range(4):
            await world.settle(60)
            for name in world.names(JOBS):
                await finish(world, name, "Failed" if number == 0 else "Complete")
        await world.settle()
        assert len(world.names(JOBS)) == 2
        assert world.one(CRON_JOBS, "tick")["status"]["lastSuccessfulTime"] == "2023-11-14T22:20:00Z"


@virtual_time
async def test_after_a_long_sleep_one_job_is_made_up_for(clock: VirtualClock) -> None:
    def seed(world: World) -> None:
        body = cron_job()
        body["metadata"]["creationTimestamp"] = "2023-10-01T00:00:00Z"
        world.cluster.seed(CRON_JOBS, body)

    async with running(clock, build, seed=seed) as world:
        await world.settle()
        assert len(world.names(JOBS)) == 1
        assert len(world.events("TooManyMissedTimes")) == 1


@virtual_time
async def test_starting_deadline(clock: VirtualClock) -> None:
    def seed(world: World) -> None:
        body = cron_job(schedule="0 0 * * *", startingDeadlineSeconds=60)
        body["metadata"]["creationTimestamp"] = "2023-11-13T00:00:00Z"
        world.cluster.seed(CRON_JOBS, body)

    async with running(clock, build, seed=seed) as world:
        await world.settle()
        assert world.names(JOBS) == []


@virtual_time
async def test_every_so_often(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        await world.cluster.create(CRON_JOBS, cron_job(schedule="@every 1h30m"))
        await world.settle(5399)
        assert world.names(JOBS) == []
        await world.settle(5405)
        assert len(world.names(JOBS)) == 2


@virtual_time
async def test_the_zone_of_a_start(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        await world.cluster.create(CRON_JOBS, cron_job(schedule="30 18 * * *", timeZone="America/New_York"))
        await world.settle(3600 * 2)
        (job,) = world.cluster.objects(JOBS)
        scheduled = job["metadata"]["annotations"]["batch.kubernetes.io/cronjob-scheduled-timestamp"]
        assert scheduled == "2023-11-14T18:30:00-05:00"


@virtual_time
async def test_what_cannot_be_followed_is_told(clock: VirtualClock) -> None:
    for spec, reason in (
        ({"timeZone": "Nowhere/Land"}, "UnknownTimeZone"),
        ({"schedule": "@every x"}, "UnparseableSchedule"),
    ):
        async with running(clock, build) as world:
            await world.cluster.create(CRON_JOBS, cron_job(**spec))
            await world.settle(120)
            assert len(world.events(reason)) == 1
            assert world.names(JOBS) == []


@virtual_time
async def test_a_job_that_goes_missing_is_told_and_made_room_for(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        await world.cluster.create(CRON_JOBS, cron_job(concurrencyPolicy="Forbid"))
        await world.settle(61)
        name = world.names(JOBS)[0]
        await world.cluster.delete(JOBS, name, "default")
        await world.settle()
        assert world.events("MissingJob") == [f"Active job went missing: {name}"]
        assert "active" not in world.one(CRON_JOBS, "tick")["status"]
        await world.settle(60)
        assert len(world.one(CRON_JOBS, "tick")["status"]["active"]) == 1
        assert world.events("UnexpectedJob") == []


@virtual_time
async def test_a_job_of_somebody_else_is_told_and_left_alone(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        made = await world.cluster.create(CRON_JOBS, cron_job(schedule="0 0 1 1 *"))
        owner = {"apiVersion": "batch/v1", "kind": "CronJob", "name": "tick", "controller": True}
        metadata = {"name": "by-hand", "ownerReferences": [{**owner, "uid": made["metadata"]["uid"]}]}
        await world.cluster.create(JOBS, {"metadata": metadata, "spec": {}}, "default")
        await world.settle()
        assert set(world.events("UnexpectedJob")) == {"Saw a job that the controller did not create or forgot: by-hand"}
        assert "active" not in (world.one(CRON_JOBS, "tick").get("status") or {})


@pytest.mark.parametrize(
    ("text", "since", "now", "expected", "starts"),
    [
        ("0 * * * *", "2024-01-01T00:10:00", "2024-01-01T00:59:59", None, 0),
        ("0 * * * *", "2024-01-01T00:10:00", "2024-01-01T01:00:00", "2024-01-01T01:00:00", 1),
        ("0 * * * *", "2024-01-01T00:10:00", "2024-01-01T05:30:00", "2024-01-01T05:00:00", 5),
        ("*/1 * * * *", "2024-01-01T00:00:00", "2024-01-01T01:40:30", "2024-01-01T01:40:00", 100),
        ("*/1 * * * *", "2024-01-01T00:00:00", "2024-01-01T01:41:30", "2024-01-01T01:41:00", 101),
        # The first two are a weekend apart, or four hours and the next ones a weekend.
        ("30 6-16/4 * * 1-5", "2024-01-05T10:30:00", "2024-01-08T07:00:00", "2024-01-08T06:30:00", 2),
        ("30 6-16/4 * * 1-5", "2024-01-05T05:30:00", "2024-01-08T07:00:00", "2024-01-08T06:30:00", 19),
        ("@every 7m", "2024-01-01T00:00:00", "2024-01-01T00:30:00", "2024-01-01T00:28:00", 4),
    ],
)
def test_the_last_start_that_was_due(text: str, since: str, now: str, expected: str | None, starts: int) -> None:
    found = Schedule.parse(text).last_due(at(since), at(now))
    assert found == (at(expected) if expected else None, starts)


@virtual_time
async def test_a_schedule_that_never_comes_is_told(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        await world.cluster.create(CRON_JOBS, cron_job(schedule="59 23 31 2 *"))
        await world.settle()
        why = "time difference between two schedules is less than 1 second"
        assert world.events("InvalidSchedule") == [f"invalid schedule: 59 23 31 2 * : {why}"]


@virtual_time
async def test_a_job_of_the_same_name_is_not_ours(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        due = int(clock.now()) // 60 + 1
        stranger = {"metadata": {"name": f"tick-{due}", "namespace": "default"}, "spec": {}}
        await world.cluster.create(JOBS, stranger)
        await world.cluster.create(CRON_JOBS, cron_job())
        await world.settle(due * 60 - clock.now() + 5)
        status = world.one(CRON_JOBS, "tick").get("status") or {}
        assert "lastScheduleTime" not in status
        assert not status.get("active")
