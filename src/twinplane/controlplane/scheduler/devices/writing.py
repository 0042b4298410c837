"""A pod's device decisions made true, before its binding: claims get their allocation, and the pod as a consumer.

Upstream's PreBind, Unreserve and PostFilter of DynamicResources. Called by the loop, one task a pod with claims.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from twinplane.clock import Clock, rfc3339
from twinplane.controlplane.scheduler.devices.facts import DeviceClaim, Json
from twinplane.controlplane.scheduler.devices.inventory import DevicePlan, Inventory
from twinplane.controlplane.scheduler.shape import Pod
from twinplane.controlplane.scheduler.volume_writing import ClaimWatch
from twinplane.kubeclient.contract import KubeClient, Object
from twinplane.kubeclient.device_claims import EXTENDED_CLAIM, FINALIZER, device_of
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.meta import finalizers_of, is_deleting, name_of, time_of
from twinplane.kubeclient.resources import PODS, RESOURCE_CLAIMS

ATTEMPTS = 5
"""At a change that takes something back, when others write to the claim at the same time."""
SEEN_SECONDS = 120.0
"""How long a new claim may take to come back through the informer."""


class DeviceBindingFailed(Exception):
    """The message is as in upstream's event."""


class DeviceWriter:
    def __init__(self, client: KubeClient, clock: Clock, inventory: Inventory, watch: ClaimWatch) -> None:
        self._client = client
        self._clock = clock
        self._inventory = inventory
        self._watch = watch
        self._made: dict[str, str] = {}
        """uid of a pod -> key of the claim that is being made for it: the inventory does not have it yet."""

    async def bind(self, pod: Pod, plan: DevicePlan, timeout: float, waits: Callable[[], None]) -> None:
        """Returns when the claims are the pod's and their devices ready. Raises `DeviceBindingFailed`, `ApiError`.

        `timeout` is how many seconds a driver may take for that, for which the pod `waits`.
        """
        keys = list(plan.claims)
        for key in plan.claims:
            await self._reserve(pod, key, plan.allocations.get(key))
        if plan.extended is not None:
            keys.append(await self._make(pod, plan))
        allocations = (
            {**plan.allocations, keys[-1]: plan.allocations.get(pod.uid)} if plan.extended else plan.allocations
        )
        results = {key: self._results(key, allocations.get(key)) for key in keys}
        if any(result.get("bindingConditions") for found in results.values() for result in found):
            waits()
            await self._wait_until_ready(results, timeout)

    async def release(self, pod: Pod, plan: DevicePlan) -> None:
        """The pod is not bound after all: others may have the claims. Their devices stay allocated.

        The claim that was made for its extended resources goes.
        """
        made = self._made.pop(pod.uid, None) or self._inventory.extended.get(pod.uid)
        if made is not None:
            await _insist(lambda: self._delete(made))
        for key in plan.claims:
            await _insist(partial(self._unreserve, pod, key))

    async def deallocate(self, key: str) -> None:
        """Nobody uses the claim: it may get other devices. One made for extended resources goes, for another."""
        made_here = key in self._inventory.extended.values()
        await _insist(lambda: self._delete(key) if made_here else self._clear(key))

    async def _clear(self, key: str) -> None:
        namespace, _, name = key.partition("/")
        claim = await self._client.get(RESOURCE_CLAIMS, name, namespace)
        await self._status(claim, {"allocation": None, "reservedFor": None, "devices": None})

    async def _unreserve(self, pod: Pod, key: str) -> None:
        namespace, _, name = key.partition("/")
        claim = await self._client.get(RESOURCE_CLAIMS, name, namespace)
        reserved = (claim.get("status") or {}).get("reservedFor") or []
        kept = [entry for entry in reserved if entry["uid"] != pod.uid]
        if kept != reserved:
            await self._status(claim, {"reservedFor": kept})

    # Claims that exist ------------------------------------------------------------------------------------------

    async def _reserve(self, pod: Pod, key: str, allocation: Json | None) -> None:
        namespace, _, name = key.partition("/")
        claim = await self._client.get(RESOURCE_CLAIMS, name, namespace)
        known = self._inventory.claims.get(key)
        if is_deleting(claim) or (known is not None and known.uid != claim["metadata"].get("uid")):
            raise DeviceBindingFailed(f"claim {key} got deleted in the meantime")
        await self._give(pod, claim, allocation)

    async def _give(self, pod: Pod, claim: Object, allocation: Json | None) -> None:
        key = f"{pod.namespace}/{name_of(claim)}"
        status = claim.get("status") or {}
        reserved = status.get("reservedFor") or []
        if allocation is not None:
            if status.get("allocation") is not None:
                raise DeviceBindingFailed(f"claim {key} got allocated elsewhere in the meantime")
            if FINALIZER not in finalizers_of(claim):
                metadata = {**claim["metadata"], "finalizers": [*finalizers_of(claim), FINALIZER]}
                claim = await self._client.update(RESOURCE_CLAIMS, {**claim, "metadata": metadata})
        if any(entry["uid"] == pod.uid for entry in reserved):
            return
        if allocation is None and status.get("allocation") is None:
            raise DeviceBindingFailed(f"claim {key} got deallocated elsewhere in the meantime")
        changes: dict[str, Any] = {"reservedFor": [*reserved, {"resource": "pods", "name": pod.name, "uid": pod.uid}]}
        if allocation is not None:
            changes["allocation"] = {"allocationTimestamp": rfc3339(self._clock.now()), **allocation}
        await self._status(claim, changes)

    async def _status(self, claim: Object, changes: dict[str, Any]) -> None:
        """The version keeps a claim from being given to two pods at a time."""
        status = {**(claim.get("status") or {}), **changes}
        status = {field: value for field, value in status.items() if value}
        await self._client.update(RESOURCE_CLAIMS, {**claim, "status": status}, subresource="status")

    # The claim for extended resources ---------------------------------------------------------------------------

    async def _make(self, pod: Pod, plan: DevicePlan) -> str:
        """Its key. Returns when it has come back: until then nothing else would count its devices as taken."""
        assert plan.extended is not None
        owner = {"apiVersion": "v1", "kind": "Pod", "name": pod.name, "uid": pod.uid, "controller": True}
        body = {
            "metadata": {
                "generateName": f"{pod.name}-extended-resources-",
                "annotations": {EXTENDED_CLAIM: "true"},
                "ownerReferences": [owner],
            },
            "spec": {"devices": {"requests": list(plan.extended.requests)}},
        }
        claim = await self._client.create(RESOURCE_CLAIMS, body, pod.namespace)
        key = self._made[pod.uid] = f"{pod.namespace}/{name_of(claim)}"
        await self._give(pod, claim, plan.allocations[pod.uid])
        told = {"resourceClaimName": name_of(claim), "requestMappings": list(plan.extended.mappings)}
        patch: dict[str, Any] = {
            "metadata": {"uid": pod.uid},
            "status": {"extendedResourceClaimStatus": told},
        }
        await self._client.patch(PODS, pod.name, patch, pod.namespace, subresource="status")
        try:
            await self._watch.until((key,), lambda: not self._inventory.is_assumed(pod.uid), SEEN_SECONDS)
        except TimeoutError:
            raise DeviceBindingFailed(f"claim {key} was not seen") from None
        del self._made[pod.uid]
        return key

    async def _delete(self, key: str) -> None:
        namespace, _, name = key.partition("/")
        claim = await self._client.get(RESOURCE_CLAIMS, name, namespace)
        finalizers = [entry for entry in finalizers_of(claim) if entry != FINALIZER]
        metadata = {**claim["metadata"], "finalizers": finalizers}
        await self._client.update(RESOURCE_CLAIMS, {**claim, "metadata": metadata})
        await self._client.delete(RESOURCE_CLAIMS, name, namespace, uid=claim["metadata"].get("uid"))

    # Binding conditions -----------------------------------------------------------------------------------------

    def _results(self, key: str, allocation: Json | None) -> list[Json]:
        claim = self._inventory.claims.get(key)
        found = allocation or (claim.allocation if claim is not None else None) or {}
        return (found.get("devices") or {}).get("results") or []

    async def _wait_until_ready(self, results: dict[str, list[Json]], timeout: float) -> None:
        keys = tuple(results)
        left = min(self._left(key, timeout) for key in keys)
        try:
            await self._watch.until(keys, lambda: all(self._is_ready(key, results[key]) for key in keys), left)
        except TimeoutError:
            late = next((key for key in keys if not self._is_ready(key, results[key])), keys[0])
            self._inventory.failed.add(late)
            raise DeviceBindingFailed(f"device binding timeout: claim={late.partition('/')[2]}") from None

    def _left(self, key: str, timeout: float) -> float:
        """Seconds for the claim's devices to become ready, which count from their allocation."""
        claim = self._inventory.claims.get(key)
        since = ((claim.allocation if claim is not None else None) or {}).get("allocationTimestamp")
        return timeout if since is None else max(0.0, time_of(since) + timeout - self._clock.now())

    def _is_ready(self, key: str, results: list[Json]) -> bool:
        claim = self._inventory.claims.get(key)
        name = key.partition("/")[2]
        if claim is None:
            raise DeviceBindingFailed(f"claim {key} got deleted in the meantime")
        for result in results:
            true = _true_conditions(claim, result)
            failed = next(
                (true[entry] for entry in result.get("bindingFailureConditions") or () if entry in true), None
            )
            if failed is not None:
                self._inventory.failed.add(key)
                why = f'reason={failed.get("reason", "")}, message="{failed.get("message", "")}"'
                raise DeviceBindingFailed(f"device binding failed: claim={name}, {why}")
            if not true.keys() >= set(result.get("bindingConditions") or ()):
                return False
        return True


async def _insist(step: Callable[[], Awaitable[None]]) -> None:
    """Read and write again after a conflict; what is gone is done with. Raises `ApiError` after the last attempt."""
    for attempt in range(ATTEMPTS):
        try:
            await step()
        except ApiError as error:
            if error.code == 404:
                return
            if error.code != 409 or attempt == ATTEMPTS - 1:
                raise
        else:
            return


def _true_conditions(claim: DeviceClaim, result: Json) -> dict[str, Json]:
    """Type -> the condition."""
    return {
        condition["type"]: condition
        for device in claim.conditions
        if device_of(device) == device_of(result)
        for condition in device.get("conditions") or ()
        if condition.get("status") == "True"
    }
