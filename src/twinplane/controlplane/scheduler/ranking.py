"""The order of nodes for one class of pods.

Identical pods see identical nodes, so a class ranks all nodes once; after that a placement touches one node. What nodes
say by themselves, and how good they are, is the class' `Standing`, which it shares with others. Nodes that do not
refuse are kept in heaps by that score, one heap a group (see `framework`): whatever depends on the rest of the cluster
is then asked once a group, on the best node of each. Heap entries are never too bad: a node that got worse is found
out, and put back in its new place, when it comes to the top; one that got better is given a new entry. An entry counts
only while it is the node's latest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from functools import partial
from heapq import heapify, heappop, heappush, heapreplace
from typing import TYPE_CHECKING, NamedTuple

from twinplane.controlplane.scheduler.framework import Candidate, Check, Plugin, Refusal, Scope
from twinplane.controlplane.scheduler.node import NodeState
from twinplane.controlplane.scheduler.plugins.node_affinity import PINNED_ELSEWHERE
from twinplane.controlplane.scheduler.requirements import Selector
from twinplane.controlplane.scheduler.shape import PodShape
from twinplane.controlplane.scheduler.snapshot import Change, Snapshot
from twinplane.controlplane.scheduler.standing import Standing, Standings, first_refusal
from twinplane.controlplane.scheduler.storage import VolumePlan

if TYPE_CHECKING:
    from twinplane.controlplane.scheduler.preemption import Candidates


Allows = Callable[[NodeState], bool]


class Entry(NamedTuple):
    """Sorts by score, best first, then by the nodes' tie-breaker."""

    penalty: int
    order: float
    sequence: int
    node: NodeState


_entry = partial(tuple.__new__, Entry)
"""From (penalty, order, sequence, node), without a call of Python for each."""


class Group:
    __slots__ = ("heap", "members")

    def __init__(self) -> None:
        self.heap: list[Entry] = []
        self.members = 0


class Checks:
    """The checks of one shape, sorted by when they must be asked."""

    def __init__(
        self, shape: PodShape, snapshot: Snapshot, plugins: Sequence[Plugin], standing: Standing | None = None
    ) -> None:
        """`standing` has those that look at nothing but the node, where it is known."""

        def check(plugin: Plugin) -> Check | None:
            if standing is None or plugin.scope is Scope.CLUSTER:
                return plugin.check(shape, snapshot)
            return standing.checks.get(plugin)

        made = [(plugin, found) for plugin in plugins if (found := check(plugin)) is not None]
        self.all: list[tuple[Plugin, Check]] = made
        filters = [(plugin, check) for plugin, check in made if check.filters and plugin.filters]
        self.filters = [check for _, check in filters]
        self.cluster = [check for plugin, check in filters if plugin.scope is Scope.CLUSTER]
        self.ranks = [(plugin.weight, check) for plugin, check in made if plugin.scores and check.ranks]
        ranking = [check for _, check in self.ranks]
        self.grouping = [check for _, check in made if check in ranking or check in self.cluster]
        self.accounting = [check for plugin, check in made if plugin.scope is Scope.CLUSTER]
        self.concerned: dict[PodShape, tuple[Check, ...]] = {}
        """Shape -> who accounts for pods of it, as far as known; for most nobody does."""
        self.rejection = next((check.rejection for check in self.filters if check.rejection is not None), None)

    def concerned_by(self, shape: PodShape) -> tuple[Check, ...]:
        found = self.concerned[shape] = tuple(check for check in self.accounting if check.concerns(shape))
        return found

    def refuse(self, node: NodeState) -> Refusal | None:
        """The first refusal in plugin order, as upstream reports it."""
        return next((refusal for check in self.filters if (refusal := check.refuse(node)) is not None), None)

    def reserve(self, node: NodeState) -> VolumePlan | None:
        return next((plan for check in self.filters if (plan := check.reserve(node)) is not None), None)

    def idle_claim(self) -> str:
        return next(filter(None, (check.idle() for check in self.filters)), "")


