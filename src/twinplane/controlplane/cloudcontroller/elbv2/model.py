"""What an ELBv2 stack should be: one load balancer with its listeners, rules, target groups and targets.

Built from a Service or from the Ingresses of a group; `plan` compares it with what AWS has. Target groups are named,
and actions name them through `Ref("target-group", NAME)`, since ARNs exist only afterwards.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from twinplane.controlplane.cloudcontroller.aws import Ref

TARGET_GROUP = "target-group"
LOAD_BALANCER = "load-balancer"
LISTENER = "listener"
SECURITY_GROUP = "security-group"
CLUSTER_TAG = "elbv2.k8s.aws/cluster"

TargetKey = tuple[str, int]
"""(instance id or address, port)."""


@dataclass(frozen=True)
class TargetGroupModel:
    name: str
    protocol: str
    port: int
    vpc_id: str
    target_type: str
    health_check: Mapping[str, Any]
    """Parameters of CreateTargetGroup that start with HealthCheck, thresholds and Matcher."""
    targets: frozenset[TargetKey]
    tags: Mapping[str, str] = field(default_factory=dict)
    attributes: Mapping[str, str] = field(default_factory=dict)
    protocol_version: str = ""

    @property
    def ref(self) -> Ref:
        return Ref(TARGET_GROUP, self.name)


@dataclass(frozen=True)
class RuleModel:
    priority: int
    conditions: tuple[dict[str, Any], ...]
    actions: tuple[dict[str, Any], ...]
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ListenerModel:
    port: int
    protocol: str
    default_actions: tuple[dict[str, Any], ...]
    rules: tuple[RuleModel, ...] = ()
    certificates: tuple[str, ...] = ()
    ssl_policy: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Stack:
    name: str
    type: str
    """network or application."""
    scheme: str
    subnets: tuple[str, ...]
    security_groups: tuple[Any, ...]
    """Ids or Refs."""
    tags: Mapping[str, str]
    attributes: Mapping[str, str]
    listeners: tuple[ListenerModel, ...]
    target_groups: tuple[TargetGroupModel, ...]


def forward(group: TargetGroupModel) -> dict[str, Any]:
    return {"Type": "forward", "TargetGroupArn": group.ref}


def resource_name(namespace: str, name: str, *seed: str) -> str:
    """`k8s-NAMESPACE-NAME-HASH`, parts cut to 8 characters: 32 at most, as the AWS Load Balancer Controller names."""
    digest = hashlib.sha256("\0".join((namespace, name, *seed)).encode()).hexdigest()[:10]
    return f"k8s-{_plain(namespace)[:8]}-{_plain(name)[:8]}-{digest}"


def group_resource_name(group: str, *seed: str) -> str:
    """`k8s-GROUP-HASH`, for what several Ingresses share."""
    digest = hashlib.sha256("\0".join((group, *seed)).encode()).hexdigest()[:10]
    return f"k8s-{_plain(group)[:17]}-{digest}"


def _plain(text: str) -> str:
    return re.sub(r"[^a-zA-Z0-9]", "", text)
