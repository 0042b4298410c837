"""What the pods of a node consume at a moment, as the kubelet knows it before it is written down in any format."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from twinplane.dataplane.simulation.nodes import SimulatedNode
from twinplane.dataplane.simulation.pods import PodFleet, SimulatedPod
from twinplane.dataplane.simulation.usage.models import (
    DEFAULT_CPU_CORES,
    DEFAULT_MEMORY_BYTES,
    SELECTOR,
    Consumer,
    Model,
    Usage,
    UsageRule,
    built_in_models,
    usage,
)
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.meta import annotations_of, labels_of
from twinplane.kubeclient.quantity import parse

SYSTEM_CPU_CORES = 0.05
SYSTEM_MEMORY_BYTES = 400 * 1024**2
"""The kubelet, the container runtime and the rest of the node's own processes."""
DEFAULT_MODEL = "default"


@dataclass(frozen=True, slots=True)
class FleetUsage:
    """What a fleet file says about usage."""

    models: Mapping[str, Model]
    rules: Sequence[UsageRule]
    groups: Mapping[str, str]
    """Group -> model, empty for none."""


@dataclass(frozen=True, slots=True)
class ContainerUsage:
    name: str
    began: float
    usage: Usage
    memory_limit: float
    """Bytes; 0 for none."""


@dataclass(frozen=True, slots=True)
class PodUsage:
    pod: SimulatedPod
    containers: tuple[ContainerUsage, ...]

    @property
    def total(self) -> Usage:
        return added([container.usage for container in self.containers])


@dataclass(frozen=True, slots=True)
class NodeUsage:
    node: SimulatedNode
    usage: Usage
    """Pods and the node's own processes. The CPU counter is of what runs now, from when the node was first ready."""
    pods: tuple[PodUsage, ...]


class Consumption:
    def __init__(self, pods: PodFleet, fleet: Callable[[str], FleetUsage | None]) -> None:
        """`fleet` gives what the file of a fleet says, by name."""
        self._pods = pods
        self._fleet = fleet

    def of_node(self, node: SimulatedNode, now: float) -> NodeUsage:
        pods = tuple(self.of_pod(pod, now) for pod in self._pods.on_node(node.name) if not pod.terminal)
        since = max(now - node.since, 0.0)
        system = Usage(SYSTEM_CPU_CORES, SYSTEM_CPU_CORES * since, SYSTEM_MEMORY_BYTES)
        return NodeUsage(node, added([system, *(pod.total for pod in pods)]), pods)

    def of_pod(self, pod: SimulatedPod, now: float) -> PodUsage:
        model = self._model(pod)
        resources = {
            item["name"]: item.get("resources") or {}
            for name in ("containers", "initContainers")
            for item in pod.body["spec"].get(name) or ()
        }
        found = []
        for life in pod.life.containers:
            if life.running:
                limits = resources.get(life.spec.name) or {}
                consumer = _consumer(f"{pod.spec.uid}/{life.spec.name}", life.started_at, limits)
                limit = float(parse((limits.get("limits") or {}).get("memory", "0")))
                found.append(ContainerUsage(life.spec.name, life.started_at, usage(model, consumer, now), limit))
        return PodUsage(pod, tuple(found))

    def _model(self, pod: SimulatedPod) -> Model:
        facts = pod.node.facts
        fleet = self._fleet(facts.fleet) if facts is not None else None
        own: Mapping[str, Model] = fleet.models if fleet is not None else {}
        known = built_in_models()
        group = fleet.groups.get(facts.group, "") if fleet is not None and facts is not None else ""
        for name in self._names(pod.body, fleet, group):
            model = own.get(name) or known.get(name)
            if model is not None:
                return model
        return known[DEFAULT_MODEL]

    @staticmethod
    def _names(body: Object, fleet: FleetUsage | None, group: str) -> list[str]:
        """In the order in which they win; names that nobody defines are passed over."""
        labels = labels_of(body)
        rules = fleet.rules if fleet is not None else ()
        matching = [rule.model for rule in rules if rule.matches(labels)]
        return [annotations_of(body).get(SELECTOR, ""), labels.get(SELECTOR, ""), *matching, group]


def _consumer(seed: str, began: float, resources: Mapping[str, Any]) -> Consumer:
    def amount(name: str, default: float) -> float:
        for kind in ("requests", "limits"):
            given = (resources.get(kind) or {}).get(name)
            if given is not None and parse(given):
                return float(parse(given))
        return default

    return Consumer(seed, began, amount("cpu", DEFAULT_CPU_CORES), amount("memory", DEFAULT_MEMORY_BYTES))


def added(parts: Sequence[Usage]) -> Usage:
    return Usage(
        sum(part.cpu_cores for part in parts),
        sum(part.cpu_seconds for part in parts),
        sum(part.memory_bytes for part in parts),
    )
