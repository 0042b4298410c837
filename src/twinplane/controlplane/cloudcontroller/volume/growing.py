"""Grows the EBS volumes of claims, as the resizer of the EBS CSI driver does: EC2 first, then what the API says of it.

Where a node mounts volumes for real its kubelet grows the file system and ends the story; the claim waits for it with
the condition FileSystemResizePending. Simulated nodes have no file system.
"""

from __future__ import annotations

from typing import Any

from twinplane.clock import Clock, rfc3339
from twinplane.controlplane.cloudcontroller.aws import Aws, AwsError
from twinplane.controlplane.cloudcontroller.volume import ebs
from twinplane.controlplane.controllers.contract import Context
from twinplane.controlplane.controllers.persistentvolume.volumes import capacity, requested, volume_mode
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.meta import condition_is, conditions_of, labels_of, name_of, with_condition
from twinplane.kubeclient.resources import (
    CSI_NODES,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    VOLUME_ATTACHMENTS,
)

BY_VOLUME = "volume"
SIMULATED = "twinplane.io/simulated"
"""A label of the CSINodes of simulated nodes."""
RESIZING, PENDING = "Resizing", "FileSystemResizePending"
PENDING_MESSAGE = "Waiting for user to (re-)start a pod to finish file system resize of volume on node."


def attached_volume(attachment: Object) -> tuple[str]:
    return (str(attachment["spec"]["source"].get("persistentVolumeName", "")),)


class Growing:
    def __init__(self, context: Context, aws: Aws) -> None:
        self._client = context.client
        self._clock: Clock = context.clock
        self._events = context.events
        self._aws = aws
        self._volumes = context.informers.of(PERSISTENT_VOLUMES)
        self._csi_nodes = context.informers.of(CSI_NODES)
        self._attachments = context.informers.of(VOLUME_ATTACHMENTS)
        self._attachments.add_index(BY_VOLUME, attached_volume)

    async def grow(self, claim: Object) -> None:
        """A bound claim that asks for more than it has. Raises `ApiError` to be tried again."""
        volume = self._volumes.get(claim["spec"]["volumeName"])
        handle = ebs.handle_of(volume)
        if volume is None or not handle:
            return
        size = ebs.gibibytes(claim)
        if capacity(volume) < requested(claim):
            claim = await self._write(claim, {"conditions": self._with(claim, RESIZING, "")}, size)
            await self._modify(claim, volume, handle, size)
        if volume_mode(volume) == "Filesystem" and self._is_mounted_for_real(volume):
            if condition_is(claim, PENDING):
                return
            pending = {"storage": "NodeResizePending"}
            conditions = self._with(claim, PENDING, PENDING_MESSAGE)
            await self._write(claim, {"conditions": conditions, "allocatedResourceStatuses": pending}, size)
            message = "Require file system resize of volume on node"
            self._events.event(claim, "Normal", "FileSystemResizeRequired", message)
            return
        conditions = [entry for entry in conditions_of(claim) if entry["type"] not in (RESIZING, PENDING)]
        change: dict[str, Any] = {
            "capacity": {"storage": f"{size}Gi"},
            "conditions": conditions,
            "allocatedResourceStatuses": {},
        }
        await self._write(claim, change, size)
        self._events.event(claim, "Normal", "VolumeResizeSuccessful", "Resize volume succeeded")

    async def _modify(self, claim: Object, volume: Object, handle: str, size: int) -> None:
        message = f"External resizer is resizing volume {name_of(volume)}"
        self._events.event(claim, "Normal", "Resizing", message)
        try:
            await self._aws.call("ec2", "modify_volume", VolumeId=handle, Size=size)
        except AwsError as error:
            why = f'rpc error: code = Internal desc = Could not resize volume "{handle}": {error}'
            message = f'resize volume "{name_of(volume)}" by resizer "{ebs.DRIVER}" failed: {why}'
            self._events.event(claim, "Warning", "VolumeResizeFailed", message)
            raise ApiError("ServiceUnavailable", message) from error
        spec = {**volume["spec"], "capacity": {"storage": f"{size}Gi"}}
        await self._client.update(PERSISTENT_VOLUMES, {**volume, "spec": spec})

    def _is_mounted_for_real(self, volume: Object) -> bool:
        """Of an attached volume its node decides, of another one whether there are such nodes at all."""
        nodes = [entry["spec"]["nodeName"] for entry in self._attachments.by_index(BY_VOLUME, name_of(volume))]
        found = [self._csi_nodes.get(node) for node in nodes] if nodes else self._csi_nodes.list()
        return any(
            driver["name"] == ebs.DRIVER
            for body in found
            if body is not None and SIMULATED not in labels_of(body)
            for driver in body["spec"].get("drivers") or []
        )

    def _with(self, claim: Object, type: str, message: str) -> list[dict[str, Any]]:
        """The conditions with this one as the only one of growing."""
        rest = [entry for entry in conditions_of(claim) if entry["type"] not in (RESIZING, PENDING)]
        condition: dict[str, Any] = {
            "type": type,
            "status": "True",
            "lastTransitionTime": rfc3339(self._clock.now()),
            "lastProbeTime": None,
        }
        return with_condition(rest, condition | ({"message": message} if message else {}))

    async def _write(self, claim: Object, change: dict[str, Any], size: int) -> Object:
        whole = {**claim["status"], **change, "allocatedResources": {"storage": f"{size}Gi"}}
        status = {key: value for key, value in whole.items() if value}
        return await self._client.update(PERSISTENT_VOLUME_CLAIMS, {**claim, "status": status}, subresource="status")
