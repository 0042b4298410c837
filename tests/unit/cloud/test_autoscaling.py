from __future__ import annotations

from collections import Counter

import pytest
from botocore.exceptions import ClientError

from tests.unit.cloud.regions import ACCOUNT, Network, Region, in_thread, network
from twinplane.cloud.aws.lifecycle import replace_stopped

GROUP = "workers"


async def make_group(region: Region, desired: int = 3) -> Network:
    place = await network(region)
    user_data = "IyEvYmluL3NoCg=="
    data = {"ImageId": "ami-12345678", "InstanceType": "m5.large", "UserData": user_data}
    await region.call("ec2", "create_launch_template", LaunchTemplateName="workers", LaunchTemplateData=data)
    await region.call(
        "autoscaling",
        "create_auto_scaling_group",
        AutoScalingGroupName=GROUP,
        LaunchTemplate={"LaunchTemplateName": "workers", "Version": "$Latest"},
        VPCZoneIdentifier=",".join(place.subnets),
        MinSize=1,
        MaxSize=6,
        DesiredCapacity=desired,
        Tags=[{"Key": "team", "Value": "blue", "PropagateAtLaunch": True}],
    )
    return place


def running(region: Region) -> dict[str, str]:
    return {
        found.instance_id: found.availability_zone
        for found in region.cloud.state.instances()
        if found.state == "running"
    }


async def resize(region: Region, size: int) -> None:
    await region.call("autoscaling", "set_desired_capacity", AutoScalingGroupName=GROUP, DesiredCapacity=size)


async def test_instances_are_spread_over_zones_with_tags_and_user_data(region: Region) -> None:
    await make_group(region)
    assert Counter(running(region).values()) == {"us-west-2a": 1, "us-west-2b": 1, "us-west-2c": 1}
    instance = region.cloud.state.instances()[0]
    assert instance.tags["team"] == "blue"
    assert instance.tags["aws:autoscaling:groupName"] == GROUP
    assert instance.user_data == "#!/bin/sh\n"


async def test_scaling_up_and_down_keeps_the_zones_balanced(region: Region) -> None:
    await make_group(region)
    first = set(running(region))
    await resize(region, 6)
    assert Counter(running(region).values()) == {"us-west-2a": 2, "us-west-2b": 2, "us-west-2c": 2}
    await resize(region, 3)
    left = running(region)
    assert Counter(left.values()) == {"us-west-2a": 1, "us-west-2b": 1, "us-west-2c": 1}
    assert first.isdisjoint(left), "the oldest of each zone go first"


async def test_a_terminated_instance_is_replaced_in_its_zone(region: Region) -> None:
    await make_group(region)
    before = running(region)
    victim = next(iter(before))
    await region.call("ec2", "terminate_instances", InstanceIds=[victim])
    after = running(region)
    assert victim not in after
    assert Counter(after.values()) == Counter(before.values())


async def test_terminating_through_auto_scaling_with_and_without_replacement(region: Region) -> None:
    await make_group(region)
    for decrement, left in ((False, 3), (True, 2)):
        victim = next(iter(running(region)))
        await region.call(
            "autoscaling",
            "terminate_instance_in_auto_scaling_group",
            InstanceId=victim,
            ShouldDecrementDesiredCapacity=decrement,
        )
        assert victim not in running(region)
        assert len(running(region)) == left


async def test_a_capacity_outside_of_the_limits_is_refused(region: Region) -> None:
    await make_group(region)
    with pytest.raises(ClientError, match="New SetDesiredCapacity value 7 is above max value 6"):
        await resize(region, 7)
    with pytest.raises(ClientError, match="New SetDesiredCapacity value 0 is below min value 1"):
        await resize(region, 0)


async def test_a_group_takes_its_instances_with_it(region: Region) -> None:
    place = await make_group(region)
    await region.call("autoscaling", "delete_auto_scaling_group", AutoScalingGroupName=GROUP, ForceDelete=True)
    assert running(region) == {}
    subnets = await region.call("ec2", "describe_subnets", SubnetIds=place.subnets)
    assert {subnet["AvailableIpAddressCount"] for subnet in subnets["Subnets"]} == {251}


