"""Recycling a released volume: a pod empties it, and it is free for the next claim.

Deprecated, and possible for `hostPath` and `nfs` only, as upstream. The pod is upstream's: the same name, image and
command. What became of it is asked for now and then, as hardly any cluster has one.
"""

from __future__ import annotations

from twinplane.controlplane.controllers.contract import EventRecorder
from twinplane.controlplane.controllers.persistentvolume.volumes import claim_reference
from twinplane.controlplane.controllers.persistentvolume.writing import Writing
from twinplane.kubeclient import quantity
from twinplane.kubeclient.contract import KubeClient, Object
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.meta import name_of
from twinplane.kubeclient.resources import PODS

NAMESPACE = "default"
LOOK_SECONDS = 3.0
IMAGE = "registry.k8s.io/build-image/debian-base:bookworm-v1.0.6"
COMMAND = 'test -e /scrub && find /scrub -mindepth 1 -delete && test -z "$(ls -A /scrub)" || exit 1'
_SECONDS = {"hostPath": (60, 30), "nfs": (300, 30)}
"""What a pod may take: at least, and more for each Gi."""
_GI = 1 << 30


def source_of(volume: Object) -> str | None:
    """The kind of volume, if it is one that can be recycled."""
    return next((source for source in _SECONDS if volume["spec"].get(source) is not None), None)


class Recycling:
    def __init__(self, client: KubeClient, events: EventRecorder, writing: Writing) -> None:
        self._client = client
        self._events = events
        self._writing = writing

    async def recycle(self, volume: Object, users: list[str]) -> float | None:
        """`users` are pods that still have it. Returns seconds after which to look again."""
        source = source_of(volume)
        if source is None:
            await self._fail(volume, "No recycler plugin found for the volume!")
            return None
        if users:
            message = f"Volume is used by pods: {','.join(sorted(users))}"
            self._events.event(volume, "Normal", "VolumeFailedRecycle", message)
            return LOOK_SECONDS
        name = f"recycler-for-{name_of(volume)}"
        try:
            pod = await self._client.get(PODS, name, NAMESPACE)
        except ApiError as error:
            if error.code != 404:
                raise
            await self._start(name, volume, source)
            return LOOK_SECONDS
        status = pod.get("status") or {}
        if status.get("phase") not in ("Succeeded", "Failed"):
            return LOOK_SECONDS
        await self._client.delete(PODS, name, NAMESPACE)
        if status["phase"] == "Failed":
            await self._fail(
                volume, f"Recycle failed: {status.get('message') or 'pod failed, pod.Status.Message unknown'}"
            )
            return None
        self._events.event(volume, "Normal", "VolumeRecycled", "Volume recycled")
        await self._writing.unbind(volume)
        return None

    async def _start(self, name: str, volume: Object, source: str) -> None:
        least, more = _SECONDS[source]
        size = quantity.parse(str((volume["spec"].get("capacity") or {}).get("storage", "0")))
        container = {
            "name": "pv-recycler",
            "image": IMAGE,
            "command": ["/bin/sh"],
            "args": ["-c", COMMAND],
            "volumeMounts": [{"name": "vol", "mountPath": "/scrub"}],
        }
        spec = {
            "activeDeadlineSeconds": max(least, int(size // _GI) * more),
            "restartPolicy": "Never",
            "volumes": [{"name": "vol", source: volume["spec"][source]}],
            "containers": [container],
        }
        try:
            await self._client.create(PODS, {"metadata": {"name": name}, "spec": spec}, NAMESPACE)
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise

    async def _fail(self, volume: Object, message: str) -> None:
        self._events.event(volume, "Warning", "VolumeFailedRecycle", message)
        await self._writing.volume_phase(volume, "Failed", message)


def claim_key(volume: Object) -> str:
    reference = claim_reference(volume) or {}
    return f"{reference.get('namespace', '')}/{reference.get('name', '')}"
