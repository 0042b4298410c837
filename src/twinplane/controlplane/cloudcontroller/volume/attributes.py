"""Changes the type, IOPS and throughput of EBS volumes as claims ask for another VolumeAttributesClass.

What the resizer of the EBS CSI driver does: the claim's status says which class is on its way, EC2 is told, and then
the volume and the claim say which class they have.
"""

from __future__ import annotations

from typing import Any

from twinplane.clock import Clock, rfc3339
from twinplane.controlplane.cloudcontroller.aws import Aws, AwsError, Unbuildable
from twinplane.controlplane.cloudcontroller.volume import ebs
from twinplane.controlplane.controllers.contract import Context
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.meta import conditions_of, name_of, uid_of, with_condition
from twinplane.kubeclient.resources import (
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    VOLUME_ATTRIBUTES_CLASSES,
)

MODIFYING = "ModifyingVolume"
IN_PROGRESS, PENDING, INFEASIBLE = "InProgress", "Pending", "Infeasible"
RETRY_SECONDS = 5.0
INFEASIBLE_RETRY_SECONDS = 300.0
"""A class that EC2 refuses is as wrong in a minute; one that is not there may come any time."""


def wanted_class(claim: Object) -> str:
    """The class that a bound claim asks for and does not have; empty when there is none."""
    wanted = claim["spec"].get("volumeAttributesClassName") or ""
    status = claim.get("status") or {}
    bound = status.get("phase") == "Bound"
    return wanted if bound and wanted != status.get("currentVolumeAttributesClassName") else ""


class Attributes:
    def __init__(self, context: Context, aws: Aws) -> None:
        self._client = context.client
        self._clock: Clock = context.clock
        self._events = context.events
        self._aws = aws
        self._volumes = context.informers.of(PERSISTENT_VOLUMES)
        self._refused: dict[tuple[str, str], float] = {}
        """When a claim (by UID) may ask again for a class that EC2 refused: what its status says is no reason to."""

    async def of(self, name: str) -> Object | None:
        """A class; there is no cache of them, since they are asked for so seldom."""
        try:
            found = await self._client.get(VOLUME_ATTRIBUTES_CLASSES, name)
        except ApiError as error:
            if error.code != 404:
                raise
            return None
        return found if found["driverName"] == ebs.DRIVER else None

    async def change(self, claim: Object) -> float | None:
        """Returns seconds after which to try again."""
        name = wanted_class(claim)
        volume = self._volumes.get(claim["spec"]["volumeName"])
        handle = ebs.handle_of(volume)
        if volume is None or not handle:
            return None
        wait = self._refused.get((uid_of(claim), name), 0.0) - self._clock.now()
        if wait > 0:
            return wait
        found = await self.of(name)
        if found is None:
            await self._write(claim, {"modifyVolumeStatus": _target(name, PENDING)})
            return RETRY_SECONDS
        in_progress = self._condition("ModifyVolume operation in progress.")
        claim = await self._write(
            claim,
            {
                "modifyVolumeStatus": _target(name, IN_PROGRESS),
                "conditions": with_condition(conditions_of(claim), in_progress),
            },
        )
        message = f"external resizer is modifying volume {name_of(claim)} with vac {name}"
        self._events.event(claim, "Normal", "VolumeModify", message)
        try:
            parameters = ebs.modify_parameters(found)
            if parameters:
                await self._aws.call("ec2", "modify_volume", VolumeId=handle, **parameters)
        except (AwsError, Unbuildable) as error:
            return await self._failed(claim, name, handle, error)
        await self._done(claim, volume, name)
        return None

    async def _failed(self, claim: Object, name: str, handle: str, error: AwsError | Unbuildable) -> float:
        infeasible = not isinstance(error, AwsError) or error.code.startswith("Invalid")
        code = "InvalidArgument" if infeasible else "Internal"
        why = f'rpc error: code = {code} desc = Could not modify volume "{handle}": {error}'
        if infeasible:
            now = self._clock.now()
            self._refused = {key: until for key, until in self._refused.items() if until > now}
            self._refused[uid_of(claim), name] = now + INFEASIBLE_RETRY_SECONDS
            condition = self._condition(f"ModifyVolume failed with error {why}. Waiting for retry.")
            conditions = with_condition(conditions_of(claim), condition)
            change = {"modifyVolumeStatus": _target(name, INFEASIBLE), "conditions": conditions}
            await self._write(claim, change)
        self._events.event(claim, "Warning", "VolumeModifyFailed", why)
        return INFEASIBLE_RETRY_SECONDS if infeasible else RETRY_SECONDS

    async def _done(self, claim: Object, volume: Object, name: str) -> None:
        spec = {**volume["spec"], "volumeAttributesClassName": name}
        await self._client.update(PERSISTENT_VOLUMES, {**volume, "spec": spec})
        conditions = [entry for entry in conditions_of(claim) if entry["type"] != MODIFYING]
        change = {"currentVolumeAttributesClassName": name, "modifyVolumeStatus": None, "conditions": conditions}
        await self._write(claim, change)
        message = f"external resizer modified volume {name_of(claim)} with vac {name} successfully"
        self._events.event(claim, "Normal", "VolumeModifySuccessful", message)

    def _condition(self, message: str) -> dict[str, Any]:
        now = rfc3339(self._clock.now())
        return {
            "type": MODIFYING,
            "status": "True",
            "lastTransitionTime": now,
            "lastProbeTime": None,
            "message": message,
        }

    async def _write(self, claim: Object, change: dict[str, Any]) -> Object:
        before = claim["status"]
        status = {key: value for key, value in {**before, **change}.items() if value}
        if status == before:
            return claim
        return await self._client.update(PERSISTENT_VOLUME_CLAIMS, {**claim, "status": status}, subresource="status")


def _target(name: str, status: str) -> dict[str, str]:
    return {"targetVolumeAttributesClassName": name, "status": status}
