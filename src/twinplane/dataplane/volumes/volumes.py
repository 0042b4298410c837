"""`Volumes`: the volumes of all pods of a node, for the kubelet. Implements `PodVolumes`.

Every kind of volume has a plugin in one table. Taking away needs no plugin at all: whatever is mounted below a pod's
directory is unmounted, the directory goes, and disks that no directory names any more are taken down. So an agent that
was restarted, or a pod that is gone from the API, needs no memory of what was mounted.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from twinplane.dataplane.kubelet.contract import ContainerMount, Mounted, VolumeNotReady
from twinplane.dataplane.volumes import container_mounts, empty_dir, host_path, mounts, projected
from twinplane.dataplane.volumes.contract import Node, NotAttached, NotProcessed, Plain, Plugin, Request, SetUpFailed
from twinplane.dataplane.volumes.disks import Disks
from twinplane.dataplane.volumes.ebs import Ebs
from twinplane.dataplane.volumes.expansion import Expansion, Tell
from twinplane.dataplane.volumes.persistent import Persistent
from twinplane.dataplane.volumes.projected import Projected
from twinplane.dataplane.volumes.tokens import Tokens
from twinplane.dataplane.volumes.usage import used_bytes
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.meta import uid_of

log = logging.getLogger(__name__)

LOCAL_KINDS = (empty_dir.PLUGIN, *projected.DIRECTORIES.values())
"""Directories of volumes that lie on the node's own disk or memory."""
CONTAINER_KINDS = ("initContainers", "containers", "ephemeralContainers")


def _silent(*_: object) -> None:
    return None


class Volumes:
    def __init__(self, node: Node, *, in_use_changed: Callable[[], None] = _silent, tell: Tell = _silent) -> None:
        """`in_use_changed` is called when the node's status shall be written with a new `in_use()`; `tell` records an
        event (`EventRecorder.event`)."""
        self._node = node
        self._tokens = Tokens(node.client, node.clock, node.root / "tokens")
        self._disks = Disks(node, in_use_changed)
        self._ebs = Ebs(node, self._disks)
        persistent = Persistent(node, self._ebs, Expansion(node, self._ebs, tell))
        self._plugins: dict[str, Plugin] = {
            "emptyDir": Plain(empty_dir.set_up),
            "hostPath": Plain(host_path.set_up),
            **{kind: Projected(kind, node, self._tokens) for kind in projected.DIRECTORIES},
            "persistentVolumeClaim": persistent,
            "ephemeral": persistent,
        }
        self._mounted: dict[str, dict[str, Mounted]] = {}

    def in_use(self) -> list[str]:
        """The node's `status.volumesInUse`: they must not be detached. Read from disk, so right after a restart too."""
        return self._disks.in_use()

    # -- PodVolumes --------------------------------------------------------------------------------------------------

    async def mount(self, pod: Object) -> Mapping[str, Mounted]:
        uid = uid_of(pod)
        done = self._mounted.get(uid, {})
        wanted = _wanted(pod)
        for name, kind, source in wanted:
            if name in done:
                continue
            request = Request(self._node, pod, name, source)
            try:
                mounted = await self._plugin(kind).set_up(request)
            except (SetUpFailed, NotProcessed, NotAttached, OSError) as error:
                raise VolumeNotReady(_message(error, name, [n for n, _, _ in wanted if n not in done])) from error
            done = self._mounted.setdefault(uid, {})
            done[name] = mounted
        return dict(done)

    def _plugin(self, kind: str) -> Plugin:
        if kind not in self._plugins:
            raise SetUpFailed("no volume plugin matched")
        return self._plugins[kind]

    def container_mounts(
        self, pod: Object, container: Mapping[str, Any], mounted: Mapping[str, Mounted], environment: Mapping[str, str]
    ) -> list[ContainerMount]:
        root = self._node.pod(uid_of(pod)) / "volume-subpaths"
        return container_mounts.of_container(container, mounted, environment, root)

    async def refresh(self, pod: Object) -> None:
        """Raises `VolumeNotReady` when new content cannot be had; the old stays."""
        done = self._mounted.get(uid_of(pod), {})
        for name, kind, source in _wanted(pod):
            if name not in done:
                continue
            try:
                await self._plugins[kind].refresh(Request(self._node, pod, name, source))
            except (SetUpFailed, OSError) as error:
                raise VolumeNotReady(_message(error, name, [])) from error

    async def unmount(self, uid: str) -> None:
        """Raises OSError (EBUSY) while a process still uses a volume."""
        self._mounted.pop(uid, None)
        self._tokens.forget(uid)
        for plugin in self._plugins.values():
            plugin.forget(uid)
        directory = self._node.pod(uid)
        if directory.is_dir():
            # Emptying a large emptyDir takes a while.
            await asyncio.to_thread(_remove, directory)
        before = self._disks.in_use()
        await self._ebs.unstage_unused()
        if before != self._disks.in_use():
            self._disks.tell()

    async def left_behind(self) -> list[str]:
        return sorted(path.name for path in _entries(self._node.root / "pods") if path.is_dir())

    def used_by(self, uid: str) -> dict[str, int]:
        """Walks the directories: for a thread, when volumes are large."""
        volumes = self._node.pod(uid) / "volumes"
        return {path.name: used_bytes(path) for kind in LOCAL_KINDS for path in _entries(volumes / kind)}


def _wanted(pod: Object) -> list[tuple[str, str, Mapping[str, Any]]]:
    """(name, kind, source) of the volumes that a container of the pod uses; the others are not mounted."""
    spec = pod["spec"]
    used = {
        mount["name"]
        for kind in CONTAINER_KINDS
        for container in spec.get(kind) or []
        for mount in (*(container.get("volumeMounts") or []), *(container.get("volumeDevices") or []))
    }
    found = []
    for volume in spec.get("volumes") or []:
        if volume["name"] in used:
            kind = next((key for key, value in volume.items() if key != "name" and value is not None), "emptyDir")
            found.append((volume["name"], kind, volume.get(kind) or {}))
    return found


def _message(error: Exception, name: str, unmounted: list[str]) -> str:
    names = " ".join(unmounted)
    match error:
        case SetUpFailed():
            return f'{error.operation} failed for volume "{error.volume or name}" : {error}'
        case NotProcessed():
            return (
                f"Unable to attach or mount volumes: unmounted volumes=[{names}], unattached volumes=[], "
                f"failed to process volumes=[{name}]: {error}"
            )
        case NotAttached():
            return (
                f"Unable to attach or mount volumes: unmounted volumes=[{names}], unattached volumes=[], "
                "failed to process volumes=[]: timed out waiting for the condition"
            )
    return f'MountVolume.SetUp failed for volume "{name}" : {error}'


def _entries(directory: Path) -> Iterator[Path]:
    try:
        yield from sorted(directory.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return


def _remove(directory: Path) -> None:
    """Unmount everything below, then delete: never the other way round, it would empty what is mounted there."""
    mounts.unmount_all(directory)
    left = mounts.mounts(directory)
    if left:
        raise OSError(16, "Device or resource busy", left[0].path)
    shutil.rmtree(directory)
