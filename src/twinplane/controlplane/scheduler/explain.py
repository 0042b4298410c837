"""Why a pod goes where it goes: every node's verdict and score, plugin by plugin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from twinplane.controlplane.scheduler.classes import own_shape
from twinplane.controlplane.scheduler.framework import Candidate, Plugin
from twinplane.controlplane.scheduler.node import NodeState
from twinplane.controlplane.scheduler.plugins import DEFAULT_PLUGINS
from twinplane.controlplane.scheduler.ranking import Checks
from twinplane.controlplane.scheduler.shape import Pod
from twinplane.controlplane.scheduler.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Verdict:
    node: str
    refusals: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Plugin -> reasons, of every plugin that refuses, not only the first."""
    scores: dict[str, int] = field(default_factory=dict)
    """Plugin -> weighted score; empty for nodes that are refused."""

    @property
    def feasible(self) -> bool:
        return not self.refusals

    @property
    def total(self) -> int:
        return sum(self.scores.values())


def explain(snapshot: Snapshot, pod: Pod, plugins: Sequence[Plugin] = DEFAULT_PLUGINS) -> list[Verdict]:
    """Feasible nodes first, best first. A pod that is placed already is judged as if it were not."""
    if snapshot.home_of(pod.uid) is not None:
        snapshot = snapshot.copy()
        snapshot.remove_pod(pod.uid)
    checks = Checks(own_shape(pod, snapshot), snapshot, plugins)
    refusals = {node.name: _refusals(checks, node) for node in snapshot.nodes.values()}
    feasible = [node for node in snapshot.nodes.values() if not refusals[node.name]]
    scores = _scores(checks, feasible)
    verdicts = [Verdict(name, refusals[name], scores.get(name, {})) for name in snapshot.nodes]
    return sorted(verdicts, key=lambda verdict: (not verdict.feasible, -verdict.total))


def _refusals(checks: Checks, node: NodeState) -> dict[str, tuple[str, ...]]:
    found = {}
    for plugin, check in checks.all:
        if not (check.filters and plugin.filters):
            continue
        refusal = check.rejection or check.refuse(node)
        if refusal is not None:
            found[plugin.name] = refusal.reasons
    return found


def _scores(checks: Checks, nodes: Sequence[NodeState]) -> dict[str, dict[str, int]]:
    scores: dict[str, dict[str, int]] = {node.name: {} for node in nodes}
    for plugin, check in checks.all:
        if not plugin.scores:
            continue
        if check.scores:
            shares = [check.score(node) for node in nodes]
        elif check.ranks:
            shares = check.rank([Candidate(node, 1) for node in nodes])
        else:
            continue
        for node, share in zip(nodes, shares, strict=True):
            scores[node.name][plugin.name] = plugin.weight * share
    return scores
