"""Answers VolumeAttachments of EBS volumes through the EC2 API, as the EBS CSI driver's attacher does.

Like the provisioner, while nobody has installed that driver. The instance is noted on the attachment, as the external
attacher does: a volume is also detached from an instance whose Node is gone.
"""

from __future__ import annotations

from typing import Any

from twinplane.clock import rfc3339
from twinplane.controlplane.cloudcontroller import nodes
from twinplane.controlplane.cloudcontroller.aws import Aws, AwsError, Unbuildable
from twinplane.controlplane.cloudcontroller.volume import ebs
from twinplane.controlplane.controllers.attachdetach.attachments import disk_of
from twinplane.controlplane.controllers.contract import Context, Enqueue, Key
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.meta import annotations_of, finalizers_of, is_deleting, name_of
from twinplane.kubeclient.resources import CSI_DRIVERS, NODES, PERSISTENT_VOLUMES, VOLUME_ATTACHMENTS

FINALIZER = "external-attacher/ebs-csi-aws-com"
DEVICE = "devicePath"
NODE_ID = "csi.alpha.kubernetes.io/node-id"
ALREADY_GONE = ("InvalidVolume.NotFound", "InvalidInstanceID.NotFound", "IncorrectState", "InvalidAttachment.NotFound")


class VolumeAttacher:
    name = "ebs-volume-attacher"
    workers = 1
    """One, because two at a time could choose the same device name."""

    def __init__(self, context: Context, aws: Aws) -> None:
        self._client = context.client
        self._clock = context.clock
        self._aws = aws
        self._attachments = context.informers.of(VOLUME_ATTACHMENTS)
        self._volumes = context.informers.of(PERSISTENT_VOLUMES)
        self._nodes = context.informers.of(NODES)
        self._drivers = context.informers.of(CSI_DRIVERS)

    def watch(self, enqueue: Enqueue) -> None:
        def changed(old: Object | None, new: Object | None) -> None:
            if new is not None and new["spec"]["attacher"] == ebs.DRIVER:
                enqueue(Key("", name_of(new)))

        self._attachments.add_handler(changed)

    async def reconcile(self, key: Key) -> float | None:
        attachment = self._attachments.get(key.name)
        if attachment is None or ebs.is_replaced(self._drivers.get(ebs.DRIVER)):
            return None
        try:
            if is_deleting(attachment):
                await self._detach(attachment)
            elif not (attachment.get("status") or {}).get("attached"):
                await self._attach(attachment)
        except (AwsError, Unbuildable) as error:
            field = "detachError" if is_deleting(attachment) else "attachError"
            failure = {"message": str(error), "time": rfc3339(self._clock.now())}
            await self._report(attachment, {"attached": is_deleting(attachment), field: failure})
            raise ApiError("ServiceUnavailable", str(error)) from error
        return None

    async def _attach(self, attachment: Object) -> None:
        volume, instance = self._handle(attachment), self._instance(attachment)
        if FINALIZER not in finalizers_of(attachment):
            annotations = {**annotations_of(attachment), **({NODE_ID: instance} if instance else {})}
            finalizers = [*finalizers_of(attachment), FINALIZER]
            metadata = {**attachment["metadata"], "finalizers": finalizers, "annotations": annotations}
            attachment = await self._client.update(VOLUME_ATTACHMENTS, {**attachment, "metadata": metadata})
        if not volume or self._nodes.get(attachment["spec"]["nodeName"]) is None:
            raise Unbuildable("the volume or the node is not known")
        if not instance:
            # A node that exists in the cluster alone: there is nothing to attach to, and nobody who would look.
            await self._report(attachment, {"attached": True})
            return
        device = await self._attached_as(volume, instance)
        if device is None:
            device = ebs.free_device(await self._devices(instance))
            try:
                await self._aws.call("ec2", "attach_volume", VolumeId=volume, InstanceId=instance, Device=device)
            except AwsError as error:
                raise Unbuildable(ebs.attach_failure(volume, instance, error)) from error
        await self._report(attachment, {"attached": True, "attachmentMetadata": {DEVICE: device}})

    async def _detach(self, attachment: Object) -> None:
        if FINALIZER not in finalizers_of(attachment):
            return
        volume, instance = self._handle(attachment), self._instance(attachment)
        if volume and instance:
            try:
                await self._aws.call("ec2", "detach_volume", VolumeId=volume, InstanceId=instance)
            except AwsError as error:
                if error.code not in ALREADY_GONE:
                    raise
        finalizers = [entry for entry in finalizers_of(attachment) if entry != FINALIZER]
        metadata = {**attachment["metadata"], "finalizers": finalizers}
        await self._client.update(VOLUME_ATTACHMENTS, {**attachment, "metadata": metadata})

    async def _attached_as(self, volume: str, instance: str) -> str | None:
        """The device, when a reconcile that was interrupted has attached it already."""
        for found in await self._aws.listed("ec2", "describe_volumes", "Volumes", VolumeIds=[volume]):
            for entry in found.get("Attachments") or []:
                if entry.get("InstanceId") == instance and entry.get("State") in ("attaching", "attached"):
                    return str(entry["Device"])
        return None

    async def _devices(self, instance: str) -> set[str]:
        attached = {"Name": "attachment.instance-id", "Values": [instance]}
        found = await self._aws.listed("ec2", "describe_volumes", "Volumes", Filters=[attached])
        return {str(entry["Device"]) for volume in found for entry in volume.get("Attachments") or []}

    def _handle(self, attachment: Object) -> str:
        name = attachment["spec"]["source"].get("persistentVolumeName", "")
        volume = self._volumes.get(name)
        disk = disk_of(volume) if volume is not None else None
        return disk.handle if disk is not None else ""

    def _instance(self, attachment: Object) -> str:
        node = self._nodes.get(attachment["spec"]["nodeName"])
        return nodes.instance_id(node) if node is not None else annotations_of(attachment).get(NODE_ID, "")

    async def _report(self, attachment: Object, status: dict[str, Any]) -> None:
        await self._client.update(VOLUME_ATTACHMENTS, {**attachment, "status": status}, subresource="status")
