"""VolumeZone: a bound volume's zone and region labels must be those of the node."""

from __future__ import annotations

from twinplane.controlplane.scheduler.framework import Check, Plugin, Refusal, Scope
from twinplane.controlplane.scheduler.node import NodeState
from twinplane.controlplane.scheduler.shape import PodShape
from twinplane.controlplane.scheduler.snapshot import Snapshot
from twinplane.controlplane.scheduler.storage import Storage, Volume

NAME = "VolumeZone"
REFUSAL = Refusal(NAME, ("node(s) had no available volume zone",), resolvable=False)
CURRENT = {
    "failure-domain.beta.kubernetes.io/zone": "topology.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region": "topology.kubernetes.io/region",
}
LABELS = (*CURRENT, *CURRENT.values())
SEPARATOR = "__"
"""Of the zones of a volume that is in several."""


class VolumeZone(Check):
    filters = True

    def __init__(self, volumes: list[Volume]) -> None:
        self._wanted = [
            (key, frozenset(volume.labels[key].split(SEPARATOR)))
            for volume in volumes
            for key in LABELS
            if key in volume.labels
        ]

    def refuse(self, node: NodeState) -> Refusal | None:
        labels = node.facts.labels
        if not any(key in labels for key in LABELS):
            # A cluster of a single zone may have no topology labels at all.
            return None
        for key, zones in self._wanted:
            if labels.get(key, labels.get(CURRENT.get(key, key))) not in zones:
                return REFUSAL
        return None


def _volumes(shape: PodShape, storage: Storage) -> list[Volume]:
    claims = [storage.claims.get(key) for key in shape.claim_keys]
    volumes = [storage.volumes.get(claim.volume) for claim in claims if claim is not None]
    return [volume for volume in volumes if volume is not None]


def check(shape: PodShape, snapshot: Snapshot) -> Check | None:
    """Claims without a volume are VolumeBinding's business."""
    if not shape.claims:
        return None
    volumes = _volumes(shape, snapshot.surroundings.storage)
    return VolumeZone(volumes) if any(key in volume.labels for volume in volumes for key in LABELS) else None


# See VolumeBinding for the scope.
PLUGIN = Plugin(NAME, Scope.PODS, check, personal=True)
