"""Makes and deletes the EBS volumes of claims, as the EBS CSI driver's provisioner does; `growing` lets them grow,
`attributes` makes them faster.

A cluster has this driver from the start, with a CSIDriver object that says so (`ebs.BUILT_IN`). Whoever installs the
driver itself replaces that object, and from then on this controller does nothing.
"""

from __future__ import annotations

from typing import Any

from twinplane.controlplane.cloudcontroller.aws import Aws, AwsError, Unbuildable
from twinplane.controlplane.cloudcontroller.volume import ebs
from twinplane.controlplane.cloudcontroller.volume.attributes import Attributes, wanted_class
from twinplane.controlplane.cloudcontroller.volume.growing import BY_VOLUME, Growing, attached_volume
from twinplane.controlplane.controllers.contract import Context, Enqueue, Key
from twinplane.controlplane.controllers.persistentvolume.volumes import (
    PROVISIONED_BY,
    SELECTED_NODE,
    STORAGE_PROVISIONER,
    claim_reference,
    class_of,
    waits_for_consumer,
)
from twinplane.controlplane.controllers.volumeexpand.controller import wants_to_grow
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.meta import annotations_of, is_deleting, labels_of, name_of, namespace_of
from twinplane.kubeclient.resources import (
    CSI_DRIVERS,
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    STORAGE_CLASSES,
    VOLUME_ATTACHMENTS,
)

RETRY_SECONDS = 5.0
CLAIM, VOLUME = PERSISTENT_VOLUME_CLAIMS.kind, PERSISTENT_VOLUMES.kind


