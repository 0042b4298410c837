"""NodeResourcesFit: requests must fit into what is left; a strategy says how full a node should be.

The strategies are upstream's: LeastAllocated (the default), MostAllocated, and RequestedToCapacityRatio with a shape of
its own. CPU and memory of containers that request none are guessed for the score, never for the fit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise

from twinplane.controlplane.scheduler.devices.inventory import Inventory
from twinplane.controlplane.scheduler.framework import SCORE_MAX, Check, Plugin, Refusal, Scope
from twinplane.controlplane.scheduler.node import NodeState
from twinplane.controlplane.scheduler.shape import PodShape
from twinplane.controlplane.scheduler.snapshot import Snapshot

NAME = "NodeResourcesFit"
NATIVE = ("cpu", "memory", "ephemeral-storage", "pods")
"""Resources that every node has; the others are extended resources."""
CPU_AND_MEMORY = (("cpu", 1), ("memory", 1))


@dataclass(frozen=True, slots=True)
class FitArgs:
    strategy: str = "LeastAllocated"
    resources: tuple[tuple[str, int], ...] = CPU_AND_MEMORY
    """(resource, weight in the score)."""
    ratio: tuple[tuple[int, int], ...] = ()
    """Of RequestedToCapacityRatio: (utilization in percent, score of 0..100), ascending."""
    ignored: frozenset[str] = frozenset()
    ignored_groups: tuple[str, ...] = ()

    def ignores(self, name: str) -> bool:
        if name in NATIVE:
            return False
        return name in self.ignored or name.partition("/")[0] in self.ignored_groups


class NodeResourcesFit(Check):
    filters = True
    scores = True

    def __init__(self, shape: PodShape, args: FitArgs, devices: Inventory) -> None:
        requests = shape.requests
        self._amounts = tuple((name, amount) for name, amount in requests.amounts.items() if not args.ignores(name))
        self._cpu = requests.scored_cpu
        self._memory = requests.scored_memory
        # Extended resources that the pod does not ask for say nothing about the node.
        self._weights = {
            name: weight for name, weight in args.resources if name in NATIVE or requests.amounts.get(name)
        }
        self._all = requests.amounts
        self._backed = frozenset(name for name in requests.amounts if name in devices.resources)
        """What DynamicResources finds devices for, on nodes that do not have it themselves."""
        self._devices = devices
        self.reads_devices = not self._backed.isdisjoint(self._weights)
        self._args = args

    def refuse(self, node: NodeState) -> Refusal | None:
        used, allocatable = node.used, node.facts.allocatable
        fits = len(node.pods) < allocatable.get("pods", 0)
        for name, amount in self._amounts:
            if amount > allocatable.get(name, 0) - used.get(name, 0):
                fits = False
        return None if fits else self._shortage(node)

    def _shortage(self, node: NodeState) -> Refusal | None:
        used, allocatable = node.used, node.facts.allocatable
        short = [
            name
            for name, amount in self._amounts
            if amount > allocatable.get(name, 0) - used.get(name, 0)
            and (name not in self._backed or allocatable.get(name, 0))
        ]
        reasons = [f"Insufficient {name}" for name in short]
        if len(node.pods) >= allocatable.get("pods", 0):
            reasons.insert(0, "Too many pods")
        hopeless = any(amount > allocatable.get(name, 0) for name, amount in self._amounts if name in short)
        return Refusal(NAME, tuple(reasons), resolvable=not hopeless) if reasons else None

    def score(self, node: NodeState) -> int:
        rate = _RATES[self._args.strategy]
        total = weights = 0
        for name, weight in self._weights.items():
            capacity, requested = node.facts.allocatable.get(name, 0), self._requested(name, node)
            if not capacity and name in self._backed:
                capacity, taken = self._devices.totals(name, node.facts)
                requested = taken + self._all[name]
            if not capacity:
                continue
            share = rate(requested, capacity, self._args.ratio)
            # Upstream leaves resources without a score out of the ratio's mean.
            if share or self._args.strategy != RATIO:
                total += share * weight
                weights += weight
        if not weights:
            return 0
        return round_half_up(total, weights) if self._args.strategy == RATIO else total // weights

    def _requested(self, name: str, node: NodeState) -> int:
        if name == "cpu":
            return node.scored_cpu + self._cpu
        if name == "memory":
            return node.scored_memory + self._memory
        return node.used.get(name, 0) + self._all.get(name, 0)


class LeastOfCpuAndMemory(NodeResourcesFit):
    """The default strategy without its generality: this is asked more often than anything else."""

    def score(self, node: NodeState) -> int:
        allocatable = node.facts.allocatable
        total = count = 0
        cpu, memory = allocatable.get("cpu", 0), allocatable.get("memory", 0)
        if cpu:
            total += max(cpu - node.scored_cpu - self._cpu, 0) * SCORE_MAX // cpu
            count += 1
        if memory:
            total += max(memory - node.scored_memory - self._memory, 0) * SCORE_MAX // memory
            count += 1
        return total // count if count else 0


Ratio = tuple[tuple[int, int], ...]
RATIO = "RequestedToCapacityRatio"


def round_half_up(total: int, count: int) -> int:
    return (2 * total + count) // (2 * count)


def _least(requested: int, capacity: int, _: Ratio) -> int:
    return max(capacity - requested, 0) * SCORE_MAX // capacity


def _most(requested: int, capacity: int, _: Ratio) -> int:
    return min(requested, capacity) * SCORE_MAX // capacity


def _ratio(requested: int, capacity: int, shape: Ratio) -> int:
    """Linear between the points of the shape, level outside them."""
    utilization = min(requested * 100 // capacity, 100)
    if utilization <= shape[0][0]:
        return shape[0][1]
    for (low, low_score), (high, high_score) in pairwise(shape):
        if utilization <= high:
            # Truncated towards zero, as Go divides.
            return low_score + int((high_score - low_score) * (utilization - low) / (high - low))
    return shape[-1][1]


_RATES: Mapping[str, Callable[[int, int, Ratio], int]] = {
    "LeastAllocated": _least,
    "MostAllocated": _most,
    RATIO: _ratio,
}
STRATEGIES = tuple(_RATES)


def plugin(args: FitArgs) -> Plugin:
    plain = args.strategy == "LeastAllocated" and args.resources == CPU_AND_MEMORY
    made = LeastOfCpuAndMemory if plain else NodeResourcesFit

    def check(shape: PodShape, snapshot: Snapshot) -> Check | None:
        return made(shape, args, snapshot.surroundings.devices)

    return Plugin(NAME, Scope.PODS, check)


PLUGIN = plugin(FitArgs())
