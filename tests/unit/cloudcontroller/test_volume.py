"""EBS volumes of claims, against an account in moto."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.cloudcontroller.world import World
from tests.unit.cloudcontroller.world import world as running
from twinplane.controlplane.cloudcontroller.aws import AwsError, Unbuildable
from twinplane.controlplane.cloudcontroller.volume import ebs
from twinplane.controlplane.cloudcontroller.volume.bootstrap import bootstrap_objects
from twinplane.controlplane.controllers.persistentvolume.volumes import SELECTED_NODE, STORAGE_PROVISIONER
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.meta import name_of
from twinplane.kubeclient.resources import (
    CSI_DRIVERS,
    CSI_NODES,
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    STORAGE_CLASSES,
    VOLUME_ATTACHMENTS,
    VOLUME_ATTRIBUTES_CLASSES,
)


def claim(**annotations: str) -> Object:
    resources = {"requests": {"storage": "1500Mi"}}
    spec = {"accessModes": ["ReadWriteOnce"], "resources": resources, "storageClassName": "gp2"}
    found = {STORAGE_PROVISIONER: ebs.DRIVER, **annotations}
    return {"metadata": {"name": "data", "namespace": "shop", "annotations": found}, "spec": spec}


async def prepared(world: World) -> None:
    for made in bootstrap_objects():
        world.cluster.seed(STORAGE_CLASSES if made["kind"] == "StorageClass" else CSI_DRIVERS, made)
    (instance,) = world.account.run_instances(1)
    body: Object = {"metadata": {"name": "n1", "labels": {ebs.ZONE: "us-west-2a"}}}
    await world.cluster.create(NODES, body | {"spec": {"providerID": f"aws:///us-west-2a/{instance}"}})


def ec2_volumes(world: World) -> list[dict[str, Any]]:
    named = [{"Name": "tag-key", "Values": [ebs.VOLUME_NAME_TAG]}]
    return list(world.account.client("ec2").describe_volumes(Filters=named)["Volumes"])


def volumes(world: World) -> list[Object]:
    return world.cluster.objects(PERSISTENT_VOLUMES)


async def test_the_life_of_a_volume() -> None:
    async with running() as world:
        await prepared(world)
        made = await world.cluster.create(PERSISTENT_VOLUME_CLAIMS, claim())
        await world.until(lambda: True)
        assert volumes(world) == [], "it waits for the node of its first consumer"
        patch = {"metadata": {"annotations": {SELECTED_NODE: "n1"}}}
        await world.cluster.patch(PERSISTENT_VOLUME_CLAIMS, "data", patch, "shop")
        await world.until(lambda: volumes(world) and "ProvisioningSucceeded" in world.events.reasons)
        (disk,) = ec2_volumes(world)
        assert (disk["Size"], disk["VolumeType"], disk["AvailabilityZone"]) == (2, "gp2", "us-west-2a")
        (volume,) = volumes(world)
        assert name_of(volume) == f"pvc-{made['metadata']['uid']}"
        assert volume["spec"]["csi"] == {"driver": ebs.DRIVER, "volumeHandle": disk["VolumeId"], "fsType": "ext4"}
        assert volume["spec"]["capacity"] == {"storage": "2Gi"}
        assert volume["spec"]["persistentVolumeReclaimPolicy"] == "Delete"

        source = {"persistentVolumeName": name_of(volume)}
        spec = {"attacher": ebs.DRIVER, "nodeName": "n1", "source": source}
        await world.cluster.create(VOLUME_ATTACHMENTS, {"metadata": {"name": "csi-1"}, "spec": spec})
        await world.until(lambda: attached(world))
        assert ec2_volumes(world)[0]["Attachments"][0]["Device"] == "/dev/xvdaa"

        await world.cluster.patch(
            PERSISTENT_VOLUMES, name_of(volume), {"status": {"phase": "Released"}}, subresource="status"
        )
        await world.cluster.delete(VOLUME_ATTACHMENTS, "csi-1")
        await world.until(lambda: not world.cluster.objects(VOLUME_ATTACHMENTS))
        assert ec2_volumes(world)[0]["State"] == "available"


def attached(world: World) -> bool:
    found = world.cluster.object(VOLUME_ATTACHMENTS, "csi-1") or {}
    return bool((found.get("status") or {}).get("attached"))


async def test_a_released_volume_is_deleted() -> None:
    async with running() as world:
        await prepared(world)
        await world.cluster.create(PERSISTENT_VOLUME_CLAIMS, claim(**{SELECTED_NODE: "n1"}))
        await world.until(lambda: volumes(world))
        name = name_of(volumes(world)[0])
        await world.cluster.delete(PERSISTENT_VOLUME_CLAIMS, "data", "shop")
        await world.cluster.patch(PERSISTENT_VOLUMES, name, {"status": {"phase": "Released"}}, subresource="status")
        await world.until(lambda: not volumes(world))
        assert ec2_volumes(world) == []


async def test_growing() -> None:
    async with running() as world:
        await prepared(world)
        await world.cluster.create(PERSISTENT_VOLUME_CLAIMS, claim(**{SELECTED_NODE: "n1"}))
        await world.until(lambda: volumes(world))
        status = {"status": {"phase": "Bound", "capacity": {"storage": "2Gi"}}}
        await world.cluster.patch(PERSISTENT_VOLUME_CLAIMS, "data", status, "shop", subresource="status")
        spec = {"volumeName": name_of(volumes(world)[0]), "resources": {"requests": {"storage": "5Gi"}}}
        await world.cluster.patch(PERSISTENT_VOLUME_CLAIMS, "data", {"spec": spec}, "shop")
        await world.until(lambda: "VolumeResizeSuccessful" in world.events.reasons)
        found = world.cluster.object(PERSISTENT_VOLUME_CLAIMS, "data", "shop")
        assert found is not None
        assert found["status"]["capacity"] == volumes(world)[0]["spec"]["capacity"] == {"storage": "5Gi"}


def attributes_class(name: str, **parameters: str) -> Object:
    return {"metadata": {"name": name}, "driverName": ebs.DRIVER, "parameters": parameters}


async def bound(world: World, **spec: Any) -> None:
    """A claim with its volume."""
    await prepared(world)
    body = claim(**{SELECTED_NODE: "n1"})
    await world.cluster.create(PERSISTENT_VOLUME_CLAIMS, {**body, "spec": {**body["spec"], **spec}})
    await world.until(lambda: volumes(world))
    await world.cluster.patch(
        PERSISTENT_VOLUME_CLAIMS, "data", {"status": {"phase": "Bound"}}, "shop", subresource="status"
    )
    named = {"spec": {"volumeName": name_of(volumes(world)[0])}}
    await world.cluster.patch(PERSISTENT_VOLUME_CLAIMS, "data", named, "shop")


def modification(world: World) -> tuple[str, str]:
    """The class a claim has, and how it stands with the one it wants."""
    status = (world.cluster.object(PERSISTENT_VOLUME_CLAIMS, "data", "shop") or {})["status"]
    return (
        status.get("currentVolumeAttributesClassName", ""),
        (status.get("modifyVolumeStatus") or {}).get("status", ""),
    )


async def test_another_class_of_attributes() -> None:
    async with running() as world:
        await bound(world)
        wanted = {"spec": {"volumeAttributesClassName": "fast"}}
        await world.cluster.patch(PERSISTENT_VOLUME_CLAIMS, "data", wanted, "shop")
        await world.until(lambda: modification(world) == ("", "Pending"))
        fast = attributes_class("fast", type="gp3", iops="5000", throughput="250")
        await world.cluster.create(VOLUME_ATTRIBUTES_CLASSES, fast)
        # What is Pending is looked at again after some seconds, or with the next change.
        await world.cluster.patch(PERSISTENT_VOLUME_CLAIMS, "data", {"metadata": {"labels": {"a": "b"}}}, "shop")
        await world.until(lambda: modification(world) == ("fast", ""))
        (disk,) = ec2_volumes(world)
        assert (disk["VolumeType"], disk["Iops"], disk["Throughput"], disk["Size"]) == ("gp3", 5000, 250, 2)
        assert volumes(world)[0]["spec"]["volumeAttributesClassName"] == "fast"
        assert {"VolumeModify", "VolumeModifySuccessful"} <= set(world.events.reasons)


async def test_attributes_that_make_no_sense() -> None:
    async with running() as world:
        await bound(world)
        await world.cluster.create(VOLUME_ATTRIBUTES_CLASSES, attributes_class("odd", colour="red"))
        wanted = {"spec": {"volumeAttributesClassName": "odd"}}
        await world.cluster.patch(PERSISTENT_VOLUME_CLAIMS, "data", wanted, "shop")
        await world.until(lambda: modification(world) == ("", "Infeasible"))
        await world.cluster.patch(PERSISTENT_VOLUME_CLAIMS, "data", {"metadata": {"labels": {"a": "b"}}}, "shop")
        await world.until(lambda: True)
        assert world.events.reasons.count("VolumeModifyFailed") == 1, "it is not tried again at once"


async def test_a_volume_is_made_with_the_attributes_of_its_claim() -> None:
    async with running() as world:
        await world.cluster.create(VOLUME_ATTRIBUTES_CLASSES, attributes_class("fast", type="gp3", IOPS="5000"))
        await bound(world, volumeAttributesClassName="fast")
        (disk,) = ec2_volumes(world)
        assert (disk["VolumeType"], disk["Iops"]) == ("gp3", 5000)
        assert volumes(world)[0]["spec"]["volumeAttributesClassName"] == "fast"


async def test_a_volume_of_a_simulated_node_has_grown_when_ec2_says_so() -> None:
    async with running() as world:
        await prepared(world)
        labels = {"twinplane.io/simulated": "true"}
        driver = {"name": ebs.DRIVER}
        world.cluster.seed(CSI_NODES, {"metadata": {"name": "n1", "labels": labels}, "spec": {"drivers": [driver]}})
        await world.cluster.create(PERSISTENT_VOLUME_CLAIMS, claim(**{SELECTED_NODE: "n1"}))
        await world.until(lambda: volumes(world))
        status = {"status": {"phase": "Bound", "capacity": {"storage": "2Gi"}}}
        await world.cluster.patch(PERSISTENT_VOLUME_CLAIMS, "data", status, "shop", subresource="status")
        spec = {"volumeName": name_of(volumes(world)[0]), "resources": {"requests": {"storage": "5Gi"}}}
        await world.cluster.patch(PERSISTENT_VOLUME_CLAIMS, "data", {"spec": spec}, "shop")
        await world.until(lambda: "VolumeResizeSuccessful" in world.events.reasons)


async def test_a_mounted_volume_grows_on_its_node() -> None:
    async with running() as world:
        await prepared(world)
        world.cluster.seed(CSI_NODES, {"metadata": {"name": "n1"}, "spec": {"drivers": [{"name": ebs.DRIVER}]}})
        await world.cluster.create(PERSISTENT_VOLUME_CLAIMS, claim(**{SELECTED_NODE: "n1"}))
        await world.until(lambda: volumes(world))
        status = {"status": {"phase": "Bound", "capacity": {"storage": "2Gi"}}}
        await world.cluster.patch(PERSISTENT_VOLUME_CLAIMS, "data", status, "shop", subresource="status")
        spec = {"volumeName": name_of(volumes(world)[0]), "resources": {"requests": {"storage": "5Gi"}}}
        await world.cluster.patch(PERSISTENT_VOLUME_CLAIMS, "data", {"spec": spec}, "shop")
        await world.until(lambda: "FileSystemResizeRequired" in world.events.reasons)
        found = world.cluster.object(PERSISTENT_VOLUME_CLAIMS, "data", "shop")
        assert found is not None
        assert found["status"]["capacity"] == {"storage": "2Gi"}, "the kubelet says when it is done"
        assert [entry["type"] for entry in found["status"]["conditions"]] == ["FileSystemResizePending"]
        assert found["status"]["allocatedResources"] == volumes(world)[0]["spec"]["capacity"] == {"storage": "5Gi"}
        assert ec2_volumes(world)[0]["Size"] == 5


async def test_a_volume_is_detached_from_an_instance_whose_node_is_gone() -> None:
    async with running() as world:
        await prepared(world)
        await world.cluster.create(PERSISTENT_VOLUME_CLAIMS, claim(**{SELECTED_NODE: "n1"}))
        await world.until(lambda: volumes(world))
        source = {"persistentVolumeName": name_of(volumes(world)[0])}
        spec = {"attacher": ebs.DRIVER, "nodeName": "n1", "source": source}
        await world.cluster.create(VOLUME_ATTACHMENTS, {"metadata": {"name": "csi-1"}, "spec": spec})
        await world.until(lambda: attached(world))
        await world.cluster.delete(NODES, "n1")
        await world.cluster.delete(VOLUME_ATTACHMENTS, "csi-1")
        await world.until(lambda: not world.cluster.objects(VOLUME_ATTACHMENTS))
        assert ec2_volumes(world)[0]["State"] == "available"


def test_failures_are_told_as_the_driver_tells_them() -> None:
    full = AwsError("AttachmentLimitExceeded", "You may attach up to 27 devices", "attach_volume")
    assert ebs.attach_failure("vol-1", "i-1", full).startswith(
        'rpc error: code = ResourceExhausted desc = Attachment limit exceeded for volume "vol-1" on node "i-1": '
    )
    used = ebs.attach_failure("vol-1", "i-1", AwsError("VolumeInUse", "vol-1 is already attached to an instance", "a"))
    assert used.startswith('rpc error: code = Internal desc = Could not attach volume "vol-1" to node "i-1": could not')
    assert used.endswith("api error VolumeInUse: vol-1 is already attached to an instance")


def test_tags_of_the_class() -> None:
    body = claim()
    body["metadata"]["uid"] = "1"
    wanted = storage_class(tagSpecification_1="team={{ .PVCNamespace }}", tagSpecification_2="volume=x-{{.PVName}}")
    (specification,) = ebs.create_parameters(body, wanted, "z", "demo")["TagSpecifications"]
    tags = {tag["Key"]: tag["Value"] for tag in specification["Tags"]}
    assert (tags["team"], tags["volume"]) == ("shop", "x-pvc-1")
    with pytest.raises(Unbuildable):
        ebs.create_parameters(body, storage_class(tagSpecification_1="team"), "z", "demo")


async def test_with_a_driver_in_the_cluster_nothing_is_done() -> None:
    async with running() as world:
        await prepared(world)
        await world.cluster.delete(CSI_DRIVERS, ebs.DRIVER)
        await world.cluster.create(CSI_DRIVERS, {"metadata": {"name": ebs.DRIVER}, "spec": {}})
        await world.until(lambda: True)
        await world.cluster.create(PERSISTENT_VOLUME_CLAIMS, claim(**{SELECTED_NODE: "n1"}))
        await world.until(lambda: True)
        assert ec2_volumes(world) == []


def storage_class(**parameters: str) -> Object:
    return {"metadata": {"name": "fast"}, "parameters": parameters}


def test_parameters_of_the_class() -> None:
    body = claim()
    body["metadata"]["uid"] = "1"
    found = ebs.create_parameters(body, storage_class(iopsPerGB="50", encrypted="true", throughput="200"), "z", "demo")
    assert (found["VolumeType"], found["Iops"], found["Encrypted"], found["Throughput"]) == ("gp3", 100, True, 200)
    with pytest.raises(Unbuildable):
        ebs.create_parameters(body, storage_class(iops="many"), "z", "demo")


def test_zones() -> None:
    body = claim()
    body["metadata"]["uid"] = "1"
    expression = {"key": ebs.ZONE, "values": ["b"]}
    limited = storage_class() | {"allowedTopologies": [{"matchLabelExpressions": [expression]}]}
    assert ebs.zone_of(body, limited, None, {"a", "c"}) == "b"
    assert ebs.zone_of(body, storage_class(), None, {"a", "c"}) in ("a", "c")
    with pytest.raises(Unbuildable):
        ebs.zone_of(body, storage_class(), None, ())


def test_devices() -> None:
    assert ebs.free_device({"/dev/xvdaa", "/dev/xvdab"}) == "/dev/xvdac"
