"""What EC2 refuses of volumes, and what the data path reads of them."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.unit.cloud.regions import ACCOUNT, REGION, Region, network
from tests.unit.cloud.test_account import run
from twinplane.cloud.volumes.contract import Snapshot, Volume
from twinplane.cloud.volumes.from_moto import MotoReader


async def refusal(region: Region, operation: str, **parameters: Any) -> tuple[str, str]:
    with pytest.raises(ClientError) as refused:
        await region.call("ec2", operation, **parameters)
    error = refused.value.response["Error"]
    return error["Code"], error["Message"]


async def volume(region: Region, zone: str = "us-west-2a", **more: Any) -> str:
    made = await region.call("ec2", "create_volume", AvailabilityZone=zone, **({"Size": 1} | more))
    return str(made["VolumeId"])


async def test_attaching(region: Region) -> None:
    subnet = (await network(region, zones="a")).subnets[0]
    first, second = (found["InstanceId"] for found in await run(region, subnet, 2))
    disk, elsewhere = await volume(region), await volume(region, "us-west-2b")
    attach = {"InstanceId": first, "Device": "/dev/xvdaa"}
    code, message = await refusal(region, "attach_volume", VolumeId=elsewhere, **attach)
    assert code == "InvalidVolume.ZoneMismatch"
    assert message == f"The volume '{elsewhere}' is not in the same availability zone as instance '{first}'"
    await region.call("ec2", "attach_volume", VolumeId=disk, **attach)
    taken = await refusal(region, "attach_volume", VolumeId=disk, InstanceId=second, Device="/dev/xvdaa")
    assert taken == ("VolumeInUse", f"{disk} is already attached to an instance")
    another = await volume(region)
    assert (await refusal(region, "attach_volume", VolumeId=another, **attach))[0] == "InvalidParameterValue"
    storage = await region.cloud.account.run(MotoReader(ACCOUNT, REGION).read)
    assert storage is not None
    assert storage.volumes[disk] == Volume(1, "", first)
    assert set(storage.volumes) == {disk, elsewhere, another}, "root volumes are left out"


async def test_detaching(region: Region) -> None:
    subnet = (await network(region, zones="a")).subnets[0]
    first, second = (found["InstanceId"] for found in await run(region, subnet, 2))
    one, other = await volume(region), await volume(region)
    assert (await refusal(region, "detach_volume", VolumeId=one))[0] == "IncorrectState"
    await region.call("ec2", "attach_volume", VolumeId=one, InstanceId=first, Device="/dev/xvdaa")
    await region.call("ec2", "attach_volume", VolumeId=other, InstanceId=second, Device="/dev/xvdaa")
    wrong = await refusal(region, "detach_volume", VolumeId=one, InstanceId=second)
    assert wrong == ("InvalidAttachment.NotFound", f"The volume '{one}' is not attached to instance '{second}'.")
    await region.call("ec2", "detach_volume", VolumeId=one)
    await region.call("ec2", "terminate_instances", InstanceIds=[first, second])
    left = await region.call("ec2", "describe_volumes", VolumeIds=[one, other])
    assert [found["State"] for found in left["Volumes"]] == ["available", "available"]
    gone = await refusal(region, "attach_volume", VolumeId=one, InstanceId=first, Device="/dev/xvdaa")
    assert gone == ("IncorrectState", f"Instance '{first}' is not 'running'.")


async def test_an_instance_type_takes_so_many(region: Region) -> None:
    subnet = (await network(region, zones="a")).subnets[0]
    instance = (await run(region, subnet))[0]["InstanceId"]
    for number in range(26):
        device = f"/dev/xvdb{chr(ord('a') + number)}"
        await region.call("ec2", "attach_volume", VolumeId=await volume(region), InstanceId=instance, Device=device)
    code, message = await refusal(
        region, "attach_volume", VolumeId=await volume(region), InstanceId=instance, Device="/dev/xvdca"
    )
    assert code == "AttachmentLimitExceeded"
    assert message.startswith("You may attach up to 27 devices for this instance type.")


async def test_snapshots_keep_their_size(region: Region) -> None:
    disk = await volume(region, Size=2)
    taken = await region.call("ec2", "create_snapshot", VolumeId=disk)
    await region.call("ec2", "modify_volume", VolumeId=disk, Size=5)
    assert (await refusal(region, "modify_volume", VolumeId=disk, Size=3))[0] == "InvalidParameterValue"
    name = taken["SnapshotId"]
    described = await region.call("ec2", "describe_snapshots", SnapshotIds=[name])
    assert described["Snapshots"][0]["VolumeSize"] == 2
    small = {"AvailabilityZone": "us-west-2a", "SnapshotId": name, "Size": 1}
    assert (await refusal(region, "create_volume", **small))[0] == "InvalidParameterValue"
    restored = await region.call("ec2", "create_volume", AvailabilityZone="us-west-2a", SnapshotId=name)
    assert restored["Size"] == 2
    storage = await region.cloud.account.run(MotoReader(ACCOUNT, REGION).read)
    assert storage is not None
    assert storage.snapshots == {name: Snapshot(disk, 2)}
    assert storage.volumes[restored["VolumeId"]] == Volume(2, name)


async def test_instance_stores_of_a_type(region: Region) -> None:
    facts = await region.cloud.account.instance_type("m5d.large")
    assert facts is not None
    assert (facts["instanceStores"], facts["ebsAttachmentLimit"]) == ([75], "shared")
