"""TaintToleration: NoSchedule and NoExecute taints keep pods away, PreferNoSchedule taints cost points."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from twinplane.controlplane.scheduler.framework import Candidate, Check, Plugin, Refusal, Scope, share_of_max
from twinplane.controlplane.scheduler.node import NodeState
from twinplane.controlplane.scheduler.shape import PodShape
from twinplane.controlplane.scheduler.snapshot import Snapshot

NAME = "TaintToleration"
REFUSAL = Refusal(NAME, ("node(s) had untolerated taint(s)",), resolvable=False)
"""Without the taint's key and value since 1.34: pods' owners need not know them."""
HARD_EFFECTS = ("NoSchedule", "NoExecute")


class TaintToleration(Check):
    filters = True

    def __init__(self, shape: PodShape, *, ranks: bool) -> None:
        self._shape = shape
        self.ranks = ranks

    def refuse(self, node: NodeState) -> Refusal | None:
        for taint in node.facts.taints:
            if taint.effect in HARD_EFFECTS and not self._shape.tolerates(taint):
                return REFUSAL
        return None

    def group(self, node: NodeState) -> Hashable:
        return self._penalty(node)

    def rank(self, candidates: Sequence[Candidate]) -> list[int]:
        return share_of_max([self._penalty(candidate.node) for candidate in candidates], reverse=True)

    def _penalty(self, node: NodeState) -> int:
        """Untolerated PreferNoSchedule taints; as upstream, tolerations for another effect do not count."""
        return sum(
            taint.effect == "PreferNoSchedule" and not self._shape.tolerates(taint) for taint in node.facts.taints
        )


def check(shape: PodShape, snapshot: Snapshot) -> Check | None:
    effects = {taint.effect for node in snapshot.nodes.values() for taint in node.facts.taints}
    return TaintToleration(shape, ranks="PreferNoSchedule" in effects) if effects else None


PLUGIN = Plugin(NAME, Scope.FACTS, check, weight=3)
