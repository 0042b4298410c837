"""NodeVolumeLimits: a CSI driver attaches only so many volumes to a node (CSINode's allocatable count).

A volume that several pods of a node use counts once, and one that is still attached to it although no pod uses it
counts as well. Nodes that publish no limit for a driver have none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from twinplane.controlplane.scheduler.framework import Check, Plugin, Refusal, Scope
from twinplane.controlplane.scheduler.node import NodeState
from twinplane.controlplane.scheduler.shape import PodShape
from twinplane.controlplane.scheduler.snapshot import Snapshot
from twinplane.controlplane.scheduler.storage import MIGRATED, Storage, ebs_volume
from twinplane.controlplane.scheduler.volumes import Disk

NAME = "NodeVolumeLimits"
REFUSAL = Refusal(NAME, ("node(s) exceed max volume count",))

Attachment = tuple[str, str]
"""CSI driver, identity of the volume."""


class NodeVolumeLimits(Check):
    filters = True

    def __init__(self, wanted: frozenset[Attachment], storage: Storage) -> None:
        self._wanted = wanted
        self._drivers = frozenset(driver for driver, _ in wanted)
        self._storage = storage

    def refuse(self, node: NodeState) -> Refusal | None:
        limits = self._storage.limits.get(node.name, {})
        if self._drivers.isdisjoint(limits):
            return None
        attached = attachments(node.claims, node.disks, self._storage)
        new = self._wanted - attached
        counts = Counter(driver for driver, _ in attached | self._storage.attached_to(node.name) | new)
        added = {driver for driver, _ in new}
        return REFUSAL if any(counts[driver] > limits[driver] for driver in added & limits.keys()) else None


def attachments(claims: Iterable[str], disks: Iterable[Disk], storage: Storage) -> frozenset[Attachment]:
    found = {attachment for key in claims if (attachment := storage.attachment(key)) is not None}
    found |= {(MIGRATED[disk.source], ebs_volume(disk.identity[0])) for disk in disks if disk.source in MIGRATED}
    return frozenset(found)


def check(shape: PodShape, snapshot: Snapshot) -> Check | None:
    if not shape.claims and not shape.disks:
        return None
    storage = snapshot.surroundings.storage
    wanted = attachments(shape.claim_keys, shape.disks, storage)
    return NodeVolumeLimits(wanted, storage) if wanted else None


PLUGIN = Plugin(NAME, Scope.PODS, check, personal=True)
