"""The writes of the volume controller: each makes one object true and returns it as stored.

A binding is four writes (volume, its phase, claim, its phase). Each is made only where something differs, so a binding
that was interrupted is taken up wherever it stopped.
"""

from __future__ import annotations

from typing import Any

from twinplane.controlplane.controllers.persistentvolume.volumes import (
    BIND_COMPLETED,
    BOUND_BY_CONTROLLER,
    claim_reference,
    is_bound_to,
)
from twinplane.kubeclient.contract import KubeClient, Object
from twinplane.kubeclient.meta import annotations_of, name_of, namespace_of, uid_of
from twinplane.kubeclient.resources import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES


class Writing:
    def __init__(self, client: KubeClient) -> None:
        self._client = client

    async def bind(self, volume: Object, claim: Object) -> None:
        """Tie both to each other. Raises `ApiError`, a conflict when either has changed meanwhile."""
        volume = await self.volume_phase(await self._bind_volume(volume, claim), "Bound")
        await self.claim_phase(await self._bind_claim(claim, volume), "Bound", volume)

    async def _bind_volume(self, volume: Object, claim: Object) -> Object:
        before = claim_reference(volume)
        if before is not None and before.get("uid") == uid_of(claim):
            return volume
        reference = {
            "apiVersion": PERSISTENT_VOLUME_CLAIMS.api_version,
            "kind": PERSISTENT_VOLUME_CLAIMS.kind,
            "namespace": namespace_of(claim),
            "name": name_of(claim),
            "uid": uid_of(claim),
            "resourceVersion": claim["metadata"]["resourceVersion"],
        }
        annotations = dict(annotations_of(volume))
        if before is None or not is_bound_to(volume, claim):
            annotations[BOUND_BY_CONTROLLER] = "yes"
        return await self._update(PERSISTENT_VOLUMES, volume, {"claimRef": reference}, annotations)

    async def _bind_claim(self, claim: Object, volume: Object) -> Object:
        annotations = dict(annotations_of(claim)) | {BIND_COMPLETED: "yes"}
        if not claim["spec"].get("volumeName"):
            annotations[BOUND_BY_CONTROLLER] = "yes"
        return await self._update(PERSISTENT_VOLUME_CLAIMS, claim, {"volumeName": name_of(volume)}, annotations)

    async def unbind(self, volume: Object) -> None:
        """Free a volume; one that its owner keeps for a claim is kept on, for a claim of that name."""
        annotations = dict(annotations_of(volume))
        if annotations.pop(BOUND_BY_CONTROLLER, None) is not None:
            change: dict[str, Any] = {"claimRef": None}
        else:
            kept = {"apiVersion", "kind", "namespace", "name"}
            change = {"claimRef": {k: v for k, v in (claim_reference(volume) or {}).items() if k in kept}}
        await self.volume_phase(await self._update(PERSISTENT_VOLUMES, volume, change, annotations), "Available")

    async def annotate(self, claim: Object, annotations: dict[str, str]) -> Object:
        merged = dict(annotations_of(claim)) | annotations
        return await self._update(PERSISTENT_VOLUME_CLAIMS, claim, {}, merged)

    async def give_class(self, claim: Object, name: str) -> Object:
        spec = {"storageClassName": name}
        return await self._update(PERSISTENT_VOLUME_CLAIMS, claim, spec, dict(annotations_of(claim)))

    async def _update(self, resource: Any, body: Object, change: dict[str, Any], annotations: dict[str, str]) -> Object:
        spec = {key: value for key, value in {**body["spec"], **change}.items() if value is not None}
        if spec == body["spec"] and annotations == annotations_of(body):
            return body
        metadata = {**body["metadata"], "annotations": annotations}
        return await self._client.update(resource, {**body, "metadata": metadata, "spec": spec})

    async def volume_phase(self, volume: Object, phase: str, message: str = "") -> Object:
        status = dict(volume.get("status") or {})
        if (status.get("phase"), status.get("message", "")) == (phase, message):
            return volume
        status["phase"] = phase
        status.pop("message", None)
        if message:
            status["message"] = message
        return await self._client.update(PERSISTENT_VOLUMES, {**volume, "status": status}, subresource="status")

    async def claim_phase(self, claim: Object, phase: str, volume: Object | None = None) -> Object:
        """Size and class are taken over when a claim becomes bound, never later: they may be about to change."""
        status = dict(claim.get("status") or {})
        if volume is not None:
            if status.get("phase") != "Bound":
                status["capacity"] = dict(volume["spec"].get("capacity") or {})
                attributes = volume["spec"].get("volumeAttributesClassName")
                if attributes:
                    status["currentVolumeAttributesClassName"] = attributes
            status["accessModes"] = list(volume["spec"].get("accessModes") or [])
        else:
            status.pop("accessModes", None)
            status.pop("capacity", None)
            status.pop("currentVolumeAttributesClassName", None)
        status["phase"] = phase
        if status == (claim.get("status") or {}):
            return claim
        return await self._client.update(PERSISTENT_VOLUME_CLAIMS, {**claim, "status": status}, subresource="status")
