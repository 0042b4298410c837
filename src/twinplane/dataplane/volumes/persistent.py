"""persistentVolumeClaim and ephemeral: from the pod's volume to its claim, its PersistentVolume, and what that is.

The table at the end says which kinds of PersistentVolume a node can mount. The claim of a generic ephemeral volume is
named POD-VOLUME and must belong to the pod.
"""

from __future__ import annotations

import stat
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from twinplane.dataplane.kubelet.contract import Mounted
from twinplane.dataplane.volumes import filesystems, host_path, mounts, ownership
from twinplane.dataplane.volumes.contract import Node, NotProcessed, Request, SetUpFailed
from twinplane.dataplane.volumes.ebs import Ebs, disk_of
from twinplane.dataplane.volumes.expansion import Expansion
from twinplane.dataplane.volumes.filesystems import FileSystemError
from twinplane.kubeclient.contract import Object, Resource
from twinplane.kubeclient.meta import is_controlled_by, is_deleting, name_of, namespace_of, uid_of
from twinplane.kubeclient.resources import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES

LOCAL = "kubernetes.io~local-volume"


class Persistent:
    def __init__(self, node: Node, ebs: Ebs, expansion: Expansion) -> None:
        self._node = node
        self._ebs = ebs
        self._expansion = expansion
        self._kinds: dict[str, Callable[[Request, Object, bool], Awaitable[Mounted]]] = {
            "csi": self._disk,
            "awsElasticBlockStore": self._disk,
            "local": _local,
            "hostPath": _host_path,
        }
        self._resolved: dict[tuple[str, str], Object] = {}
        """(pod uid, volume) -> PersistentVolume: a claim that is bound stays bound to it."""

    async def set_up(self, request: Request) -> Mounted:
        claim, volume = await self._resolve(request)
        kind = next((kind for kind in self._kinds if kind in volume["spec"]), None)
        if kind is None:
            raise SetUpFailed("no volume plugin matched", volume=name_of(volume))
        read_only = bool(request.source.get("readOnly"))
        mounted = await self._kinds[kind](request, volume, read_only)
        self._resolved[uid_of(request.pod), request.name] = volume
        await self._expansion.mounted(claim, volume)
        return mounted

    async def refresh(self, request: Request) -> None:
        volume = self._resolved.get((uid_of(request.pod), request.name))
        if volume is not None:
            await self._expansion.look(namespace_of(request.pod), volume, request.pod)

    def forget(self, uid: str) -> None:
        for key in [key for key in self._resolved if key[0] == uid]:
            del self._resolved[key]

    async def _disk(self, request: Request, volume: Object, read_only: bool) -> Mounted:
        disk = disk_of(volume)
        if disk is None:
            driver = volume["spec"]["csi"].get("driver")
            raise SetUpFailed(
                "kubernetes.io/csi: attacher.MountDevice failed to create newCsiDriverClient: driver name "
                f"{driver} not found in the list of registered CSI drivers",
                "MountVolume.MountDevice",
                name_of(volume),
            )
        return await self._ebs.set_up(request, disk, read_only=read_only)

    # -- the claim ---------------------------------------------------------------------------------------------------

    async def _resolve(self, request: Request) -> tuple[Object, Object]:
        namespace = namespace_of(request.pod)
        ephemeral = "volumeClaimTemplate" in request.source
        name = f"{name_of(request.pod)}-{request.name}" if ephemeral else str(request.source.get("claimName", ""))
        try:
            claim = await self._get(PERSISTENT_VOLUME_CLAIMS, name, namespace, "PVC")
            if ephemeral and not is_controlled_by(claim, request.pod):
                pod = f"{namespace}/{name_of(request.pod)}"
                raise NotProcessed(f"PVC {namespace}/{name} was not created for pod {pod} (pod is not owner)")
            if is_deleting(claim):
                raise NotProcessed("can't start pod because PVC is being deleted")
            if (claim.get("status") or {}).get("phase") != "Bound" or not claim["spec"].get("volumeName"):
                raise NotProcessed("PVC is not bound")
            volume = await self._get(PERSISTENT_VOLUMES, claim["spec"]["volumeName"], "", "PV")
            bound = volume["spec"].get("claimRef") or {}
            if bound.get("uid") != uid_of(claim):
                raise NotProcessed(f"PV {name_of(volume)} is not bound to PVC: its claimRef.UID is {bound.get('uid')}")
        except NotProcessed as error:
            raise NotProcessed(f"error processing PVC {namespace}/{name}: {error}") from error
        return claim, volume

    async def _get(self, resource: Resource, name: str, namespace: str, what: str) -> Object:
        try:
            found = await self._node.references.get(resource.plural, namespace, name)
        except OSError as error:
            raise NotProcessed(f"failed to fetch {what} from API server: {error}") from error
        if found is None:
            raise NotProcessed(f'failed to fetch {what} from API server: {resource.plural} "{name}" not found')
        return found


async def _host_path(request: Request, volume: Object, read_only: bool) -> Mounted:
    source: Mapping[str, Any] = volume["spec"]["hostPath"]
    mounted = await host_path.set_up(Request(request.node, request.pod, name_of(volume), source))
    return Mounted(mounted.path, read_only=read_only)


def _mode(path: Path, name: str) -> int:
    try:
        return path.stat().st_mode
    except OSError as error:
        raise SetUpFailed(f'path "{path}" does not exist', volume=name) from error


async def _local(request: Request, volume: Object, read_only: bool) -> Mounted:
    """A directory or a disk of this node."""
    path, name = Path(str(volume["spec"]["local"]["path"])), name_of(volume)
    mode = _mode(path, name)
    if volume["spec"].get("volumeMode") == "Block":
        return Mounted(path, read_only=read_only, block=True)
    target = request.directory(LOCAL, name)
    filesystems.make_directory(target)
    if not mounts.is_mounted(target):
        options = tuple(volume["spec"].get("mountOptions") or ())
        kind = str(volume["spec"]["local"].get("fsType") or "ext4")
        try:
            if stat.S_ISBLK(mode):
                await filesystems.format_and_mount(path, target, kind, options, read_only=read_only)
            else:
                mounts.bind(str(path), target, read_only=read_only)
        except (FileSystemError, OSError) as error:
            raise SetUpFailed(str(error), volume=name) from error
        group = ownership.of_pod(request.pod, policy=True)
        if group is not None and not read_only:
            ownership.own(target, group)
    return Mounted(target, read_only=read_only)