async def test_a_full_subnet_is_passed_over_and_a_full_group_says_so(region: Region) -> None:
    place = await make_group(region, desired=1)
    ec2 = region.client("ec2")
    made = await region.call(
        "ec2", "create_subnet", VpcId=place.vpc, CidrBlock="192.168.50.0/28", AvailabilityZone="us-west-2b"
    )
    small = made["Subnet"]["SubnetId"]
    for _ in range(9):
        await in_thread(ec2.create_network_interface, SubnetId=small)
    await region.call(
        "autoscaling",
        "update_auto_scaling_group",
        AutoScalingGroupName=GROUP,
        VPCZoneIdentifier=f"{small},{place.subnets[0]}",
    )
    await resize(region, 6)
    assert Counter(running(region).values()) == {"us-west-2b": 2, "us-west-2a": 4}
    await region.call(
        "autoscaling", "update_auto_scaling_group", AutoScalingGroupName=GROUP, VPCZoneIdentifier=small, MaxSize=9
    )
    await resize(region, 9)
    assert len(running(region)) == 6
    found = await region.call("autoscaling", "describe_scaling_activities", AutoScalingGroupName=GROUP)
    assert found["Activities"][0]["StatusCode"] == "Failed"
    assert "does not have enough free addresses" in found["Activities"][0]["StatusMessage"]
    assert "Launching a new EC2 instance: i-" in found["Activities"][1]["Description"]


async def hooked(region: Region) -> None:
    await region.call(
        "autoscaling",
        "put_lifecycle_hook",
        AutoScalingGroupName=GROUP,
        LifecycleHookName="drain",
        LifecycleTransition="autoscaling:EC2_INSTANCE_TERMINATING",
    )


def leaving(region: Region) -> list[str]:
    return [found.instance_id for found in region.cloud.state.instances() if found.leaving]


async def test_what_a_group_gives_up_waits_for_its_hook(region: Region) -> None:
    await make_group(region, 3)
    await hooked(region)
    await resize(region, 2)
    (waiting,) = leaving(region)
    assert len(running(region)) == 3
    await region.call("ec2", "terminate_instances", InstanceIds=[waiting])
    assert leaving(region) == []
    assert waiting not in running(region)
    assert len(running(region)) == 2
    # One that is to be replaced goes when its replacement is there.
    one = next(iter(running(region)))
    call = {"InstanceId": one, "ShouldDecrementDesiredCapacity": False}
    await region.call("autoscaling", "terminate_instance_in_auto_scaling_group", **call)
    assert (leaving(region), len(running(region))) == ([one], 3)
    group = (await region.call("autoscaling", "describe_auto_scaling_groups"))["AutoScalingGroups"][0]
    states = {each["InstanceId"]: each["LifecycleState"] for each in group["Instances"]}
    assert (states.pop(one), set(states.values()), group["DesiredCapacity"]) == ("Terminating:Wait", {"InService"}, 2)
    await region.call("autoscaling", "delete_auto_scaling_group", AutoScalingGroupName=GROUP, ForceDelete=True)
    assert running(region) == {}


async def test_an_instance_that_stays_stopped_is_replaced(region: Region) -> None:
    await make_group(region, 2)
    one = next(iter(running(region)))
    await region.call("ec2", "stop_instances", InstanceIds=[one])
    region_id = region.cloud.state.instances()[0].availability_zone[:-1]

    async def replace() -> None:
        await region.cloud.account.run(lambda: replace_stopped(ACCOUNT, region_id, [one]), changes="autoscaling")

    suspended = {"AutoScalingGroupName": GROUP, "ScalingProcesses": ["ReplaceUnhealthy"]}
    await region.call("autoscaling", "suspend_processes", **suspended)
    await replace()
    assert len(running(region)) == 1
    await region.call("autoscaling", "resume_processes", **suspended)
    await replace()
    assert len(running(region)) == 2
    assert one not in running(region)
