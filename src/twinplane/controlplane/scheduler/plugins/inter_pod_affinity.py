"""InterPodAffinity: required and preferred affinity and anti-affinity between pods, in both directions.

Each placed shape has a fixed effect on the class being scheduled ("+1 in the table of my anti-affinity, by zone");
effects are worked out once a shape, and a pod that comes or goes only adds or takes its shape's effects in its node's
domains.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from twinplane.controlplane.scheduler.framework import SCORE_MAX, Candidate, Check, Plugin, Refusal, Scope
from twinplane.controlplane.scheduler.node import NodeState
from twinplane.controlplane.scheduler.requirements import matches
from twinplane.controlplane.scheduler.shape import PodShape, PodTerm
from twinplane.controlplane.scheduler.snapshot import Snapshot

NAME = "InterPodAffinity"

NOT_NEAR = Refusal(NAME, ("node(s) didn't match pod affinity rules",), resolvable=False)
TOO_NEAR = Refusal(NAME, ("node(s) didn't match pod anti-affinity rules",))
UNWANTED = Refusal(NAME, ("node(s) didn't satisfy existing pods anti-affinity rules",))


@dataclass(frozen=True, slots=True)
class AffinityArgs:
    hard_weight: int = 1
    """What a placed pod's required affinity adds to the score (hardPodAffinityWeight)."""
    ignores_likings_of_others: bool = False
    """Preferred terms of placed pods do not count for pods without such terms (ignorePreferredTermsOfExistingPods)."""


class Table(Enum):
    NEAR = "near"
    APART = "apart"
    UNWANTED = "unwanted"
    LIKED = "liked"


class Effect(NamedTuple):
    table: Table
    topology_key: str
    weight: int


_UNKNOWN: Mapping[str, str] = {}
"""A namespace that is not known yet has no labels; the empty selector takes it nevertheless."""
Domain = tuple[str, str]
"""Topology key and value."""


