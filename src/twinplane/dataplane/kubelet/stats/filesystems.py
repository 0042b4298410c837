"""Disk space: of the node's file system, of images and containers, of logs and volumes.

Counting files costs time, so it is done in the background: a round takes place every ten seconds, and less often when
it takes long, so that it uses about a hundredth of the time; but at least once a minute, as upstream's kubelet does.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from twinplane.clock import Clock
from twinplane.dataplane.kubelet.contract import KUBELET_DIRECTORY, PodVolumes, RunningPods, log_directory
from twinplane.dataplane.runtime.contract import Runtime, RuntimeFailure
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.meta import name_of, namespace_of, uid_of

ROUND_SECONDS = 10.0
SHARE = 100
"""A round is followed by this many times its own duration."""
PAUSE_SECONDS_MAX = 60.0
"""But no longer, since on a busy machine a round takes long that costs little (upstream's volumeStatsAggPeriod)."""
ROOM = 1.1
"""A file system that is not much larger than the node's root volume is taken to be that volume."""


class Disk(NamedTuple):
    """Bytes and inodes used by something."""

    bytes: int = 0
    inodes: int = 0


NO_DISK = Disk()


@dataclass(frozen=True, slots=True)
class FileSystem:
    capacity: int = 0
    available: int = 0
    inodes: int = 0
    inodes_free: int = 0
    used: int = 0


@dataclass(frozen=True, slots=True)
class Volume:
    name: str
    files: FileSystem
    claim: str = ""
    """Name of its PersistentVolumeClaim, in the pod's namespace."""
    is_ephemeral: bool = False
    """Counts as the pod's ephemeral storage, on the node's file system."""


@dataclass(frozen=True, slots=True)
class PodDisk:
    volumes: tuple[Volume, ...] = ()
    logs: Mapping[str, Disk] = field(default_factory=dict)
    """By container."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a round has found."""

    at: float = 0.0
    node: FileSystem = FileSystem()
    images: Disk = NO_DISK
    layers: Mapping[str, Disk] = field(default_factory=dict)
    """Writable layers by the runtime's container id."""
    pods: Mapping[str, PodDisk] = field(default_factory=dict)
    """By UID."""


Mounts = Callable[[Object], Mapping[str, tuple[str, str]]]
"""Volumes of a pod that are file systems of their own: name -> (path, claim)."""


def no_mounts(pod: Object) -> Mapping[str, tuple[str, str]]:
    return {}


async def nothing() -> None:
    return


class FileSystems:
    """`found` is the last round; `look` makes one now."""

    def __init__(
        self,
        pods: RunningPods,
        runtime: Runtime,
        volumes: PodVolumes,
        clock: Clock,
        *,
        root_bytes: int,
        path: Path = KUBELET_DIRECTORY,
        mounts: Mounts = no_mounts,
        before: Callable[[], Awaitable[None]] = nothing,
    ) -> None:
        """`root_bytes` is the size of the node's root volume; `before` each round `mounts` may be prepared."""
        self._before = before
        self._pods, self._runtime, self._volumes = pods, runtime, volumes
        self._clock = clock
        self._root_bytes = root_bytes
        self._path = path
        self._mounts = mounts
        self.found = Found()

    async def run(self) -> None:
        """Until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            await self.look()
            pause = max(ROUND_SECONDS, SHARE * (loop.time() - began))
            await asyncio.sleep(min(pause, PAUSE_SECONDS_MAX))

    async def look(self) -> Found:
        await self._before()
        images, layers = await self._from_runtime()
        pods = {uid_of(pod): await asyncio.to_thread(self._of_pod, pod) for pod in self._pods.pods()}
        local = sum(volume.files.used for disk in pods.values() for volume in disk.volumes if volume.is_ephemeral)
        logs = sum(log.bytes for disk in pods.values() for log in disk.logs.values())
        # On containerd, what its snapshots use contains the containers' layers.
        node = node_file_system(file_system(self._path), self._root_bytes, images.bytes + local + logs)
        self.found = Found(self._clock.now(), node, images, layers, pods)
        return self.found

    async def _from_runtime(self) -> tuple[Disk, dict[str, Disk]]:
        """What was known before, while the runtime does not answer."""
        try:
            images = (await self._runtime.image_fs_info()).image_filesystems
            containers = await self._runtime.list_container_stats()
        except RuntimeFailure:
            return self.found.images, dict(self.found.layers)
        layers = {
            item.attributes.id: Disk(item.writable_layer.used_bytes.value, item.writable_layer.inodes_used.value)
            for item in containers
        }
        return Disk(sum(i.used_bytes.value for i in images), sum(i.inodes_used.value for i in images)), layers

    def _of_pod(self, pod: Object) -> PodDisk:
        uid = uid_of(pod)
        mounts = self._mounts(pod)
        ephemeral = ephemeral_volumes(pod)
        used = self._volumes.used_by(uid)
        local = [
            Volume(name, FileSystem(used=used[name]), "", name in ephemeral) for name in used if name not in mounts
        ]
        own = [Volume(name, file_system(Path(path)), claim) for name, (path, claim) in mounts.items()]
        return PodDisk((*local, *own), logs_of(log_directory(namespace_of(pod), name_of(pod), uid)))


def ephemeral_volumes(pod: Object) -> set[str]:
    """Names of the volumes that count as ephemeral storage (upstream's IsLocalEphemeralVolume)."""
    found = set()
    for volume in pod["spec"].get("volumes") or ():
        empty = volume.get("emptyDir")
        if (empty is not None and not empty.get("medium")) or volume.get("configMap") is not None:
            found.add(volume["name"])
    return found


def file_system(path: Path) -> FileSystem:
    """As statvfs tells it; empty when there is none."""
    try:
        found = os.statvfs(path)
    except OSError:
        return FileSystem()
    size = found.f_frsize
    capacity = found.f_blocks * size
    used = capacity - found.f_bfree * size
    return FileSystem(capacity, found.f_bavail * size, found.f_files, found.f_ffree, used)


def node_file_system(host: FileSystem, root_bytes: int, used: int) -> FileSystem:
    """What the node sees as its root volume, when its directories lie on a larger file system of the host."""
    if not root_bytes or 0 < host.capacity <= root_bytes * ROOM:
        return host
    available = min(host.available, max(root_bytes - used, 0))
    return FileSystem(root_bytes, available, host.inodes, host.inodes_free, root_bytes - available)


def logs_of(directory: Path) -> dict[str, Disk]:
    """Of each container below a pod's log directory."""
    try:
        containers = [entry for entry in os.scandir(directory) if entry.is_dir()]
    except OSError:
        return {}
    return {entry.name: disk_of(entry.path) for entry in containers}


def disk_of(directory: str) -> Disk:
    """Files right below a directory."""
    count = size = 0
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                count += 1
                size += entry.stat(follow_symlinks=False).st_size
    except OSError:
        pass
    return Disk(size, count)
