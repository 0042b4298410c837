"""Deployments end to end: controller, ReplicaSets, pods."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from tests.unit.controllers.world import World, pod_template, running

from twinplane.controlplane.controllers.contract import Context, Controller
from twinplane.controlplane.controllers.deployment import replica_sets, rolling, status
from twinplane.controlplane.controllers.deployment.controller import DeploymentController
from twinplane.controlplane.controllers.replicaset.controller import ReplicaSetController
from twinplane.controlplane.controllers.replicaset.kinds import REPLICA_SET_KIND
from twinplane.kubeclient.contract import Object, Resource
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.meta import condition_of
from twinplane.kubeclient.resources import DEPLOYMENTS, PODS, REPLICA_SETS
from twinplane.testing.virtual_time import VirtualClock, virtual_time

LABELS = {"app": "web"}


def build(context: Context) -> Sequence[Controller]:
    return [DeploymentController(context), ReplicaSetController(context, REPLICA_SET_KIND)]


def deployment(replicas: int = 3, image: str = "app:1", **spec: Any) -> Object:
    return {
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": LABELS},
            "template": pod_template(LABELS, image),
            "progressDeadlineSeconds": 600,
            "revisionHistoryLimit": 10,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}},
            **spec,
        },
    }


async def change(world: World, **spec: Any) -> None:
    await world.cluster.patch(DEPLOYMENTS, "web", {"spec": spec}, "default")


async def set_image(world: World, image: str) -> None:
    await change(world, template={"spec": {"containers": [{"name": "app", "image": image}]}})


def status_of(world: World) -> Object:
    result: Object = world.one(DEPLOYMENTS, "web")["status"]
    return result


@virtual_time
async def test_makes_pods_and_says_so(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        await world.cluster.create(DEPLOYMENTS, deployment(10))
        await world.settle()
        assert len(world.pods()) == 10
        status = status_of(world)
        assert {key: value for key, value in status.items() if key != "conditions"} == {
            "observedGeneration": 1,
            "replicas": 10,
            "updatedReplicas": 10,
            "readyReplicas": 10,
            "availableReplicas": 10,
            "terminatingReplicas": 0,
        }
        body = world.one(DEPLOYMENTS, "web")
        assert body["metadata"]["annotations"] == {"deployment.kubernetes.io/revision": "1"}
        assert body["metadata"]["generation"] == 1
        progressing = condition_of(body, "Progressing")
        (name,) = world.names(REPLICA_SETS)
        assert progressing is not None
        assert (progressing["status"], progressing["reason"], progressing["message"]) == (
            "True",
            "NewReplicaSetAvailable",
            f'ReplicaSet "{name}" has successfully progressed.',
        )
        assert world.events("ScalingReplicaSet") == [f"Scaled up replica set {name} from 0 to 10"]
        assert len(world.events("SuccessfulCreate")) == 10


@virtual_time
async def test_names_and_labels_carry_the_hash(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        await world.cluster.create(DEPLOYMENTS, deployment(1))
        await world.settle()
        (replica_set,) = world.cluster.objects(REPLICA_SETS)
        hashed = replica_set["metadata"]["labels"]["pod-template-hash"]
        assert replica_set["metadata"]["name"] == f"web-{hashed}"
        assert replica_set["spec"]["selector"]["matchLabels"] == {**LABELS, "pod-template-hash": hashed}
        assert replica_set["metadata"]["annotations"] == {
            "deployment.kubernetes.io/desired-replicas": "1",
            "deployment.kubernetes.io/max-replicas": "2",
            "deployment.kubernetes.io/revision": "1",
        }
        (pod,) = world.pods()
        assert pod["metadata"]["name"].startswith(f"web-{hashed}-")
        assert pod["metadata"]["labels"] == {**LABELS, "pod-template-hash": hashed}


@virtual_time
async def test_rolling_update_keeps_its_bounds(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        await world.cluster.create(DEPLOYMENTS, deployment(8))
        await world.settle()
        seen: list[tuple[int, int]] = []

        async def observe() -> None:
            async for _ in world.cluster.watch(PODS, resource_version=str(world.cluster.revision)):
                pods = world.pods()
                ready = sum(pod["status"]["phase"] == "Running" for pod in pods)
                seen.append((len(pods), ready))

        observer = asyncio.create_task(observe())
        await set_image(world, "app:2")
        await world.settle(5)
        observer.cancel()
        assert max(total for total, _ in seen) <= 10
        assert min(ready for _, ready in seen) >= 6
        assert {pod["spec"]["containers"][0]["image"] for pod in world.pods()} == {"app:2"}
        assert len(world.pods()) == 8
        assert world.one(DEPLOYMENTS, "web")["metadata"]["annotations"] == {"deployment.kubernetes.io/revision": "2"}


@virtual_time
async def test_undo_brings_the_old_replica_set_back_with_a_new_revision(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        await world.cluster.create(DEPLOYMENTS, deployment(2))
        await world.settle()
        (first,) = world.names(REPLICA_SETS)
        await set_image(world, "app:2")
        await world.settle()
        await set_image(world, "app:1")
        await world.settle()
        back = world.one(REPLICA_SETS, first)
        assert back["spec"]["replicas"] == 2
        assert back["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "3"
        assert back["metadata"]["annotations"]["deployment.kubernetes.io/revision-history"] == "1"
        assert len(world.names(REPLICA_SETS)) == 2


@virtual_time
async def test_history_is_limited(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        await world.cluster.create(DEPLOYMENTS, deployment(1, revisionHistoryLimit=2))
        for number in range(2, 7):
            await world.settle()
            await set_image(world, f"app:{number}")
        await world.settle(5)
        revisions = [
            entry["metadata"]["annotations"]["deployment.kubernetes.io/revision"]
            for entry in world.cluster.objects(REPLICA_SETS)
        ]
        assert sorted(revisions) == ["4", "5", "6"]


@virtual_time
async def test_recreate_never_mixes(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        await world.cluster.create(DEPLOYMENTS, deployment(3, strategy={"type": "Recreate"}))
        await world.settle()
        images: set[tuple[str, ...]] = set()

        async def observe() -> None:
            async for _ in world.cluster.watch(PODS, resource_version=str(world.cluster.revision)):
                found = {pod["spec"]["containers"][0]["image"] for pod in world.pods(active=False)}
                images.add(tuple(sorted(found)))

        observer = asyncio.create_task(observe())
        await set_image(world, "app:2")
        await world.settle(5)
        observer.cancel()
        assert ("app:1", "app:2") not in images
        assert len(world.pods()) == 3


@virtual_time
async def test_paused_does_not_roll_but_scales(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        await world.cluster.create(DEPLOYMENTS, deployment(2))
        await world.settle()
        await change(world, paused=True)
        await world.settle()
        condition = condition_of(world.one(DEPLOYMENTS, "web"), "Progressing")
        assert condition is not None
        assert (condition["status"], condition["reason"]) == ("Unknown", "DeploymentPaused")
        await set_image(world, "app:2")
        await change(world, replicas=4)
        await world.settle()
        assert [pod["spec"]["containers"][0]["image"] for pod in world.pods()] == ["app:1"] * 4
        await change(world, paused=None)
        await world.settle(5)
        assert [pod["spec"]["containers"][0]["image"] for pod in world.pods()] == ["app:2"] * 4


@virtual_time
async def test_progress_deadline(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        world.kubelet_works = False
        await world.cluster.create(DEPLOYMENTS, deployment(2, progressDeadlineSeconds=60))
        await world.settle(50)
        condition = condition_of(world.one(DEPLOYMENTS, "web"), "Progressing")
        assert condition is not None
        assert condition["status"] == "True"
        await world.settle(15)
        condition = condition_of(world.one(DEPLOYMENTS, "web"), "Progressing")
        assert condition is not None
        assert (condition["status"], condition["reason"]) == ("False", "ProgressDeadlineExceeded")


@virtual_time
async def test_broken_rollout_stops_at_max_unavailable(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        await world.cluster.create(DEPLOYMENTS, deployment(4))
        await world.settle()
        world.unready = {"web-*"}
        await set_image(world, "broken")
        await world.settle(30)
        status = status_of(world)
        assert status["availableReplicas"] == 3
        assert status["updatedReplicas"] == 2
        assert status["unavailableReplicas"] == 2


@virtual_time
async def test_scaling_in_the_middle_of_a_rollout_is_proportional(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 3, "maxUnavailable": 2}}
        await world.cluster.create(DEPLOYMENTS, deployment(10, strategy=strategy))
        await world.settle()
        world.unready = {"web-*"}
        await set_image(world, "broken")
        await world.settle(10)
        sizes = sorted(entry["spec"]["replicas"] for entry in world.cluster.objects(REPLICA_SETS))
        assert sizes == [5, 8]
        await change(world, replicas=15)
        await world.settle(10)
        # The example of the Kubernetes documentation: 8 of 13 becomes 11 of 18, 5 becomes 7.
        sizes = sorted(entry["spec"]["replicas"] for entry in world.cluster.objects(REPLICA_SETS))
        assert sizes == [7, 11]


@virtual_time
async def test_hash_collision_is_counted(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        await world.cluster.create(DEPLOYMENTS, deployment(1))
        await world.settle()
        (name,) = world.names(REPLICA_SETS)
    async with running(clock, build) as world:
        stranger = {
            "metadata": {"name": name, "namespace": "default"},
            "spec": {"replicas": 0, "selector": {"matchLabels": {"a": "b"}}, "template": pod_template({"a": "b"})},
        }
        world.cluster.seed(REPLICA_SETS, stranger)
        await world.cluster.create(DEPLOYMENTS, deployment(1))
        await world.settle(3)
        assert status_of(world)["collisionCount"] == 1
        assert len(world.pods()) == 1


@virtual_time
async def test_an_idle_deployment_writes_nothing(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        await world.cluster.create(DEPLOYMENTS, deployment(3))
        await world.settle(5)
        before = world.cluster.revision
        await world.settle(3600)
        assert world.cluster.revision == before


def test_long_names_and_histories_are_cut() -> None:
    body = deployment()
    body["metadata"] |= {"name": "w" * 253, "uid": "u"}
    made = replica_sets.made_for(body, 1, 1)
    assert len(made["metadata"]["name"]) == 253
    assert made["metadata"]["name"].endswith(made["spec"]["selector"]["matchLabels"]["pod-template-hash"])
    numbers = [str(number) for number in range(1000, 1500)]
    made["metadata"]["annotations"] |= {replica_sets.REVISION: "1500", replica_sets.REVISION_HISTORY: ",".join(numbers)}
    history = replica_sets.inherited(body, made, 1600)[replica_sets.REVISION_HISTORY].split(",")
    assert (history[0], history[-1], len(",".join(history))) == ("1101", "1500", 1999)


def test_what_was_never_counted_does_not_hide_what_terminates() -> None:
    made = replica_sets.made_for({**deployment(), "metadata": {"name": "w", "namespace": "d", "uid": "u"}}, 1, 1)
    old = {**made, "status": {"observedGeneration": 1, "replicas": 1, "terminatingReplicas": 2}}
    silent = {**made, "status": {"observedGeneration": 1, "replicas": 1}}
    for every, expected in (([old, made], 2), ([old, silent], None), ([made], None)):
        assert status.counted(deployment(), every, None, {}, 0.0).get("terminatingReplicas") == expected


def test_shares_without_a_remembered_size() -> None:
    """Somebody took the annotation away: the Deployment's size counts, and without that nothing is shared out."""
    sets = [{"metadata": {"name": name, "uid": name}, "spec": {"replicas": 5}} for name in ("a", "b")]
    body = {**deployment(20), "status": {"replicas": 10}}
    assert [size for _, size in rolling.scale_all(body, sets[0], sets[1:])] == [13, 12]
    assert [size for _, size in rolling.scale_all({**body, "status": {}}, sets[0], sets[1:])] == [20, 5]


@virtual_time
async def test_a_replica_set_that_cannot_be_made_is_told(clock: VirtualClock, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(clock, build) as world:
        create = world.cluster.create

        async def refused(resource: Resource, body: Object, namespace: str | None = None) -> Object:
            if resource == REPLICA_SETS:
                raise ApiError("Forbidden", "exceeded quota")
            return await create(resource, body, namespace)

        monkeypatch.setattr(world.cluster, "create", refused)
        await world.cluster.create(DEPLOYMENTS, deployment())
        await world.settle()
        [message] = set(world.events("ReplicaSetCreateError"))
        assert message.startswith('Failed to create new replica set "web-')
        condition = condition_of(world.one(DEPLOYMENTS, "web"), "Progressing")
        assert condition is not None
        assert (condition["reason"], condition["message"]) == ("ReplicaSetCreateError", message)
