from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.unit.controllers.world import World, pod_template, running

from twinplane.controlplane.controllers.contract import Context, Controller
from twinplane.controlplane.controllers.statefulset.controller import StatefulSetController
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.resources import CONTROLLER_REVISIONS, PERSISTENT_VOLUME_CLAIMS, PODS, STATEFUL_SETS
from twinplane.testing.virtual_time import VirtualClock, virtual_time

LABELS = {"app": "db"}
CLAIM = {"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"]}}


def build(context: Context) -> Sequence[Controller]:
    return [StatefulSetController(context)]


def stateful_set(replicas: int = 3, **spec: Any) -> Object:
    defaults = {
        "replicas": replicas,
        "serviceName": "db",
        "selector": {"matchLabels": LABELS},
        "template": pod_template(LABELS),
        "podManagementPolicy": "OrderedReady",
        "updateStrategy": {"type": "RollingUpdate"},
    }
    return {"metadata": {"name": "db", "namespace": "default"}, "spec": {**defaults, **spec}}


async def change(world: World, **spec: Any) -> None:
    await world.cluster.patch(STATEFUL_SETS, "db", {"spec": spec}, "default")


async def set_image(world: World, image: str) -> None:
    await change(world, template={"spec": {"containers": [{"name": "app", "image": image}]}})


def images(world: World) -> list[str]:
    return [pod["spec"]["containers"][0]["image"] for pod in world.pods()]


def status(world: World) -> Object:
    found: Object = world.one(STATEFUL_SETS, "db")["status"]
    return found


