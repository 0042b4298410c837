"""How much storage CSI drivers say is left, and which volumes they have attached: read by the volume plugins.

A driver takes part in capacity tracking when its CSIDriver says `storageCapacity`; then a claim is provisioned only
where a CSIStorageCapacity of its class reaches the node and is large enough.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from twinplane.controlplane.scheduler.requirements import Selector, label_selector, matches
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.quantity import whole


@dataclass(frozen=True, slots=True)
class Capacity:
    class_name: str
    topology: Selector | None
    """Of nodes; None reaches no node."""
    limit: int | None
    """Bytes that one volume may have; None when the driver does not know."""

    def has(self, request: int, labels: Mapping[str, str]) -> bool:
        return self.limit is not None and self.limit >= request and matches(self.topology, labels)

    def exceeds(self, before: Capacity | None) -> bool:
        """A pod that found too little then may find enough now."""
        if self.limit is None:
            return False
        return before is None or before.limit is None or self.limit > before.limit


def capacity_of(body: Object) -> Capacity:
    """Of a CSIStorageCapacity: `maximumVolumeSize` is the better answer where it is given."""
    limit = body.get("maximumVolumeSize", body.get("capacity"))
    return Capacity(
        class_name=body.get("storageClassName") or "",
        topology=label_selector(body.get("nodeTopology")),
        limit=None if limit is None else whole(limit),
    )


def tracks_capacity(body: Object) -> bool:
    """Of a CSIDriver."""
    return bool((body.get("spec") or {}).get("storageCapacity"))


class Attached(NamedTuple):
    """A VolumeAttachment: a driver has the volume at the node, or is about to."""

    node: str
    driver: str
    volume: str
    """Name of the PersistentVolume."""


def attached_of(body: Object) -> Attached | None:
    """None for in-line volumes, which have no PersistentVolume."""
    spec = body["spec"]
    volume = (spec.get("source") or {}).get("persistentVolumeName")
    return Attached(spec.get("nodeName") or "", spec.get("attacher") or "", volume) if volume else None
