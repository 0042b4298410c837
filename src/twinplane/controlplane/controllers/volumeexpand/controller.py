"""Claims that shall grow: hands them to the CSI driver that does it, and says so.

No volume plugin lives in the control plane any more, so growing itself is always somebody else's work.
"""

from __future__ import annotations

from twinplane.controlplane.controllers.contract import Context, Enqueue, Key
from twinplane.controlplane.controllers.ownership import key_of
from twinplane.controlplane.controllers.persistentvolume.volumes import (
    MIGRATED_PROVISIONERS,
    STORAGE_RESIZER,
    class_of,
    requested,
)
from twinplane.kubeclient import quantity
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.meta import annotations_of, is_deleting
from twinplane.kubeclient.resources import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, STORAGE_CLASSES


class VolumeExpandController:
    name = "volume-expand-controller"
    workers = 2

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._events = context.events
        self._claims = context.informers.of(PERSISTENT_VOLUME_CLAIMS)
        self._volumes = context.informers.of(PERSISTENT_VOLUMES)
        self._classes = context.informers.of(STORAGE_CLASSES)

    def watch(self, enqueue: Enqueue) -> None:
        def changed(old: Object | None, new: Object | None) -> None:
            if new is not None and wants_to_grow(new) and (old is None or requested(new) > requested(old)):
                enqueue(key_of(new))

        self._claims.add_handler(changed)

    async def reconcile(self, key: Key) -> float | None:
        claim = self._claims.get(key.name, key.namespace)
        if claim is None or is_deleting(claim) or not wants_to_grow(claim):
            return None
        volume = self._volumes.get(claim["spec"].get("volumeName", ""))
        storage_class = self._classes.get(class_of(claim))
        if volume is None or storage_class is None:
            return None
        provisioner = str(storage_class.get("provisioner", ""))
        driver = MIGRATED_PROVISIONERS.get(provisioner)
        if driver is None:
            message = "waiting for an external controller to expand this PVC"
            self._events.event(claim, "Normal", "ExternalExpanding", message)
            return None
        message = f"CSI migration operation ExternalExpanding: waiting for {driver} to expand this PVC"
        self._events.event(claim, "Normal", "ExternalExpanding", message)
        if annotations_of(claim).get(STORAGE_RESIZER) != driver:
            annotations = dict(annotations_of(claim)) | {STORAGE_RESIZER: driver}
            metadata = {**claim["metadata"], "annotations": annotations}
            await self._client.update(PERSISTENT_VOLUME_CLAIMS, {**claim, "metadata": metadata})
        return None


def wants_to_grow(claim: Object) -> bool:
    status = claim.get("status") or {}
    has = (status.get("capacity") or {}).get("storage")
    return status.get("phase") == "Bound" and has is not None and requested(claim) > quantity.whole(has)
