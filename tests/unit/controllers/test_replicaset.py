from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tests.unit.controllers.world import World, pod_template, running

from twinplane.controlplane.controllers.contract import Context, Controller
from twinplane.controlplane.controllers.replicaset.controller import ReplicaSetController
from twinplane.controlplane.controllers.replicaset.kinds import REPLICA_SET_KIND, REPLICATION_CONTROLLER_KIND
from twinplane.controlplane.controllers.replicaset.ranking import DELETION_COST, to_delete
from twinplane.kubeclient.contract import Object, Resource
from twinplane.kubeclient.errors import forbidden
from twinplane.kubeclient.meta import condition_of, controller_of
from twinplane.kubeclient.resources import PODS, REPLICA_SETS, REPLICATION_CONTROLLERS
from twinplane.testing.virtual_time import VirtualClock, virtual_time

LABELS = {"app": "web"}


def build(context: Context) -> Sequence[Controller]:
    return [ReplicaSetController(context, kind) for kind in (REPLICA_SET_KIND, REPLICATION_CONTROLLER_KIND)]


def replica_set(replicas: int, **spec: Any) -> Object:
    return {
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": LABELS},
            "template": pod_template(LABELS),
            **spec,
        },
    }


async def scale(world: World, replicas: int) -> None:
    await world.cluster.patch(REPLICA_SETS, "web", {"spec": {"replicas": replicas}}, "default")


