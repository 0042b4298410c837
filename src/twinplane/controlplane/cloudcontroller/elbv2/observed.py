"""Reads the stack that AWS has: the load balancer by name, the target groups by the stack's tags."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from twinplane.controlplane.cloudcontroller.aws import Aws, tag_dict
from twinplane.controlplane.cloudcontroller.elbv2.model import TargetKey

TAGS_PAGE = 20
"""How many resources one DescribeTags takes."""


@dataclass(frozen=True)
class ObservedTargetGroup:
    arn: str
    settings: Mapping[str, Any]
    """As DescribeTargetGroups gives them."""
    targets: frozenset[TargetKey]
    tags: Mapping[str, str]
    attributes: Mapping[str, str]


@dataclass(frozen=True)
class ObservedListener:
    arn: str
    settings: Mapping[str, Any]
    rules: tuple[Mapping[str, Any], ...]
    """Without the default one."""


@dataclass(frozen=True)
class ObservedLoadBalancer:
    arn: str
    dns_name: str
    settings: Mapping[str, Any]
    tags: Mapping[str, str]
    attributes: Mapping[str, str]
    listeners: Mapping[int, ObservedListener]


@dataclass(frozen=True)
class ObservedStack:
    load_balancer: ObservedLoadBalancer | None = None
    target_groups: Mapping[str, ObservedTargetGroup] = field(default_factory=dict)
    """By name."""


async def observe(aws: Aws, name: str, owner: Mapping[str, str]) -> ObservedStack:
    """`owner` are the tags that say what is this stack's; of several load balancers, the one called `name`."""
    balancer = await _load_balancer(aws, name, owner)
    groups = await aws.listed("elbv2", "describe_target_groups", "TargetGroups")
    tags = await _tags(aws, [group["TargetGroupArn"] for group in groups])
    found = {}
    for group in groups:
        arn = group["TargetGroupArn"]
        if owner.items() <= tags.get(arn, {}).items():
            found[group["TargetGroupName"]] = await _target_group(aws, group, tags[arn])
    return ObservedStack(balancer, found)


async def _load_balancer(aws: Aws, name: str, owner: Mapping[str, str]) -> ObservedLoadBalancer | None:
    balancers = await aws.listed("elbv2", "describe_load_balancers", "LoadBalancers")
    tags = await _tags(aws, [entry["LoadBalancerArn"] for entry in balancers])
    own = [entry for entry in balancers if owner.items() <= tags.get(entry["LoadBalancerArn"], {}).items()]
    if not own:
        return None
    described = min(own, key=lambda entry: (entry["LoadBalancerName"] != name, entry["LoadBalancerArn"]))
    arn = described["LoadBalancerArn"]
    attributes = await aws.call("elbv2", "describe_load_balancer_attributes", LoadBalancerArn=arn)
    listeners = await aws.listed("elbv2", "describe_listeners", "Listeners", LoadBalancerArn=arn)
    observed = {listener["Port"]: await _listener(aws, listener) for listener in listeners}
    present = tag_dict(attributes.get("Attributes", []))
    return ObservedLoadBalancer(arn, described["DNSName"], described, tags[arn], present, observed)


async def _listener(aws: Aws, settings: Mapping[str, Any]) -> ObservedListener:
    arn = settings["ListenerArn"]
    rules = await aws.listed("elbv2", "describe_rules", "Rules", ListenerArn=arn)
    return ObservedListener(arn, settings, tuple(rule for rule in rules if rule["Priority"] != "default"))


async def _target_group(aws: Aws, settings: Mapping[str, Any], tags: Mapping[str, str]) -> ObservedTargetGroup:
    arn = settings["TargetGroupArn"]
    health = await aws.call("elbv2", "describe_target_health", TargetGroupArn=arn)
    attributes = await aws.call("elbv2", "describe_target_group_attributes", TargetGroupArn=arn)
    targets = frozenset(
        (entry["Target"]["Id"], int(entry["Target"]["Port"]))
        for entry in health["TargetHealthDescriptions"]
        if entry["TargetHealth"]["State"] != "draining"
    )
    return ObservedTargetGroup(arn, settings, targets, tags, tag_dict(attributes.get("Attributes", [])))


async def _tags(aws: Aws, arns: list[str]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for start in range(0, len(arns), TAGS_PAGE):
        page = await aws.call("elbv2", "describe_tags", ResourceArns=arns[start : start + TAGS_PAGE])
        found.update({entry["ResourceArn"]: tag_dict(entry["Tags"]) for entry in page["TagDescriptions"]})
    return found
