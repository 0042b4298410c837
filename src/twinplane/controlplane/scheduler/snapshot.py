"""The cluster as the scheduler knows it: nodes, the pods on them, and what selects pods.

One `Snapshot` lives as long as the scheduler and is changed in place by informer events and by assumed placements;
`copy` gives a throw-away one for what-if questions. Every change goes into a journal, so that rankings of pod classes
catch up with just what changed instead of being told by anyone. Pure data: no I/O, no clock.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from random import Random
from typing import NamedTuple, TypeVar

from twinplane.controlplane.scheduler.devices.inventory import Inventory
from twinplane.controlplane.scheduler.node import NodeFacts, NodeState, count_into
from twinplane.controlplane.scheduler.requirements import Selector, matches
from twinplane.controlplane.scheduler.shape import Pod, PodShape, Shapes, selecting_keys
from twinplane.controlplane.scheduler.storage import Storage

JOURNAL_LENGTH_MAX = 50_000
Entry = TypeVar("Entry")


class Change(NamedTuple):
    """`shape` came to (+1) or left (-1) `node`."""

    node: NodeState
    shape: PodShape
    delta: int


@dataclass(frozen=True, slots=True)
class Budget:
    """A PodDisruptionBudget: how many more of its pods may go."""

    namespace: str
    selector: Selector | None
    allowed: int
    already_counted: frozenset[str] = frozenset()
    """Names of pods whose disruption the controller has counted already."""


@dataclass
class Surroundings:
    """What is neither node nor pod. `version` grows with every change that a ranking could notice."""

    namespaces: dict[str, Mapping[str, str]] = field(default_factory=dict)
    services: dict[str, dict[str, Selector]] = field(default_factory=dict)
    """Namespace -> Service name -> selector; Services without one are absent."""
    workloads: dict[str, Selector] = field(default_factory=dict)
    """uid of a ReplicaSet, StatefulSet or ReplicationController -> its selector."""
    budgets: dict[str, Budget] = field(default_factory=dict)
    """Only preemption reads them: they count for `budgets_version`."""
    storage: Storage = field(default_factory=Storage)
    """Has a version of its own, for the pods that have claims."""
    devices: Inventory = field(default_factory=Inventory)
    selecting_keys: set[str] = field(default_factory=set)
    """Of the labels by which Services, controllers or the terms of placed pods select pods, now or once: others tell
    no pod from another.
    """
    version: int = 0
    namespaces_version: int = 0
    budgets_version: int = 0

    def set_namespace(self, name: str, labels: Mapping[str, str] | None) -> None:
        """None for one that is gone, here and below."""
        before = self.version
        self._replace(self.namespaces, name, labels)
        self.namespaces_version += self.version - before

    def set_service(self, namespace: str, name: str, selector: Selector | None) -> None:
        self._select(selector)
        self._replace(self.services.setdefault(namespace, {}), name, selector)

    def set_workload(self, uid: str, selector: Selector | None) -> None:
        self._select(selector)
        self._replace(self.workloads, uid, selector)

    def _select(self, selector: Selector | None) -> None:
        self.selecting_keys.update(requirement.key for requirement in selector or ())

    def set_budget(self, key: str, budget: Budget | None) -> None:
        self.budgets_version += 1
        if budget is None:
            self.budgets.pop(key, None)
        else:
            self.budgets[key] = budget

    def _replace(self, table: dict[str, Entry], key: str, entry: Entry | None) -> None:
        if table.get(key) == entry:
            return
        self.version += 1
        if entry is None:
            del table[key]
        else:
            table[key] = entry

    def default_selector(self, shape: PodShape) -> Selector:
        """Which pods count as siblings for default spreading: those of its Services and of its controller."""
        found: list[Selector] = [
            selector for selector in self.services.get(shape.namespace, {}).values() if matches(selector, shape.labels)
        ]
        owner = self.workloads.get(shape.owner)
        if owner is not None:
            found.append(owner)
        return tuple(dict.fromkeys(requirement for selector in found for requirement in selector))


class Snapshot:
    def __init__(self, random: Random | None = None) -> None:
        """With `random`, equally good nodes are chosen between by lot, as upstream does; without, the oldest wins."""
        self._random = random
        self.shapes = Shapes()
        self.nodes: dict[str, NodeState] = {}
        self.placed: dict[PodShape, dict[str, int]] = {}
        """Shape -> node name -> how many, over all nodes."""
        self.surroundings = Surroundings()
        self.nodes_version = 0
        """Grows whenever a node comes, goes or changes in what the scheduler reads."""
        self.term_shapes: set[PodShape] = set()
        """Placed shapes with pod (anti-)affinity of their own: the only ones that concern pods that have none."""
        self.journal: list[Change] = []
        self.journal_start = 0
        """Sequence number of the first entry still kept."""
        self._homes: dict[str, str] = {}
        self._domains: dict[str, tuple[int, Counter[str]]] = {}
        self._waiting: dict[str, dict[str, Pod]] = {}
        self._order = 0

    @property
    def is_shuffled(self) -> bool:
        """Nodes that are equally good are taken in a random order."""
        return self._random is not None

    # Nodes ------------------------------------------------------------------------------------------------------

    def set_node(self, facts: NodeFacts) -> bool:
        """True when it made a difference."""
        state = self.nodes.get(facts.name)
        if state is None:
            self._order += 1
            order = self._random.random() if self._random else float(self._order)
            state = self.nodes[facts.name] = NodeState(facts, order)
            for pod in self._waiting.pop(facts.name, {}).values():
                self._attach(state, pod)
        elif state.facts == facts:
            return False
        else:
            state.facts = facts
        self.nodes_version += 1
        return True

    def remove_node(self, name: str) -> None:
        """Its pods are kept aside until they are deleted, or the node is back."""
        state = self.nodes.get(name)
        if state is None:
            return
        kept = dict(state.pods)
        for uid in kept:
            self._detach(state, uid)
        del self.nodes[name]
        if kept:
            self._waiting[name] = kept
        self.nodes_version += 1

    # Pods -------------------------------------------------------------------------------------------------------

    def add_pod(self, pod: Pod, node: str) -> None:
        """Count `pod` on `node`, replacing what was known of the same uid. The node need not be known yet."""
        state = self.nodes.get(node)
        known = state.pods.get(pod.uid) if state is not None else None
        if state is not None and known is not None and known.shape is pod.shape and known.priority == pod.priority:
            # An assumption confirmed: nothing that plugins read is different.
            state.pods[pod.uid] = pod
            return
        self.remove_pod(pod.uid)
        self._homes[pod.uid] = node
        if state is None:
            self._waiting.setdefault(node, {})[pod.uid] = pod
        else:
            self._attach(state, pod)

    def place(self, pod: Pod, node: NodeState) -> None:
        """Count `pod` as it will come back once it is bound to the node."""
        shape = self.shapes.bound(pod.shape, node.facts.labels)
        self.add_pod(pod._replace(node=node.name, shape=shape), node.name)

    def remove_pod(self, uid: str) -> Pod | None:
        self.surroundings.storage.forget(uid)
        home = self._homes.pop(uid, None)
        if home is None:
            return None
        state = self.nodes.get(home)
        if state is not None:
            return self._detach(state, uid)
        waiting = self._waiting.get(home, {})
        pod = waiting.pop(uid, None)
        if not waiting:
            self._waiting.pop(home, None)
        return pod

    def home_of(self, uid: str) -> str | None:
        return self._homes.get(uid)

    def _attach(self, state: NodeState, pod: Pod) -> None:
        state.add(pod)
        self._record(state, pod.shape, 1)

    def _detach(self, state: NodeState, uid: str) -> Pod | None:
        pod = state.remove(uid)
        if pod is not None:
            self._record(state, pod.shape, -1)
        return pod

    def _record(self, state: NodeState, shape: PodShape, delta: int) -> None:
        places = self.placed.get(shape)
        if places is None:
            places = self.placed[shape] = {}
            if shape.has_pod_terms:
                self.term_shapes.add(shape)
                self.surroundings.selecting_keys.update(selecting_keys(shape))
        count_into(places, state.name, delta)
        if not places:
            del self.placed[shape]
            self.term_shapes.discard(shape)
        self.journal.append(Change(state, shape, delta))
        if len(self.journal) > JOURNAL_LENGTH_MAX:
            dropped = JOURNAL_LENGTH_MAX // 2
            del self.journal[:dropped]
            self.journal_start += dropped

    # Reading ----------------------------------------------------------------------------------------------------

    @property
    def journal_end(self) -> int:
        return self.journal_start + len(self.journal)

    def changes_since(self, sequence: int) -> list[Change] | None:
        """None when they are no longer kept: start again."""
        if sequence < self.journal_start:
            return None
        return self.journal[sequence - self.journal_start :]

    def domains(self, key: str) -> Mapping[str, int]:
        """Values of a topology's label -> how many nodes have it."""
        known = self._domains.get(key)
        if known is None or known[0] != self.nodes_version:
            labels = (node.facts.labels for node in self.nodes.values())
            known = self._domains[key] = (self.nodes_version, Counter(each[key] for each in labels if key in each))
        return known[1]

    def matching(self, selector: Selector | None, namespace: str) -> Iterable[tuple[PodShape, dict[str, int]]]:
        """Shapes of live pods in a namespace that a selector selects, with where they are."""
        for shape, places in self.placed.items():
            if shape.namespace == namespace and not shape.terminating and matches(selector, shape.labels):
                yield shape, places

    def copy(self) -> Snapshot:
        """An independent snapshot of the same state."""
        twin = Snapshot()
        twin.shapes = self.shapes
        # Assumptions made on the copy are its own.
        twin.surroundings = replace(
            self.surroundings, storage=self.surroundings.storage.copy(), devices=self.surroundings.devices.copy()
        )
        for state in self.nodes.values():
            twin.set_node(state.facts)
            twin.nodes[state.name].order = state.order
            for pod in state.pods.values():
                twin.add_pod(pod, state.name)
        return twin
