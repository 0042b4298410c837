"""A pod's volume decisions made true, before its binding: claims tied to volumes, nodes named to provisioners.

The volume controller and the provisioners do the rest; the pod waits until all its claims are bound (upstream's
PreBind of VolumeBinding). Called by the loop, one task a waiting pod.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from twinplane.controlplane.scheduler.shape import Pod
from twinplane.controlplane.scheduler.storage import (
    BOUND_BY_CONTROLLER,
    SELECTED_NODE,
    Claim,
    Storage,
    VolumePlan,
)
from twinplane.kubeclient.contract import KubeClient, Object
from twinplane.kubeclient.resources import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES


class VolumeBindingFailed(Exception):
    """The message is as in upstream's event."""


class ClaimWatch:
    """Wakes those who wait for a claim to change."""

    def __init__(self) -> None:
        self._waiting: dict[str, set[asyncio.Event]] = {}

    def changed(self, key: str) -> None:
        for event in self._waiting.get(key, ()):
            event.set()

    async def until(self, keys: tuple[str, ...], done: Callable[[], bool], seconds: float) -> None:
        """Until `done`, asked again when one of the claims has changed. Raises TimeoutError, and what `done` raises."""
        event = asyncio.Event()
        for key in keys:
            self._waiting.setdefault(key, set()).add(event)
        try:
            async with asyncio.timeout(seconds):
                while not done():
                    await event.wait()
                    event.clear()
        finally:
            for key in keys:
                waiting = self._waiting[key]
                waiting.discard(event)
                if not waiting:
                    del self._waiting[key]


class VolumeWriter:
    def __init__(
        self, client: KubeClient, storage: Storage, watch: ClaimWatch, lookup: Callable[[str], Object | None]
    ) -> None:
        """`lookup` is the volume informer's."""
        self._client = client
        self._lookup = lookup
        self._storage = storage
        self._watch = watch

    async def bind(self, pod: Pod, plan: VolumePlan, timeout: float) -> None:
        """Returns when all claims are bound. Raises `VolumeBindingFailed`, or `ApiError` as the API server answers."""
        await self._write(plan)
        seen: set[str] = set()
        try:
            await self._watch.until(plan.claims, lambda: self._all_bound(plan, seen), timeout)
        except TimeoutError:
            raise VolumeBindingFailed("binding volumes: context deadline exceeded") from None

    async def _write(self, plan: VolumePlan) -> None:
        for key, name in plan.bindings:
            claim = self._claim(key)
            volume = self._lookup(name)
            if volume is None:
                raise VolumeBindingFailed(f'binding volumes: persistentvolume "{name}" not found')
            if (volume["spec"].get("claimRef") or {}).get("uid") == claim.uid:
                continue
            namespace, _, claim_name = key.partition("/")
            reference = {
                "kind": "PersistentVolumeClaim",
                "apiVersion": "v1",
                "namespace": namespace,
                "name": claim_name,
                "uid": claim.uid,
            }
            # The version keeps the volume from being taken from another claim that was faster.
            metadata = {
                "resourceVersion": volume["metadata"].get("resourceVersion"),
                "annotations": {BOUND_BY_CONTROLLER: "yes"},
            }
            patch: dict[str, Any] = {"metadata": metadata, "spec": {"claimRef": reference}}
            await self._client.patch(PERSISTENT_VOLUMES, name, patch)
        for key in plan.provisions:
            claim = self._claim(key)
            if claim.selected_node != plan.node:
                patch = {"metadata": {"uid": claim.uid, "annotations": {SELECTED_NODE: plan.node}}}
                await self._client.patch(PERSISTENT_VOLUME_CLAIMS, claim.name, patch, key.partition("/")[0])

    def _claim(self, key: str) -> Claim:
        claim = self._storage.claims.get(key)
        if claim is None:
            name = key.partition("/")[2]
            raise VolumeBindingFailed(f'binding volumes: persistentvolumeclaim "{name}" not found')
        return claim

    def _all_bound(self, plan: VolumePlan, seen: set[str]) -> bool:
        """Raises when a provisioner has given up on the node, which it says by taking the annotation away.

        `seen`: the claims that had it.
        """
        claims = [self._claim(key) for key in plan.claims]
        for claim in claims:
            if claim.bound or claim.key not in plan.provisions:
                continue
            if claim.selected_node == plan.node:
                seen.add(claim.key)
            elif claim.selected_node:
                found = f'current value "{claim.selected_node}", expected "{plan.node}"'
                raise VolumeBindingFailed(f'binding volumes: selectedNode annotation of PVC "{claim.name}": {found}')
            elif claim.key in seen:
                raise VolumeBindingFailed(f'binding volumes: provisioning failed for PVC "{claim.name}"')
        return all(claim.bound for claim in claims)
