"""Claims, volumes and attachments: cases of the Kubernetes documentation, in virtual time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.controllers.world import World, running

from twinplane.controlplane.controllers.attachdetach.controller import AttachDetachController
from twinplane.controlplane.controllers.contract import Context, Controller
from twinplane.controlplane.controllers.ephemeralvolume.controller import EphemeralVolumeController
from twinplane.controlplane.controllers.persistentvolume import matching, volumes
from twinplane.controlplane.controllers.persistentvolume.controller import PersistentVolumeController
from twinplane.controlplane.controllers.volumeexpand.controller import VolumeExpandController
from twinplane.controlplane.controllers.volumeprotection.attributes_class import AttributesClassProtectionController
from twinplane.controlplane.controllers.volumeprotection.controller import VolumeProtectionController
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.meta import annotations_of, name_of, owner_references, uid_of
from twinplane.kubeclient.resources import (
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    PODS,
    STORAGE_CLASSES,
    VOLUME_ATTACHMENTS,
    VOLUME_ATTRIBUTES_CLASSES,
)
from twinplane.testing.virtual_time import VirtualClock, virtual_time


def build(context: Context) -> Sequence[Controller]:
    return [
        PersistentVolumeController(context),
        VolumeProtectionController(context),
        EphemeralVolumeController(context),
        VolumeExpandController(context),
        AttachDetachController(context),
    ]


def claim(name: str = "data", size: str = "1Gi", **spec: Any) -> Object:
    resources = {"requests": {"storage": size}}
    body = {"accessModes": ["ReadWriteOnce"], "resources": resources, "storageClassName": "", **spec}
    return {"metadata": {"name": name, "namespace": "default"}, "spec": body}


def volume(name: str, size: str = "1Gi", **spec: Any) -> Object:
    source = {"driver": "ebs.csi.aws.com", "volumeHandle": f"vol-{name}"}
    body = {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": size}, "csi": source}
    body |= {"persistentVolumeReclaimPolicy": "Retain", **spec}
    return {"metadata": {"name": name}, "spec": body}


def storage_class(name: str, mode: str = "Immediate", provisioner: str = "ebs.csi.aws.com", **more: Any) -> Object:
    return {"metadata": {"name": name, **more}, "provisioner": provisioner, "volumeBindingMode": mode}


def pod(name: str, node: str = "", *, claim_name: str = "data", **volume_source: Any) -> Object:
    source = volume_source or {"persistentVolumeClaim": {"claimName": claim_name}}
    spec: Object = {"containers": [{"name": "app"}], "volumes": [{"name": "v", **source}]}
    if node:
        spec["nodeName"] = node
    return {"metadata": {"name": name, "namespace": "default"}, "spec": spec}


def of_claim(world: World, name: str = "data") -> tuple[str, str]:
    found = world.one(PERSISTENT_VOLUME_CLAIMS, name)
    return found.get("status", {}).get("phase", ""), found["spec"].get("volumeName", "")


def phase(world: World, name: str) -> str:
    return str(world.one(PERSISTENT_VOLUMES, name)["status"]["phase"])


async def create_all(world: World, *bodies: tuple[Any, Object]) -> None:
    for resource, body in bodies:
        await world.cluster.create(resource, body)
    await world.settle()


@virtual_time
async def test_the_smallest_volume_that_suits(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        await create_all(
            world,
            (PERSISTENT_VOLUMES, volume("large", "10Gi")),
            (PERSISTENT_VOLUMES, volume("right", "3Gi")),
            (PERSISTENT_VOLUMES, volume("small", "1Gi")),
        )
        assert {phase(world, name) for name in ("large", "right", "small")} == {"Available"}
        await create_all(world, (PERSISTENT_VOLUME_CLAIMS, claim(size="2Gi")))
        assert of_claim(world) == ("Bound", "right")
        assert phase(world, "right") == "Bound"
        bound = world.one(PERSISTENT_VOLUME_CLAIMS, "data")
        assert bound["status"]["capacity"] == {"storage": "3Gi"}
        assert bound["status"]["accessModes"] == ["ReadWriteOnce"]
        assert (
            annotations_of(bound)[volumes.BIND_COMPLETED] == annotations_of(bound)[volumes.BOUND_BY_CONTROLLER] == "yes"
        )
        reference = world.one(PERSISTENT_VOLUMES, "right")["spec"]["claimRef"]
        assert (reference["kind"], reference["name"], reference["uid"]) == (
            "PersistentVolumeClaim",
            "data",
            uid_of(bound),
        )


@virtual_time
async def test_a_claim_waits_for_its_volume(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        await create_all(world, (PERSISTENT_VOLUME_CLAIMS, claim()))
        assert of_claim(world) == ("Pending", "")
        assert world.events("FailedBinding") == [
            "no persistent volumes available for this claim and no storage class is set"
        ]
        await create_all(world, (PERSISTENT_VOLUMES, volume("late")))
        assert of_claim(world) == ("Bound", "late")


@virtual_time
async def test_a_bound_claim_says_which_attributes_it_has(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        world.cluster.seed(PERSISTENT_VOLUMES, volume("small", volumeAttributesClassName="gold"))
        await world.cluster.create(PERSISTENT_VOLUME_CLAIMS, claim(volumeAttributesClassName="gold"), "default")
        await world.settle()
        assert world.one(PERSISTENT_VOLUME_CLAIMS, "data")["status"]["currentVolumeAttributesClassName"] == "gold"
        # What it has later is for the driver to say.
        other = {"spec": {"volumeAttributesClassName": "silver"}}
        await world.cluster.patch(PERSISTENT_VOLUMES, "small", other)
        await world.settle()
        assert world.one(PERSISTENT_VOLUME_CLAIMS, "data")["status"]["currentVolumeAttributesClassName"] == "gold"


@virtual_time
async def test_two_claims_never_share_a_volume(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        for number in range(8):
            await world.cluster.create(PERSISTENT_VOLUME_CLAIMS, claim(f"c{number}"))
        for number in range(5):
            await world.cluster.create(PERSISTENT_VOLUMES, volume(f"v{number}"))
        await world.settle(5)
        pairs = [of_claim(world, f"c{number}") for number in range(8)]
        assert sorted(pair[1] for pair in pairs if pair[0] == "Bound") == [f"v{number}" for number in range(5)]


@virtual_time
async def test_asking_for_one_volume(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        kept = volume("kept", claimRef={"namespace": "default", "name": "mine"})
        await create_all(
            world,
            (PERSISTENT_VOLUMES, kept),
            (PERSISTENT_VOLUMES, volume("tiny", "1Mi")),
            (PERSISTENT_VOLUME_CLAIMS, claim("thief", volumeName="kept")),
            (PERSISTENT_VOLUME_CLAIMS, claim("big", volumeName="tiny")),
        )
        assert of_claim(world, "thief")[0] == of_claim(world, "big")[0] == "Pending"
        assert world.events("FailedBinding")[0] == 'volume "kept" already bound to a different claim.'
        assert world.events("VolumeMismatch")[0] == (
            'Cannot bind to requested volume "tiny": requested PV is too small'
        )
        await create_all(world, (PERSISTENT_VOLUME_CLAIMS, claim("mine")))
        assert of_claim(world, "mine") == ("Bound", "kept")
        assert volumes.BOUND_BY_CONTROLLER not in annotations_of(world.one(PERSISTENT_VOLUMES, "kept"))


@virtual_time
async def test_waiting_for_the_first_consumer(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        await create_all(
            world,
            (STORAGE_CLASSES, storage_class("gp3", "WaitForFirstConsumer")),
            (PERSISTENT_VOLUMES, volume("free", storageClassName="gp3")),
            (PERSISTENT_VOLUME_CLAIMS, claim(storageClassName="gp3", size="2Gi")),
        )
        assert of_claim(world) == ("Pending", "")
        assert world.events("WaitForFirstConsumer") == ["waiting for first consumer to be created before binding"]
        await world.cluster.create(PODS, pod("app"))
        await world.settle(20)
        assert world.events("WaitForPodScheduled") == ["waiting for pod app to be scheduled"]
        patch = {"metadata": {"annotations": {volumes.SELECTED_NODE: "n1"}}}
        await world.cluster.patch(PERSISTENT_VOLUME_CLAIMS, "data", patch, "default")
        await world.settle()
        asked = annotations_of(world.one(PERSISTENT_VOLUME_CLAIMS, "data"))
        assert asked[volumes.STORAGE_PROVISIONER] == asked[volumes.BETA_STORAGE_PROVISIONER] == "ebs.csi.aws.com"
        assert world.events("ExternalProvisioning")[0].startswith(
            "Waiting for a volume to be created either by the external provisioner 'ebs.csi.aws.com' or manually"
        )


@virtual_time
async def test_classes(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        nameless = claim("nameless")
        del nameless["spec"]["storageClassName"]
        await create_all(
            world,
            (STORAGE_CLASSES, storage_class("legacy", provisioner="kubernetes.io/aws-ebs")),
            (STORAGE_CLASSES, storage_class("local", provisioner="kubernetes.io/no-provisioner")),
            (PERSISTENT_VOLUME_CLAIMS, claim("migrated", storageClassName="legacy")),
            (PERSISTENT_VOLUME_CLAIMS, claim("local", storageClassName="local")),
            (PERSISTENT_VOLUME_CLAIMS, claim("none", storageClassName="missing")),
            (PERSISTENT_VOLUME_CLAIMS, nameless),
        )
        asked = annotations_of(world.one(PERSISTENT_VOLUME_CLAIMS, "migrated"))
        assert asked[volumes.STORAGE_PROVISIONER] == "ebs.csi.aws.com"
        assert sorted(world.events("ProvisioningFailed")) == [
            "no volume plugin matched name: kubernetes.io/no-provisioner",
            'storageclass.storage.k8s.io "missing" not found',
        ]
        assert "storageClassName" not in world.one(PERSISTENT_VOLUME_CLAIMS, "nameless")["spec"]
        default = storage_class("gp3", annotations={volumes.DEFAULT_CLASS[0]: "true"})
        await create_all(world, (STORAGE_CLASSES, default))
        assert world.one(PERSISTENT_VOLUME_CLAIMS, "nameless")["spec"]["storageClassName"] == "gp3"


@virtual_time
async def test_reclaiming(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        nfs: dict[str, Any] = {"csi": None, "nfs": {"server": "s", "path": "/"}}
        for policy in ("Retain", "Delete", "Recycle"):
            name = policy.lower()
            body = volume(name, persistentVolumeReclaimPolicy=policy, storageClassName=name, **nfs)
            await create_all(
                world, (PERSISTENT_VOLUMES, body), (PERSISTENT_VOLUME_CLAIMS, claim(name, storageClassName=name))
            )
            assert of_claim(world, name) == ("Bound", name)
            await world.cluster.delete(PERSISTENT_VOLUME_CLAIMS, name, "default")
            await world.settle()
        assert [phase(world, name) for name in ("retain", "delete", "recycle")] == [
            "Released",
            "Failed",
            "Released",
        ]
        assert world.events("VolumeFailedDelete") == [
            'error getting deleter volume plugin for volume "delete": no deletable volume plugin matched'
        ]
        patch = {"spec": {"claimRef": None}}
        await world.cluster.patch(PERSISTENT_VOLUMES, "retain", patch)
        await world.settle()
        assert phase(world, "retain") == "Available"


@virtual_time
async def test_recycling(clock: VirtualClock) -> None:
    sources: dict[str, dict[str, Any]] = {
        "nfs": {"csi": None, "nfs": {"server": "s", "path": "/"}},
        "full": {"csi": None, "hostPath": {"path": "/x"}},
        "csi": {},
    }
    async with running(clock, build) as world:
        for name, source in sources.items():
            body = volume(name, persistentVolumeReclaimPolicy="Recycle", storageClassName=name, **source)
            await create_all(
                world, (PERSISTENT_VOLUMES, body), (PERSISTENT_VOLUME_CLAIMS, claim(name, storageClassName=name))
            )
            await world.cluster.delete(PERSISTENT_VOLUME_CLAIMS, name, "default")
            await world.settle()
        assert phase(world, "csi") == "Failed"
        assert world.events("VolumeFailedRecycle") == ["No recycler plugin found for the volume!"]
        pod = world.one(PODS, "recycler-for-nfs")
        assert pod["spec"]["volumes"] == [{"name": "vol", "nfs": {"server": "s", "path": "/"}}]
        assert (pod["spec"]["restartPolicy"], pod["spec"]["activeDeadlineSeconds"]) == ("Never", 300)
        for name, status in (("nfs", {"phase": "Succeeded"}), ("full", {"phase": "Failed", "message": "no"})):
            await world.cluster.patch(PODS, f"recycler-for-{name}", {"status": status}, "default", subresource="status")
        await world.settle(5)
        assert phase(world, "nfs") == "Available"
        assert "claimRef" not in world.one(PERSISTENT_VOLUMES, "nfs")["spec"]
        assert world.events("VolumeRecycled") == ["Volume recycled"]
        assert world.one(PERSISTENT_VOLUMES, "full")["status"]["message"] == "Recycle failed: no"
        assert not [name for name in world.names(PODS) if name.startswith("recycler-for-")]


@virtual_time
async def test_a_claim_that_lost_its_volume(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        await create_all(world, (PERSISTENT_VOLUMES, volume("v")), (PERSISTENT_VOLUME_CLAIMS, claim()))
        await world.cluster.patch(PERSISTENT_VOLUMES, "v", {"metadata": {"finalizers": None}})
        await world.cluster.delete(PERSISTENT_VOLUMES, "v")
        found = world.cluster.object(PERSISTENT_VOLUMES, "v")
        if found is not None:
            await world.cluster.patch(PERSISTENT_VOLUMES, "v", {"metadata": {"finalizers": None}})
        await world.settle()
        assert of_claim(world)[0] == "Lost"
        assert world.events("ClaimLost") == ["Bound claim has lost its PersistentVolume. Data on the volume is lost!"]


@virtual_time
async def test_what_is_in_use_stays(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        await create_all(
            world,
            (PERSISTENT_VOLUMES, volume("v")),
            (PERSISTENT_VOLUME_CLAIMS, claim()),
            (PODS, pod("app", "n1")),
        )
        assert world.one(PERSISTENT_VOLUME_CLAIMS, "data")["metadata"]["finalizers"] == ["kubernetes.io/pvc-protection"]
        await world.cluster.delete(PERSISTENT_VOLUMES, "v")
        await world.cluster.delete(PERSISTENT_VOLUME_CLAIMS, "data", "default")
        await world.settle()
        assert world.names(PERSISTENT_VOLUME_CLAIMS) == ["data"]
        assert world.names(PERSISTENT_VOLUMES) == ["v"]
        await world.cluster.delete(PODS, "app", "default", grace_period_seconds=0)
        await world.settle()
        assert world.names(PERSISTENT_VOLUME_CLAIMS) == world.names(PERSISTENT_VOLUMES) == []


@virtual_time
async def test_ephemeral_volumes(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        template = {"metadata": {"labels": {"a": "b"}}, "spec": claim()["spec"]}
        await create_all(
            world,
            (PERSISTENT_VOLUME_CLAIMS, claim("other-v")),
            (PODS, pod("app", ephemeral={"volumeClaimTemplate": template})),
            (PODS, pod("other", ephemeral={"volumeClaimTemplate": template})),
        )
        made = world.one(PERSISTENT_VOLUME_CLAIMS, "app-v")
        assert made["metadata"]["labels"] == {"a": "b"}
        assert [(entry["kind"], entry["name"]) for entry in owner_references(made)] == [("Pod", "app")]
        assert world.events("FailedBinding").count(
            "ephemeral volume controller: PVC default/other-v was not created for pod default/other (pod is not owner)"
        )


@virtual_time
async def test_expansion_is_handed_on(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        await create_all(
            world,
            (STORAGE_CLASSES, storage_class("gp2", provisioner="kubernetes.io/aws-ebs")),
            (PERSISTENT_VOLUMES, volume("v", storageClassName="gp2")),
            (PERSISTENT_VOLUME_CLAIMS, claim(storageClassName="gp2")),
        )
        patch = {"spec": {"resources": {"requests": {"storage": "5Gi"}}}}
        await world.cluster.patch(PERSISTENT_VOLUME_CLAIMS, "data", patch, "default")
        await world.settle()
        found = world.one(PERSISTENT_VOLUME_CLAIMS, "data")
        assert annotations_of(found)[volumes.STORAGE_RESIZER] == "ebs.csi.aws.com"
        assert found["status"]["capacity"] == {"storage": "1Gi"}


# -- attaching ---------------------------------------------------------------------------------------------------


def node(name: str, *, ready: str = "True", **status: Any) -> Object:
    conditions = [{"type": "Ready", "status": ready}]
    return {"metadata": {"name": name}, "spec": {}, "status": {"conditions": conditions, **status}}


async def attach(world: World) -> None:
    """The driver's attacher."""
    for entry in world.cluster.objects(VOLUME_ATTACHMENTS):
        patch = {"status": {"attached": True}}
        await world.cluster.patch(VOLUME_ATTACHMENTS, name_of(entry), patch, subresource="status")
    await world.settle()


