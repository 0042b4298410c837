"""PodTopologySpread: `topologySpreadConstraints`, and the system's default spreading for pods with siblings.

Hard constraints (DoNotSchedule) refuse a node whose domain would exceed the skew; soft ones rank nodes by how many
matching pods their domains have. Pods without constraints of their own get upstream's system defaults (hostname with
skew 3, zone with skew 5, both soft) when a Service or a controller selects them.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from itertools import compress

from twinplane.controlplane.scheduler.framework import SCORE_MAX, Candidate, Check, Plugin, Refusal, Scope
from twinplane.controlplane.scheduler.node import NodeState
from twinplane.controlplane.scheduler.plugins.taint_toleration import HARD_EFFECTS
from twinplane.controlplane.scheduler.requirements import matches
from twinplane.controlplane.scheduler.shape import PodShape, SpreadConstraint
from twinplane.controlplane.scheduler.snapshot import Snapshot

NAME = "PodTopologySpread"
HOSTNAME = "kubernetes.io/hostname"
ZONE = "topology.kubernetes.io/zone"
DEFAULT_SKEW = ((HOSTNAME, 3), (ZONE, 5))
SKEWED = Refusal(NAME, ("node(s) didn't match pod topology spread constraints",))
LABEL_MISSING = Refusal(
    NAME, ("node(s) didn't match pod topology spread constraints (missing required label)",), resolvable=False
)


class Domains:
    """Matching pods in each domain of one constraint; the smallest count is kept at hand."""

    def __init__(self, constraint: SpreadConstraint, shape: PodShape, keys: Sequence[str]) -> None:
        self.constraint = constraint
        self.key = constraint.topology_key
        self.counts: dict[str, int] = {}
        self.own = int(matches(constraint.selector, shape.labels))
        self.fine = False
        """One node a domain: its count stands for it, so that thousands of nodes make a few groups."""
        self._shape = shape
        self._keys = keys
        picks_nodes = bool(shape.node_selector) or shape.node_terms is not None
        needs_more = any(key != self.key for key in keys) or constraint.honor_taints
        self._counts_all = not (needs_more or (constraint.honor_affinity and picks_nodes))
        """All nodes that have the label: the case of the system's defaults."""
        self._levels: Counter[int] = Counter()
        self._least = 0

    def open(self, snapshot: Snapshot) -> None:
        """Every counted node's domain exists, even with no pods."""
        known = snapshot.domains(self.key)
        self.fine = all(count == 1 for count in known.values())
        if self._counts_all:
            self.counts = dict.fromkeys(known, 0)
        else:
            for node in snapshot.nodes.values():
                value = node.facts.labels.get(self.key)
                if value is not None and self.counts_node(node):
                    self.counts.setdefault(value, 0)
        self._levels[0] = len(self.counts)

    def counts_node(self, node: NodeState) -> bool:
        if self._counts_all:
            return True
        facts, constraint = node.facts, self.constraint
        if any(key not in facts.labels for key in self._keys):
            return False
        if constraint.honor_affinity and not self._shape.selects_node(facts.labels, facts.name):
            return False
        return not constraint.honor_taints or all(
            taint.effect not in HARD_EFFECTS or self._shape.tolerates(taint) for taint in facts.taints
        )

    def add(self, node: NodeState, delta: int) -> None:
        value = node.facts.labels.get(self.key)
        if value is None or not self.counts_node(node):
            return
        before = self.counts.get(value, 0)
        self.counts[value] = after = before + delta
        self._levels[before] -= 1
        self._levels[after] += 1
        self._least = min(self._least, after)

    @property
    def least(self) -> int:
        if len(self.counts) < self.constraint.min_domains or not self.counts:
            return 0
        while not self._levels[self._least]:
            self._least += 1
        return self._least

    def group(self, node: NodeState) -> Hashable:
        value = node.facts.labels.get(self.key)
        if value is None:
            return None
        return self.counts.get(value, -1) if self.fine else value

    def groups(self, nodes: Sequence[NodeState]) -> Iterable[Hashable]:
        key, counts = self.key, self.counts
        values = [node.facts.labels.get(key) for node in nodes]
        if not self.fine:
            return values
        return [None if value is None else counts.get(value, -1) for value in values]


