"""The fleet file: groups of nodes, the usage of their pods, and what is to go wrong. Pure; docs/simulated-nodes.md
describes the fields.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from typing import Any

from twinplane.dataplane.simulation import document
from twinplane.dataplane.simulation.document import Fields, InvalidFleet
from twinplane.dataplane.simulation.fleet.failures import Failure, read_failure
from twinplane.dataplane.simulation.fleet.life_cycles import LifeCycle, read_life_cycle
from twinplane.dataplane.simulation.usage.models import Model, UsageRule, built_in_models, read_model, read_rule
from twinplane.kubeclient.quantity import parse

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
PODS_PER_NODE_MAX = VOLUMES_PER_NODE_MAX = 1000
EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_INSTANCE_TYPE = re.compile(r"[a-z0-9-]+\.[a-z0-9-]+")


@dataclass(frozen=True, slots=True)
class NodeGroup:
    """Nodes of the fleet's own; with `node_selector` those of node groups, of which only `usage` is said here."""

    name: str
    usage: str
    """Usage model of its pods that select none; empty for the default."""
    node_selector: dict[str, str] | None = None
    count: int = 0
    instance_type: str = ""
    zones: tuple[str, ...] = ()
    """Nodes take turns in them."""
    labels: dict[str, str] = field(default_factory=dict)
    taints: tuple[dict[str, str], ...] = ()
    pods_per_node: int | None = None
    """None: what the VPC CNI allows on the instance type."""
    volumes_per_node: int | None = None
    """None: what the EBS CSI driver allows on the instance type."""
    capacity: dict[str, str] = field(default_factory=dict)
    """Quantities that its nodes have besides those of the instance type, or instead."""
    annotations: dict[str, str] = field(default_factory=dict)

    def selects(self, labels: Mapping[str, str]) -> bool:
        """Nodes that are not the fleet's own, by the labels that they have."""
        wanted = self.node_selector
        return wanted is not None and all(labels.get(key) == value for key, value in wanted.items())


@dataclass(frozen=True, slots=True)
class FleetSpec:
    name: str
    cidr: IPv4Network | None
    """None for a fleet without nodes of its own."""
    groups: tuple[NodeGroup, ...]
    models: dict[str, Model]
    rules: tuple[UsageRule, ...]
    failures: tuple[Failure, ...]
    """Their times count from the moment the file was applied."""
    life_cycles: tuple[LifeCycle, ...]
    """The first that covers a pod holds for it."""

    @property
    def nodes(self) -> int:
        """Of its own."""
        return sum(group.count for group in self.groups)

    def overlaps(self, other: FleetSpec) -> bool:
        return self.cidr is not None and other.cidr is not None and self.cidr.overlaps(other.cidr)


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
        cidr=body.optional("cidr", _cidr),
        groups=body.take("groups", document.each(_group)),
        models=models,
        rules=rules,
        failures=body.given("failures", document.each(read_failure), ()),
        life_cycles=body.given("lifeCycles", document.each(read_life_cycle), ()),
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
    if spec.cidr is None:
        if any(group.node_selector is None for group in spec.groups):
            raise InvalidFleet("spec.cidr: is required")
    elif needed > spec.cidr.num_addresses - 2:
        raise InvalidFleet(f"spec.cidr: {spec.cidr} is too small for {needed} addresses of nodes and pods")
    models = spec.models.keys() | built_in_models().keys()
    for index, group in enumerate(spec.groups):
        if group.usage and group.usage not in models:
            raise InvalidFleet(f"spec.groups[{index}].usage: there is no usage model {group.usage!r}")
    for index, rule in enumerate(spec.rules):
        if rule.model not in models:
            raise InvalidFleet(f"spec.usage.rules[{index}].model: there is no usage model {rule.model!r}")
    for index, failure in enumerate(spec.failures):
        check_covers(spec, failure, f"spec.failures[{index}]")
    for index, cycle in enumerate(spec.life_cycles):
        if cycle.group and cycle.group not in names:
            raise InvalidFleet(f"spec.lifeCycles[{index}].group: there is no group {cycle.group!r}")