async def attached_to_n1(world: World) -> None:
    await create_all(
        world,
        (NODES, node("n1")),
        (NODES, node("n2")),
        (PERSISTENT_VOLUMES, volume("v")),
        (PERSISTENT_VOLUME_CLAIMS, claim()),
        (PODS, pod("one", "n1")),
    )
    await attach(world)


def attachments(world: World) -> list[str]:
    return [entry["spec"]["nodeName"] for entry in world.cluster.objects(VOLUME_ATTACHMENTS)]


@virtual_time
async def test_attaching_and_detaching(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        await attached_to_n1(world)
        found = world.cluster.objects(VOLUME_ATTACHMENTS)[0]
        assert name_of(found).startswith("csi-")
        assert found["spec"] == {
            "attacher": "ebs.csi.aws.com",
            "nodeName": "n1",
            "source": {"persistentVolumeName": "v"},
        }
        assert world.one(NODES, "n1")["status"]["volumesAttached"] == [
            {"name": "kubernetes.io/csi/ebs.csi.aws.com^vol-v", "devicePath": ""}
        ]
        assert world.events("SuccessfulAttachVolume") == ['AttachVolume.Attach succeeded for volume "v" ']
        await world.cluster.create(PODS, pod("two", "n2"))
        await world.settle()
        assert attachments(world) == ["n1"]
        assert world.events("FailedAttachVolume") == [
            'Multi-Attach error for volume "v" Volume is already used by pod(s) one'
        ]
        await world.cluster.delete(PODS, "one", "default", grace_period_seconds=0)
        await world.settle()
        assert attachments(world) == ["n2"]
        assert "volumesAttached" not in world.one(NODES, "n1")["status"]


@pytest.mark.parametrize(
    ("status", "taints", "after"),
    [
        ("True", [], None),
        ("Unknown", [], 360),
        ("Unknown", [{"key": "node.kubernetes.io/out-of-service", "effect": "NoExecute"}], 0),
    ],
)
def test_a_mounted_disk_is_taken_from_a_lost_node_only(status: str, taints: list[Object], after: int | None) -> None:
    @virtual_time
    async def run(clock: VirtualClock) -> None:
        async with running(clock, build) as world:
            await attached_to_n1(world)
            mounted = ["kubernetes.io/csi/ebs.csi.aws.com^vol-v"]
            conditions = [{"type": "Ready", "status": status}]
            patch = {"status": {"volumesInUse": mounted, "conditions": conditions}}
            await world.cluster.patch(NODES, "n1", patch, subresource="status")
            await world.cluster.patch(NODES, "n1", {"spec": {"taints": taints}})
            await world.settle()
            await world.cluster.delete(PODS, "one", "default", grace_period_seconds=0)
            await world.settle(2)
            assert attachments(world) == ([] if after == 0 else ["n1"])
            await world.settle(340)
            assert attachments(world) == ([] if after == 0 else ["n1"])
            await world.settle(30)
            assert attachments(world) == (["n1"] if after is None else [])
            await world.cluster.patch(NODES, "n1", {"status": {"volumesInUse": None}}, subresource="status")
            await world.settle()
            assert attachments(world) == []

    run()


# -- matching ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "offered", "expected"),
    [
        ({}, {}, True),
        ({}, {"storageClassName": "fast"}, False),
        ({"storageClassName": "fast"}, {"storageClassName": "fast"}, True),
        ({"volumeMode": "Block"}, {}, False),
        ({"volumeMode": "Filesystem"}, {}, True),
        ({"accessModes": ["ReadWriteMany"]}, {}, False),
        ({}, {"accessModes": ["ReadWriteMany", "ReadWriteOnce"]}, True),
        ({"selector": {"matchLabels": {"zone": "a"}}}, {}, False),
        ({}, {"claimRef": {"namespace": "default", "name": "other"}}, False),
        ({"volumeAttributesClassName": "gold"}, {}, False),
    ],
)
def test_what_matches(wanted: Object, offered: Object, expected: bool) -> None:
    found = matching.best_match(claim(**wanted), [volume("v", **offered)], delayed=False)
    assert (found is not None) is expected


