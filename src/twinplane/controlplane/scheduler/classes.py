"""Which pods the core ranks nodes for together: pods that differ only in what no plugin looks at.

A `PodShape` has all labels of a pod and the claims that it uses. Indexed Jobs give each pod a label of its own, and
StatefulSets a claim of its own; a ranking for each of those would be made anew for every pod. But a label counts only
when some selector names its key, and claims only restrict nodes. So the planner ranks for the `class_of` a shape, which
has neither, and asks the `Restrictions` of the single pod on the way down from the best node.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import fields, replace
from weakref import WeakKeyDictionary, WeakValueDictionary

from twinplane.controlplane.scheduler.devices.inventory import DevicePlan
from twinplane.controlplane.scheduler.framework import Check, Plugin, Refusal
from twinplane.controlplane.scheduler.node import NodeState
from twinplane.controlplane.scheduler.shape import Pod, PodShape, selecting_keys
from twinplane.controlplane.scheduler.snapshot import Snapshot
from twinplane.controlplane.scheduler.storage import VolumePlan

_APART = ("labels", "requests", "node_name", "form", "bound")
_COMPARED = tuple(field.name for field in fields(PodShape) if field.name not in _APART)


class Classes:
    """Shape -> its class, which is a shape as well. Classes live as long as a ranking or a shape refers to them."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._keys_seen = -1
        self._known: WeakKeyDictionary[PodShape, PodShape] = WeakKeyDictionary()
        self._classes: WeakValueDictionary[Hashable, PodShape] = WeakValueDictionary()

    def class_of(self, shape: PodShape) -> PodShape:
        selecting = self._snapshot.surroundings.selecting_keys
        if self._keys_seen != len(selecting):
            # Keys are never forgotten, so as many as before are the same.
            self._keys_seen = len(selecting)
            self._known.clear()
        found = self._known.get(shape)
        if found is None:
            found = self._known[shape] = self._shared(shape, selecting)
        return found

    def _shared(self, shape: PodShape, selecting: set[str]) -> PodShape:
        named = selecting | selecting_keys(shape)
        labels = {key: value for key, value in shape.labels.items() if key in named}
        bare = replace(shape, labels=labels, claims=(), disks=(), device_claims=(), extended=(), uid="", node_name="")
        return self._classes.setdefault(identity_of(bare), bare)


def identity_of(shape: PodShape) -> Hashable:
    """Equal for shapes that have all in common (claims of their own apart: see `_COMPARED`)."""
    requests = shape.requests
    amounts = frozenset(requests.amounts.items())
    plain = tuple(getattr(shape, name) for name in _COMPARED)
    return plain, frozenset(shape.labels.items()), amounts, requests.scored_cpu, requests.scored_memory


def own_shape(pod: Pod, snapshot: Snapshot) -> PodShape:
    """With the pod's identity when a DeviceClass backs extended resources of it: the claim for them is this pod's."""
    shape = pod.shape
    if shape.extended and not shape.uid and snapshot.surroundings.devices.backs(shape.extended):
        return replace(shape, uid=pod.uid)
    return shape


class Restrictions:
    """What the claims and disks of one pod say of nodes, over and above what its class says."""

    def __init__(self, shape: PodShape, snapshot: Snapshot, plugins: Sequence[Plugin]) -> None:
        made = [check for plugin in plugins if plugin.personal if (check := plugin.check(shape, snapshot)) is not None]
        self._checks: list[Check] = [check for check in made if check.filters]
        self.searches = any(check.searches for check in self._checks)
        self.ranks = any(check.ranks for check in self._checks)
        """They also say which nodes are better: the pod needs a ranking of its own."""
        self.rejection: Refusal | None = next((check.rejection for check in made if check.rejection is not None), None)

    def allow(self, node: NodeState) -> bool:
        return all(check.refuse(node) is None for check in self._checks)

    def ask(self, node: NodeState) -> bool:
        """Refuses every node: for the mistakes that come up."""
        self.allow(node)
        return False

    @property
    def error(self) -> str:
        return next(filter(None, (check.error for check in self._checks)), "")

    def allocate(self, node: NodeState) -> DevicePlan | None:
        return next((plan for check in self._checks if (plan := check.allocate(node)) is not None), None)

    def reserve(self, node: NodeState) -> VolumePlan | None:
        return next((plan for check in self._checks if (plan := check.reserve(node)) is not None), None)
