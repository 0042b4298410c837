"""What a volume plugin is given and gives: the contract between `volumes.Volumes` and the files of this folder.

A plugin turns one volume of one pod into a `Mounted`. It finds everything that it must undo on disk, so that an agent
that was restarted can. Messages are upstream's, as they appear in FailedMount events.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from twinplane.clock import Clock
from twinplane.dataplane.kubelet.contract import KUBELET_DIRECTORY, Mounted, ReferencedObjects
from twinplane.dataplane.node.contract import RUN
from twinplane.kubeclient.contract import KubeClient, Object
from twinplane.kubeclient.meta import uid_of


class SetUpFailed(Exception):
    """The volume cannot be made: `OPERATION failed for volume "VOLUME" : MESSAGE`."""

    def __init__(self, message: str, operation: str = "MountVolume.SetUp", volume: str = "") -> None:
        super().__init__(message)
        self.operation = operation
        self.volume = volume
        """The PersistentVolume's name; empty for the name in the pod."""


class NotProcessed(Exception):
    """The volume's claim or the like is not as it must be: `failed to process volumes=[x]: MESSAGE`."""


class NotAttached(Exception):
    """The time for waiting for the disk is over."""


@dataclass(frozen=True, slots=True)
class Node:
    """The node as volumes see it."""

    name: str
    client: KubeClient
    references: ReferencedObjects
    clock: Clock
    instance_id: str = ""
    zone: str = ""
    root: Path = KUBELET_DIRECTORY
    devices: Path = RUN / "devices"
    """The region makes `VOLUME-ID` here, a link to the block device, while the volume is attached."""
    allocatable: Callable[[], Mapping[str, str]] = field(default=dict)
    """Of the node: what containers without limits have, as the downward API tells."""
    attach_seconds: float = 123.0
    """How long a pod waits for its disks before it says so, as upstream's podAttachAndMountTimeout."""

    def pod(self, uid: str) -> Path:
        return self.root / "pods" / uid


@dataclass(frozen=True, slots=True)
class Request:
    """One volume of one pod."""

    node: Node
    pod: Object
    name: str
    """In the pod; volumes of claims lie under the PersistentVolume's name."""
    source: Mapping[str, Any]
    """The field of the volume, or of the PersistentVolume's spec, that is named after the plugin."""

    def directory(self, plugin: str, name: str = "") -> Path:
        """`pods/UID/volumes/PLUGIN/NAME`; `plugin` is e.g. `kubernetes.io~empty-dir`."""
        return self.node.pod(uid_of(self.pod)) / "volumes" / plugin / (name or self.name)


class Plugin(Protocol):
    async def set_up(self, request: Request) -> Mounted:
        """Idempotent. Raises `SetUpFailed`, `NotProcessed`, `NotAttached`, OSError."""
        ...

    async def refresh(self, request: Request) -> None:
        """Bring what is mounted up to date; cheap when nothing changed. Raises as `set_up`."""
        ...

    def forget(self, uid: str) -> None:
        """What is remembered of a pod; its directories are taken away by `Volumes`."""
        ...


class Plain:
    """A plugin that is a function: nothing to refresh, nothing to remember."""

    def __init__(self, function: Callable[[Request], Awaitable[Mounted]]) -> None:
        self._function = function

    async def set_up(self, request: Request) -> Mounted:
        return await self._function(request)

    async def refresh(self, request: Request) -> None:
        return None

    def forget(self, uid: str) -> None:
        return None
