"""Keeps claims that pods use, and volumes that are bound, from being deleted: by the finalizers that they carry."""

from __future__ import annotations

from collections.abc import Callable

from twinplane.controlplane.controllers.contract import Context, Enqueue, Key
from twinplane.controlplane.controllers.persistentvolume.volumes import BY_CLAIM, by_claim, claims_of
from twinplane.kubeclient.contract import KubeClient, Object, Resource
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.meta import finalizers_of, is_deleting, name_of, namespace_of
from twinplane.kubeclient.resources import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, PODS

VOLUME_FINALIZER = "kubernetes.io/pv-protection"
CLAIM_FINALIZER = "kubernetes.io/pvc-protection"


class VolumeProtectionController:
    name = "persistentvolume-protection-controller"
    workers = 2

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._claims = context.informers.of(PERSISTENT_VOLUME_CLAIMS)
        self._volumes = context.informers.of(PERSISTENT_VOLUMES)
        self._pods = context.informers.of(PODS)
        self._pods.add_index(BY_CLAIM, by_claim)

    def watch(self, enqueue: Enqueue) -> None:
        def changed(kind: str, finalizer: str) -> Callable[[Object | None, Object | None], None]:
            def handle(old: Object | None, new: Object | None) -> None:
                # Most events are of objects that have the finalizer and shall keep it.
                if new is not None and (is_deleting(new) or finalizer not in finalizers_of(new)):
                    enqueue(Key(namespace_of(new), name_of(new), kind))

            return handle

        def pod_changed(old: Object | None, new: Object | None) -> None:
            if new is None and old is not None:
                for name in claims_of(old):
                    enqueue(Key(namespace_of(old), name, PERSISTENT_VOLUME_CLAIMS.kind))

        self._claims.add_handler(changed(PERSISTENT_VOLUME_CLAIMS.kind, CLAIM_FINALIZER))
        self._volumes.add_handler(changed(PERSISTENT_VOLUMES.kind, VOLUME_FINALIZER))
        self._pods.add_handler(pod_changed)

    async def reconcile(self, key: Key) -> float | None:
        if key.kind == PERSISTENT_VOLUMES.kind:
            volume = self._volumes.get(key.name)
            if volume is not None:
                used = (volume.get("status") or {}).get("phase") == "Bound"
                await self._protect(PERSISTENT_VOLUMES, volume, VOLUME_FINALIZER, used=used)
            return None
        claim = self._claims.get(key.name, key.namespace)
        if claim is not None:
            await self._protect(PERSISTENT_VOLUME_CLAIMS, claim, CLAIM_FINALIZER, used=self._is_used(claim))
        return None

    def _is_used(self, claim: Object) -> bool:
        """By a pod with a node: one without will not be started with a claim that is being deleted."""
        pods = self._pods.by_index(BY_CLAIM, f"{namespace_of(claim)}/{name_of(claim)}")
        return any(pod["spec"].get("nodeName") for pod in pods)

    async def _protect(self, resource: Resource, body: Object, finalizer: str, *, used: bool) -> None:
        there = finalizer in finalizers_of(body)
        if is_deleting(body):
            if used or not there:
                return
            finalizers = [entry for entry in finalizers_of(body) if entry != finalizer]
        elif there:
            return
        else:
            finalizers = [*finalizers_of(body), finalizer]
        await write_finalizers(self._client, resource, body, finalizers)


async def write_finalizers(client: KubeClient, resource: Resource, body: Object, finalizers: list[str]) -> None:
    try:
        await client.update(resource, {**body, "metadata": {**body["metadata"], "finalizers": finalizers}})
    except ApiError as error:
        if error.code != 404:
            raise
