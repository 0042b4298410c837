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
from heapq import heappop, heappush
from typing import NamedTuple

from twinplane.controlplane.scheduler import reasons
from twinplane.controlplane.scheduler.framework import Refusal
from twinplane.controlplane.scheduler.node import NodeState
from twinplane.controlplane.scheduler.ranking import Checks, Ranking
from twinplane.controlplane.scheduler.requirements import matches
from twinplane.controlplane.scheduler.shape import Pod
from twinplane.controlplane.scheduler.snapshot import Budget, Snapshot

PLUGIN_NAME = "DefaultPreemption"


@dataclass(frozen=True, slots=True)
class PreemptionArgs:
    """How many candidates are enough: a share of the nodes, but at least so many."""

    percentage: int = 10
    at_least: int = 100

    def enough(self, nodes: int) -> int:
        return max(nodes * self.percentage // 100, self.at_least)


DEFAULT_PREEMPTION = PreemptionArgs()
Preference = tuple[int, int, int, int, float, float]
"""The least is the best."""


class Candidate(NamedTuple):
    node: NodeState
    victims: tuple[Pod, ...]
    violations: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """`node` is None when preemption does not help; `message` then says why (None: it was not asked)."""

    node: str | None = None
    victims: tuple[Pod, ...] = ()
    message: str | None = ""


class Candidates:
    """Nodes where victims would make room for pods of one shape and priority; kept between such pods.

    Only nodes in `outdated`, which the ranking marks, are tried again, and new ones until there are enough.
    """

    def __init__(self, priority: int, refused: Mapping[str, Refusal], snapshot: Snapshot) -> None:
        self.outdated: set[str] = set()
        self.budgets_version = snapshot.surroundings.budgets_version
        self._priority = priority
        self._snapshot = snapshot
        nodes = (snapshot.nodes[name] for name, refusal in refused.items() if refusal.resolvable)
        self._untried = [node.name for node in sorted(nodes, key=lambda node: node.order, reverse=True)]
        self._found: dict[str, Candidate] = {}
        self._violating = 0
        self._heap: list[tuple[Preference, str, Candidate]] = []
        self._useless: dict[str, tuple[str, ...]] = {}

    def best(self, ranking: Ranking, limit: int) -> Candidate | None:
        outdated, self.outdated = self.outdated, set()
        for name in outdated:
            self._forget(name)
            self._try(name, ranking)
        while self._untried and (len(self._found) < limit or len(self._found) == self._violating):
            self._try(self._untried.pop(), ranking)
        while self._heap:
            _, name, candidate = self._heap[0]
            if self._found.get(name) is candidate:
                return candidate
            heappop(self._heap)
        return None

    def useless(self, nodes: int) -> Counter[str]:
        """Why preemption does not help, when it does not."""
        counts = Counter(reason for found in self._useless.values() for reason in found)
        if nodes > len(self._useless):
            counts[reasons.NOT_HELPFUL] += nodes - len(self._useless)
        return counts

    def _forget(self, name: str) -> None:
        self._useless.pop(name, None)
        old = self._found.pop(name, None)
        if old is not None and old.violations:
            self._violating -= 1

    def _try(self, name: str, ranking: Ranking) -> None:
        refusal = ranking.refused.get(name) or ranking.checks.refuse(self._snapshot.nodes[name])
        if refusal is None or not refusal.resolvable:
            return
        node = self._snapshot.nodes[name]
        tried = _try_node(self._priority, node, self._snapshot, ranking.checks)
        if not isinstance(tried, Candidate):
            self._useless[name] = tried
            return
        self._found[name] = tried
        self._violating += tried.violations > 0
        heappush(self._heap, (_preference(tried), name, tried))


def preempt(pod: Pod, ranking: Ranking, snapshot: Snapshot, args: PreemptionArgs) -> Outcome:
    """For a pod that all nodes of an up-to-date ranking refuse."""
    if not pod.preempts:
        return Outcome(message=reasons.NEVER)
    if pod.nominated and _victims_are_leaving(pod, snapshot, ranking):
        return Outcome(message=reasons.TERMINATING_VICTIMS)
    candidates = _candidates(pod.priority, ranking, snapshot)
    best = candidates.best(ranking, args.enough(len(snapshot.nodes)))
    if best is None:
        count = len(snapshot.nodes)
        return Outcome(message=reasons.availability(count, candidates.useless(count)))
    return Outcome(best.node.name, best.victims)


def _candidates(priority: int, ranking: Ranking, snapshot: Snapshot) -> Candidates:
    kept = ranking.candidates.get(priority)
    if kept is not None and kept.budgets_version == snapshot.surroundings.budgets_version:
        return kept
    if ranking.checks.cluster:
        # What other nodes' pods forbid changes with every placement anywhere: nothing is worth keeping.
        return Candidates(priority, ranking.refusals(), snapshot)
    made = ranking.candidates[priority] = Candidates(priority, ranking.refused, snapshot)
    return made


def _victims_are_leaving(pod: Pod, snapshot: Snapshot, ranking: Ranking) -> bool:
    node = snapshot.nodes.get(pod.nominated)
    if node is None:
        return False
    refusal = ranking.checks.refuse(node)
    if refusal is not None and not refusal.resolvable:
        # The promised node has become impossible; its victims no longer count.
        return False
    return any(other.shape.terminating and other.priority < pod.priority for other in node.pods.values())


def _try_node(priority: int, node: NodeState, snapshot: Snapshot, checks: Checks) -> Candidate | tuple[str, ...]:
    """Remove all lesser pods; if that is enough, bring back as many as possible, the important ones first.

    Returns the reasons when it is not enough.
    """
    lesser = [other for other in node.pods.values() if other.priority < priority]
    if not lesser:
        return (reasons.NO_VICTIMS,)
    with _what_if(node, checks) as attempt:
        for other in lesser:
            attempt.remove(other)
        refusal = checks.refuse(node)
        if refusal is not None:
            return refusal.reasons
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


def _preference(candidate: Candidate) -> Preference:
    victims = candidate.victims
    highest = max((pod.priority for pod in victims), default=-(2**31))
    started = min((pod.started for pod in victims if pod.priority == highest), default=0.0)
    # Upstream shifts priorities so that many unimportant victims still weigh more than few.
    total = sum(pod.priority + 2**31 for pod in victims)
    return (candidate.violations, highest, total, len(victims), -started, candidate.node.order)