class InterPodAffinity(Check):
    def __init__(self, shape: PodShape, snapshot: Snapshot, args: AffinityArgs) -> None:
        self._shape = shape
        self._hard_weight = args.hard_weight
        self._takes_likings = bool(shape.preferred_pods) or not args.ignores_likings_of_others
        self._namespaces = snapshot.surroundings.namespaces
        self._effects: dict[PodShape, tuple[Effect, ...]] = {}
        self._counts: dict[Table, defaultdict[Domain, int]] = {table: defaultdict(int) for table in Table}
        self._near_total = 0
        self._near_keys = sorted({term.topology_key for term in shape.affinity})
        self._apart_keys = sorted({term.topology_key for term in shape.anti_affinity})
        self._attracts_itself = bool(shape.affinity) and self._attracted_by_all(shape)
        self._keys: tuple[str, ...] = ()
        self._fine: frozenset[str] = frozenset()
        self._open(snapshot)
        # There may be pods with terms which have nothing to do with this shape (those of the cluster's DNS).
        self.filters = self.ranks = bool(self._keys)

    def _open(self, snapshot: Snapshot) -> None:
        placed = [(shape, places) for shape, places in snapshot.placed.items() if self._effects_of(shape)]
        keys = set(self._near_keys) | set(self._apart_keys)
        keys |= {term.topology_key for term in self._shape.preferred_pods}
        keys |= {effect.topology_key for shape, _ in placed for effect in self._effects_of(shape)}
        # The class's own pods will have their effects once they are placed.
        keys |= {effect.topology_key for effect in self._effects_of(self._shape)}
        self._keys = tuple(sorted(keys))
        self._fine = frozenset(key for key in keys if _one_node_each(key, snapshot))
        for shape, places in placed:
            for name, count in places.items():
                self.account(snapshot.nodes[name], shape, count)

    # What placed pods do ----------------------------------------------------------------------------------------

    def concerns(self, shape: PodShape) -> bool:
        return bool(self._effects_of(shape))

    def account(self, node: NodeState, shape: PodShape, delta: int) -> bool:
        labels = node.facts.labels
        for table, key, weight in self._effects_of(shape):
            if key not in self._keys:
                self.stale = True
                return True
            value = labels.get(key)
            if value is not None:
                self._counts[table][key, value] += weight * delta
                if table is Table.NEAR:
                    self._near_total += delta
        return True

    def _effects_of(self, other: PodShape) -> tuple[Effect, ...]:
        effects = self._effects.get(other)
        if effects is None:
            effects = self._effects[other] = tuple(self._work_out(other))
        return effects

    def _work_out(self, other: PodShape) -> list[Effect]:
        own = self._shape
        found: list[Effect] = []
        if own.affinity and self._attracted_by_all(other):
            found += [Effect(Table.NEAR, term.topology_key, 1) for term in own.affinity]
        for term in own.anti_affinity:
            if self._selects(term, other):
                found.append(Effect(Table.APART, term.topology_key, 1))
        for term in own.preferred_pods:
            if self._selects(term, other):
                found.append(Effect(Table.LIKED, term.topology_key, term.weight))
        for term in other.anti_affinity:
            if self._selects(term, own):
                found.append(Effect(Table.UNWANTED, term.topology_key, 1))
        return found + self._likings_of(other) if self._takes_likings else found

    def _likings_of(self, other: PodShape) -> list[Effect]:
        terms = [(term, self._hard_weight) for term in other.affinity if self._hard_weight]
        terms += [(term, term.weight) for term in other.preferred_pods]
        return [
            Effect(Table.LIKED, term.topology_key, weight) for term, weight in terms if self._selects(term, self._shape)
        ]

    def _attracted_by_all(self, other: PodShape) -> bool:
        return all(self._selects(term, other) for term in self._shape.affinity)

    def _selects(self, term: PodTerm, other: PodShape) -> bool:
        if other.namespace not in term.namespaces:
            labels = self._namespaces.get(other.namespace, _UNKNOWN)
            if not matches(term.namespace_selector, labels):
                return False
        return matches(term.selector, other.labels)

    # Verdicts ---------------------------------------------------------------------------------------------------

    def group(self, node: NodeState) -> Hashable:
        labels = node.facts.labels
        return tuple([self._position(key, labels.get(key)) for key in self._keys])

    def _position(self, key: str, value: str | None) -> Hashable:
        if value is None or key not in self._fine:
            return value
        return tuple([counts.get((key, value), 0) for counts in self._counts.values()])

    def refuse(self, node: NodeState) -> Refusal | None:
        labels = node.facts.labels
        if not self._is_near(labels):
            return NOT_NEAR
        apart, unwanted = self._counts[Table.APART], self._counts[Table.UNWANTED]
        if any(apart.get((key, labels.get(key, "")), 0) > 0 for key in self._apart_keys):
            return TOO_NEAR
        if any(unwanted.get((key, labels.get(key, "")), 0) > 0 for key in self._keys):
            return UNWANTED
        return None

    def _is_near(self, labels: Mapping[str, str]) -> bool:
        if not self._near_keys:
            return True
        if any(key not in labels for key in self._near_keys):
            return False
        near = self._counts[Table.NEAR]
        if all(near.get((key, labels[key]), 0) > 0 for key in self._near_keys):
            return True
        # The first pod of a group that wants to be near itself has nobody to be near to.
        return self._near_total == 0 and self._attracts_itself

    def rank(self, candidates: Sequence[Candidate]) -> list[int]:
        liked = self._counts[Table.LIKED]
        if not liked:
            return [0] * len(candidates)
        raw = []
        for candidate in candidates:
            labels = candidate.node.facts.labels
            raw.append(sum(liked.get((key, labels.get(key, "")), 0) for key in self._keys))
        low, high = min(raw, default=0), max(raw, default=0)
        if low == high:
            return [0] * len(candidates)
        return [SCORE_MAX * (value - low) // (high - low) for value in raw]


def _one_node_each(key: str, snapshot: Snapshot) -> bool:
    return all(count == 1 for count in snapshot.domains(key).values())


def plugin(args: AffinityArgs) -> Plugin:
    def check(shape: PodShape, snapshot: Snapshot) -> Check | None:
        if not shape.has_pod_terms and not snapshot.term_shapes:
            return None
        return InterPodAffinity(shape, snapshot, args)

    return Plugin(NAME, Scope.CLUSTER, check, weight=2)


PLUGIN = plugin(AffinityArgs())