@virtual_time
async def test_pods_have_names_and_claims(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        await world.cluster.create(STATEFUL_SETS, stateful_set(volumeClaimTemplates=[CLAIM]))
        await world.settle()
        assert world.names(PODS) == ["db-0", "db-1", "db-2"]
        assert world.names(PERSISTENT_VOLUME_CLAIMS) == ["data-db-0", "data-db-1", "data-db-2"]
        pod = world.one(PODS, "db-1")
        assert (pod["spec"]["hostname"], pod["spec"]["subdomain"]) == ("db-1", "db")
        assert pod["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"] == "data-db-1"
        assert pod["metadata"]["labels"]["statefulset.kubernetes.io/pod-name"] == "db-1"
        assert pod["metadata"]["labels"]["apps.kubernetes.io/pod-index"] == "1"
        (revision,) = world.names(CONTROLLER_REVISIONS)
        assert status(world) == {
            "observedGeneration": 1,
            "replicas": 3,
            "readyReplicas": 3,
            "availableReplicas": 3,
            "currentReplicas": 3,
            "updatedReplicas": 3,
            "currentRevision": revision,
            "updateRevision": revision,
            "collisionCount": 0,
        }


@virtual_time
async def test_ordered_waits_for_each(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        world.unready = {"db-1"}
        await world.cluster.create(STATEFUL_SETS, stateful_set())
        await world.settle()
        assert world.names(PODS) == ["db-0", "db-1"]


@virtual_time
async def test_parallel_does_not(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        world.unready = {"db-*"}
        await world.cluster.create(STATEFUL_SETS, stateful_set(podManagementPolicy="Parallel"))
        await world.settle()
        assert world.names(PODS) == ["db-0", "db-1", "db-2"]
        await change(world, replicas=0)
        await world.settle()
        assert world.names(PODS) == []


@virtual_time
async def test_scales_down_from_the_end_and_keeps_claims(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        await world.cluster.create(STATEFUL_SETS, stateful_set(volumeClaimTemplates=[CLAIM]))
        await world.settle()
        await change(world, replicas=1)
        await world.settle()
        assert world.names(PODS) == ["db-0"]
        gone = [name for verb, kind, name in world.cluster.writes if verb == "delete" and kind == PODS]
        assert list(dict.fromkeys(gone)) == ["db-2", "db-1"]
        assert len(world.names(PERSISTENT_VOLUME_CLAIMS)) == 3


@virtual_time
async def test_claims_go_with_scaled_down_pods_where_asked(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        policy = {"whenScaled": "Delete", "whenDeleted": "Retain"}
        body = stateful_set(2, volumeClaimTemplates=[CLAIM], persistentVolumeClaimRetentionPolicy=policy)
        await world.cluster.create(STATEFUL_SETS, body)
        await world.settle()
        await change(world, replicas=1)
        await world.settle()
        (owner,) = world.one(PERSISTENT_VOLUME_CLAIMS, "data-db-1")["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["name"]) == ("Pod", "db-1")


@virtual_time
async def test_rolls_from_the_end(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        await world.cluster.create(STATEFUL_SETS, stateful_set())
        await world.settle()
        world.unready = {"db-1"}
        await set_image(world, "app:2")
        await world.settle()
        assert images(world) == ["app:1", "app:2", "app:2"]
        assert status(world)["updatedReplicas"] == 2
        assert status(world)["currentRevision"] != status(world)["updateRevision"]
        world.unready = set()
        await world.cluster.delete(PODS, "db-1", "default")
        await world.settle()
        assert images(world) == ["app:2"] * 3
        assert status(world)["currentRevision"] == status(world)["updateRevision"]


@virtual_time
async def test_partition(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        strategy = {"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}
        await world.cluster.create(STATEFUL_SETS, stateful_set(updateStrategy=strategy))
        await world.settle()
        await set_image(world, "app:2")
        await world.settle()
        assert images(world) == ["app:1", "app:1", "app:2"]
        await world.cluster.delete(PODS, "db-0", "default")
        await world.settle()
        assert images(world) == ["app:1", "app:1", "app:2"]


@virtual_time
async def test_on_delete(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        await world.cluster.create(STATEFUL_SETS, stateful_set(updateStrategy={"type": "OnDelete"}))
        await world.settle()
        await set_image(world, "app:2")
        await world.settle()
        await world.cluster.delete(PODS, "db-1", "default")
        await world.settle()
        assert images(world) == ["app:1", "app:2", "app:1"]


@virtual_time
async def test_failed_pods_are_made_again_under_their_name(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        await world.cluster.create(STATEFUL_SETS, stateful_set(1))
        await world.settle()
        before = world.one(PODS, "db-0")["metadata"]["uid"]
        await world.cluster.patch(PODS, "db-0", {"status": {"phase": "Failed"}}, "default", subresource="status")
        await world.settle()
        after = world.one(PODS, "db-0")
        assert after["metadata"]["uid"] != before
        assert after["status"]["phase"] == "Running"
        assert world.events("SuccessfulDelete") == ["Delete Pod db-0 in StatefulSet db successful"]


@virtual_time
async def test_ordinals_may_start_elsewhere(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        await world.cluster.create(STATEFUL_SETS, stateful_set(2, ordinals={"start": 5}))
        await world.settle()
        assert world.names(PODS) == ["db-5", "db-6"]


@virtual_time
async def test_several_at_a_time(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 2, "partition": 1}}
        await world.cluster.create(STATEFUL_SETS, stateful_set(5, updateStrategy=strategy))
        await world.settle(10)
        world.unready.add("db-*")
        await set_image(world, "app:2")
        await world.settle(20)
        assert images(world) == ["app:1"] * 3 + ["app:2"], "db-4 waits for db-3, which is not ready"


@virtual_time
async def test_claims_follow_the_retention_policy(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        await world.cluster.create(STATEFUL_SETS, stateful_set(2, volumeClaimTemplates=[CLAIM]))
        await world.settle(5)

        def owners() -> list[list[str]]:
            claims = world.cluster.objects(PERSISTENT_VOLUME_CLAIMS)
            return [[entry["kind"] for entry in claim["metadata"].get("ownerReferences") or []] for claim in claims]

        assert owners() == [[], []]
        both = {"whenDeleted": "Delete", "whenScaled": "Delete"}
        await change(world, persistentVolumeClaimRetentionPolicy=both)
        await world.settle()
        assert owners() == [["StatefulSet"], ["StatefulSet"]]
        await change(world, replicas=1)
        await world.settle()
        assert owners() == [["StatefulSet"], ["Pod"]]
        await change(world, persistentVolumeClaimRetentionPolicy={"whenDeleted": "Retain", "whenScaled": "Retain"})
        await world.settle()
        assert owners()[0] == []


@virtual_time
async def test_a_claim_of_a_pod_that_was_scaled_away_is_waited_for(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        policy = {"whenDeleted": "Retain", "whenScaled": "Delete"}
        body = stateful_set(2, volumeClaimTemplates=[CLAIM], persistentVolumeClaimRetentionPolicy=policy)
        await world.cluster.create(STATEFUL_SETS, body)
        await world.settle(5)
        await change(world, replicas=1)
        await world.settle()
        stale = world.one(PERSISTENT_VOLUME_CLAIMS, "data-db-1")
        [owner] = stale["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["controller"]) == ("Pod", True)
        await change(world, replicas=2)
        await world.settle(5)
        assert world.names(PODS) == ["db-0"]
        await world.cluster.delete(PERSISTENT_VOLUME_CLAIMS, "data-db-1", "default")
        await world.settle(10)
        assert world.names(PODS) == ["db-0", "db-1"]
        assert "ownerReferences" not in world.one(PERSISTENT_VOLUME_CLAIMS, "data-db-1")["metadata"]


@virtual_time
async def test_a_claim_that_is_being_deleted_is_not_used(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        claim = {
            "metadata": {"name": "data-db-0", "namespace": "default", "finalizers": ["example.com/hold"]},
            "spec": {},
        }
        await world.cluster.create(PERSISTENT_VOLUME_CLAIMS, claim)
        await world.cluster.delete(PERSISTENT_VOLUME_CLAIMS, "data-db-0", "default")
        await world.cluster.create(STATEFUL_SETS, stateful_set(1, volumeClaimTemplates=[CLAIM]))
        await world.settle(5)
        assert world.names(PODS) == []
        why = "pvc data-db-0 is being deleted"
        assert world.events("FailedCreate")[0] == f"Create Pod db-0 in StatefulSet db failed error: {why}"
        patch = {"metadata": {"finalizers": None}}
        await world.cluster.patch(PERSISTENT_VOLUME_CLAIMS, "data-db-0", patch, "default")
        await world.settle(60)
        assert world.names(PODS) == ["db-0"]


@virtual_time
async def test_a_pending_pod_gets_the_claim_that_it_lacks(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        world.kubelet_works = False
        await world.cluster.create(STATEFUL_SETS, stateful_set(1, volumeClaimTemplates=[CLAIM]))
        await world.settle()
        await world.cluster.delete(PERSISTENT_VOLUME_CLAIMS, "data-db-0", "default")
        await world.cluster.patch(PODS, "db-0", {"metadata": {"labels": {"a": "b"}}}, "default")
        await world.settle()
        assert world.names(PERSISTENT_VOLUME_CLAIMS) == ["data-db-0"]


@virtual_time
async def test_a_claim_that_somebody_else_controls_is_theirs(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        both = {"whenDeleted": "Delete", "whenScaled": "Delete"}
        theirs = {"apiVersion": "v1", "kind": "Backup", "name": "b", "uid": "u", "controller": True}
        metadata = {"name": "data-db-0", "namespace": "default", "ownerReferences": [theirs]}
        await world.cluster.create(PERSISTENT_VOLUME_CLAIMS, {"metadata": metadata, "spec": {}})
        body = stateful_set(1, volumeClaimTemplates=[CLAIM], persistentVolumeClaimRetentionPolicy=both)
        await world.cluster.create(STATEFUL_SETS, body)
        await world.settle(5)
        assert world.one(PERSISTENT_VOLUME_CLAIMS, "data-db-0")["metadata"]["ownerReferences"] == [theirs]


@virtual_time
async def test_a_broken_rollout_of_parallel_pods_goes_on_from_the_end(clock: VirtualClock) -> None:
    """Pods below the next one may be unavailable, unless `maxUnavailable` says how many."""
    async with running(clock, build) as world:
        world.unready.add("db-0")
        await world.cluster.create(STATEFUL_SETS, stateful_set(3, podManagementPolicy="Parallel"))
        await world.settle(5)
        world.unready.clear()
        await set_image(world, "app:2")
        await world.settle(20)
        assert images(world) == ["app:2"] * 3


@virtual_time
async def test_what_is_unavailable_counts_against_max_unavailable(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        world.unready.add("db-0")
        strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}}
        await world.cluster.create(
            STATEFUL_SETS, stateful_set(3, podManagementPolicy="Parallel", updateStrategy=strategy)
        )
        await world.settle(5)
        await set_image(world, "app:2")
        await world.settle(20)
        assert images(world) == ["app:1"] * 3
        patch = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
        await world.cluster.patch(PODS, "db-0", patch, "default", subresource="status")
        world.unready.clear()
        await world.settle(20)
        assert images(world) == ["app:2"] * 3
