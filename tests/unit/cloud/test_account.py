"""What the adapter adds to moto: addresses, instances as records, durability."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.unit.cloud.regions import Region, network
from tests.unit.cloud.regions import region as running_region
from twinplane.cloud.service import PortInUse, SnapshotCorrupt


async def available(region: Region, subnet: str) -> int:
    answer = await region.call("ec2", "describe_subnets", SubnetIds=[subnet])
    return int(answer["Subnets"][0]["AvailableIpAddressCount"])


async def run(region: Region, subnet: str, count: int = 1, **more: Any) -> list[dict[str, Any]]:
    made = await region.call(
        "ec2",
        "run_instances",
        ImageId="ami-12345678",
        InstanceType="m5.large",
        SubnetId=subnet,
        MinCount=count,
        MaxCount=count,
        **more,
    )
    found: list[dict[str, Any]] = made["Instances"]
    return found


async def test_addresses_come_in_order_and_go_back_with_the_instance(region: Region) -> None:
    subnet = (await network(region, zones="a")).subnets[0]
    assert await available(region, subnet) == 251
    instances = await run(region, subnet, 2)
    assert [found["PrivateIpAddress"] for found in instances] == ["192.168.0.4", "192.168.0.5"]
    assert instances[0]["PrivateDnsName"] == "ip-192-168-0-4.us-west-2.compute.internal"
    assert await available(region, subnet) == 249
    await region.call("ec2", "terminate_instances", InstanceIds=[found["InstanceId"] for found in instances])
    assert await available(region, subnet) == 251
    assert (await region.call("ec2", "describe_network_interfaces"))["NetworkInterfaces"] == []


async def test_secondary_addresses_are_allocated_counted_and_freed(region: Region) -> None:
    subnet = (await network(region, zones="a")).subnets[0]
    instance = (await run(region, subnet))[0]
    interface = instance["NetworkInterfaces"][0]["NetworkInterfaceId"]
    assigned = await region.call(
        "ec2", "assign_private_ip_addresses", NetworkInterfaceId=interface, SecondaryPrivateIpAddressCount=3
    )
    addresses = [item["PrivateIpAddress"] for item in assigned["AssignedPrivateIpAddresses"]][-3:]
    assert addresses == ["192.168.0.5", "192.168.0.6", "192.168.0.7"]
    assert await available(region, subnet) == 247
    owner = region.cloud.state.instance_by_address(instance["VpcId"], "192.168.0.6")
    assert owner is not None
    assert owner.instance_id == instance["InstanceId"]
    await region.call(
        "ec2", "unassign_private_ip_addresses", NetworkInterfaceId=interface, PrivateIpAddresses=addresses[:1]
    )
    assert await available(region, subnet) == 248
    assert region.cloud.state.instance_by_address(instance["VpcId"], "192.168.0.5") is None


async def test_an_interface_holds_no_more_than_its_instance_type_allows(region: Region) -> None:
    subnet = (await network(region, zones="a")).subnets[0]
    interface = (await run(region, subnet))[0]["NetworkInterfaces"][0]["NetworkInterfaceId"]
    with pytest.raises(ClientError, match="PrivateIpAddressLimitExceeded"):
        await region.call(
            "ec2", "assign_private_ip_addresses", NetworkInterfaceId=interface, SecondaryPrivateIpAddressCount=10
        )


async def test_an_address_may_be_asked_for_once(region: Region) -> None:
    subnet = (await network(region, zones="a")).subnets[0]
    await region.call("ec2", "create_network_interface", SubnetId=subnet, PrivateIpAddress="192.168.0.9")
    for address, code in (
        ("192.168.0.9", "InvalidIPAddress.InUse"),
        ("10.0.0.1", "InvalidParameterValue"),
        ("192.168.0.1", "InvalidParameterValue"),
        ("nonsense", "InvalidParameterValue"),
    ):
        with pytest.raises(ClientError, match=code):
            await region.call("ec2", "create_network_interface", SubnetId=subnet, PrivateIpAddress=address)
    assert await available(region, subnet) == 250


async def test_an_exhausted_subnet_says_so_and_loses_nothing(region: Region) -> None:
    ec2 = region.client("ec2")
    vpc = (await asyncio.to_thread(ec2.create_vpc, CidrBlock="10.9.0.0/16"))["Vpc"]["VpcId"]
    made = await region.call("ec2", "create_subnet", VpcId=vpc, CidrBlock="10.9.0.0/28", AvailabilityZone="us-west-2a")
    subnet = made["Subnet"]["SubnetId"]
    await run(region, subnet, 11)
    with pytest.raises(ClientError, match="InsufficientFreeAddressesInSubnet"):
        await run(region, subnet)
    assert await available(region, subnet) == 0


async def test_a_nat_gateway_has_an_address_of_its_subnet(region: Region) -> None:
    subnet = (await network(region, zones="a")).subnets[0]
    made = await region.call("ec2", "create_nat_gateway", SubnetId=subnet, ConnectivityType="private")
    assert await available(region, subnet) == 250
    await region.call("ec2", "delete_nat_gateway", NatGatewayId=made["NatGateway"]["NatGatewayId"])
    assert await available(region, subnet) == 251


async def test_changes_are_published_and_instances_are_records(region: Region) -> None:
    heard: list[str] = []
    region.cloud.state.subscribe(heard.append)
    subnet = (await network(region, zones="a")).subnets[0]
    tags = [{"ResourceType": "instance", "Tags": [{"Key": "kubernetes.io/cluster/demo", "Value": "owned"}]}]
    made = (await run(region, subnet, UserData="#!/bin/sh", TagSpecifications=tags))[0]
    assert "ec2" in heard
    heard.clear()
    await region.call("ec2", "describe_instances")
    assert heard == []
    found = region.cloud.state.instances("demo")
    assert [(one.instance_id, one.state, one.user_data, one.availability_zone) for one in found] == [
        (made["InstanceId"], "running", "#!/bin/sh", "us-west-2a")
    ]
    assert found[0].network_interface_id == made["NetworkInterfaces"][0]["NetworkInterfaceId"]
    await region.call("ec2", "terminate_instances", InstanceIds=[made["InstanceId"]])
    assert [one.state for one in region.cloud.state.instances("demo")] == ["terminated"]


async def test_everything_acknowledged_is_there_after_a_restart(tmp_path: Path) -> None:
    async with running_region(tmp_path) as before:
        place = await network(before)
        instance = (await run(before, place.subnets[0]))[0]
        await before.call("iam", "create_role", RoleName="kept", AssumeRolePolicyDocument="{}")
        policy = "arn:aws:iam::aws:policy/AmazonEKSClusterPolicy"
        await before.call("iam", "attach_role_policy", RoleName="kept", PolicyArn=policy)
        await before.call("sqs", "create_queue", QueueName="kept")
        await before.call(
            "s3", "create_bucket", Bucket="kept", CreateBucketConfiguration={"LocationConstraint": "us-west-2"}
        )
        await before.call("s3", "put_object", Bucket="kept", Key="a/b c+d", Body=b"content")
        images = (await before.call("ec2", "describe_images", Owners=["602401143452"]))["Images"]
    async with running_region(tmp_path) as after:
        assert after.cloud.credentials == before.cloud.credentials
        found = (await after.call("ec2", "describe_instances"))["Reservations"][0]["Instances"][0]
        assert (found["InstanceId"], found["VpcId"]) == (instance["InstanceId"], place.vpc)
        assert await available(after, place.subnets[0]) == 250
        assert (await run(after, place.subnets[0]))[0]["PrivateIpAddress"] == "192.168.0.5"
        attached = await after.call("iam", "list_attached_role_policies", RoleName="kept")
        assert [item["PolicyArn"] for item in attached["AttachedPolicies"]] == [policy]
        assert (await after.call("iam", "get_policy", PolicyArn=policy))["Policy"]["AttachmentCount"] == 1
        assert (await after.call("sqs", "list_queues"))["QueueUrls"][0].endswith("/kept")
        body = (await after.call("s3", "get_object", Bucket="kept", Key="a/b c+d"))["Body"]
        assert await asyncio.to_thread(body.read) == b"content"
        again = (await after.call("ec2", "describe_images", Owners=["602401143452"]))["Images"]
        assert [image["ImageId"] for image in again] == [image["ImageId"] for image in images]


async def test_nothing_is_written_for_a_request_that_changes_nothing(region: Region) -> None:
    await network(region)
    files = {path: path.stat().st_mtime_ns for path in (region.directory / "aws").iterdir()}
    await region.call("ec2", "describe_instances")
    await region.call("ec2", "describe_vpcs")
    assert {path: path.stat().st_mtime_ns for path in (region.directory / "aws").iterdir()} == files


@pytest.mark.parametrize("damage", [b"", b"{}\nx", b"not a snapshot"])
async def test_a_damaged_snapshot_is_named(tmp_path: Path, damage: bytes) -> None:
    async with running_region(tmp_path) as before:
        await network(before, zones="a")
    file = tmp_path / "aws" / "compute.snapshot"
    file.write_bytes(damage + file.read_bytes()[100:] if damage else b"")
    with pytest.raises(SnapshotCorrupt, match=r"compute\.snapshot is damaged"):
        async with running_region(tmp_path):
            pass


async def test_a_port_in_use_is_said_clearly(region: Region, tmp_path: Path) -> None:
    with pytest.raises(PortInUse, match=f"cannot listen on 127.0.0.1:{region.cloud.port}: .*in use"):
        async with running_region(tmp_path / "other", port=region.cloud.port):
            pass


async def test_models_are_not_collected_by_their_classes(region: Region) -> None:
    await network(region)
    from moto.core.model_instances import model_data

    classes = [cls for models in model_data.values() for cls in models.values()]
    assert sum(len(cls.instances_tracked) for cls in classes) == 0


async def test_load_balancers_take_an_address_in_each_subnet(region: Region) -> None:
    place = await network(region)
    made = await region.call("elbv2", "create_load_balancer", Name="web", Type="network", Subnets=place.subnets)
    arn = made["LoadBalancers"][0]["LoadBalancerArn"]
    assert made["LoadBalancers"][0]["DNSName"].endswith(".elb.us-west-2.amazonaws.com")
    assert {await available(region, subnet) for subnet in place.subnets} == {250}
    interfaces = (await region.call("ec2", "describe_network_interfaces"))["NetworkInterfaces"]
    assert {interface["Description"] for interface in interfaces} == {f"ELB {arn.split('loadbalancer/')[1]}"}
    assert all(interface["RequesterManaged"] and not interface["Groups"] for interface in interfaces)
    await region.call("elbv2", "set_subnets", LoadBalancerArn=arn, Subnets=place.subnets[:2])
    assert [await available(region, subnet) for subnet in place.subnets] == [250, 250, 251]
    await region.call("elbv2", "delete_load_balancer", LoadBalancerArn=arn)
    assert {await available(region, subnet) for subnet in place.subnets} == {251}


async def test_a_classic_load_balancer_too(region: Region) -> None:
    place = await network(region)
    listener = {"Protocol": "TCP", "LoadBalancerPort": 80, "InstancePort": 30080}
    await region.call(
        "elb", "create_load_balancer", LoadBalancerName="old", Listeners=[listener], Subnets=place.subnets[:1]
    )
    assert await available(region, place.subnets[0]) == 250
    made = await region.call("ec2", "create_security_group", GroupName="lb", Description="of it", VpcId=place.vpc)
    group = made["GroupId"]
    await region.call("elb", "apply_security_groups_to_load_balancer", LoadBalancerName="old", SecurityGroups=[group])
    (interface,) = (await region.call("ec2", "describe_network_interfaces"))["NetworkInterfaces"]
    assert (interface["Description"], [held["GroupId"] for held in interface["Groups"]]) == ("ELB old", [group])
    await region.call("elb", "delete_load_balancer", LoadBalancerName="old")
    assert await available(region, place.subnets[0]) == 251


async def test_metadata_options_that_are_not_named_stay(region: Region) -> None:
    place = await network(region)
    run = {"ImageId": "ami-12c6146b", "MinCount": 1, "MaxCount": 1, "SubnetId": place.subnets[0]}
    options = {"HttpTokens": "required", "HttpPutResponseHopLimit": 2}
    made = await region.call("ec2", "run_instances", MetadataOptions=options, **run)
    instance = made["Instances"][0]["InstanceId"]
    changed = await region.call(
        "ec2", "modify_instance_metadata_options", InstanceId=instance, HttpPutResponseHopLimit=1
    )
    found = changed["InstanceMetadataOptions"]
    assert (found["HttpTokens"], found["HttpPutResponseHopLimit"]) == ("required", 1)


async def test_running_instances_is_all_or_none(region: Region) -> None:
    ec2 = region.client("ec2")
    vpc = (await asyncio.to_thread(ec2.create_vpc, CidrBlock="10.9.0.0/16"))["Vpc"]["VpcId"]
    made = await region.call("ec2", "create_subnet", VpcId=vpc, CidrBlock="10.9.0.0/28", AvailabilityZone="us-west-2a")
    subnet = made["Subnet"]["SubnetId"]
    with pytest.raises(ClientError, match="InsufficientFreeAddressesInSubnet"):
        await run(region, subnet, 12)
    assert await available(region, subnet) == 11
    assert region.cloud.state.instances() == []
