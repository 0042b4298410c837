"""What nodes themselves say to pods that ask them for the same: who refuses, and the score of the others.

Two ReplicaSets of one template differ in their labels only, which concern spreading and affinity between pods; whether
a pod fits a node, and how well, is the same for both. So that part is kept once for all classes of pods that ask for
the same, and a change of a node is worked out once. Each class' `Ranking` reads the penalties here and looks at a node
again only when it is `notable`: what just got worse is found out when the node comes up for choice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import replace
from weakref import WeakValueDictionary

from twinplane.controlplane.scheduler.classes import identity_of
from twinplane.controlplane.scheduler.framework import Check, Plugin, Refusal, Scope
from twinplane.controlplane.scheduler.node import NodeState
from twinplane.controlplane.scheduler.plugins.node_affinity import pinned_names
from twinplane.controlplane.scheduler.shape import PodShape
from twinplane.controlplane.scheduler.snapshot import Snapshot

NOTABLE_MAX = 50_000
"""Kept of what classes have to catch up with; who is further behind starts anew."""


class Standing:
    """`shape` stands for all pods that ask nodes for the same. Ask `catch_up` before reading."""

    def __init__(self, shape: PodShape, snapshot: Snapshot, plugins: Sequence[Plugin]) -> None:
        self._shape = shape
        self._snapshot = snapshot
        self._plugins = [plugin for plugin in plugins if plugin.scope is not Scope.CLUSTER]
        self.generation = 0
        """Grows when everything was worked out anew."""
        self.pinned = pinned_names(shape)
        """The only nodes that are looked at; None for all."""
        self.checks: dict[Plugin, Check] = {}
        self.penalties: dict[str, int] = {}
        """Node that does not refuse -> its own score, negative."""
        self.refused: dict[str, Refusal] = {}
        self.counts: Counter[Refusal] = Counter()
        self._excluded: set[str] = set()
        """Refused for what they are: their pods make no difference."""
        self._notable: list[NodeState] = []
        self._notable_end = 0
        self._cursor = 0
        self._versions = (-1, -1, -1)
        self._reads_devices = False
        self.catch_up()

    def catch_up(self) -> None:
        snapshot = self._snapshot
        if self._versions != self._current_versions():
            self._build()
            return
        if self._cursor == snapshot.journal_end:
            return
        changes = snapshot.changes_since(self._cursor)
        if changes is None:
            self._build()
            return
        self._cursor = snapshot.journal_end
        for node in {id(node): node for node, _, _ in changes}.values():
            if node.name not in self._excluded and (self.pinned is None or node.name in self.pinned):
                self._judge_again(node)

    def notable_since(self, sequence: int) -> list[NodeState] | None:
        """Nodes that have become better, or refuse and did not, or the other way round; None: too long ago."""
        start = self._notable_end - len(self._notable)
        return self._notable[sequence - start :] if sequence >= start else None

    @property
    def notable_end(self) -> int:
        return self._notable_end

    # -- the inside ----------------------------------------------------------------------------------------------

    def _current_versions(self) -> tuple[int, int, int]:
        surroundings = self._snapshot.surroundings
        storage = surroundings.storage.version if self._shape.claims else 0
        devices = surroundings.devices.version if self._reads_devices else 0
        return self._snapshot.nodes_version, storage, devices

    def _build(self) -> None:
        snapshot = self._snapshot
        self.generation += 1
        self._cursor = snapshot.journal_end
        self.checks = {
            plugin: check for plugin in self._plugins if (check := plugin.check(self._shape, snapshot)) is not None
        }
        self._reads_devices = any(check.reads_devices for check in self.checks.values())
        self._versions = self._current_versions()
        filters = [(plugin, check) for plugin, check in self.checks.items() if plugin.filters and check.filters]
        facts = [check for plugin, check in filters if plugin.scope is Scope.FACTS]
        self._pods = [check for plugin, check in filters if plugin.scope is Scope.PODS]
        self._scores = [
            (plugin.weight, check) for plugin, check in self.checks.items() if plugin.scores and check.scores
        ]
        self.penalties, self.refused = {}, {}
        self.counts, self._excluded = Counter(), set()
        self._notable, self._notable_end = [], 0
        for node in self._eligible():
            refusal = first_refusal(facts, node)
            if refusal is not None:
                self._refuse(node, refusal)
                self._excluded.add(node.name)
            else:
                self._judge(node)

    def _eligible(self) -> Iterable[NodeState]:
        nodes = self._snapshot.nodes
        if self.pinned is None:
            return nodes.values()
        return [nodes[name] for name in sorted(self.pinned) if name in nodes]

    def _judge(self, node: NodeState) -> int | None:
        refusal = first_refusal(self._pods, node)
        if refusal is not None:
            self._refuse(node, refusal)
            return None
        penalty = 0
        for weight, check in self._scores:
            penalty -= weight * check.score(node)
        self.penalties[node.name] = penalty
        return penalty

    def _judge_again(self, node: NodeState) -> None:
        before = self.penalties.pop(node.name, None)
        if before is None:
            self._readmit(node.name)
        after = self._judge(node)
        still_refuses = before is None and after is None
        no_better = before is not None and after is not None and after >= before
        if not (still_refuses or no_better):
            self._note(node)

    def _note(self, node: NodeState) -> None:
        self._notable.append(node)
        self._notable_end += 1
        if len(self._notable) > NOTABLE_MAX:
            del self._notable[: NOTABLE_MAX // 2]

    def _refuse(self, node: NodeState, refusal: Refusal) -> None:
        self.refused[node.name] = refusal
        self.counts[refusal] += 1

    def _readmit(self, name: str) -> None:
        refusal = self.refused.pop(name, None)
        if refusal is not None:
            self.counts[refusal] -= 1
            if not self.counts[refusal]:
                del self.counts[refusal]


class Standings:
    """The standing for a class of pods, shared with all that ask for the same. They live as long as a ranking does."""

    def __init__(self, snapshot: Snapshot, plugins: Sequence[Plugin]) -> None:
        self._snapshot = snapshot
        self._plugins = plugins
        self._known: WeakValueDictionary[Hashable, Standing] = WeakValueDictionary()

    def of(self, shape: PodShape) -> Standing:
        if shape.is_personal or shape.node_name:
            # What is refused on account of these may be this pod's alone.
            return Standing(shape, self._snapshot, self._plugins)
        bare = _without_relations(shape)
        key = identity_of(bare)
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = Standing(bare, self._snapshot, self._plugins)
        return found


def _without_relations(shape: PodShape) -> PodShape:
    """What the shape asks of a node, whatever pods there are elsewhere."""
    return replace(
        shape, namespace="", labels={}, owner="", spread=(), affinity=(), anti_affinity=(), preferred_pods=()
    )


def first_refusal(checks: Iterable[Check], node: NodeState) -> Refusal | None:
    for check in checks:
        refusal = check.refuse(node)
        if refusal is not None:
            return refusal
    return None
