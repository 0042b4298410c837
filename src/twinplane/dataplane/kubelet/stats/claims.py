"""Which mounted file system belongs to which PersistentVolumeClaim: what `kubelet_volume_stats_*` is about.

On disk a claimed volume has its PersistentVolume's name; the claim says which that is, and does not change its mind.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from twinplane.dataplane.kubelet.contract import RunningPods, pod_directory
from twinplane.kubeclient.contract import KubeClient, Object
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.meta import name_of, namespace_of, uid_of
from twinplane.kubeclient.resources import PERSISTENT_VOLUME_CLAIMS

PLUGIN = "kubernetes.io~csi"


class Claims:
    def __init__(self, pods: RunningPods, client: KubeClient) -> None:
        self._pods, self._client = pods, client
        self._volumes: dict[tuple[str, str], str] = {}
        """(namespace, claim) -> name of its PersistentVolume."""

    async def learn(self) -> None:
        """Ask for the claims of pods that are new; forget those of pods that have gone."""
        wanted = {(namespace_of(pod), claim) for pod in self._pods.pods() for _, claim in claims_of(pod)}
        self._volumes = {key: volume for key, volume in self._volumes.items() if key in wanted}
        for namespace, claim in sorted(wanted - self._volumes.keys()):
            try:
                found = await self._client.get(PERSISTENT_VOLUME_CLAIMS, claim, namespace)
            except (ApiError, OSError):
                continue
            volume = (found.get("spec") or {}).get("volumeName")
            if volume:
                self._volumes[(namespace, claim)] = volume

    def mounts(self, pod: Object) -> Mapping[str, tuple[str, str]]:
        """Volume -> (path, claim), of those that are mounted."""
        found = {}
        for name, claim in claims_of(pod):
            volume = self._volumes.get((namespace_of(pod), claim))
            path = pod_directory(uid_of(pod)) / "volumes" / PLUGIN / str(volume) / "mount"
            if volume is not None and path.is_mount():
                found[name] = (str(path), claim)
        return found


def claims_of(pod: Object) -> Iterator[tuple[str, str]]:
    """(volume, claim), generic ephemeral volumes included."""
    volumes: list[dict[str, Any]] = pod["spec"].get("volumes") or []
    for volume in volumes:
        if volume.get("persistentVolumeClaim"):
            yield volume["name"], volume["persistentVolumeClaim"]["claimName"]
        elif volume.get("ephemeral") is not None:
            yield volume["name"], f"{name_of(pod)}-{volume['name']}"
