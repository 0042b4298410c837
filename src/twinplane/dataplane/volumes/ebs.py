"""EBS volumes in pods: what the node part of the EBS CSI driver does, together with the kubelet's CSI plugin.

A volume is staged once (formatted if blank, mounted at `globalmount`) and bound into each pod that uses it; it is
taken down when the last pod is gone. It grows while it is mounted, when the claim says that its device has grown.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from twinplane.dataplane.kubelet.contract import Mounted
from twinplane.dataplane.volumes import filesystems, mounts, ownership
from twinplane.dataplane.volumes.contract import Node, NotAttached, Request, SetUpFailed
from twinplane.dataplane.volumes.disks import PLUGIN, VOLUME_DATA, Disks
from twinplane.dataplane.volumes.filesystems import FileSystemError
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.meta import name_of, uid_of

DEFAULT_FILESYSTEM = "ext4"
MOUNT_DEVICE, SET_UP_DEVICE = "MountVolume.MountDevice", "MapVolume.SetUpDevice"
ONE_POD = "volume uses the ReadWriteOncePod access mode and is already in use by another pod"


class Disk(NamedTuple):
    """What a PersistentVolume says of its EBS volume."""

    volume: str
    handle: str
    filesystem: str
    options: tuple[str, ...]
    block: bool
    one_pod: bool
    read_only: bool


def disk_of(volume: Object) -> Disk | None:
    """Of a PersistentVolume, the in-tree kind as well, which is translated. None for other kinds."""
    spec = volume["spec"]
    csi, in_tree = spec.get("csi"), spec.get("awsElasticBlockStore")
    source: Mapping[str, Any] = csi or in_tree or {}
    if in_tree is not None:
        handle = str(in_tree["volumeID"]).rpartition("/")[2]
    elif csi is not None and csi.get("driver") == "ebs.csi.aws.com":
        handle = str(csi["volumeHandle"])
    else:
        return None
    return Disk(
        name_of(volume),
        handle,
        str(source.get("fsType") or DEFAULT_FILESYSTEM),
        tuple(spec.get("mountOptions") or ()),
        spec.get("volumeMode") == "Block",
        "ReadWriteOncePod" in (spec.get("accessModes") or ()),
        bool(source.get("readOnly")),
    )


class Ebs:
    def __init__(self, node: Node, disks: Disks) -> None:
        self._node = node
        self._disks = disks

    async def set_up(self, request: Request, disk: Disk, *, read_only: bool = False) -> Mounted:
        """Raises `SetUpFailed`, `NotAttached`."""
        others = self._disks.pods_with(disk.handle) - {uid_of(request.pod)}
        if disk.one_pod and others:
            raise SetUpFailed(ONE_POD, volume=disk.volume)
        self._disks.want(disk.handle)
        try:
            device = await self._disks.attached(disk.handle)
            async with self._disks.lock(disk.handle):
                if disk.block:
                    return self._map(request, disk, device)
                await self._stage(disk, device)
                return await self._publish(request, disk, read_only or disk.read_only)
        finally:
            self._disks.unwant(disk.handle)

    async def _stage(self, disk: Disk, device: Path) -> None:
        staging = self._disks.staging(disk.handle)
        self._disks.record(staging, disk.handle, disk.volume)
        target = staging / "globalmount"
        try:
            kind, may_grow = disk.filesystem, not disk.read_only
            if may_grow and not mounts.is_mounted(target) and filesystems.needs_growth(device):
                await filesystems.grow_unmounted(device)
            await filesystems.format_and_mount(device, target, kind, disk.options, read_only=disk.read_only)
            if may_grow and filesystems.can_grow_mounted(kind) and filesystems.needs_growth(device):
                await filesystems.grow(device, target)
        except (FileSystemError, OSError) as error:
            why = f'could not format "{device}" and mount it at "{target}": {error}'
            raise SetUpFailed(f"rpc error: code = Internal desc = {why}", MOUNT_DEVICE, disk.volume) from error

    async def _publish(self, request: Request, disk: Disk, read_only: bool) -> Mounted:
        directory = request.directory(PLUGIN, disk.volume)
        self._disks.record(directory, disk.handle, disk.volume)
        target = directory / "mount"
        target.mkdir(exist_ok=True, mode=0o750)
        staged = self._disks.staging(disk.handle) / "globalmount"
        if not mounts.is_mounted(target):
            group = ownership.of_pod(request.pod, policy=True)
            if group is not None and not read_only:
                await asyncio.to_thread(ownership.own, staged, group)
            mounts.bind(str(staged), target, read_only=read_only)
        return Mounted(target, read_only=read_only)

    def _map(self, request: Request, disk: Disk, device: Path) -> Mounted:
        link = self._node.pod(uid_of(request.pod)) / "volumeDevices" / PLUGIN / disk.volume
        link.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
        if not link.is_symlink():
            link.symlink_to(self._node.devices / disk.handle)
        return Mounted(device, read_only=disk.read_only, block=True)

    # -- taking down -------------------------------------------------------------------------------------------------

    async def unstage_unused(self) -> None:
        """Take down what no pod has mounted. Raises OSError when something is still in use."""
        for handle in self._disks.staged():
            async with self._disks.lock(handle):
                if not self._disks.is_wanted(handle) and not self._disks.pods_with(handle):
                    self._unstage(handle)

    def _unstage(self, handle: str) -> None:
        staging = self._disks.staging(handle)
        mounts.unmount_all(staging)
        target = staging / "globalmount"
        if target.is_dir():
            target.rmdir()
        (staging / VOLUME_DATA).unlink(missing_ok=True)
        staging.rmdir()

    # -- growing -----------------------------------------------------------------------------------------------------

    def may_grow(self, disk: Disk) -> Path | None:
        """The device, if it has become larger than its file system. Two reads: asked at every refresh.

        None where the host cannot: then the file system grows when the volume is mounted the next time.
        """
        device = self._disks.device(disk.handle)
        if device is None or disk.block or not filesystems.can_grow_mounted(disk.filesystem):
            return None
        try:
            return device if filesystems.needs_growth(device) else None
        except OSError:
            return None

    def has_grown(self, disk: Disk) -> bool:
        """The file system is as large as the device."""
        device = self._disks.device(disk.handle)
        try:
            return device is not None and (disk.block or not filesystems.needs_growth(device))
        except OSError:
            return False

    async def grow(self, disk: Disk) -> None:
        """Raises `SetUpFailed`."""
        device = self._disks.device(disk.handle)
        if device is None:
            raise SetUpFailed("device is gone", "MountVolume.NodeExpandVolume", disk.volume)
        try:
            async with self._disks.lock(disk.handle):
                await filesystems.grow(device, self._disks.staging(disk.handle) / "globalmount")
        except (FileSystemError, OSError) as error:
            raise SetUpFailed(str(error), "MountVolume.NodeExpandVolume", disk.volume) from error


__all__ = ["Disk", "Ebs", "NotAttached", "disk_of"]
