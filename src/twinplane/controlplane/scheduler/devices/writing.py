"""A pod's device decisions made true, before its binding: claims get their allocation, and the pod as a consumer.

Upstream's PreBind, Unreserve and PostFilter of DynamicResources. Called by the loop, one task a pod with claims.
"""

from __future__ import annotations

from typing import Any

from twinplane.controlplane.scheduler.devices.facts import DeviceClaim, Json
from twinplane.controlplane.scheduler.devices.inventory import DevicePlan, Inventory
from twinplane.controlplane.scheduler.shape import Pod
from twinplane.controlplane.scheduler.volume_writing import ClaimWatch
from twinplane.kubeclient.contract import KubeClient, Object
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.meta import finalizers_of, is_deleting
from twinplane.kubeclient.resources import RESOURCE_CLAIMS

FINALIZER = "resource.kubernetes.io/delete-protection"
READY_SECONDS = 600.0
"""How long a driver may take to make devices with binding conditions ready (`bindingTimeout` of the arguments)."""


class DeviceBindingFailed(Exception):
    """The message is as in upstream's event."""


class DeviceWriter:
    def __init__(self, client: KubeClient, inventory: Inventory, watch: ClaimWatch) -> None:
        self._client = client
        self._inventory = inventory
        self._watch = watch

    async def bind(self, pod: Pod, plan: DevicePlan) -> None:
        """Returns when the claims are the pod's and their devices ready. Raises `DeviceBindingFailed`, `ApiError`."""
        for key in plan.claims:
            await self._reserve(pod, key, plan.allocations.get(key))
        if any(result.get("bindingConditions") for key in plan.claims for result in self._results(key, plan)):
            await self._wait_until_ready(plan)

    async def release(self, pod: Pod, plan: DevicePlan) -> None:
        """The pod is not bound after all: others may have the claims. Their devices stay allocated."""
        for key in plan.claims:
            namespace, _, name = key.partition("/")
            try:
                claim = await self._client.get(RESOURCE_CLAIMS, name, namespace)
                reserved = (claim.get("status") or {}).get("reservedFor") or []
                kept = [entry for entry in reserved if entry["uid"] != pod.uid]
                if kept != reserved:
                    await self._status(claim, {"reservedFor": kept})
            except ApiError as error:
                if error.code not in (404, 409):
                    raise

    async def deallocate(self, key: str) -> None:
        """Nobody uses the claim: it may get other devices."""
        namespace, _, name = key.partition("/")
        claim = await self._client.get(RESOURCE_CLAIMS, name, namespace)
        await self._status(claim, {"allocation": None, "reservedFor": None, "devices": None})

    async def _reserve(self, pod: Pod, key: str, allocation: Json | None) -> None:
        namespace, _, name = key.partition("/")
        claim = await self._client.get(RESOURCE_CLAIMS, name, namespace)
        known = self._inventory.claims.get(key)
        if is_deleting(claim) or (known is not None and known.uid != claim["metadata"].get("uid")):
            raise DeviceBindingFailed(f"claim {key} got deleted in the meantime")
        status = claim.get("status") or {}
        reserved = status.get("reservedFor") or []
        changes: dict[str, Any] = {}
        if allocation is not None:
            if status.get("allocation") is not None:
                raise DeviceBindingFailed(f"claim {key} got allocated elsewhere in the meantime")
            if FINALIZER not in finalizers_of(claim):
                metadata = {**claim["metadata"], "finalizers": [*finalizers_of(claim), FINALIZER]}
                claim = await self._client.update(RESOURCE_CLAIMS, {**claim, "metadata": metadata})
            changes["allocation"] = allocation
        if all(entry["uid"] != pod.uid for entry in reserved):
            changes["reservedFor"] = [*reserved, {"resource": "pods", "name": pod.name, "uid": pod.uid}]
        if changes:
            await self._status(claim, changes)

    async def _status(self, claim: Object, changes: dict[str, Any]) -> None:
        """The version keeps a claim from being given to two pods at a time."""
        status = {**(claim.get("status") or {}), **changes}
        status = {field: value for field, value in status.items() if value}
        await self._client.update(RESOURCE_CLAIMS, {**claim, "status": status}, subresource="status")

    # Binding conditions -----------------------------------------------------------------------------------------

    def _results(self, key: str, plan: DevicePlan) -> list[Json]:
        claim = self._inventory.claims.get(key)
        allocation = plan.allocations.get(key) or (claim.allocation if claim is not None else None) or {}
        return (allocation.get("devices") or {}).get("results") or []

    async def _wait_until_ready(self, plan: DevicePlan) -> None:
        try:
            await self._watch.until(
                plan.claims, lambda: all(self._is_ready(key, plan) for key in plan.claims), READY_SECONDS
            )
        except TimeoutError:
            raise DeviceBindingFailed("device binding timeout") from None

    def _is_ready(self, key: str, plan: DevicePlan) -> bool:
        claim = self._inventory.claims.get(key)
        if claim is None:
            raise DeviceBindingFailed(f"claim {key} got deleted in the meantime")
        for result in self._results(key, plan):
            true = _true_conditions(claim, result)
            failed = next((entry for entry in result.get("bindingFailureConditions") or () if entry in true), None)
            if failed is not None:
                raise DeviceBindingFailed(f"claim {key} binding failed: device binding failed: {failed}")
            if not set(result.get("bindingConditions") or ()) <= true:
                return False
        return True


def _true_conditions(claim: DeviceClaim, result: Json) -> set[str]:
    identity = ("driver", "pool", "device")
    return {
        condition["type"]
        for device in claim.conditions
        if all(device.get(field) == result[field] for field in identity)
        for condition in device.get("conditions") or ()
        if condition.get("status") == "True"
    }
