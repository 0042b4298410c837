from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tests.unit.controllers.world import World, pod_template, running

from twinplane.clock import rfc3339
from twinplane.controlplane.controllers.contract import Context, Controller
from twinplane.controlplane.controllers.job import completion_indexes
from twinplane.controlplane.controllers.job.controller import JobController
from twinplane.controlplane.controllers.ttlafterfinished.controller import TtlAfterFinishedController
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.meta import condition_of, conditions_of
from twinplane.kubeclient.resources import JOBS, PODS
from twinplane.testing.virtual_time import VirtualClock, virtual_time


def build(context: Context) -> Sequence[Controller]:
    return [JobController(context), TtlAfterFinishedController(context)]


def job(**spec: Any) -> Object:
    template = pod_template({"job": "work"})
    template["spec"]["restartPolicy"] = "Never"
    defaults = {"parallelism": 1, "completions": 1, "backoffLimit": 6, "template": template}
    return {"metadata": {"name": "work", "namespace": "default"}, "spec": {**defaults, **spec}}


async def end(world: World, pod: Object, phase: str, code: int | None = None, condition: str = "") -> None:
    patch: Object = {"status": {"phase": phase, "conditions": []}}
    if code is not None:
        terminated = {"exitCode": code, "finishedAt": rfc3339(world.clock.now())}
        patch["status"]["containerStatuses"] = [{"name": "app", "state": {"terminated": terminated}}]
    if condition:
        patch["status"]["conditions"] = [{"type": condition, "status": "True"}]
    await world.cluster.patch(PODS, pod["metadata"]["name"], patch, "default", subresource="status")


def active(world: World) -> list[Object]:
    return [pod for pod in world.pods() if pod["status"]["phase"] in ("Pending", "Running")]


async def end_all(world: World, phase: str) -> None:
    for pod in active(world):
        await end(world, pod, phase)
    await world.settle()


def status(world: World) -> Object:
    found: Object = world.one(JOBS, "work")["status"]
    return found


def ended(world: World) -> list[tuple[str, str]]:
    return [
        (entry["type"], entry["reason"])
        for entry in conditions_of(world.one(JOBS, "work"))
        if entry["status"] == "True"
    ]


