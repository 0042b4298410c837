"""What the account says of real instances: runtime, role, and each boot."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.cloud import regions
from twinplane.cloud.contract import Instance


@pytest.fixture
async def region(tmp_path: Path) -> AsyncIterator[regions.Region]:
    async with regions.region(tmp_path / "region") as found:
        yield found


async def run(region: regions.Region, **more: Any) -> str:
    network = await regions.network(region, zones="a")
    image = (await region.call("ec2", "describe_images"))["Images"][0]["ImageId"]
    made = await region.call(
        "ec2", "run_instances", ImageId=image, MinCount=1, MaxCount=1, SubnetId=network.subnets[0], **more
    )
    return str(made["Instances"][0]["InstanceId"])


def only(region: regions.Region) -> Instance:
    (found,) = region.cloud.state.instances()
    return found


async def test_the_runtime_is_a_tag_or_a_node_label(region: regions.Region) -> None:
    flags = "--node-labels=a=b,twinplane.io/runtime=containerd,c=d"
    data = f"apiVersion: node.eks.aws/v1alpha1\nkind: NodeConfig\nspec:\n  kubelet:\n    flags:\n    - {flags}\n"
    identifier = await run(region, UserData=data)
    assert only(region).runtime == "containerd"
    tags = [{"Key": "twinplane.io/runtime", "Value": "simulated"}]
    await region.call("ec2", "create_tags", Resources=[identifier], Tags=tags)
    assert only(region).runtime == "simulated"


async def test_every_boot_is_counted_and_told(region: regions.Region) -> None:
    identifier = await run(region)
    told: list[str] = []
    region.cloud.state.subscribe(told.append)
    await region.call("ec2", "reboot_instances", InstanceIds=[identifier])
    assert (only(region).boots, told) == (1, ["ec2"])
    await region.call("ec2", "stop_instances", InstanceIds=[identifier])
    await region.call("ec2", "start_instances", InstanceIds=[identifier])
    assert (only(region).boots, only(region).state) == (2, "running")
