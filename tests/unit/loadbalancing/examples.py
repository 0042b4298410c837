"""Load balancers of the shapes that clusters make, for tests to vary."""

from __future__ import annotations

from collections.abc import Sequence

from twinplane.cloud.loadbalancing.contract import (
    DEFAULT_PRIORITY,
    Action,
    Certificate,
    Condition,
    HealthCheck,
    Kind,
    Listener,
    LoadBalancer,
    Rule,
    Target,
    TargetGroup,
)

PREFIX = "arn:aws:elasticloadbalancing:us-west-2:123456789012"
VPC = "vpc-1"


def target_group(
    name: str, protocol: str, targets: Sequence[Target], check: HealthCheck | None = None, **attributes: str
) -> TargetGroup:
    return TargetGroup(
        arn=f"{PREFIX}:targetgroup/{name}/0123456789abcdef",
        name=name,
        protocol=protocol,
        port=80,
        vpc_id=VPC,
        targets=tuple(targets),
        health_check=check or HealthCheck(),
        attributes={key.replace("__", "."): value for key, value in attributes.items()},
    )


def rule(priority: int, action: Action, *conditions: Condition) -> Rule:
    return Rule(priority, conditions, action)


def listener(
    port: int, protocol: str, group: TargetGroup, *rules: Rule, certificates: tuple[Certificate, ...] = ()
) -> Listener:
    default = Rule(DEFAULT_PRIORITY, (), Action("forward", ((group.arn, 1),)))
    return Listener(port, protocol, (*rules, default), certificates)


def _balancer(name: str, kind: Kind, listeners: Sequence[Listener]) -> LoadBalancer:
    return LoadBalancer(
        arn=f"{PREFIX}:loadbalancer/{kind[:3]}/{name}/0123456789abcdef",
        name=name,
        kind=kind,
        dns_name=f"{name}-0123.us-west-2.elb.amazonaws.com",
        scheme="internet-facing",
        vpc_id=VPC,
        availability_zones=("us-west-2a", "us-west-2b"),
        listeners=tuple(listeners),
    )


def classic(name: str, listeners: Sequence[Listener]) -> LoadBalancer:
    return _balancer(name, "classic", listeners)


def nlb(name: str, listeners: Sequence[Listener]) -> LoadBalancer:
    return _balancer(name, "network", listeners)


def alb(name: str, listeners: Sequence[Listener]) -> LoadBalancer:
    return _balancer(name, "application", listeners)
