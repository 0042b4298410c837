"""NodeResourcesFit: requests must fit into what is left; emptier nodes score higher (LeastAllocated)."""

from __future__ import annotations

from twinplane.controlplane.scheduler.framework import SCORE_MAX, Check, Plugin, Refusal, Scope
from twinplane.controlplane.scheduler.node import NodeState
from twinplane.controlplane.scheduler.shape import PodShape
from twinplane.controlplane.scheduler.snapshot import Snapshot

NAME = "NodeResourcesFit"


class NodeResourcesFit(Check):
    filters = True
    scores = True

    def __init__(self, shape: PodShape) -> None:
        self._amounts = tuple(shape.requests.amounts.items())
        self._cpu = shape.requests.scored_cpu
        self._memory = shape.requests.scored_memory

    def refuse(self, node: NodeState) -> Refusal | None:
        used, allocatable = node.used, node.facts.allocatable
        fits = len(node.pods) < allocatable.get("pods", 0)
        for name, amount in self._amounts:
            if amount > allocatable.get(name, 0) - used.get(name, 0):
                fits = False
        return None if fits else self._shortage(node)

    def _shortage(self, node: NodeState) -> Refusal:
        used, allocatable = node.used, node.facts.allocatable
        short = [name for name, amount in self._amounts if amount > allocatable.get(name, 0) - used.get(name, 0)]
        reasons = [f"Insufficient {name}" for name in short]
        if len(node.pods) >= allocatable.get("pods", 0):
            reasons.insert(0, "Too many pods")
        hopeless = any(amount > allocatable.get(name, 0) for name, amount in self._amounts)
        return Refusal(NAME, tuple(reasons), resolvable=not hopeless)

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


def check(shape: PodShape, snapshot: Snapshot) -> Check | None:
    return NodeResourcesFit(shape)


PLUGIN = Plugin(NAME, Scope.PODS, check)
