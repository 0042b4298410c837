"""What moto holds of networks comes out as records, as the EC2 API was asked to make it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
import pytest

from tests.unit.moto_awake import mock_aws
from twinplane.cloud.aws import corrections
from twinplane.cloud.network.fabric.contract import Interface, Permission, Route, Snapshot
from twinplane.cloud.network.fabric.from_moto import MotoReader

REGION, ACCOUNT = "us-west-2", "123456789012"


class Aws:
    def __init__(self) -> None:
        self.ec2: Any = boto3.client("ec2", REGION, aws_access_key_id="test", aws_secret_access_key="test")
        self.vpc = self.ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        self.subnet = self.ec2.create_subnet(VpcId=self.vpc, CidrBlock="10.0.1.0/24")["Subnet"]["SubnetId"]
        self.group = self.new_group("web")

    def new_group(self, name: str) -> str:
        made = self.ec2.create_security_group(GroupName=name, Description=name, VpcId=self.vpc)
        return str(made["GroupId"])

    def launch(self) -> str:
        image = self.ec2.describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
        made = self.ec2.run_instances(
            ImageId=image, MinCount=1, MaxCount=1, SubnetId=self.subnet, SecurityGroupIds=[self.group]
        )
        return str(made["Instances"][0]["InstanceId"])

    def read(self) -> Snapshot:
        return MotoReader(ACCOUNT, REGION).read()

    def interface(self, instance: str) -> Interface:
        return next(found for found in self.read().interfaces if found.instance_id == instance)


@pytest.fixture
def aws() -> Iterator[Aws]:
    corrections.apply()
    with mock_aws():
        yield Aws()


def test_an_account_without_networks_is_not_touched() -> None:
    assert MotoReader("999999999999", REGION).read() == Snapshot()


def test_an_interface_follows_the_api(aws: Aws) -> None:
    instance = aws.launch()
    before = aws.interface(instance)
    assert (before.vpc_id, before.subnet_id, before.groups) == (aws.vpc, aws.subnet, (aws.group,))
    assert (before.device_index, before.source_dest_check) == (0, True)
    assigned = aws.ec2.assign_private_ip_addresses(NetworkInterfaceId=before.id, SecondaryPrivateIpAddressCount=2)
    added = tuple(item["PrivateIpAddress"] for item in assigned["AssignedPrivateIpAddresses"])
    other = aws.new_group("other")
    aws.ec2.modify_network_interface_attribute(NetworkInterfaceId=before.id, Groups=[other])
    aws.ec2.modify_network_interface_attribute(NetworkInterfaceId=before.id, SourceDestCheck={"Value": False})
    after = aws.interface(instance)
    assert after.addresses == before.addresses + added
    assert (after.groups, after.source_dest_check) == ((other,), False)
    described = aws.ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]
    assert [group["GroupId"] for group in described["SecurityGroups"]] == [other]
    aws.ec2.modify_network_interface_attribute(NetworkInterfaceId=before.id, SourceDestCheck={"Value": True})
    aws.ec2.modify_instance_attribute(InstanceId=instance, Groups=[aws.group])
    after = aws.interface(instance)
    assert (after.groups, after.source_dest_check) == ((aws.group,), True)
    aws.ec2.modify_instance_attribute(InstanceId=instance, SourceDestCheck={"Value": False})
    assert not aws.interface(instance).source_dest_check


def test_a_second_interface_has_groups_of_its_own_and_goes_with_its_instance(aws: Aws) -> None:
    instance = aws.launch()
    other = aws.new_group("other")
    made = aws.ec2.create_network_interface(SubnetId=aws.subnet, Groups=[other])["NetworkInterface"]
    aws.ec2.attach_network_interface(NetworkInterfaceId=made["NetworkInterfaceId"], InstanceId=instance, DeviceIndex=1)
    second = next(found for found in aws.read().interfaces if found.id == made["NetworkInterfaceId"])
    assert (second.instance_id, second.device_index, second.groups) == (instance, 1, (other,))
    assert second.mac == made["MacAddress"]
    aws.ec2.terminate_instances(InstanceIds=[instance])
    assert all(found.instance_id == "" for found in aws.read().interfaces)


def test_rules_with_networks_groups_and_prefix_lists(aws: Aws) -> None:
    prefixes = aws.ec2.create_managed_prefix_list(
        PrefixListName="offices", MaxEntries=5, AddressFamily="IPv4", Entries=[{"Cidr": "192.0.2.0/24"}]
    )["PrefixList"]["PrefixListId"]
    aws.ec2.authorize_security_group_ingress(
        GroupId=aws.group,
        IpPermissions=[
            {"IpProtocol": "tcp", "FromPort": 80, "ToPort": 81, "IpRanges": [{"CidrIp": "10.0.0.0/8"}]},
            {"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": aws.group}]},
            {"IpProtocol": "icmp", "FromPort": 8, "ToPort": -1, "PrefixListIds": [{"PrefixListId": prefixes}]},
        ],
    )
    snapshot = aws.read()
    group = next(found for found in snapshot.security_groups if found.id == aws.group)
    assert set(group.ingress) == {
        Permission("tcp", 80, 81, cidr="10.0.0.0/8"),
        Permission("-1", group=aws.group),
        Permission("icmp", 8, -1, prefix_list=prefixes),
    }
    assert group.egress == (Permission("-1", cidr="0.0.0.0/0"),)
    assert snapshot.prefix_lists[prefixes] == ("192.0.2.0/24",)


def test_routes_gateways_and_public_addresses(aws: Aws) -> None:
    instance = aws.launch()
    gateway = aws.ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    aws.ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=aws.vpc)
    elastic = aws.ec2.allocate_address(Domain="vpc")
    nat = aws.ec2.create_nat_gateway(SubnetId=aws.subnet, AllocationId=elastic["AllocationId"])["NatGateway"]
    table = aws.ec2.create_route_table(VpcId=aws.vpc)["RouteTable"]["RouteTableId"]
    aws.ec2.associate_route_table(RouteTableId=table, SubnetId=aws.subnet)
    for cidr, target in (
        ("0.0.0.0/0", {"GatewayId": gateway}),
        ("192.0.2.0/24", {"NatGatewayId": nat["NatGatewayId"]}),
        ("198.51.100.0/24", {"InstanceId": instance}),
    ):
        aws.ec2.create_route(RouteTableId=table, DestinationCidrBlock=cidr, **target)
    own = aws.ec2.allocate_address(Domain="vpc")
    aws.ec2.associate_address(AllocationId=own["AllocationId"], InstanceId=instance)
    snapshot = aws.read()
    assert snapshot.internet_gateways == {gateway: aws.vpc}
    assert [found.public_address for found in snapshot.nat_gateways] == [elastic["PublicIp"]]
    tables = {found.id: found for found in snapshot.route_tables if found.vpc_id == aws.vpc}
    assert tables[table].subnets == (aws.subnet,)
    assert set(tables[table].routes) == {
        Route("0.0.0.0/0", gateway),
        Route("192.0.2.0/24", nat["NatGatewayId"]),
        Route("198.51.100.0/24", instance),
    }
    assert [found.main for found in tables.values()].count(True) == 1
    assert aws.interface(instance).public_address == own["PublicIp"]
    aws.ec2.delete_nat_gateway(NatGatewayId=nat["NatGatewayId"])
    assert aws.read().nat_gateways == ()


def test_a_peering_connection_counts_when_it_is_accepted(aws: Aws) -> None:
    other = aws.ec2.create_vpc(CidrBlock="10.1.0.0/16")["Vpc"]["VpcId"]
    made = aws.ec2.create_vpc_peering_connection(VpcId=aws.vpc, PeerVpcId=other)["VpcPeeringConnection"]
    assert aws.read().peerings == ()
    aws.ec2.accept_vpc_peering_connection(VpcPeeringConnectionId=made["VpcPeeringConnectionId"])
    assert [(found.vpc_id, found.peer_vpc_id) for found in aws.read().peerings] == [(aws.vpc, other)]
