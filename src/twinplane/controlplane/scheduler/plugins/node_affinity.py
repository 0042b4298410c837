"""NodeAffinity: `nodeSelector` and required node affinity; preferred terms score by their summed weights."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from twinplane.controlplane.scheduler.framework import Candidate, Check, Plugin, Refusal, Scope, share_of_max
from twinplane.controlplane.scheduler.node import NodeState
from twinplane.controlplane.scheduler.requirements import NodeTerm
from twinplane.controlplane.scheduler.shape import PodShape, Preferred
from twinplane.controlplane.scheduler.snapshot import Snapshot

NAME = "NodeAffinity"
REFUSAL = Refusal(NAME, ("node(s) didn't match Pod's node affinity/selector",), resolvable=False)
NOT_ENFORCED = Refusal(NAME, ("node(s) didn't match scheduler-enforced node affinity",), resolvable=False)
PINNED_ELSEWHERE = Refusal(NAME, (f"node(s) didn't satisfy plugin(s) [{NAME}]",), resolvable=False)


@dataclass(frozen=True, slots=True)
class AddedAffinity:
    """What a profile asks of nodes for all of its pods."""

    required: tuple[NodeTerm, ...] | None = None
    preferred: tuple[Preferred, ...] = ()


class NodeAffinity(Check):
    def __init__(self, shape: PodShape, added: AddedAffinity) -> None:
        self._shape = shape
        self._added = added.required
        self._preferred = (*added.preferred, *shape.preferred_nodes)
        self.filters = bool(shape.node_selector) or shape.node_terms is not None or added.required is not None
        self.ranks = bool(self._preferred)

    def refuse(self, node: NodeState) -> Refusal | None:
        labels, name = node.facts.labels, node.name
        if self._added is not None and not any(term.holds(labels, name) for term in self._added):
            return NOT_ENFORCED
        return None if self._shape.selects_node(labels, name) else REFUSAL

    def group(self, node: NodeState) -> Hashable:
        return self._preference(node)

    def rank(self, candidates: Sequence[Candidate]) -> list[int]:
        return share_of_max([self._preference(candidate.node) for candidate in candidates])

    def _preference(self, node: NodeState) -> int:
        labels, name = node.facts.labels, node.name
        return sum(preferred.weight for preferred in self._preferred if preferred.term.holds(labels, name))


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


def plugin(added: AddedAffinity) -> Plugin:
    def check(shape: PodShape, snapshot: Snapshot) -> Check | None:
        made = NodeAffinity(shape, added)
        return made if made.filters or made.ranks else None

    return Plugin(NAME, Scope.FACTS, check, weight=2)


PLUGIN = plugin(AddedAffinity())
