"""NodeResourcesBalancedAllocation: nodes whose CPU and memory would fill evenly score higher.

Pods that request neither are skipped, as upstream does, since they would not change the balance.
"""

from __future__ import annotations

from twinplane.controlplane.scheduler.framework import SCORE_MAX, Check, Plugin, Scope
from twinplane.controlplane.scheduler.node import NodeState
from twinplane.controlplane.scheduler.shape import PodShape
from twinplane.controlplane.scheduler.snapshot import Snapshot

NAME = "NodeResourcesBalancedAllocation"


class BalancedAllocation(Check):
    scores = True

    def __init__(self, shape: PodShape) -> None:
        self._cpu = shape.requests.amounts.get("cpu", 0)
        self._memory = shape.requests.amounts.get("memory", 0)

    def score(self, node: NodeState) -> int:
        allocatable, used = node.facts.allocatable, node.used
        cpu, memory = allocatable.get("cpu", 0), allocatable.get("memory", 0)
        if not cpu or not memory:
            return SCORE_MAX
        of_cpu = min((used.get("cpu", 0) + self._cpu) / cpu, 1.0)
        of_memory = min((used.get("memory", 0) + self._memory) / memory, 1.0)
        return int((1 - abs(of_cpu - of_memory) / 2) * SCORE_MAX)


def check(shape: PodShape, snapshot: Snapshot) -> Check | None:
    amounts = shape.requests.amounts
    return BalancedAllocation(shape) if "cpu" in amounts or "memory" in amounts else None


PLUGIN = Plugin(NAME, Scope.PODS, check)
