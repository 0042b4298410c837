"""NodeAffinity: `nodeSelector` and required node affinity; preferred terms score by their summed weights."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from twinplane.controlplane.scheduler.framework import Candidate, Check, Plugin, Refusal, Scope, share_of_max
from twinplane.controlplane.scheduler.node import NodeState
from twinplane.controlplane.scheduler.shape import PodShape
from twinplane.controlplane.scheduler.snapshot import Snapshot

NAME = "NodeAffinity"
REFUSAL = Refusal(NAME, ("node(s) didn't match Pod's node affinity/selector",), resolvable=False)
PINNED_ELSEWHERE = Refusal(NAME, (f"node(s) didn't satisfy plugin(s) [{NAME}]",), resolvable=False)


class NodeAffinity(Check):
    def __init__(self, shape: PodShape) -> None:
        self._shape = shape
        self.filters = bool(shape.node_selector) or shape.node_terms is not None
        self.ranks = bool(shape.preferred_nodes)

    def refuse(self, node: NodeState) -> Refusal | None:
        return None if self._shape.selects_node(node.facts.labels, node.name) else REFUSAL

    def group(self, node: NodeState) -> Hashable:
        return self._preference(node)

    def rank(self, candidates: Sequence[Candidate]) -> list[int]:
        return share_of_max([self._preference(candidate.node) for candidate in candidates])

    def _preference(self, node: NodeState) -> int:
        labels, name = node.facts.labels, node.name
        return sum(preferred.weight for preferred in self._shape.preferred_nodes if preferred.term.holds(labels, name))


def pinned_names(shape: PodShape) -> frozenset[str] | None:
    """The only nodes that can do, when every required term names nodes (DaemonSet pods); None when any may."""
    if not shape.node_terms:
        return None
    names: frozenset[str] = frozenset()
    for term in shape.node_terms:
        named = [field.values for field in term.fields if field.key == "metadata.name" and field.operator == "In"]
        if not named:
            return None
        names |= frozenset.intersection(*named)
    return names


def check(shape: PodShape, snapshot: Snapshot) -> Check | None:
    made = NodeAffinity(shape)
    return made if made.filters or made.ranks else None


PLUGIN = Plugin(NAME, Scope.FACTS, check, weight=2)