class VolumeProvisioner:
    name = "ebs-volume-provisioner"
    workers = 4

    def __init__(self, context: Context, aws: Aws, cluster: str) -> None:
        self._client = context.client
        self._events = context.events
        self._aws = aws
        self._cluster = cluster
        self._claims = context.informers.of(PERSISTENT_VOLUME_CLAIMS)
        self._volumes = context.informers.of(PERSISTENT_VOLUMES)
        self._classes = context.informers.of(STORAGE_CLASSES)
        self._drivers = context.informers.of(CSI_DRIVERS)
        self._nodes = context.informers.of(NODES)
        self._attachments = context.informers.of(VOLUME_ATTACHMENTS)
        self._attachments.add_index(BY_VOLUME, attached_volume)
        self._growing = Growing(context, aws)
        self._attributes = Attributes(context, aws)

    def watch(self, enqueue: Enqueue) -> None:
        def claim_changed(old: Object | None, new: Object | None) -> None:
            if new is not None and (_is_ours(new) or wants_to_grow(new) or wanted_class(new)):
                enqueue(Key(namespace_of(new), name_of(new), CLAIM))

        def volume_changed(old: Object | None, new: Object | None) -> None:
            if new is not None and (new.get("status") or {}).get("phase") == "Released":
                enqueue(Key("", name_of(new), VOLUME))

        self._claims.add_handler(claim_changed)
        self._volumes.add_handler(volume_changed)

    async def reconcile(self, key: Key) -> float | None:
        if ebs.is_replaced(self._drivers.get(ebs.DRIVER)):
            return None
        if key.kind == VOLUME:
            volume = self._volumes.get(key.name)
            return await self._delete(volume) if volume is not None else None
        claim = self._claims.get(key.name, key.namespace)
        if claim is None or is_deleting(claim):
            return None
        if claim["spec"].get("volumeName"):
            if wants_to_grow(claim):
                await self._growing.grow(claim)
            elif wanted_class(claim):
                return await self._attributes.change(claim)
        elif _is_ours(claim):
            await self._provision(claim)
        return None

    # -- making --------------------------------------------------------------------------------------------------

    async def _provision(self, claim: Object) -> None:
        storage_class = self._classes.get(class_of(claim))
        if storage_class is None or self._volumes.get(ebs.volume_name(claim)) is not None:
            return
        storage_class = await self._with_attributes(claim, storage_class)
        selected = annotations_of(claim).get(SELECTED_NODE)
        if selected is None and waits_for_consumer(storage_class):
            return
        message = f'External provisioner is provisioning volume for claim "{namespace_of(claim)}/{name_of(claim)}"'
        self._events.event(claim, "Normal", "Provisioning", message)
        try:
            node = self._nodes.get(selected) if selected else None
            zones = {labels_of(entry)[ebs.ZONE] for entry in self._nodes.list() if ebs.ZONE in labels_of(entry)}
            zone = ebs.zone_of(claim, storage_class, node, zones)
            volume = await self._ensure(claim, storage_class, zone)
        except (AwsError, Unbuildable) as error:
            name = ebs.volume_name(claim)
            why = f'rpc error: code = Internal desc = Could not create volume "{name}": {error}'
            message = f'failed to provision volume with StorageClass "{name_of(storage_class)}": {why}'
            self._events.event(claim, "Warning", "ProvisioningFailed", message)
            raise ApiError("ServiceUnavailable", message) from error
        body = ebs.persistent_volume(claim, storage_class, volume)
        try:
            await self._client.create(PERSISTENT_VOLUMES, body)
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise
        message = f"Successfully provisioned volume {name_of(body)}"
        self._events.event(claim, "Normal", "ProvisioningSucceeded", message)

    async def _with_attributes(self, claim: Object, storage_class: Object) -> Object:
        """Raises `ApiError` while the VolumeAttributesClass that the claim asks for is not there."""
        name = claim["spec"].get("volumeAttributesClassName")
        if not name:
            return storage_class
        found = await self._attributes.of(name)
        if found is None:
            message = f'failed to provision volume: VolumeAttributesClass "{name}" of {ebs.DRIVER} not found'
            self._events.event(claim, "Warning", "ProvisioningFailed", message)
            raise ApiError("ServiceUnavailable", message)
        return ebs.with_attributes(storage_class, found)

    async def _ensure(self, claim: Object, storage_class: Object, zone: str) -> dict[str, Any]:
        """The claim's volume, which a reconcile that was interrupted may have made already."""
        named = {"Name": f"tag:{ebs.VOLUME_NAME_TAG}", "Values": [ebs.volume_name(claim)]}
        existing = await self._aws.listed("ec2", "describe_volumes", "Volumes", Filters=[named])
        if existing:
            return dict(existing[0])
        parameters = ebs.create_parameters(claim, storage_class, zone, self._cluster)
        return await self._aws.call("ec2", "create_volume", **parameters)

    # -- deleting ------------------------------------------------------------------------------------------------

    async def _delete(self, volume: Object) -> float | None:
        released = (volume.get("status") or {}).get("phase") == "Released"
        policy = volume["spec"].get("persistentVolumeReclaimPolicy")
        if not released or policy != "Delete" or not _is_our_volume(volume) or claim_reference(volume) is None:
            return None
        if self._attachments.by_index(BY_VOLUME, name_of(volume)):
            return RETRY_SECONDS
        try:
            await self._aws.call("ec2", "delete_volume", VolumeId=volume["spec"]["csi"]["volumeHandle"])
        except AwsError as error:
            if error.code != "InvalidVolume.NotFound":
                self._events.event(volume, "Warning", "VolumeFailedDelete", str(error))
                raise ApiError("ServiceUnavailable", str(error)) from error
        try:
            await self._client.delete(PERSISTENT_VOLUMES, name_of(volume))
        except ApiError as error:
            if error.code != 404:
                raise
        return None


def _is_ours(claim: Object) -> bool:
    asked = annotations_of(claim).get(STORAGE_PROVISIONER)
    return asked in (ebs.DRIVER, ebs.IN_TREE) and not claim["spec"].get("volumeName")


def _is_our_volume(volume: Object) -> bool:
    return annotations_of(volume).get(PROVISIONED_BY) == ebs.DRIVER and bool(volume["spec"].get("csi"))
