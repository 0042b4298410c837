"""The scheduler's core: pods in, decisions with reasons out. No I/O, no clock; equal input gives equal output.

`Planner.place` decides for one pod and counts it on its node at once, so that the next pod sees it; the caller binds it
and takes it back (`Snapshot.remove_pod`) when binding fails. `plan` does the same on a copy, for what-if questions.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from twinplane.controlplane.scheduler import reasons
from twinplane.controlplane.scheduler.framework import Plugin
from twinplane.controlplane.scheduler.plugins import DEFAULT_PLUGINS
from twinplane.controlplane.scheduler.preemption import Outcome, preempt
from twinplane.controlplane.scheduler.ranking import Ranking, tally
from twinplane.controlplane.scheduler.shape import Pod, PodShape
from twinplane.controlplane.scheduler.snapshot import Snapshot

RANKINGS_MAX = 64
"""Pod classes whose ranking is kept; each holds an entry a node."""


@dataclass(frozen=True, slots=True)
class Decision:
    """Where a pod goes, or why it goes nowhere and what preemption would do about it."""

    pod: Pod
    node: str | None
    message: str = ""
    plugins: frozenset[str] = frozenset()
    """Those that refused: only what concerns them can help."""
    nominated: str | None = None
    victims: tuple[Pod, ...] = ()


class Planner:
    def __init__(self, snapshot: Snapshot, plugins: Sequence[Plugin] = DEFAULT_PLUGINS) -> None:
        self.snapshot = snapshot
        self._plugins = plugins
        self._rankings: OrderedDict[PodShape, Ranking] = OrderedDict()

    def place(self, pod: Pod) -> Decision:
        snapshot = self.snapshot
        reserved = snapshot.remove_pod(pod.uid)
        ranking = self._ranking(pod.shape)
        node = ranking.pick()
        if node is not None:
            snapshot.add_pod(replace(pod, node=node.name), node.name)
            return Decision(pod, node.name)
        refusals = ranking.refusals()
        outcome = preempt(pod, refusals, snapshot, ranking.checks) if refusals else Outcome()
        for victim in outcome.victims:
            if not victim.node:
                # It was only promised the node; it will look for another.
                snapshot.remove_pod(victim.uid)
        if outcome.node is not None:
            # The room that the victims leave is kept for the pod until its turn comes again.
            snapshot.add_pod(pod, outcome.node)
        elif reserved is not None and pod.nominated and outcome.message == reasons.TERMINATING_VICTIMS:
            snapshot.add_pod(reserved, pod.nominated)
        return Decision(
            pod,
            None,
            reasons.unschedulable(len(snapshot.nodes), tally(refusals.values()), outcome.message),
            frozenset(refusal.plugin for refusal in refusals.values()),
            outcome.node,
            outcome.victims,
        )

    def _ranking(self, shape: PodShape) -> Ranking:
        ranking = self._rankings.get(shape)
        if ranking is None:
            ranking = self._rankings[shape] = Ranking(shape, self.snapshot, self._plugins)
            if len(self._rankings) > RANKINGS_MAX:
                self._rankings.popitem(last=False)
        else:
            self._rankings.move_to_end(shape)
        return ranking


def plan(snapshot: Snapshot, pods: Iterable[Pod], plugins: Sequence[Plugin] = DEFAULT_PLUGINS) -> list[Decision]:
    """Decide for pods in their order, leaving `snapshot` as it is."""
    planner = Planner(snapshot.copy(), plugins)
    return [planner.place(pod) for pod in pods]
