"""VolumeRestrictions: ReadWriteOncePod claims belong to one pod, and in-line disks to one pod of a node.

Two checks under one name, since one looks at a node and the other at the whole cluster.
"""

from __future__ import annotations

from twinplane.controlplane.scheduler.framework import Check, Plugin, Refusal, Scope
from twinplane.controlplane.scheduler.node import NodeState
from twinplane.controlplane.scheduler.shape import PodShape
from twinplane.controlplane.scheduler.snapshot import Snapshot

NAME = "VolumeRestrictions"
DISK_TAKEN = Refusal(NAME, ("node(s) had no available disk",))
IN_USE = "PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by another pod"
CLAIM_TAKEN = Refusal(NAME, (f"node(s) unavailable due to {IN_USE}",))
ONCE = "ReadWriteOncePod"


class Disks(Check):
    filters = True

    def __init__(self, shape: PodShape) -> None:
        self._disks = shape.disks

    def refuse(self, node: NodeState) -> Refusal | None:
        taken = any(own.conflicts(other) for own in self._disks for other in node.disks)
        return DISK_TAKEN if taken else None


class OncePerCluster(Check):
    filters = True

    def __init__(self, claims: frozenset[str], snapshot: Snapshot) -> None:
        self._claims = claims
        self._users = sum(sum(places.values()) * self._uses(shape) for shape, places in snapshot.placed.items())

    def _uses(self, shape: PodShape) -> int:
        return len(self._claims.intersection(shape.claim_keys)) if shape.claims else 0

    def concerns(self, shape: PodShape) -> bool:
        return self._uses(shape) > 0

    def account(self, node: NodeState, shape: PodShape, delta: int) -> bool:
        self._users += delta * self._uses(shape)
        # Whoever uses a claim does so for all nodes.
        return False

    def refuse(self, node: NodeState) -> Refusal | None:
        return CLAIM_TAKEN if self._users else None


def check_disks(shape: PodShape, snapshot: Snapshot) -> Check | None:
    return Disks(shape) if shape.disks else None


def check_claims(shape: PodShape, snapshot: Snapshot) -> Check | None:
    claims = snapshot.surroundings.storage.claims
    once = frozenset(key for key in shape.claim_keys if key in claims and ONCE in claims[key].modes)
    return OncePerCluster(once, snapshot) if once else None


PLUGINS = (
    Plugin(NAME, Scope.PODS, check_disks, personal=True),
    Plugin(NAME, Scope.CLUSTER, check_claims, personal=True),
)
