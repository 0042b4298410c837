"""NodeResourcesBalancedAllocation: nodes on which the pod makes the use of resources more even score higher.

How even it is says the standard deviation of their used shares. The score is what the pod changes about it: 75 for
nothing, towards 100 for better and towards 50 for worse. Pods that request none of the resources are skipped, as
upstream does.
"""

from __future__ import annotations

import math

from twinplane.controlplane.scheduler.devices.inventory import Inventory
from twinplane.controlplane.scheduler.framework import SCORE_MAX, Check, Plugin, Scope
from twinplane.controlplane.scheduler.node import NodeState
from twinplane.controlplane.scheduler.plugins.node_resources_fit import NATIVE
from twinplane.controlplane.scheduler.shape import PodShape
from twinplane.controlplane.scheduler.snapshot import Snapshot

NAME = "NodeResourcesBalancedAllocation"
CPU_AND_MEMORY = ("cpu", "memory")


class BalancedAllocation(Check):
    scores = True

    def __init__(self, amounts: tuple[tuple[str, int], ...], devices: Inventory) -> None:
        self._amounts = amounts
        self._devices = devices
        self.reads_devices = any(name in devices.resources for name, _ in amounts)

    def score(self, node: NodeState) -> int:
        allocatable, used = node.facts.allocatable, node.used
        before, after = [], []
        for name, amount in self._amounts:
            capacity, there = allocatable.get(name, 0), used.get(name, 0)
            if not capacity and self.reads_devices:
                capacity, there = self._devices.totals(name, node.facts)
            if capacity:
                before.append(there / capacity)
                after.append((there + amount) / capacity)
        return HALF + (HALF + _evenness(after) - _evenness(before)) // 2


class BalanceOfTwo(BalancedAllocation):
    """The same without its generality, for CPU and memory: nearly every pod asks this of nearly every node."""

    def score(self, node: NodeState) -> int:
        allocatable, used = node.facts.allocatable, node.used
        (one, amount), (other, more) = self._amounts
        first, second = allocatable.get(one, 0), allocatable.get(other, 0)
        there, those = used.get(one, 0), used.get(other, 0)
        if not (first and second) or there + amount > first or those + more > second:
            return super().score(node)
        before = int((1 - abs(there / first - those / second) / 2) * SCORE_MAX)
        after = int((1 - abs((there + amount) / first - (those + more) / second) / 2) * SCORE_MAX)
        return HALF + (HALF + after - before) // 2


HALF = SCORE_MAX // 2


def _evenness(shares: list[float]) -> int:
    if len(shares) == 2:
        one, other = shares
        return int((1 - abs(min(one, 1.0) - min(other, 1.0)) / 2) * SCORE_MAX)
    if not shares:
        return SCORE_MAX
    shares = [min(share, 1.0) for share in shares]
    mean = sum(shares) / len(shares)
    deviation = math.sqrt(sum((share - mean) ** 2 for share in shares) / len(shares))
    return int((1 - deviation) * SCORE_MAX)


def plugin(resources: tuple[str, ...]) -> Plugin:
    def check(shape: PodShape, snapshot: Snapshot) -> Check | None:
        if not any(name in shape.requests.amounts for name in resources):
            return None
        amounts = shape.requests.amounts
        counted = tuple((name, amounts.get(name, 0)) for name in resources if name in NATIVE or name in amounts)
        made = BalanceOfTwo if len(counted) == 2 else BalancedAllocation
        return made(counted, snapshot.surroundings.devices)

    return Plugin(NAME, Scope.PODS, check)


PLUGIN = plugin(CPU_AND_MEMORY)