@virtual_time
async def test_runs_to_completion(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        await world.cluster.create(JOBS, job(completions=3, parallelism=2))
        await world.settle()
        assert (status(world)["active"], status(world)["ready"]) == (2, 2)
        pod = active(world)[0]
        assert pod["metadata"]["finalizers"] == ["batch.kubernetes.io/job-tracking"]
        assert pod["metadata"]["labels"]["batch.kubernetes.io/job-name"] == "work"
        await end_all(world, "Succeeded")
        assert len(active(world)) == 1
        await end_all(world, "Succeeded")
        assert status(world)["succeeded"] == 3
        assert ended(world) == [("SuccessCriteriaMet", "CompletionsReached"), ("Complete", "CompletionsReached")]
        assert "completionTime" in status(world)
        assert status(world)["uncountedTerminatedPods"] == {}
        assert all(not pod["metadata"].get("finalizers") for pod in world.pods())
        assert world.events("Completed") == ["Job completed"]


@virtual_time
async def test_backoff_limit_and_back_off(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        await world.cluster.create(JOBS, job(backoffLimit=2))
        await world.settle()
        started = clock.now()
        await end_all(world, "Failed")
        assert active(world) == []
        await world.settle(10)
        assert len(active(world)) == 1
        await end_all(world, "Failed")
        await world.settle(20)
        await end_all(world, "Failed")
        assert clock.now() - started < 40
        assert status(world)["failed"] == 3
        assert ended(world) == [("FailureTarget", "BackoffLimitExceeded"), ("Failed", "BackoffLimitExceeded")]
        condition = condition_of(world.one(JOBS, "work"), "Failed")
        assert condition is not None
        assert condition["message"] == "Job has reached the specified backoff limit"


@virtual_time
async def test_active_deadline(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        await world.cluster.create(JOBS, job(activeDeadlineSeconds=30))
        await world.settle(29)
        assert len(active(world)) == 1
        await world.settle(3)
        assert world.pods() == []
        assert ended(world)[-1] == ("Failed", "DeadlineExceeded")


@virtual_time
async def test_suspend_and_resume(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        await world.cluster.create(JOBS, job())
        await world.settle()
        await world.cluster.patch(JOBS, "work", {"spec": {"suspend": True}}, "default")
        await world.settle()
        assert world.pods() == []
        assert "startTime" not in status(world)
        assert status(world).get("failed", 0) == 0
        assert ended(world) == [("Suspended", "JobSuspended")]
        await world.cluster.patch(JOBS, "work", {"spec": {"suspend": False}}, "default")
        await world.settle()
        assert len(active(world)) == 1
        assert ended(world) == []


@virtual_time
async def test_indexed(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        await world.cluster.create(JOBS, job(completionMode="Indexed", completions=4, parallelism=3))
        await world.settle()
        pods = {pod["metadata"]["annotations"]["batch.kubernetes.io/job-completion-index"]: pod for pod in world.pods()}
        assert sorted(pods) == ["0", "1", "2"]
        assert pods["1"]["spec"]["hostname"] == "work-1"
        assert pods["1"]["metadata"]["name"].startswith("work-1-")
        assert pods["1"]["spec"]["containers"][0]["env"][0]["name"] == "JOB_COMPLETION_INDEX"
        await end(world, pods["0"], "Succeeded")
        await end(world, pods["2"], "Succeeded")
        await end(world, pods["1"], "Failed")
        await world.settle(15)
        assert status(world)["completedIndexes"] == "0,2"
        indexes = sorted(pod["metadata"]["labels"]["batch.kubernetes.io/job-completion-index"] for pod in active(world))
        assert indexes == ["1", "3"]
        await end_all(world, "Succeeded")
        assert status(world)["completedIndexes"] == "0-3"
        assert ended(world)[-1] == ("Complete", "CompletionsReached")


@virtual_time
async def test_a_work_queue_ends_with_its_last_pod(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        body = job(parallelism=3)
        del body["spec"]["completions"]
        await world.cluster.create(JOBS, body)
        await world.settle()
        await end(world, active(world)[0], "Succeeded")
        await world.settle()
        assert len(active(world)) == 2
        await end_all(world, "Succeeded")
        assert status(world)["succeeded"] == 3
        assert ended(world)[-1][0] == "Complete"


@virtual_time
async def test_deleted_pods_count_as_failed(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        await world.cluster.create(JOBS, job())
        await world.settle()
        await world.cluster.delete(PODS, active(world)[0]["metadata"]["name"], "default")
        await world.settle(15)
        assert status(world)["failed"] == 1
        assert len(active(world)) == 1


@virtual_time
async def test_ttl_after_finished(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        await world.cluster.create(JOBS, job(ttlSecondsAfterFinished=100))
        await world.settle()
        await end_all(world, "Succeeded")
        await world.settle(95)
        assert "deletionTimestamp" not in world.one(JOBS, "work")["metadata"]
        await world.settle(10)
        assert "deletionTimestamp" in world.one(JOBS, "work")["metadata"]


@virtual_time
async def test_pods_of_a_job_that_is_gone_are_let_go(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        await world.cluster.create(JOBS, job())
        await world.settle()
        assert active(world)[0]["metadata"]["finalizers"] == ["batch.kubernetes.io/job-tracking"]
        await world.cluster.delete(JOBS, "work", "default")
        await world.settle()
        assert [pod["metadata"].get("finalizers") or [] for pod in world.pods()] == [[]]


@given(st.sets(st.integers(0, 60)))
def test_indexes_round_trip(indexes: set[int]) -> None:
    assert completion_indexes.parsed(completion_indexes.rendered(indexes), 100) == indexes


def test_indexes_as_upstream_writes_them() -> None:
    assert completion_indexes.rendered([0, 1, 2, 5, 7, 8]) == "0-2,5,7,8"