def check_covers(spec: FleetSpec, failure: Failure, place: str) -> None:
    """Raises `InvalidFleet` for a failure that names what the fleet does not have."""
    groups = [group for group in spec.groups if failure.group in ("", group.name)]
    if not groups:
        raise InvalidFleet(f"{place}.group: there is no group {failure.group!r}")
    if any(group.node_selector is not None for group in groups):
        # Whatever nodes there are, or will be.
        return
    if failure.zone and not any(failure.zone in group.zones for group in groups):
        raise InvalidFleet(f"{place}.zone: no node is in {failure.zone!r}")
    for name in failure.nodes:
        if not any(_has_node(spec.name, group, name) for group in groups):
            raise InvalidFleet(f"{place}.nodes: there is no node {name!r}")


def _has_node(fleet: str, group: NodeGroup, name: str) -> bool:
    number = name.removeprefix(f"{fleet}-{group.name}-")
    return number != name and number.isdecimal() and int(number) < group.count


def _group(value: object, place: str) -> NodeGroup:
    fields = Fields(value, place)
    name, usage = fields.take("name", document.name), fields.given("usage", document.text, "")
    selector = fields.optional("nodeSelector", document.node_labels)
    if selector is not None:
        fields.done("with nodeSelector there can be no")
        return NodeGroup(name, usage, selector)
    group = NodeGroup(
        name=name,
        usage=usage,
        count=fields.take("count", document.count),
        instance_type=fields.take("instanceType", _instance_type),
        zones=fields.take("zones", document.each(document.label_value)),
        labels=fields.optional("labels", document.node_labels) or {},
        taints=fields.given("taints", document.each(_taint), ()),
        pods_per_node=fields.optional("podsPerNode", document.count),
        volumes_per_node=fields.optional("volumesPerNode", document.count),
        capacity=fields.given("capacity", _quantities, {}),
        annotations=fields.given("annotations", document.node_annotations, {}),
    )
    fields.done()
    if "pods" in group.capacity:
        raise InvalidFleet(f"{place}.capacity: how many pods there may be is podsPerNode")
    taints = [(taint["key"], taint["effect"]) for taint in group.taints]
    if len(taints) > len(set(taints)):
        raise InvalidFleet(f"{place}.taints: one is there twice, by key and effect")
    if not group.zones:
        raise InvalidFleet(f"{place}.zones: at least one zone is needed")
    if (group.pods_per_node or 0) > PODS_PER_NODE_MAX:
        raise InvalidFleet(f"{place}.podsPerNode: at most {PODS_PER_NODE_MAX}")
    if (group.volumes_per_node or 0) > VOLUMES_PER_NODE_MAX:
        raise InvalidFleet(f"{place}.volumesPerNode: at most {VOLUMES_PER_NODE_MAX}")
    return group


def _taint(value: object, place: str) -> dict[str, str]:
    fields = Fields(value, place)
    taint = {"key": fields.take("key", document.label_key), "effect": fields.take("effect", document.one_of(*EFFECTS))}
    given = fields.given("value", document.label_value, "")
    fields.done()
    return taint | ({"value": given} if given else {})


def _quantities(value: object, place: str) -> dict[str, str]:
    if not isinstance(value, dict):
        raise InvalidFleet(f"{place}: must be a mapping")
    return {document.label_key(name, place): _quantity(item, f"{place}.{name}") for name, item in value.items()}


def _quantity(value: object, place: str) -> str:
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else document.text(value, place)
    try:
        if parse(text) < 0:
            raise InvalidFleet(f"{place}: must not be negative")
    except ValueError as error:
        raise InvalidFleet(f"{place}: {text!r} is no quantity") from error
    return text


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
