from __future__ import annotations

import re

import boto3

from tests.unit.moto_awake import mock_aws
from twinplane.cloud.loadbalancing.dns_names import dns_name, give_aws_names

REGION = "eu-central-1"


def test_names_are_those_of_the_kind() -> None:
    assert re.fullmatch(
        r"web-[0-9]+\.eu-central-1\.elb\.amazonaws\.com", dns_name("classic", "web", REGION, "internet-facing", "a")
    )
    assert re.fullmatch(
        r"internal-web-[0-9]+\.eu-central-1\.elb\.amazonaws\.com",
        dns_name("application", "web", REGION, "internal", "a"),
    )
    assert re.fullmatch(
        r"web-[0-9a-f]{16}\.elb\.eu-central-1\.amazonaws\.com", dns_name("network", "web", REGION, "internal", "a")
    )


def test_moto_answers_with_them() -> None:
    give_aws_names()
    give_aws_names()
    with mock_aws():
        clients = {
            name: boto3.client(name, REGION, aws_access_key_id="test", aws_secret_access_key="test")
            for name in ("ec2", "elb", "elbv2")
        }
        vpc = clients["ec2"].create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        subnet = clients["ec2"].create_subnet(VpcId=vpc, CidrBlock="10.0.0.0/24")["Subnet"]["SubnetId"]
        ports = [{"Protocol": "TCP", "LoadBalancerPort": 80, "InstancePort": 30080}]
        classic = clients["elb"].create_load_balancer(LoadBalancerName="old", Subnets=[subnet], Listeners=ports)
        assert classic["DNSName"].startswith("old-")
        assert classic["DNSName"].endswith(".eu-central-1.elb.amazonaws.com")
        nlb = clients["elbv2"].create_load_balancer(Name="net", Subnets=[subnet], Type="network", Scheme="internal")
        assert nlb["LoadBalancers"][0]["DNSName"].endswith(".elb.eu-central-1.amazonaws.com")
