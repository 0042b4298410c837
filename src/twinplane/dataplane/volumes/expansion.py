"""The node's part of a claim that grows: the file system, after the device has grown, and then the claim's status.

The controller leaves the condition FileSystemResizePending when the volume itself has its new size. A refresh asks the
API server only while a device is larger than its file system, and at most every two seconds.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from twinplane.dataplane.volumes.contract import Node, SetUpFailed
from twinplane.dataplane.volumes.ebs import Ebs, disk_of
from twinplane.kubeclient import quantity
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.meta import condition_is, conditions_of, name_of, namespace_of
from twinplane.kubeclient.resources import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES

log = logging.getLogger(__name__)

PENDING = "FileSystemResizePending"
RESIZE_CONDITIONS = frozenset({PENDING, "Resizing", "ControllerResizeError", "NodeResizeError"})
ASK_SECONDS = 2.0
CLAIM = PERSISTENT_VOLUME_CLAIMS.kind

Tell = Callable[[Object, str, str, str], None]
"""(object, type, reason, message) of an event."""


class Expansion:
    def __init__(self, node: Node, ebs: Ebs, tell: Tell) -> None:
        self._node = node
        self._ebs = ebs
        self._tell = tell
        self._asked: dict[str, float] = {}

    async def mounted(self, claim: Object, volume: Object) -> None:
        """Staging has grown the file system, if the volume grew while nobody used it."""
        disk = disk_of(volume)
        if disk is not None and condition_is(claim, PENDING) and self._ebs.has_grown(disk):
            await self._finish(claim, volume)

    async def look(self, namespace: str, volume: Object, pod: Object) -> None:
        """Called at every refresh of a pod. Raises `SetUpFailed` when growing fails."""
        disk = disk_of(volume)
        if disk is None or self._ebs.may_grow(disk) is None:
            return
        now = self._node.clock.now()
        if now < self._asked.get(disk.volume, 0.0) + ASK_SECONDS:
            return
        self._asked[disk.volume] = now
        try:
            reference = volume["spec"].get("claimRef") or {}
            claim = await self._node.client.get(PERSISTENT_VOLUME_CLAIMS, reference.get("name", ""), namespace)
            if not condition_is(claim, PENDING):
                return
            current = await self._node.client.get(PERSISTENT_VOLUMES, disk.volume)
        except (ApiError, OSError) as error:
            log.debug("claim of %s: %s", disk.volume, error)
            return
        pod, claim = {"kind": "Pod", "apiVersion": "v1", **pod}, {"kind": CLAIM, "apiVersion": "v1", **claim}
        try:
            await self._ebs.grow(disk)
        except SetUpFailed as error:
            self._tell(
                pod, "Warning", "VolumeResizeFailed", f'{error.operation} failed for volume "{disk.volume}": {error}'
            )
            raise
        for told in (pod, claim):
            message = f'MountVolume.NodeExpandVolume succeeded for volume "{disk.volume}" {self._node.name}'
            self._tell(told, "Normal", "FileSystemResizeSuccessful", message)
        await self._finish(claim, current)
        self._asked.pop(disk.volume, None)

    async def _finish(self, claim: Object, volume: Object) -> None:
        size = volume["spec"]["capacity"]["storage"]
        status: dict[str, Any] = {
            "capacity": {"storage": size},
            "conditions": [entry for entry in conditions_of(claim) if entry["type"] not in RESIZE_CONDITIONS] or None,
            "allocatedResourceStatuses": None,
        }
        requested = claim["spec"]["resources"]["requests"]["storage"]
        if quantity.whole(requested) > quantity.whole(size):
            # It has been asked to grow again meanwhile: the controller goes on.
            del status["allocatedResourceStatuses"]
        try:
            await self._node.client.patch(
                PERSISTENT_VOLUME_CLAIMS,
                name_of(claim),
                {"status": status},
                namespace_of(claim),
                subresource="status",
            )
        except (ApiError, OSError) as error:
            log.warning("claim %s has grown, which cannot be written: %s", name_of(claim), error)
