"""Binds claims to volumes, asks provisioners for volumes that are missing, and reclaims those that are free again.

Provisioning itself is done by others (CSI drivers, the cloud controller), who are told by an annotation on the claim.
Recycling, which is deprecated, has a file of its own.
"""

from __future__ import annotations

from typing import Any

from twinplane.controlplane.controllers.contract import Context, Enqueue, Key
from twinplane.controlplane.controllers.persistentvolume import matching
from twinplane.controlplane.controllers.persistentvolume.recycling import Recycling, claim_key
from twinplane.controlplane.controllers.persistentvolume.volumes import (
    BETA_STORAGE_PROVISIONER,
    BIND_COMPLETED,
    BOUND_BY_CONTROLLER,
    BY_CLAIM,
    MIGRATED_PROVISIONERS,
    PROVISIONED_BY,
    SELECTED_NODE,
    STORAGE_PROVISIONER,
    by_claim,
    claim_reference,
    class_of,
    default_class,
    has_class,
    is_bound_to,
    provisioner_of,
    volume_mode,
    waits_for_consumer,
)
from twinplane.controlplane.controllers.persistentvolume.writing import Writing
from twinplane.controlplane.controllers.pods import is_terminal
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.meta import annotations_of, is_deleting, name_of, namespace_of, uid_of
from twinplane.kubeclient.resources import (
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    PODS,
    STORAGE_CLASSES,
)

RESYNC_SECONDS = 15.0
"""Claims that wait are looked at again, and told so by an event."""
CLAIM, VOLUME = PERSISTENT_VOLUME_CLAIMS.kind, PERSISTENT_VOLUMES.kind
BY_CLASS = "storage-class"
BY_REFERENCE = "claim-reference"
WAITING = "waiting"