class PodTopologySpread(Check):
    def __init__(self, shape: PodShape, constraints: Sequence[SpreadConstraint], *, explicit: bool) -> None:
        hard = [constraint for constraint in constraints if constraint.hard]
        soft = [constraint for constraint in constraints if not constraint.hard]
        self._shape = shape
        self.hard = [Domains(item, shape, [other.topology_key for other in hard]) for item in hard]
        self._required = [item.topology_key for item in soft] if explicit else []
        """Explicit soft constraints leave out nodes that lack any of their labels; the defaults do not."""
        self.soft = [Domains(item, shape, self._required) for item in soft]
        self._domains = [*self.hard, *self.soft]
        self._selected: dict[PodShape, tuple[int, ...]] = {}
        self.filters = bool(hard)
        self.ranks = bool(soft)

    def open(self, snapshot: Snapshot) -> None:
        for domains in self._domains:
            domains.open(snapshot)
        for shape, places in snapshot.placed.items():
            if self._positions(shape):
                for name, count in places.items():
                    self.account(snapshot.nodes[name], shape, count)

    def _positions(self, shape: PodShape) -> tuple[int, ...]:
        """Which constraints count pods of a shape."""
        found = self._selected.get(shape)
        if found is None:
            found = ()
            if shape.namespace == self._shape.namespace and not shape.terminating:
                found = tuple(
                    position
                    for position, domains in enumerate(self._domains)
                    if matches(domains.constraint.selector, shape.labels)
                )
            self._selected[shape] = found
        return found

    def concerns(self, shape: PodShape) -> bool:
        return bool(self._positions(shape))

    def account(self, node: NodeState, shape: PodShape, delta: int) -> bool:
        for position in self._positions(shape):
            self._domains[position].add(node, delta)
        return True

    def group(self, node: NodeState) -> Hashable:
        return tuple([domains.group(node) for domains in self._domains])

    def groups(self, nodes: Sequence[NodeState]) -> Iterable[Hashable]:
        return zip(*(domains.groups(nodes) for domains in self._domains), strict=True)

    def refuse(self, node: NodeState) -> Refusal | None:
        labels = node.facts.labels
        for domains in self.hard:
            value = labels.get(domains.key)
            if value is None:
                return LABEL_MISSING
            if domains.counts.get(value, 0) + domains.own - domains.least > domains.constraint.max_skew:
                return SKEWED
        return None

    def rank(self, candidates: Sequence[Candidate]) -> list[int]:
        required = self._required
        kept = [all(key in item.node.facts.labels for key in required) for item in candidates] if required else []
        if all(kept):
            return self._ranked(candidates)
        shares = iter(self._ranked(list(compress(candidates, kept))))
        return [next(shares) if each else 0 for each in kept]

    def _ranked(self, candidates: Sequence[Candidate]) -> list[int]:
        labels = [item.node.facts.labels for item in candidates]
        totals = [0.0] * len(candidates)
        for domains in self.soft:
            key, counts = domains.key, domains.counts
            values = [each.get(key) for each in labels]
            if domains.fine:
                size = sum([item.size for item, value in zip(candidates, values, strict=True) if value is not None])
            else:
                size = len({value for value in values if value is not None})
            # A key with many domains weighs more, or hostnames would drown in zones.
            weight, skew = math.log(size + 2), domains.constraint.max_skew - 1
            totals = [
                total if value is None else total + (counts.get(value, 0) * weight + skew)
                for total, value in zip(totals, values, strict=True)
            ]
        raw = [math.floor(total + 0.5) for total in totals]
        low, high = min(raw, default=0), max(raw, default=0)
        if high == 0:
            return [SCORE_MAX] * len(raw)
        return [SCORE_MAX * (high + low - value) // high for value in raw]


SYSTEM_DEFAULTS = tuple(SpreadConstraint(skew, key, None, hard=False) for key, skew in DEFAULT_SKEW)


def plugin(defaults: tuple[SpreadConstraint, ...], *, system: bool) -> Plugin:
    """`defaults` are for pods with siblings and no constraints of their own; their selector is the siblings'."""

    def check(shape: PodShape, snapshot: Snapshot) -> Check | None:
        constraints: Sequence[SpreadConstraint] = shape.spread
        if not constraints:
            selector = snapshot.surroundings.default_selector(shape) if defaults else ()
            if not selector:
                return None
            constraints = [item._replace(selector=selector) for item in defaults]
        # Only the system's defaults are content with nodes that lack one of the labels.
        made = PodTopologySpread(shape, constraints, explicit=bool(shape.spread) or not system)
        made.open(snapshot)
        return made

    return Plugin(NAME, Scope.CLUSTER, check, weight=2)


PLUGIN = plugin(SYSTEM_DEFAULTS, system=True)