@given(st.integers(1, 50), st.lists(st.integers(1, 50), max_size=12))
def test_the_match_is_large_enough_and_no_larger_than_needed(wanted: int, sizes: list[int]) -> None:
    offered = [volume(f"v{number}", f"{size}Gi") for number, size in enumerate(sizes)]
    found = matching.best_match(claim(size=f"{wanted}Gi"), offered, delayed=False)
    fitting = [size for size in sizes if size >= wanted]
    assert (found is None) is (not fitting)
    if found is not None:
        assert volumes.capacity(found) == min(fitting) << 30
    assert matching.best_match(claim(size=f"{wanted}Gi"), offered, delayed=True) is None


@virtual_time
async def test_attachments_of_others_are_left_alone(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        await world.cluster.create(NODES, {"metadata": {"name": "n1"}})
        spec = {"attacher": "other", "nodeName": "n1", "source": {"persistentVolumeName": "nobody"}}
        await world.cluster.create(VOLUME_ATTACHMENTS, {"metadata": {"name": "theirs"}, "spec": spec})
        await world.settle(400)
        assert world.names(VOLUME_ATTACHMENTS) == ["theirs"]


@virtual_time
async def test_attribute_classes_stay_while_they_are_named(clock: VirtualClock) -> None:
    async with running(clock, lambda context: [AttributesClassProtectionController(context)]) as world:
        for name in ("gold", "silver"):
            body = {"metadata": {"name": name, "finalizers": ["kubernetes.io/vac-protection"]}, "driverName": "d"}
            await world.cluster.create(VOLUME_ATTRIBUTES_CLASSES, body)
        await world.cluster.create(PERSISTENT_VOLUME_CLAIMS, claim(volumeAttributesClassName="gold"), "default")
        await world.settle()
        for name in ("gold", "silver"):
            await world.cluster.delete(VOLUME_ATTRIBUTES_CLASSES, name)
        await world.settle()
        assert world.names(VOLUME_ATTRIBUTES_CLASSES) == ["gold"]
        await world.cluster.delete(PERSISTENT_VOLUME_CLAIMS, "data", "default")
        await world.settle()
        assert world.names(VOLUME_ATTRIBUTES_CLASSES) == []
