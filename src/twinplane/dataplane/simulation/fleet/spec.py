"""The fleet file: groups of nodes, the usage of their pods, and what is to go wrong. Pure; docs/simulated-nodes.md
describes the fields.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import Any

from twinplane.dataplane.simulation import document
from twinplane.dataplane.simulation.document import Fields, InvalidFleet
from twinplane.dataplane.simulation.fleet.failures import Failure, read_failure
from twinplane.dataplane.simulation.usage.models import Model, UsageRule, read_model, read_rule

API_VERSION = "simulation.twinplane.io/v1alpha1"
KIND = "Fleet"
LABEL = "twinplane.io/fleet"
GROUP_LABEL = "twinplane.io/fleet-group"
NAMESPACE = "kube-system"
CONFIG_MAP_PREFIX = "twinplane-fleet-"
FILE_KEY = "fleet.json"
"""The file as it was applied."""
FAILURES_KEY = "failures.json"
"""A list of failures with their absolute times: those of the file and those injected since."""
NODES_MAX = 200_000
PODS_PER_NODE_MAX = 1000
EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_INSTANCE_TYPE = re.compile(r"[a-z0-9-]+\.[a-z0-9-]+")


@dataclass(frozen=True, slots=True)
class NodeGroup:
    name: str
    count: int
    instance_type: str
    zones: tuple[str, ...]
    """Nodes take turns in them."""
    labels: dict[str, str]
    taints: tuple[dict[str, str], ...]
    pods_per_node: int | None
    """None: what the VPC CNI allows on the instance type."""
    usage: str
    """Usage model of its pods that select none; empty for the default."""


@dataclass(frozen=True, slots=True)
class FleetSpec:
    name: str
    cidr: IPv4Network
    groups: tuple[NodeGroup, ...]
    models: dict[str, Model]
    rules: tuple[UsageRule, ...]
    failures: tuple[Failure, ...]
    """Their times count from the moment the file was applied."""

    @property
    def nodes(self) -> int:
        return sum(group.count for group in self.groups)


def read_fleet(value: object) -> FleetSpec:
    """Raises `InvalidFleet`."""
    fields = Fields(value, "fleet")
    version = fields.take("apiVersion", document.text)
    kind = fields.take("kind", document.text)
    if (version, kind) != (API_VERSION, KIND):
        raise InvalidFleet(f"the file must be a {KIND} of {API_VERSION}, got {kind} of {version}")
    metadata = Fields(fields.take("metadata", _anything), "metadata")
    name = metadata.take("name", document.name)
    metadata.done()
    body = Fields(fields.take("spec", _anything), "spec")
    fields.done()
    usage = Fields(body.given("usage", _anything, {}), "spec.usage")
    models = usage.optional("models", _models) or {}
    rules = usage.optional("rules", document.each(read_rule)) or ()
    usage.done()
    spec = FleetSpec(
        name=name,
        cidr=body.take("cidr", _cidr),
        groups=body.take("groups", document.each(_group)),
        models=models,
        rules=rules,
        failures=body.given("failures", document.each(read_failure), ()),
    )
    body.done()
    _check(spec)
    return spec


def _check(spec: FleetSpec) -> None:
    names = [group.name for group in spec.groups]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise InvalidFleet(f"spec.groups: {', '.join(doubled)} is there twice")
    if spec.nodes > NODES_MAX:
        raise InvalidFleet(f"spec.groups: {spec.nodes} nodes are more than {NODES_MAX}")
    needed = sum(group.count * (1 + (group.pods_per_node or 0)) for group in spec.groups)
    if needed > spec.cidr.num_addresses - 2:
        raise InvalidFleet(f"spec.cidr: {spec.cidr} is too small for {needed} addresses of nodes and pods")
    for index, group in enumerate(spec.groups):
        if group.usage and group.usage not in spec.models:
            raise InvalidFleet(f"spec.groups[{index}].usage: there is no usage model {group.usage!r}")
    for index, rule in enumerate(spec.rules):
        if rule.model not in spec.models:
            raise InvalidFleet(f"spec.usage.rules[{index}].model: there is no usage model {rule.model!r}")


def _group(value: object, place: str) -> NodeGroup:
    fields = Fields(value, place)
    group = NodeGroup(
        name=fields.take("name", document.name),
        count=fields.take("count", document.count),
        instance_type=fields.take("instanceType", _instance_type),
        zones=fields.take("zones", document.texts),
        labels=fields.optional("labels", document.labels) or {},
        taints=fields.given("taints", document.each(_taint), ()),
        pods_per_node=fields.optional("podsPerNode", document.count),
        usage=fields.given("usage", document.text, ""),
    )
    fields.done()
    if not group.zones:
        raise InvalidFleet(f"{place}.zones: at least one zone is needed")
    if (group.pods_per_node or 0) > PODS_PER_NODE_MAX:
        raise InvalidFleet(f"{place}.podsPerNode: at most {PODS_PER_NODE_MAX}")
    return group


def _taint(value: object, place: str) -> dict[str, str]:
    fields = Fields(value, place)
    taint = {"key": fields.take("key", document.text), "effect": fields.take("effect", document.one_of(*EFFECTS))}
    given = fields.given("value", document.text, "")
    fields.done()
    return taint | ({"value": given} if given else {})


def _instance_type(value: object, place: str) -> str:
    found = document.text(value, place)
    if not _INSTANCE_TYPE.fullmatch(found):
        raise InvalidFleet(f"{place}: {found!r} is no instance type such as m5.large")
    return found


def _cidr(value: object, place: str) -> IPv4Network:
    try:
        return IPv4Network(document.text(value, place))
    except ValueError as error:
        raise InvalidFleet(f"{place}: {error}") from error


def _models(value: object, place: str) -> dict[str, Model]:
    fields = value if isinstance(value, dict) else None
    if fields is None:
        raise InvalidFleet(f"{place}: must be a mapping")
    return {document.text(name, place): read_model(item, f"{place}.{name}") for name, item in fields.items()}


def _anything(value: object, place: str) -> Any:
    return value
