"""DefaultPreemption: which lower-priority pods would have to go so that a pod fits.

Pure: nodes are changed for the length of a what-if and put back. Upstream's order of choice between nodes: fewest
disruption budgets violated, lowest highest victim, smallest sum of priorities, fewest victims, latest start of the
most important victim.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

from twinplane.controlplane.scheduler import reasons
from twinplane.controlplane.scheduler.framework import Refusal
from twinplane.controlplane.scheduler.node import NodeState
from twinplane.controlplane.scheduler.ranking import Checks
from twinplane.controlplane.scheduler.requirements import matches
from twinplane.controlplane.scheduler.shape import Pod
from twinplane.controlplane.scheduler.snapshot import Budget, Snapshot

CANDIDATES_MIN = 100
CANDIDATES_SHARE = 10
"""Nodes tried: a tenth of the cluster, at least 100 (minCandidateNodesPercentage, minCandidateNodesAbsolute)."""


class Candidate(NamedTuple):
    node: NodeState
    victims: tuple[Pod, ...]
    violations: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """`node` is None when preemption does not help; `message` then says why."""

    node: str | None = None
    victims: tuple[Pod, ...] = ()
    message: str = ""


def preempt(pod: Pod, refusals: Mapping[str, Refusal], snapshot: Snapshot, checks: Checks) -> Outcome:
    if not pod.preempts:
        return Outcome(message=reasons.NEVER)
    if pod.nominated and _victims_are_leaving(pod, snapshot):
        return Outcome(message=reasons.TERMINATING_VICTIMS)
    helpful = [snapshot.nodes[name] for name, refusal in refusals.items() if refusal.resolvable]
    limit = max(CANDIDATES_MIN, len(snapshot.nodes) // CANDIDATES_SHARE)
    candidates: list[Candidate] = []
    counts = Counter({reasons.NOT_HELPFUL: len(refusals) - len(helpful)})
    for node in sorted(helpful, key=lambda state: state.order):
        candidate = _try_node(pod, node, snapshot, checks)
        if candidate is None:
            counts[reasons.NO_VICTIMS] += 1
            continue
        candidates.append(candidate)
        if len(candidates) >= limit:
            break
    if not candidates:
        return Outcome(message=reasons.availability(len(refusals), +counts))
    best = min(candidates, key=_preference)
    return Outcome(best.node.name, best.victims)


def _victims_are_leaving(pod: Pod, snapshot: Snapshot) -> bool:
    node = snapshot.nodes.get(pod.nominated)
    if node is None:
        return False
    return any(other.shape.terminating and other.priority < pod.priority for other in node.pods.values())


def _try_node(pod: Pod, node: NodeState, snapshot: Snapshot, checks: Checks) -> Candidate | None:
    """Remove all lesser pods; if that is enough, bring back as many as possible, the important ones first."""
    lesser = [other for other in node.pods.values() if other.priority < pod.priority]
    if not lesser:
        return None
    with _what_if(node, checks) as attempt:
        for other in lesser:
            attempt.remove(other)
        if checks.refuse(node) is not None:
            return None
        violating, harmless = _by_budget(lesser, snapshot)
        victims: list[Pod] = []
        violations = 0
        for group, violates in ((violating, True), (harmless, False)):
            for other in sorted(group, key=_importance):
                attempt.add(other)
                if checks.refuse(node) is not None:
                    attempt.remove(other)
                    victims.append(other)
                    violations += violates
        return Candidate(node, tuple(sorted(victims, key=_importance)), violations)


class _Attempt:
    def __init__(self, node: NodeState, checks: Checks) -> None:
        self._node = node
        self._checks = checks
        self.away: dict[str, Pod] = {}

    def remove(self, pod: Pod) -> None:
        self._node.remove(pod.uid)
        self.away[pod.uid] = pod
        self._account(pod, -1)

    def add(self, pod: Pod) -> None:
        self._node.add(pod)
        del self.away[pod.uid]
        self._account(pod, 1)

    def _account(self, pod: Pod, delta: int) -> None:
        for check in self._checks.accounting:
            check.account(self._node, pod.shape, delta)


@contextmanager
def _what_if(node: NodeState, checks: Checks) -> Iterator[_Attempt]:
    attempt = _Attempt(node, checks)
    before = dict(node.pods)
    try:
        yield attempt
    finally:
        for pod in list(attempt.away.values()):
            attempt.add(pod)
        node.pods = before


def _importance(pod: Pod) -> tuple[int, float]:
    """Higher priority first, then the one that runs longer."""
    return (-pod.priority, pod.started)


def _by_budget(pods: list[Pod], snapshot: Snapshot) -> tuple[list[Pod], list[Pod]]:
    """Pods whose eviction would break a disruption budget, and the others."""
    budgets = list(snapshot.surroundings.budgets.values())
    left = [budget.allowed for budget in budgets]
    violating: list[Pod] = []
    harmless: list[Pod] = []
    for pod in sorted(pods, key=_importance):
        broken = False
        for position, budget in enumerate(budgets):
            if _covers(budget, pod):
                left[position] -= 1
                broken = broken or left[position] < 0
        (violating if broken else harmless).append(pod)
    return violating, harmless


def _covers(budget: Budget, pod: Pod) -> bool:
    if budget.namespace != pod.namespace or pod.name in budget.already_counted or not pod.shape.labels:
        return False
    return matches(budget.selector, pod.shape.labels)


def _preference(candidate: Candidate) -> tuple[int, int, int, int, float, float]:
    victims = candidate.victims
    highest = max((pod.priority for pod in victims), default=-(2**31))
    started = min((pod.started for pod in victims if pod.priority == highest), default=0.0)
    # Upstream shifts priorities so that many unimportant victims still weigh more than few.
    total = sum(pod.priority + 2**31 for pod in victims)
    return (candidate.violations, highest, total, len(victims), -started, candidate.node.order)
