"""The shape of every scheduling plugin, and what its verdicts are made of.

A `Plugin` is asked once for each pod shape to make a `Check`; None means it has nothing to say about such pods. A check
answers for single nodes: `refuse` (why not), `score` (0..100 as it is), or `rank` (scores that only mean something
among the candidates of the moment, as upstream's NormalizeScore).

What makes the core fast is what a check says about its own inputs:
- `Scope.FACTS`: only the node object. Asked once a node.
- `Scope.PODS`: also the pods on that node. Asked again for the one node that changed.
- `Scope.CLUSTER`: also pods elsewhere. Such checks, and all that rank, name a `group` for a node: nodes of the same
  group get the same answer, so the core asks one node of each group (a zone, say) instead of all nodes. What moves a
  node between groups may only be that node's own pods; changes elsewhere come through `account`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from twinplane.controlplane.scheduler.devices.inventory import DevicePlan
from twinplane.controlplane.scheduler.node import NodeState
from twinplane.controlplane.scheduler.shape import PodShape
from twinplane.controlplane.scheduler.snapshot import Snapshot
from twinplane.controlplane.scheduler.storage import VolumePlan

SCORE_MAX = 100


class Scope(Enum):
    FACTS = "facts"
    PODS = "pods"
    CLUSTER = "cluster"


class Refusal(NamedTuple):
    """Why a node will not do; reasons are worded as in events."""

    plugin: str
    reasons: tuple[str, ...]
    resolvable: bool = True
    """Removing pods may help (upstream's Unschedulable, not UnschedulableAndUnresolvable)."""


class Candidate(NamedTuple):
    """A group of nodes that have passed so far: one of them, and how many they are."""

    node: NodeState
    size: int


class Check:
    """One plugin's view of one pod shape. Subclasses answer what they declare."""

    filters: bool = False
    scores: bool = False
    ranks: bool = False
    stale: bool = False
    """Something came up that the check cannot account for; it must be made anew."""
    searches: bool = False
    """Mistakes may come up when nodes are asked: as many are asked as upstream would ask."""
    error: str = ""
    """Such a mistake, found while nodes were asked: the pod goes nowhere until it is mended."""
    reads_devices: bool = False
    """Scores depend on what devices a node has, and how many of them are taken."""
    rejection: Refusal | None = None
    """Why no node at all will do, whatever the nodes are like (upstream's PreFilter)."""

    def refuse(self, node: NodeState) -> Refusal | None:
        return None

    def score(self, node: NodeState) -> int:
        return 0

    def rank(self, candidates: Sequence[Candidate]) -> list[int]:
        return [0] * len(candidates)

    def reserve(self, node: NodeState) -> VolumePlan | None:
        """What must be written before a pod of the shape may be bound to the node."""
        return None

    def allocate(self, node: NodeState) -> DevicePlan | None:
        """Which devices its claims get, to be written likewise."""
        return None

    def idle(self) -> str:
        """Key of a claim of the pod's own that could give up what it has, so that it gets something better."""
        return ""

    def group(self, node: NodeState) -> Hashable:
        return None

    def groups(self, nodes: Sequence[NodeState]) -> Iterable[Hashable]:
        """`group` of each, for those that have a faster way for thousands."""
        return [self.group(node) for node in nodes]

    def concerns(self, shape: PodShape) -> bool:
        """Whether pods of `shape` are to be told to `account`: always the same answer, seldom yes."""
        return False

    def account(self, node: NodeState, shape: PodShape, delta: int) -> bool:
        """A pod of `shape` came to or left `node`; called after the node's own sums have changed.

        True when the node may belong to another group now.
        """
        return False


@dataclass(frozen=True, slots=True)
class Plugin:
    name: str
    scope: Scope
    check: Callable[[PodShape, Snapshot], Check | None]
    weight: int = 1
    filters: bool = True
    scores: bool = True
    """Extension points that a profile may switch off."""
    personal: bool = False
    """Looks at the claims and disks that a pod has for itself. Such plugins filter; a pod for which one of them ranks
    is not ranked together with its like.
    """


def share_of_max(raw: Sequence[int], *, reverse: bool = False) -> list[int]:
    """Upstream's DefaultNormalizeScore: the best is 100, the rest in proportion; `reverse` for penalties."""
    top = max(raw, default=0)
    if top == 0:
        return [SCORE_MAX if reverse else 0] * len(raw)
    shares = [SCORE_MAX * value // top for value in raw]
    return [SCORE_MAX - share for share in shares] if reverse else shares
