"""What moto holds comes out as records, and nothing is made by looking."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
import pytest

from tests.unit.moto_awake import mock_aws
from twinplane.cloud.loadbalancing.contract import DEFAULT_PRIORITY, Condition, HealthCheck, Target
from twinplane.cloud.loadbalancing.from_moto import MotoReader

REGION = "us-west-2"
ACCOUNT = "123456789012"


class Aws:
    def __init__(self) -> None:
        self.ec2, self.elb, self.elbv2, self.acm = (
            boto3.client(service, REGION, aws_access_key_id="test", aws_secret_access_key="test")
            for service in ("ec2", "elb", "elbv2", "acm")
        )
        self.vpc = self.ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        self.subnets = [
            self.ec2.create_subnet(VpcId=self.vpc, CidrBlock=f"10.0.{zone}.0/24", AvailabilityZone=f"{REGION}{name}")[
                "Subnet"
            ]["SubnetId"]
            for zone, name in enumerate("ab")
        ]

    def target_group(self, name: str, protocol: str, **more: Any) -> str:
        made = self.elbv2.create_target_group(Name=name, Protocol=protocol, Port=80, VpcId=self.vpc, **more)
        return str(made["TargetGroups"][0]["TargetGroupArn"])

    def load_balancer(self, name: str, kind: str) -> str:
        made = self.elbv2.create_load_balancer(Name=name, Subnets=self.subnets, Type=kind, Scheme="internal")
        return str(made["LoadBalancers"][0]["LoadBalancerArn"])

    def listener(self, balancer: str, port: int, protocol: str, action: dict[str, Any], **more: Any) -> str:
        made = self.elbv2.create_listener(
            LoadBalancerArn=balancer, Port=port, Protocol=protocol, DefaultActions=[action], **more
        )
        return str(made["Listeners"][0]["ListenerArn"])


@pytest.fixture
def aws() -> Iterator[Aws]:
    with mock_aws():
        yield Aws()


def test_an_account_that_has_none_is_not_touched() -> None:
    from moto.elb.models import elb_backends
    from moto.elbv2.models import elbv2_backends

    with mock_aws():
        snapshot = MotoReader("999999999999", REGION).read()
        assert (snapshot.load_balancers, dict(snapshot.target_groups)) == ((), {})
        assert "999999999999" not in list(elb_backends)
        assert "999999999999" not in list(elbv2_backends)


def test_a_classic_load_balancer_has_a_target_group_a_listener(aws: Aws) -> None:
    aws.elb.create_load_balancer(
        LoadBalancerName="web",
        Subnets=aws.subnets,
        Listeners=[
            {"Protocol": "TCP", "LoadBalancerPort": 80, "InstancePort": 30080},
            {"Protocol": "HTTP", "LoadBalancerPort": 81, "InstancePort": 30081},
        ],
    )
    aws.elb.configure_health_check(
        LoadBalancerName="web",
        HealthCheck={
            "Target": "HTTP:32001/healthz",
            "Interval": 10,
            "Timeout": 5,
            "HealthyThreshold": 2,
            "UnhealthyThreshold": 6,
        },
    )
    instances = [{"InstanceId": "i-2"}, {"InstanceId": "i-1"}, {"InstanceId": "i-1"}]
    aws.elb.register_instances_with_load_balancer(LoadBalancerName="web", Instances=instances)
    snapshot = MotoReader(ACCOUNT, REGION).read()
    (balancer,) = snapshot.load_balancers
    assert (balancer.kind, balancer.name, balancer.vpc_id) == ("classic", "web", aws.vpc)
    tcp, http = (snapshot.target_groups[entry.rules[0].action.target_groups[0][0]] for entry in balancer.listeners)
    assert (tcp.protocol, tcp.targets) == ("TCP", (Target("i-1", 30080), Target("i-2", 30080)))
    assert (http.protocol, http.targets[0].port) == ("HTTP", 30081)
    assert tcp.health_check == HealthCheck("HTTP", 32001, "/healthz", 10, 5, 2, 6)


def test_an_alb_with_rules_in_order_and_every_condition(aws: Aws) -> None:
    group, other = aws.target_group("shop", "HTTP", HealthCheckPath="/ready"), aws.target_group("api", "HTTP")
    aws.elbv2.register_targets(TargetGroupArn=group, Targets=[{"Id": "10.0.0.9", "Port": 8080}])
    balancer = aws.load_balancer("app", "application")
    listener = aws.listener(balancer, 80, "HTTP", {"Type": "forward", "TargetGroupArn": group})
    conditions = [
        {"Field": "host-header", "HostHeaderConfig": {"Values": ["a.example.com", "*.b"]}},
        {"Field": "path-pattern", "Values": ["/api/*"]},
        {"Field": "http-header", "HttpHeaderConfig": {"HttpHeaderName": "X-A", "Values": ["1"]}},
        {"Field": "http-request-method", "HttpRequestMethodConfig": {"Values": ["GET"]}},
        {"Field": "query-string", "QueryStringConfig": {"Values": [{"Key": "k", "Value": "v"}, {"Value": "w"}]}},
        {"Field": "source-ip", "SourceIpConfig": {"Values": ["10.0.0.0/8"]}},
    ]
    weights = [{"TargetGroupArn": group, "Weight": 1}, {"TargetGroupArn": other, "Weight": 9}]
    split = {"Type": "forward", "ForwardConfig": {"TargetGroups": weights}}
    aws.elbv2.create_rule(ListenerArn=listener, Priority=20, Conditions=conditions[:1], Actions=[split])
    away = {"Type": "redirect", "RedirectConfig": {"Protocol": "HTTPS", "StatusCode": "HTTP_301"}}
    aws.elbv2.create_rule(ListenerArn=listener, Priority=10, Conditions=conditions, Actions=[away])

    snapshot = MotoReader(ACCOUNT, REGION).read()
    (found,) = snapshot.load_balancers
    assert (found.kind, found.scheme, found.availability_zones) == (
        "application",
        "internal",
        ("us-west-2a", "us-west-2b"),
    )
    first, second, default = found.listeners[0].rules
    assert [rule.priority for rule in (first, second, default)] == [10, 20, DEFAULT_PRIORITY]
    assert first.conditions == (
        Condition("host-header", ("a.example.com", "*.b")),
        Condition("path-pattern", ("/api/*",)),
        Condition("http-header", ("1",), header="X-A"),
        Condition("http-request-method", ("GET",)),
        Condition("query-string", pairs=(("k", "v"), ("", "w"))),
        Condition("source-ip", ("10.0.0.0/8",)),
    )
    assert (first.action.type, first.action.settings["Protocol"]) == ("redirect", "HTTPS")
    assert second.action.target_groups == ((group, 1), (other, 9))
    assert default.action.target_groups == ((group, 1),)
    shop = snapshot.target_groups[group]
    assert (shop.targets, shop.health_check.path) == ((Target("10.0.0.9", 8080),), "/ready")


def test_a_certificate_of_acm_comes_with_the_listener(aws: Aws) -> None:
    arn = aws.acm.request_certificate(DomainName="shop.example.com")["CertificateArn"]
    group = aws.target_group("shop", "HTTP")
    balancer = aws.load_balancer("app", "application")
    action = {"Type": "forward", "TargetGroupArn": group}
    aws.listener(balancer, 443, "HTTPS", action, Certificates=[{"CertificateArn": arn}])
    (found,) = MotoReader(ACCOUNT, REGION).read().load_balancers
    (certificate,) = found.listeners[0].certificates
    assert certificate.chain.startswith("-----BEGIN CERTIFICATE-----")
    assert "PRIVATE KEY" in certificate.private_key


def test_an_nlb_has_the_idle_timeout_of_one(aws: Aws) -> None:
    group = aws.target_group("net", "TCP", HealthCheckPort="32001", HealthCheckProtocol="HTTP")
    balancer = aws.load_balancer("net", "network")
    aws.listener(balancer, 80, "TCP", {"Type": "forward", "TargetGroupArn": group})
    snapshot = MotoReader(ACCOUNT, REGION).read()
    (found,) = snapshot.load_balancers
    assert (found.kind, found.idle_timeout) == ("network", 350)
    assert snapshot.target_groups[group].health_check.port == 32001