class PersistentVolumeController:
    name = "persistentvolume-controller"
    workers = 4

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._events = context.events
        self._writing = Writing(context.client)
        self._recycling = Recycling(context.client, context.events, self._writing)
        self._claims = context.informers.of(PERSISTENT_VOLUME_CLAIMS)
        self._volumes = context.informers.of(PERSISTENT_VOLUMES)
        self._classes = context.informers.of(STORAGE_CLASSES)
        self._pods = context.informers.of(PODS)
        self._volumes.add_index(BY_CLASS, lambda volume: (class_of(volume),))
        self._volumes.add_index(BY_REFERENCE, _referenced)
        self._claims.add_index(WAITING, lambda claim: () if claim["spec"].get("volumeName") else ("",))
        self._pods.add_index(BY_CLAIM, by_claim)

    def watch(self, enqueue: Enqueue) -> None:
        def claim_changed(old: Object | None, new: Object | None) -> None:
            body = new or old
            assert body is not None
            enqueue(Key(namespace_of(body), name_of(body), CLAIM))
            if body["spec"].get("volumeName"):
                enqueue(Key("", body["spec"]["volumeName"], VOLUME))
            if new is None:
                for volume in self._volumes.by_index(BY_REFERENCE, f"{namespace_of(body)}/{name_of(body)}"):
                    enqueue(Key("", name_of(volume), VOLUME))

        def volume_changed(old: Object | None, new: Object | None) -> None:
            body = new or old
            assert body is not None
            enqueue(Key("", name_of(body), VOLUME))
            reference = claim_reference(body)
            if reference is not None:
                enqueue(Key(reference.get("namespace", ""), reference["name"], CLAIM))
            elif new is not None:
                for claim in self._claims.by_index(WAITING, ""):
                    if class_of(claim) == class_of(new):
                        enqueue(Key(namespace_of(claim), name_of(claim), CLAIM))

        def class_changed(old: Object | None, new: Object | None) -> None:
            for claim in self._claims.by_index(WAITING, ""):
                enqueue(Key(namespace_of(claim), name_of(claim), CLAIM))

        self._claims.add_handler(claim_changed)
        self._volumes.add_handler(volume_changed)
        self._classes.add_handler(class_changed)

    async def reconcile(self, key: Key) -> float | None:
        if key.kind == VOLUME:
            volume = self._volumes.get(key.name)
            return None if volume is None else await self._sync_volume(volume)
        claim = self._claims.get(key.name, key.namespace)
        if claim is None:
            return None
        if annotations_of(claim).get(BIND_COMPLETED):
            await self._sync_bound(claim)
            return None
        return await self._sync_unbound(claim)

    # -- claims --------------------------------------------------------------------------------------------------

    async def _sync_unbound(self, claim: Object) -> float | None:
        if claim["spec"].get("volumeName"):
            return await self._sync_named(claim)
        if not has_class(claim) and not is_deleting(claim):
            default = default_class(self._classes.list())
            if default is not None:
                claim = await self._writing.give_class(claim, name_of(default))
        storage_class = self._classes.get(class_of(claim))
        delayed = waits_for_consumer(storage_class) and SELECTED_NODE not in annotations_of(claim)
        candidates = [
            *self._volumes.by_index(BY_REFERENCE, f"{namespace_of(claim)}/{name_of(claim)}"),
            *self._volumes.by_index(BY_CLASS, class_of(claim)),
        ]
        volume = matching.best_match(claim, candidates, delayed=delayed)
        if volume is not None:
            await self._writing.bind(volume, claim)
            return None
        if delayed:
            self._tell_waiting(claim)
        elif class_of(claim):
            claim = await self._ask_provisioner(claim, storage_class)
        else:
            message = "no persistent volumes available for this claim and no storage class is set"
            self._events.event(claim, "Normal", "FailedBinding", message)
        await self._writing.claim_phase(claim, "Pending")
        return RESYNC_SECONDS

    async def _sync_named(self, claim: Object) -> float | None:
        """The claim asks for one volume."""
        name = claim["spec"]["volumeName"]
        volume = self._volumes.get(name)
        if volume is not None and is_bound_to(volume, claim) and (claim_reference(volume) or {}).get("uid"):
            await self._writing.bind(volume, claim)
            return None
        if volume is not None and (claim_reference(volume) is None or is_bound_to(volume, claim)):
            why = matching.mismatch(claim, volume)
            if not why:
                await self._writing.bind(volume, claim)
                return None
            message = f'Cannot bind to requested volume "{name}": {why}'
            self._events.event(claim, "Warning", "VolumeMismatch", message)
        elif volume is not None and BOUND_BY_CONTROLLER not in annotations_of(claim):
            message = f'volume "{name}" already bound to a different claim.'
            self._events.event(claim, "Warning", "FailedBinding", message)
        await self._writing.claim_phase(claim, "Pending")
        return RESYNC_SECONDS

    async def _sync_bound(self, claim: Object) -> None:
        name = claim["spec"].get("volumeName")
        volume = self._volumes.get(name) if name else None
        if not name:
            reason = "ClaimLost"
            message = "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!"
        elif volume is None:
            reason, message = "ClaimLost", "Bound claim has lost its PersistentVolume. Data on the volume is lost!"
        elif claim_reference(volume) is None or is_bound_to(volume, claim):
            await self._writing.bind(volume, claim)
            return
        else:
            reason = "ClaimMisbound"
            message = "Two claims are bound to the same volume, this one is bound incorrectly"
        if (claim.get("status") or {}).get("phase") != "Lost":
            self._events.event(claim, "Warning", reason, message)
            await self._writing.claim_phase(claim, "Lost")

    def _tell_waiting(self, claim: Object) -> None:
        pods = self._pods.by_index(BY_CLAIM, f"{namespace_of(claim)}/{name_of(claim)}")
        waiting = [name_of(pod) for pod in pods if not pod["spec"].get("nodeName") and not is_terminal(pod)]
        if waiting:
            message = f"waiting for pod {','.join(sorted(waiting))} to be scheduled"
            self._events.event(claim, "Normal", "WaitForPodScheduled", message)
        else:
            message = "waiting for first consumer to be created before binding"
            self._events.event(claim, "Normal", "WaitForFirstConsumer", message)

    async def _ask_provisioner(self, claim: Object, storage_class: Object | None) -> Object:
        if storage_class is None:
            message = f'storageclass.storage.k8s.io "{class_of(claim)}" not found'
            self._events.event(claim, "Warning", "ProvisioningFailed", message)
            return claim
        provisioner = provisioner_of(storage_class)
        if provisioner.startswith("kubernetes.io/"):
            message = f"no volume plugin matched name: {provisioner}"
            self._events.event(claim, "Warning", "ProvisioningFailed", message)
            return claim
        claim = await self._writing.annotate(
            claim, {STORAGE_PROVISIONER: provisioner, BETA_STORAGE_PROVISIONER: provisioner}
        )
        message = (
            f"Waiting for a volume to be created either by the external provisioner '{provisioner}' or manually by the "
            "system administrator. If volume creation is delayed, please verify that the provisioner is running and "
            "correctly registered."
        )
        self._events.event(claim, "Normal", "ExternalProvisioning", message)
        return claim

    # -- volumes -------------------------------------------------------------------------------------------------

    async def _sync_volume(self, volume: Object) -> float | None:
        reference = claim_reference(volume)
        if reference is None or not reference.get("uid"):
            await self._writing.volume_phase(volume, "Available")
            return None
        claim = self._claims.get(reference["name"], reference.get("namespace", ""))
        if claim is None and (volume.get("status") or {}).get("phase") != "Released":
            claim = await self._live_claim(reference)
        if claim is None or uid_of(claim) != reference["uid"]:
            return await self._release(volume)
        if not claim["spec"].get("volumeName"):
            if volume_mode(claim) != volume_mode(volume):
                message = (
                    f'Cannot bind PersistentVolume to requested PersistentVolumeClaim "{name_of(claim)}" '
                    "due to incompatible volumeMode."
                )
                self._events.event(volume, "Warning", "VolumeMismatch", message)
            else:
                await self._writing.bind(volume, claim)
        elif claim["spec"]["volumeName"] == name_of(volume):
            await self._writing.volume_phase(volume, "Bound")
        elif PROVISIONED_BY in annotations_of(volume) and _policy(volume) == "Delete":
            # Made for a claim that has found another one meanwhile.
            return await self._release(volume)
        else:
            await self._writing.unbind(volume)
        return None

    async def _live_claim(self, reference: dict[str, Any]) -> Object | None:
        """The cache may not know the claim yet; releasing its volume would get its data deleted."""
        try:
            return await self._client.get(PERSISTENT_VOLUME_CLAIMS, reference["name"], reference.get("namespace", ""))
        except ApiError as error:
            if error.code != 404:
                raise
            return None

    async def _release(self, volume: Object) -> float | None:
        if (volume.get("status") or {}).get("phase") not in ("Released", "Failed"):
            volume = await self._writing.volume_phase(volume, "Released")
        if (volume.get("status") or {}).get("phase") == "Failed" or is_deleting(volume):
            return None
        if _policy(volume) == "Recycle":
            pods = self._pods.by_index(BY_CLAIM, claim_key(volume))
            return await self._recycling.recycle(volume, [name_of(pod) for pod in pods if not is_terminal(pod)])
        failure = _no_deleter(volume) if _policy(volume) == "Delete" else None
        if failure is not None:
            reason, message = failure
            self._events.event(volume, "Warning", reason, message)
            await self._writing.volume_phase(volume, "Failed", message)
        return None


def _referenced(volume: Object) -> tuple[str, ...]:
    reference = claim_reference(volume)
    return (f"{reference.get('namespace', '')}/{reference['name']}",) if reference else ()


def _policy(volume: Object) -> str:
    return str(volume["spec"].get("persistentVolumeReclaimPolicy") or "Retain")


def _no_deleter(volume: Object) -> tuple[str, str] | None:
    """Who provisioned a volume deletes it; (reason, message) for a volume of which nobody knows how."""
    provisioner = annotations_of(volume).get(PROVISIONED_BY, "")
    in_tree = provisioner.startswith("kubernetes.io/") and provisioner not in MIGRATED_PROVISIONERS
    if volume["spec"].get("csi") or (provisioner and not in_tree):
        return None
    message = f'error getting deleter volume plugin for volume "{name_of(volume)}": no deletable volume plugin matched'
    return "VolumeFailedDelete", message
