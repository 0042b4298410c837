"""Pod failure policy, success policy, limits per index, pod replacement: cases of the Kubernetes documentation."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.controllers.test_job import active, build, end, ended, job, status
from tests.unit.controllers.world import World, running

from twinplane.controlplane.controllers.job import failure_policy, success_policy, verdict
from twinplane.controlplane.controllers.job.pods import INDEX, index_of
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.meta import condition_of, is_deleting, name_of
from twinplane.kubeclient.resources import JOBS, PODS
from twinplane.testing.virtual_time import VirtualClock, virtual_time

FAIL_ON_42 = {"action": "FailJob", "onExitCodes": {"containerName": "app", "operator": "In", "values": [42]}}
IGNORE_DISRUPTION = {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}


def with_rules(*rules: Object, **spec: Any) -> Object:
    return job(podFailurePolicy={"rules": list(rules)}, podReplacementPolicy="Failed", **spec)


def indexed(**spec: Any) -> Object:
    return job(**{"completionMode": "Indexed", "completions": 3, "parallelism": 3, **spec})


def at(world: World, index: int) -> Object:
    return next(pod for pod in active(world) if index_of(pod) == index)


def message(world: World, condition: str) -> str:
    found = condition_of(world.one(JOBS, "work"), condition)
    assert found is not None
    return str(found["message"])


@virtual_time
async def test_an_exit_code_fails_the_job(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        await world.cluster.create(JOBS, with_rules(FAIL_ON_42, parallelism=2, completions=4))
        await world.settle()
        first = active(world)[0]
        await end(world, first, "Failed", 42)
        await world.settle(5)
        assert ended(world) == [("FailureTarget", "PodFailurePolicy"), ("Failed", "PodFailurePolicy")]
        text = (
            f"Container app for pod default/{name_of(first)} failed with exit code 42 matching FailJob rule at index 0"
        )
        assert message(world, "FailureTarget") == message(world, "Failed") == text
        assert world.events("PodFailurePolicy") == [text]
        assert active(world) == []


@virtual_time
async def test_ignored_failures_do_not_count(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        await world.cluster.create(JOBS, with_rules(IGNORE_DISRUPTION, FAIL_ON_42, backoffLimit=0))
        await world.settle()
        await end(world, active(world)[0], "Failed", 137, "DisruptionTarget")
        await world.settle(12)
        assert status(world).get("failed", 0) == 0
        assert len(active(world)) == 1
        await end(world, active(world)[0], "Failed", 1)
        await world.settle()
        assert ended(world)[-1] == ("Failed", "BackoffLimitExceeded")


@pytest.mark.parametrize(
    ("rule", "code", "expected"),
    [
        ({"operator": "In", "values": [1, 2]}, 2, True),
        ({"operator": "In", "values": [1, 2]}, 3, False),
        ({"operator": "NotIn", "values": [1, 2]}, 3, True),
        ({"operator": "NotIn", "values": [1, 2]}, 0, False),
        ({"operator": "In", "values": [1], "containerName": "other"}, 1, False),
    ],
)
def test_exit_code_rules(rule: Object, code: int, expected: bool) -> None:
    body = job(podFailurePolicy={"rules": [{"action": "Count", "onExitCodes": rule}]})
    statuses = [{"name": "app", "state": {"terminated": {"exitCode": code}}}]
    pod = {"metadata": {"name": "p", "namespace": "d"}, "status": {"containerStatuses": statuses}}
    assert (failure_policy.match(body, pod).action == "Count") is expected


@virtual_time
async def test_each_index_has_its_own_limit(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        body = indexed(backoffLimitPerIndex=1)
        del body["spec"]["backoffLimit"]
        await world.cluster.create(JOBS, body)
        await world.settle()
        await end(world, at(world, 0), "Succeeded", 0)
        await end(world, at(world, 1), "Failed", 1)
        await world.settle(5)
        assert [index_of(pod) for pod in active(world)] == [2], "index 1 waits ten seconds"
        kept = [pod for pod in world.pods() if index_of(pod) == 1]
        assert all(pod["metadata"]["finalizers"] for pod in kept)
        await world.settle(6)
        again = at(world, 1)
        assert again["metadata"]["annotations"]["batch.kubernetes.io/job-index-failure-count"] == "1"
        assert status(world)["failed"] == 1
        await end(world, again, "Failed", 1)
        await world.settle()
        assert status(world)["failedIndexes"] == "1"
        assert ended(world) == []
        await end(world, at(world, 2), "Succeeded", 0)
        await world.settle()
        assert ended(world) == [("FailureTarget", "FailedIndexes"), ("Failed", "FailedIndexes")]
        assert message(world, "Failed") == "Job has failed indexes"
        assert (status(world)["completedIndexes"], status(world)["succeeded"], status(world)["failed"]) == ("0,2", 2, 2)


@virtual_time
async def test_too_many_failed_indexes(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        await world.cluster.create(JOBS, indexed(backoffLimitPerIndex=0, maxFailedIndexes=1, completions=4))
        await world.settle()
        await end(world, at(world, 0), "Failed", 1)
        await world.settle()
        assert sorted(index_of(pod) or 0 for pod in active(world)) == [1, 2, 3]
        await end(world, at(world, 1), "Failed", 1)
        await world.settle(3)
        assert ended(world)[-1] == ("Failed", "MaxFailedIndexesExceeded")
        assert message(world, "Failed") == "Job has exceeded the specified maximal number of failed indexes"
        assert active(world) == []


@virtual_time
async def test_a_rule_fails_one_index(clock: VirtualClock) -> None:
    rule = {"action": "FailIndex", "onExitCodes": {"operator": "In", "values": [42]}}
    async with running(clock, build) as world:
        body = indexed(backoffLimitPerIndex=5, podFailurePolicy={"rules": [rule]}, podReplacementPolicy="Failed")
        await world.cluster.create(JOBS, body)
        await world.settle()
        await end(world, at(world, 1), "Failed", 42)
        await world.settle(30)
        assert status(world)["failedIndexes"] == "1"
        assert sorted(index_of(pod) or 0 for pod in active(world)) == [0, 2]


@virtual_time
async def test_success_policy_ends_the_rest(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        await world.cluster.create(JOBS, indexed(successPolicy={"rules": [{"succeededIndexes": "0"}]}))
        await world.settle()
        await end(world, at(world, 0), "Succeeded", 0)
        await world.settle(3)
        assert ended(world) == [("SuccessCriteriaMet", "SuccessPolicy"), ("Complete", "SuccessPolicy")]
        assert message(world, "Complete") == "Matched rules at index 0"
        assert active(world) == []
        assert status(world)["completedIndexes"] == "0"


@pytest.mark.parametrize(
    ("rules", "completed", "expected"),
    [
        ([{"succeededCount": 2}], {0}, ""),
        ([{"succeededCount": 2}], {0, 4}, "Matched rules at index 0"),
        ([{"succeededIndexes": "0-2", "succeededCount": 2}], {0, 4}, ""),
        ([{"succeededIndexes": "0-2", "succeededCount": 2}], {0, 2}, "Matched rules at index 0"),
        ([{"succeededIndexes": "1-3"}, {"succeededCount": 1}], {9}, "Matched rules at index 1"),
        ([{"succeededCount": 0}], set(), ""),
    ],
)
def test_success_rules(rules: list[Object], completed: set[int], expected: str) -> None:
    assert success_policy.met(indexed(completions=10, successPolicy={"rules": rules}), completed) == expected


@virtual_time
async def test_replacement_waits_for_the_end_of_the_pod(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        await world.cluster.create(JOBS, job(podReplacementPolicy="Failed"))
        await world.settle()
        await world.cluster.delete(PODS, name_of(active(world)[0]), "default")
        await world.settle(60)
        assert status(world)["terminating"] == 1
        assert active(world) == []
        await end(world, next(pod for pod in world.pods(active=False) if is_deleting(pod)), "Failed", 137)
        await world.settle(15)
        assert len(active(world)) == 1
        assert status(world)["failed"] == 1


@virtual_time
async def test_an_index_is_replaced_while_its_pod_terminates(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        world.kubelet_works = False
        await world.cluster.create(JOBS, indexed(completions=1, parallelism=1))
        await world.settle()
        await world.cluster.delete(PODS, name_of(active(world)[0]), "default")
        await world.settle(15)
        assert [index_of(pod) for pod in active(world)] == [0]


@virtual_time
async def test_an_elastic_indexed_job_drops_its_highest_indexes(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        await world.cluster.create(JOBS, indexed(completions=4, parallelism=4))
        await world.settle()
        await world.cluster.patch(JOBS, "work", {"spec": {"completions": 2, "parallelism": 2}}, "default")
        await world.settle()
        assert sorted(index_of(pod) or 0 for pod in active(world)) == [0, 1]
        assert status(world).get("failed", 0) == 0


@virtual_time
async def test_another_controller_runs_it(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        await world.cluster.create(JOBS, job(managedBy="example.com/kueue"))
        await world.settle(5)
        assert world.pods() == []
        assert "status" not in world.one(JOBS, "work")


@given(st.lists(st.integers(0, 9), max_size=14), st.integers(0, 14), st.integers(1, 8))
def test_surplus_keeps_the_most_indexes(indexes: list[int], count: int, completions: int) -> None:
    body = indexed(completions=completions)
    pods = [
        {
            "metadata": {"name": f"p{number}", "annotations": {INDEX: str(index)}},
            "spec": {},
            "status": {"phase": "Running"},
        }
        for number, index in enumerate(indexes)
    ]
    doomed = verdict.surplus(body, pods, count)
    left = [index_of(pod) for pod in pods if pod not in doomed]
    assert len(left) == len(set(left))
    assert all(index is not None and index < completions for index in left)
    useful = {index for index in indexes if index < completions}
    assert len(doomed) == max(min(count, len(pods)), len(pods) - len(useful))