@virtual_time
async def test_pods_are_owned_and_counted(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        await world.cluster.create(REPLICA_SETS, replica_set(3))
        await world.settle()
        owner = world.one(REPLICA_SETS, "web")
        assert owner["status"] == {
            "replicas": 3,
            "fullyLabeledReplicas": 3,
            "readyReplicas": 3,
            "availableReplicas": 3,
            "observedGeneration": 1,
            "terminatingReplicas": 0,
        }
        for pod in world.pods():
            assert pod["metadata"]["name"].startswith("web-")
            assert controller_of(pod) == {
                "apiVersion": "apps/v1",
                "kind": "ReplicaSet",
                "name": "web",
                "uid": owner["metadata"]["uid"],
                "controller": True,
                "blockOwnerDeletion": True,
            }


@virtual_time
async def test_never_makes_more_than_asked_for(clock: VirtualClock) -> None:
    """Status writes, label changes and pod events in the middle of a burst must not make it count again."""
    async with running(clock, build) as world:
        await world.cluster.create(REPLICA_SETS, replica_set(200))
        for number in range(5):
            await scale(world, 200)
            labels = {"metadata": {"labels": {"touched": str(number)}}}
            await world.cluster.patch(REPLICA_SETS, "web", labels, "default")
        await world.settle(5)
        assert sum(verb == "create" and kind == PODS for verb, kind, _ in world.cluster.writes) == 200


@virtual_time
async def test_scales_down_and_up(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        await world.cluster.create(REPLICA_SETS, replica_set(5))
        await world.settle()
        await scale(world, 2)
        await world.settle()
        assert len(world.pods(active=False)) == 2
        assert sum(verb == "delete" and kind == PODS for verb, kind, _ in world.cluster.writes) == 3
        await scale(world, 4)
        await world.settle()
        assert len(world.pods()) == 4


@virtual_time
async def test_replaces_pods_that_die(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        await world.cluster.create(REPLICA_SETS, replica_set(2))
        await world.settle()
        first, second = (pod["metadata"]["name"] for pod in world.pods())
        await world.cluster.delete(PODS, first, "default")
        await world.cluster.patch(PODS, second, {"status": {"phase": "Failed"}}, "default", subresource="status")
        await world.settle()
        assert len([pod for pod in world.pods() if pod["status"]["phase"] == "Running"]) == 2


@virtual_time
async def test_adopts_and_releases(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        orphan = {"metadata": {"name": "orphan", "labels": LABELS}, "spec": {}}
        await world.cluster.create(PODS, orphan, "default")
        await world.cluster.create(REPLICA_SETS, replica_set(2))
        await world.settle()
        assert "orphan" in world.names(PODS)
        assert len(world.pods()) == 2
        assert controller_of(world.one(PODS, "orphan")) is not None
        await world.cluster.patch(PODS, "orphan", {"metadata": {"labels": {"app": "other"}}}, "default")
        await world.settle()
        assert controller_of(world.one(PODS, "orphan")) is None
        assert len(world.pods()) == 3


@virtual_time
async def test_refused_pods_are_asked_for_slowly(clock: VirtualClock) -> None:
    async with running(clock, build) as world:

        def refuse(verb: str, resource: Resource, body: Object) -> None:
            if verb == "create" and resource == PODS:
                attempts.append(clock.now())
                raise forbidden("", "pods", "", "exceeded quota: q, requested: pods=1, used: pods=0, limited: pods=0")

        attempts: list[float] = []
        world.cluster.reactions.append(refuse)
        await world.cluster.create(REPLICA_SETS, replica_set(100))
        await world.settle(10)
        assert 3 < len(attempts) < 20
        condition = condition_of(world.one(REPLICA_SETS, "web"), "ReplicaFailure")
        assert condition is not None
        assert condition["reason"] == "FailedCreate"
        assert world.events("FailedCreate")[0].startswith("Error creating: pods is forbidden: exceeded quota")
        world.cluster.reactions.clear()
        await world.settle(30)
        assert len(world.pods()) == 100
        assert condition_of(world.one(REPLICA_SETS, "web"), "ReplicaFailure") is None


@virtual_time
async def test_availability_waits_for_min_ready_seconds(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        await world.cluster.create(REPLICA_SETS, replica_set(1, minReadySeconds=30))
        await world.settle(20)
        assert "availableReplicas" not in world.one(REPLICA_SETS, "web")["status"]
        await world.settle(12)
        assert world.one(REPLICA_SETS, "web")["status"]["availableReplicas"] == 1


@virtual_time
async def test_replication_controllers_work_alike(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        body = replica_set(2, selector=LABELS)
        await world.cluster.create(REPLICATION_CONTROLLERS, body)
        await world.settle()
        assert {(controller_of(pod) or {})["kind"] for pod in world.pods()} == {"ReplicationController"}
        assert world.one(REPLICATION_CONTROLLERS, "web")["status"]["readyReplicas"] == 2


def ranked(name: str, *, node: str = "n", phase: str = "Running", cost: int = 0, ready: bool = True) -> Object:
    conditions = [{"type": "Ready", "status": str(ready), "lastTransitionTime": "2023-01-01T00:00:00Z"}]
    return {
        "metadata": {"name": name, "uid": name, "annotations": {DELETION_COST: str(cost)}},
        "spec": {"nodeName": node} if node else {},
        "status": {"phase": phase, "conditions": conditions},
    }


def test_deletion_preference() -> None:
    pods = [
        ranked("cheap", cost=-1),
        ranked("plain"),
        ranked("dear", cost=5),
        ranked("unbound", node="", phase="Pending"),
        ranked("pending", phase="Pending", ready=False),
        ranked("unready", ready=False),
    ]
    order = [pod["metadata"]["name"] for pod in to_delete(pods, pods, 5, 1_700_000_000)]
    assert order == ["unbound", "pending", "unready", "cheap", "plain"]


def test_crowded_nodes_give_first() -> None:
    pods = [ranked("a1", node="a"), ranked("a2", node="a"), ranked("b1", node="b")]
    assert to_delete(pods, pods, 1, 0.0)[0]["spec"]["nodeName"] == "a"


@given(st.lists(st.tuples(st.booleans(), st.integers(-3, 3)), max_size=12), st.integers(0, 12))
def test_no_spared_pod_is_cheaper_and_less_ready(traits: list[tuple[bool, int]], count: int) -> None:
    pods = [ranked(str(number), ready=ready, cost=cost) for number, (ready, cost) in enumerate(traits)]
    doomed = to_delete(pods, pods, count, 1_700_000_000)
    assert len(doomed) == min(count, len(pods))
    names = {pod["metadata"]["name"] for pod in doomed}
    gone = [traits[int(name)] for name in names]
    kept = [trait for number, trait in enumerate(traits) if str(number) not in names]
    assert all(trait <= other for trait in gone for other in kept)
