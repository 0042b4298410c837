"""Makes the claims of generic ephemeral volumes: one for each such volume of a pod, owned by the pod."""

from __future__ import annotations

from typing import Any

from twinplane.controlplane.controllers.contract import Context, Enqueue, Key
from twinplane.controlplane.controllers.ownership import key_of
from twinplane.controlplane.controllers.podcontrol import is_namespace_terminating
from twinplane.controlplane.controllers.pods import is_terminal
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.meta import (
    controller_of,
    controller_reference,
    copied,
    is_controlled_by,
    is_deleting,
    name_of,
    namespace_of,
)
from twinplane.kubeclient.resources import PERSISTENT_VOLUME_CLAIMS, PODS


class EphemeralVolumeController:
    name = "ephemeral-volume-controller"
    workers = 5

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._events = context.events
        self._pods = context.informers.of(PODS)
        self._claims = context.informers.of(PERSISTENT_VOLUME_CLAIMS)

    def watch(self, enqueue: Enqueue) -> None:
        def pod_changed(old: Object | None, new: Object | None) -> None:
            # The volumes of a pod never change.
            if old is None and new is not None and _ephemeral(new):
                enqueue(key_of(new))

        def claim_changed(old: Object | None, new: Object | None) -> None:
            if new is None and old is not None:
                owner = controller_of(old)
                if owner is not None and owner["kind"] == PODS.kind:
                    enqueue(Key(namespace_of(old), owner["name"]))

        self._pods.add_handler(pod_changed)
        self._claims.add_handler(claim_changed)

    async def reconcile(self, key: Key) -> float | None:
        pod = self._pods.get(key.name, key.namespace)
        if pod is None or is_deleting(pod) or is_terminal(pod):
            return None
        for volume in _ephemeral(pod):
            await self._ensure(pod, volume)
        return None

    async def _ensure(self, pod: Object, volume: dict[str, Any]) -> None:
        name = f"{name_of(pod)}-{volume['name']}"
        existing = self._claims.get(name, namespace_of(pod))
        if existing is not None:
            if not is_controlled_by(existing, pod):
                subject = f"{namespace_of(pod)}/{name}"
                why = f"PVC {subject} was not created for pod {namespace_of(pod)}/{name_of(pod)} (pod is not owner)"
                self._events.event(pod, "Warning", "FailedBinding", f"ephemeral volume controller: {why}")
                raise ApiError("Conflict", why)
            return
        template = volume["ephemeral"]["volumeClaimTemplate"]
        metadata = {
            field: copied(template["metadata"][field])
            for field in ("labels", "annotations")
            if (template.get("metadata") or {}).get(field)
        }
        metadata |= {"name": name, "ownerReferences": [controller_reference(pod, PODS)]}
        claim = {"metadata": metadata, "spec": copied(template["spec"])}
        try:
            await self._client.create(PERSISTENT_VOLUME_CLAIMS, claim, namespace_of(pod))
        except ApiError as error:
            if is_namespace_terminating(error):
                return
            message = f"ephemeral volume controller: create PVC {name}: {error.message}"
            self._events.event(pod, "Warning", "FailedBinding", message)
            raise


def _ephemeral(pod: Object) -> list[dict[str, Any]]:
    return [volume for volume in pod["spec"].get("volumes") or [] if volume.get("ephemeral")]
