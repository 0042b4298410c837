"""Which pods of a Job go first, when one ended, and what that does to the pause before the next."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.controllers.test_job import active, build, end, end_all, ended, job, status
from tests.unit.controllers.world import running

from twinplane.clock import rfc3339
from twinplane.controlplane.controllers.job import controller, failure_policy, success_policy, verdict
from twinplane.controlplane.controllers.job.pods import INDEX, TRACKING, finished_at, index_of, pod_of
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.meta import finalizers_of, name_of, uid_of
from twinplane.kubeclient.resources import JOBS, PODS
from twinplane.testing.virtual_time import EPOCH, VirtualClock, virtual_time


def pod(
    name: str, phase: str = "Running", *, node: str = "n", ready: float = 0, made: float = 0, **more: Any
) -> Object:
    """`ready` is when it became ready, 0 for one that is not; `made` when it was created."""
    conditions = [{"type": "Ready", "status": "True", "lastTransitionTime": rfc3339(EPOCH + ready)}] if ready else []
    return {
        "metadata": {"name": name, "creationTimestamp": rfc3339(EPOCH + made), **more.pop("metadata", {})},
        "spec": {"nodeName": node} if node else {},
        "status": {"phase": phase, "conditions": conditions, **more},
    }


def restarted(count: int) -> Object:
    return {"containerStatuses": [{"name": "app", "restartCount": count}]}


@pytest.mark.parametrize(
    ("less", "more"),
    [
        (pod("a", node=""), pod("b", "Pending")),
        (pod("a", "Pending", made=1), pod("b", made=9)),
        (pod("a"), pod("b", ready=5)),
        (pod("a", ready=9), pod("b", ready=5)),
        (pod("a", ready=5, **restarted(3)), pod("b", ready=5, made=1, **restarted(2))),
        (pod("a", made=9), pod("b", made=5)),
    ],
)
def test_the_least_useful_pod_goes_first(less: Object, more: Object) -> None:
    for pods in ([less, more], [more, less]):
        assert verdict.surplus(job(), pods, 1) == [less]


def test_of_indexes_too() -> None:
    """Not the highest index: upstream ranks what is left like the pods of any Job."""
    body = job(completionMode="Indexed", completions=3)
    pods = [pod(f"p{index}", ready=9 - index, metadata={"annotations": {INDEX: str(index)}}) for index in range(3)]
    assert verdict.surplus(body, pods, 1) == [pods[0]]


@pytest.mark.parametrize(
    ("status_of", "metadata", "expected"),
    [
        ({"containerStatuses": [{"name": "a", "end": 5}, {"name": "b", "end": 7}]}, {}, 7),
        ({"containerStatuses": [{"name": "a", "end": 5}, {"name": "b"}], "unready": 9}, {}, 9),
        (
            {"containerStatuses": [{"name": "a", "end": 5}], "initContainerStatuses": [{"name": "side", "end": 8}]},
            {},
            8,
        ),
        (
            {"containerStatuses": [{"name": "a", "end": 5}], "initContainerStatuses": [{"name": "init", "end": 9}]},
            {},
            5,
        ),
        ({}, {"deletionTimestamp": 40, "deletionGracePeriodSeconds": 30}, 10),
        ({}, {}, 1),
    ],
)
def test_when_a_pod_ended(status_of: Object, metadata: Object, expected: float) -> None:
    def told(entries: list[Object]) -> list[Object]:
        return [
            {
                "name": entry["name"],
                "state": {"terminated": {"finishedAt": rfc3339(EPOCH + entry["end"])}} if "end" in entry else {},
            }
            for entry in entries
        ]

    body = pod("p", made=1)
    body["status"] |= {key: told(value) for key, value in status_of.items() if key != "unready"}
    body["spec"]["initContainers"] = [{"name": "side", "restartPolicy": "Always"}, {"name": "init"}]
    if "unready" in status_of:
        at = rfc3339(EPOCH + status_of["unready"])
        body["status"]["conditions"] = [{"type": "Ready", "status": "False", "lastTransitionTime": at}]
    for key, value in metadata.items():
        body["metadata"][key] = rfc3339(EPOCH + value) if key == "deletionTimestamp" else value
    assert finished_at(body) == EPOCH + expected


def test_long_names_keep_their_index() -> None:
    body = job(completionMode="Indexed", completions=2)
    body["metadata"] |= {"name": "x" * 63, "uid": "u", "namespace": "default"}
    generated = pod_of(body, 17)["metadata"]["generateName"]
    assert len(generated) == 58
    assert generated.endswith("x-17-")


def test_a_rule_of_no_index_is_never_met() -> None:
    rules = {"rules": [{"succeededIndexes": "7-9"}, {"succeededCount": 2}]}
    body = job(completionMode="Indexed", completions=5, successPolicy=rules)
    assert success_policy.met(body, {1}) == ""
    assert success_policy.met(body, {1, 2}) == "Matched rules at index 1"


def test_the_condition_that_is_named_is_the_pods_first() -> None:
    patterns = [{"type": "Second", "status": "True"}, {"type": "First", "status": "True"}]
    body = job(podFailurePolicy={"rules": [{"action": "FailJob", "onPodConditions": patterns}]})
    failed = pod("p", "Failed", metadata={"namespace": "d"})
    failed["status"]["conditions"] = [{"type": "First", "status": "True"}, {"type": "Second", "status": "True"}]
    text = "Pod d/p has condition First matching FailJob rule at index 0"
    assert failure_policy.match(body, failed).message == text


@virtual_time
async def test_a_success_ends_the_pause_of_failures_before_it(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        await world.cluster.create(JOBS, job(parallelism=3, completions=5))
        await world.settle()
        first, second, third = active(world)
        await end(world, first, "Failed", 1)
        await world.settle(2)
        await end(world, second, "Succeeded", 0)
        await world.settle(2)
        assert len(active(world)) == 3, "what failed before the success is forgotten"
        await end(world, third, "Failed", 1)
        await world.settle(5)
        assert len(active(world)) == 2
        await world.settle(6)
        assert len(active(world)) == 3


@virtual_time
async def test_an_adopted_pod_is_counted(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        await world.cluster.create(JOBS, job(parallelism=1, completions=1))
        await world.settle()
        [own] = active(world)
        patch = {"metadata": {"ownerReferences": None, "finalizers": None}}
        await world.cluster.patch(PODS, name_of(own), patch, "default")
        await world.settle()
        [adopted] = [body for body in active(world) if uid_of(body) == uid_of(own)]
        assert finalizers_of(adopted) == [TRACKING]
        assert len(active(world)) == 1
        await end(world, adopted, "Succeeded", 0)
        await world.settle(5)
        assert ended(world)[-1][0] == "Complete"


@virtual_time
async def test_a_work_queue_lets_run_what_runs(clock: VirtualClock) -> None:
    """Also where `parallelism` is lowered once one of its pods has succeeded."""
    async with running(clock, build) as world:
        body = job(parallelism=3)
        body["spec"].pop("completions", None)
        await world.cluster.create(JOBS, body)
        await world.settle()
        await end(world, active(world)[0], "Succeeded", 0)
        await world.cluster.patch(JOBS, "work", {"spec": {"parallelism": 1}}, "default")
        await world.settle(5)
        assert len(active(world)) == 2
        assert ended(world) == []
        for left in active(world):
            await end(world, left, "Succeeded", 0)
        await world.settle(5)
        assert ended(world)[-1][0] == "Complete"
        assert status(world)["succeeded"] == 3
        assert index_of(world.pods()[0]) is None


@virtual_time
async def test_many_that_end_at_once_are_counted_in_parts(clock: VirtualClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(controller, "UNCOUNTED_MAX", 3)
    async with running(clock, build) as world:
        most = 0

        def changed(old: Object | None, new: Object | None) -> None:
            nonlocal most
            uncounted = ((new or {}).get("status") or {}).get("uncountedTerminatedPods") or {}
            most = max(most, sum(map(len, uncounted.values())))

        world.informers.of(JOBS).add_handler(changed)
        await world.cluster.create(JOBS, job(parallelism=10, completions=8, backoffLimit=9))
        await world.settle()
        for number, body in enumerate(active(world)):
            await end(world, body, "Failed" if number < 2 else "Succeeded", 1 if number < 2 else 0)
        await world.settle(30)
        await end_all(world, "Succeeded")
        await world.settle(5)
        assert ended(world)[-1][0] == "Complete"
        assert (status(world)["succeeded"], status(world)["failed"], most) == (8, 2, 3)
        assert all(not finalizers_of(body) for body in world.cluster.objects(PODS))
