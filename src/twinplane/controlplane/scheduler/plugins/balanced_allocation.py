"""NodeResourcesBalancedAllocation: nodes whose resources would fill evenly score higher.

The less the used shares of the resources differ (their standard deviation), the better. Pods that request none of them
are skipped, as upstream does, since they would not change the balance.
"""

from __future__ import annotations

import math

from twinplane.controlplane.scheduler.framework import SCORE_MAX, Check, Plugin, Scope
from twinplane.controlplane.scheduler.node import NodeState
from twinplane.controlplane.scheduler.plugins.node_resources_fit import NATIVE
from twinplane.controlplane.scheduler.shape import PodShape
from twinplane.controlplane.scheduler.snapshot import Snapshot

NAME = "NodeResourcesBalancedAllocation"
CPU_AND_MEMORY = ("cpu", "memory")


class BalancedAllocation(Check):
    scores = True

    def __init__(self, shape: PodShape, resources: tuple[str, ...]) -> None:
        amounts = shape.requests.amounts
        self._amounts = tuple((name, amounts.get(name, 0)) for name in resources if name in NATIVE or name in amounts)

    def score(self, node: NodeState) -> int:
        allocatable, used = node.facts.allocatable, node.used
        shares = []
        for name, amount in self._amounts:
            capacity = allocatable.get(name, 0)
            if capacity:
                shares.append(min((used.get(name, 0) + amount) / capacity, 1.0))
        return int((1 - _deviation(shares)) * SCORE_MAX)


def _deviation(shares: list[float]) -> float:
    if len(shares) == 2:
        return abs(shares[0] - shares[1]) / 2
    if not shares:
        return 0.0
    mean = sum(shares) / len(shares)
    return math.sqrt(sum((share - mean) ** 2 for share in shares) / len(shares))


def plugin(resources: tuple[str, ...]) -> Plugin:
    def check(shape: PodShape, snapshot: Snapshot) -> Check | None:
        if not any(name in shape.requests.amounts for name in resources):
            return None
        return BalancedAllocation(shape, resources)

    return Plugin(NAME, Scope.PODS, check)


PLUGIN = plugin(CPU_AND_MEMORY)