class Ranking:
    def __init__(
        self,
        shape: PodShape,
        snapshot: Snapshot,
        plugins: Sequence[Plugin],
        standings: Standings | None = None,
        *,
        start: float = 0.0,
    ) -> None:
        """`standings` are those of the planner's other rankings.

        Nodes that are equally good are taken in their order from `start` on, between 0 and 1 as the order is, where it
        is random. Classes that start at different places seldom fill the node that comes next in another's heap, which
        would have to find that out.
        """
        self.shape = shape
        self._start = start
        self._snapshot = snapshot
        self._plugins = plugins
        self._standing = (standings or Standings(snapshot, plugins)).of(shape)
        self._surroundings_seen = -1
        self._siblings: Selector = ()
        self._rebuild()

    def pick(self, preferred: str = "", allows: Allows | None = None) -> NodeState | None:
        """The best node for one more pod of the shape, None when all refuse; `preferred` wins if it does not.

        `allows` is what the one pod has to say beside its shape.
        """
        self._catch_up()
        if preferred in self._places:
            node = self._snapshot.nodes[preferred]
            if first_refusal(self.checks.cluster, node) is None and (allows is None or allows(node)):
                return node
        if not self.checks.grouping:
            group = self._groups.get(())
            entry = self._best(group, allows) if group else None
            return entry.node if entry else None
        return self._best_of_groups(allows)

    def refusals(self) -> dict[str, Refusal]:
        """Node name -> why not, for every node that refuses now."""
        self._catch_up()
        rejection = self.checks.rejection
        if rejection is not None:
            return dict.fromkeys(self._snapshot.nodes, rejection)
        found = dict(self._standing.refused)
        if self.checks.cluster:
            for name in self._places:
                refusal = first_refusal(self.checks.cluster, self._snapshot.nodes[name])
                if refusal is not None:
                    found[name] = refusal
        pinned = self._standing.pinned
        if pinned is not None:
            for name in self._snapshot.nodes.keys() - pinned:
                found[name] = PINNED_ELSEWHERE
        return found

    def counted(self) -> Counter[Refusal]:
        """How many nodes refuse for the same reasons; without looking at each."""
        self._catch_up()
        found = Counter(self._standing.counts)
        if self.checks.cluster:
            for group in self._groups.values():
                entry = self._top(group)
                refusal = first_refusal(self.checks.cluster, entry.node) if entry else None
                if refusal is not None:
                    found[refusal] += group.members
        pinned = self._standing.pinned
        if pinned is not None:
            elsewhere = len(self._snapshot.nodes.keys() - pinned)
            if elsewhere:
                found[PINNED_ELSEWHERE] += elsewhere
        return found

    @property
    def refused(self) -> Mapping[str, Refusal]:
        """Nodes that refuse whatever happens elsewhere; up to date after `pick`."""
        return self._standing.refused

    # Keeping up -------------------------------------------------------------------------------------------------

    def _rebuild(self) -> None:
        snapshot, standing = self._snapshot, self._standing
        standing.catch_up()
        self._cursor = snapshot.journal_end
        self._noted = standing.notable_end
        self._versions = self._current_versions()
        self.checks = Checks(self.shape, snapshot, self._plugins, standing)
        self._groups: dict[Hashable, Group] = {}
        self._places: dict[str, tuple[Entry, Group]] = {}
        self._sequence = 0
        self.candidates: dict[int, Candidates] = {}
        if self.checks.rejection is not None:
            return
        self._place_all(standing.penalties, snapshot.nodes)

    def _current_versions(self) -> tuple[int, int, Selector, bool]:
        surroundings = self._snapshot.surroundings
        if self._surroundings_seen != surroundings.version:
            # Another workload's ReplicaSet concerns only the pods that it selects.
            self._surroundings_seen = surroundings.version
            self._siblings = surroundings.default_selector(self.shape)
        namespaces = surroundings.namespaces_version
        return self._standing.generation, namespaces, self._siblings, bool(self._snapshot.term_shapes)

    def _catch_up(self) -> None:
        snapshot, standing = self._snapshot, self._standing
        standing.catch_up()
        if self._versions != self._current_versions():
            self._rebuild()
            return
        if self._cursor == snapshot.journal_end:
            return
        changes = snapshot.changes_since(self._cursor)
        noted = standing.notable_since(self._noted)
        if changes is None or noted is None or not self._apply(changes, noted):
            self._rebuild()
        self._cursor, self._noted = snapshot.journal_end, standing.notable_end

    def _apply(self, changes: list[Change], noted: list[NodeState]) -> bool:
        """False when a check cannot follow."""
        if self.checks.rejection is not None:
            return True
        moved = {node.name: node for node in noted}
        concerned = self.checks.concerned
        for node, shape, delta in changes if self.checks.accounting else ():
            checks = concerned.get(shape)
            if checks is None:
                checks = self.checks.concerned_by(shape)
            for check in checks:
                if check.account(node, shape, delta):
                    moved[node.name] = node
                if check.stale:
                    return False
        for candidates in self.candidates.values():
            candidates.outdated.update(node.name for node, _, _ in changes)
        for node in moved.values():
            self._replace(node)
        return True

    def _replace(self, node: NodeState) -> None:
        old = self._places.pop(node.name, None)
        if old is not None:
            old[1].members -= 1
        if node.name in self._standing.penalties:
            group = self._place(node)
            # `_place` appended; restore the heap by pushing what it appended.
            heappush(group.heap, group.heap.pop())
            self._trim(group)

    def _place_all(self, penalties: Mapping[str, int], nodes: Mapping[str, NodeState]) -> None:
        """As `_place` of each: written out, since a new class of pods goes through all nodes of the cluster."""
        chosen = [nodes[name] for name in penalties]
        start = self._start
        orders = [(node.order + start) % 1.0 for node in chosen] if start else [node.order for node in chosen]
        entries = map(_entry, zip(penalties.values(), orders, range(1, len(chosen) + 1), chosen, strict=True))
        columns = [check.groups(chosen) for check in self.checks.grouping]
        keys: Iterable[Hashable] = zip(*columns, strict=True) if columns else [()] * len(chosen)
        groups, places = self._groups, self._places
        for name, key, entry in zip(penalties, keys, entries, strict=True):
            group = groups.get(key)
            if group is None:
                group = groups[key] = Group()
            group.heap.append(entry)
            places[name] = (entry, group)
        self._sequence = len(places)
        for group in groups.values():
            group.members = len(group.heap)
            heapify(group.heap)

    def _place(self, node: NodeState) -> Group:
        """Put the node where it belongs now; its entry is appended, the caller restores the heap."""
        key: Hashable = tuple([check.group(node) for check in self.checks.grouping])
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = Group()
        self._sequence += 1
        order = (node.order + self._start) % 1.0 if self._start else node.order
        entry = Entry(self._standing.penalties[node.name], order, self._sequence, node)
        group.heap.append(entry)
        group.members += 1
        self._places[node.name] = (entry, group)
        return group

    def _trim(self, group: Group) -> None:
        """Outdated entries may not outgrow the live ones."""
        if len(group.heap) > 2 * group.members + 64:
            group.heap = [entry for entry in group.heap if self._is_live(entry)]
            heapify(group.heap)

    def _is_live(self, entry: Entry) -> bool:
        place = self._places.get(entry.node.name)
        return place is not None and place[0] is entry

    # Choosing ---------------------------------------------------------------------------------------------------

    def _top(self, group: Group) -> Entry | None:
        heap, places, penalties = group.heap, self._places, self._standing.penalties
        while heap:
            entry = heap[0]
            seen, order, sequence, node = entry
            place = places.get(node.name)
            if place is None or place[0] is not entry:
                heappop(heap)
                continue
            penalty = penalties[node.name]
            if penalty == seen:
                return entry
            entry = Entry(penalty, order, sequence, node)
            places[node.name] = (entry, group)
            heapreplace(heap, entry)
        return None

    def _best(self, group: Group, allows: Allows | None) -> Entry | None:
        """The group's first entry that is allowed."""
        top = self._top(group)
        if allows is None or top is None or allows(top.node):
            return top
        passed: list[Entry] = []
        while top is not None and not allows(top.node):
            passed.append(heappop(group.heap))
            top = self._top(group)
        for entry in passed:
            heappush(group.heap, entry)
        return top

    def _best_of_groups(self, allows: Allows | None) -> NodeState | None:
        tops: list[Entry] = []
        candidates: list[Candidate] = []
        refusing = self.checks.cluster
        for key, group in list(self._groups.items()):
            entry = self._top(group)
            if entry is None:
                del self._groups[key]
                continue
            if refusing and first_refusal(refusing, entry.node) is not None:
                continue
            if allows is not None:
                entry = self._best(group, allows)
                if entry is None:
                    continue
            tops.append(entry)
            candidates.append(Candidate(entry.node, group.members))
        if not tops:
            return None
        totals = [-entry.penalty for entry in tops]
        for weight, check in self.checks.ranks:
            totals = [total + weight * share for total, share in zip(totals, check.rank(candidates), strict=True)]
        best = max(range(len(tops)), key=lambda position: (totals[position], -tops[position].order))
        return tops[best].node


def by_reason(refusals: Mapping[Refusal, int]) -> Counter[str]:
    """How many nodes gave each reason."""
    found: Counter[str] = Counter()
    for refusal, count in refusals.items():
        for reason in refusal.reasons:
            found[reason] += count
    return found
