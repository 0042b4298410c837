"""Between the parts of the kubelet: its pod loop, volumes, HTTP server, metrics, garbage collection, eviction.

The pod loop (`kubelet/pods`) owns what runs; the others see it through `RunningPods`. Volumes know nothing of
containers. The runtime's contract is `dataplane/runtime/contract.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from twinplane.kubeclient.contract import Object

KUBELET_DIRECTORY = Path("/var/lib/kubelet")
POD_LOGS = Path("/var/log/pods")
CONTAINER_LOGS = Path("/var/log/containers")


def pod_directory(uid: str) -> Path:
    """Holds `volumes/PLUGIN~NAME/VOLUME`, `volume-subpaths`, `etc-hosts`, `containers/NAME`, as upstream."""
    return KUBELET_DIRECTORY / "pods" / uid


def seccomp_directory() -> Path:
    """Of the profiles that pods name as `localhostProfile`."""
    return KUBELET_DIRECTORY / "seccomp"


def log_directory(namespace: str, name: str, uid: str) -> Path:
    """Logs are `CONTAINER/RESTARTS.log` below it, in the CRI format."""
    return POD_LOGS / f"{namespace}_{name}_{uid}"


class VolumeNotReady(Exception):
    """A volume cannot be mounted now; shown in a FailedMount event, and tried again with back-off."""


class InvalidMount(Exception):
    """A container's mount cannot be made (bad subPath ...): the container waits with CreateContainerConfigError."""


@dataclass(frozen=True, slots=True)
class Mounted:
    """A volume of a pod, ready on the node."""

    path: Path
    read_only: bool = False
    block: bool = False
    """`path` is a device, for volumeDevices."""


@dataclass(frozen=True, slots=True)
class ContainerMount:
    host_path: str
    container_path: str
    read_only: bool = False
    recursive_read_only: bool = False
    propagation: Literal["None", "HostToContainer", "Bidirectional"] = "None"


class ReferencedObjects(Protocol):
    """ConfigMaps, Secrets and other objects that pods name, kept fresh while a pod of this node uses them."""

    async def get(self, resource: str, namespace: str, name: str) -> Object | None:
        """`resource` is the plural, e.g. `configmaps`. None when there is none. Raises OSError when unknown."""
        ...


class PodVolumes(Protocol):
    """Implemented by `dataplane/volumes`."""

    async def mount(self, pod: Object) -> Mapping[str, Mounted]:
        """All volumes of a pod by name; idempotent. Raises `VolumeNotReady` with upstream's wording."""
        ...

    def container_mounts(
        self, pod: Object, container: Mapping[str, Any], mounted: Mapping[str, Mounted], environment: Mapping[str, str]
    ) -> list[ContainerMount]:
        """Of `volumeMounts`, subPath and subPathExpr (expanded with `environment`) included. Raises `InvalidMount`."""
        ...

    async def refresh(self, pod: Object) -> None:
        """New content of ConfigMaps, Secrets, downward API and tokens in place. Cheap when nothing changed."""
        ...

    async def unmount(self, uid: str) -> None:
        """Everything of a pod, from what is on disk (the agent may have restarted); idempotent."""
        ...

    async def left_behind(self) -> list[str]:
        """UIDs of all pods that have a directory."""
        ...

    def used_by(self, uid: str) -> dict[str, int]:
        """Bytes of each volume that lies on the node's disk or memory (emptyDir, ConfigMap, ...)."""
        ...


class RunningPods(Protocol):
    """What runs on this node, for the server, metrics, garbage collection and eviction. Implemented by the pod loop."""

    def pods(self) -> list[Object]:
        """With the status that this kubelet would report now; static and terminating ones included."""
        ...

    def pod(self, namespace: str, name: str) -> Object | None: ...

    def container_id(self, uid: str, container: str) -> str | None:
        """The runtime's id of the newest instance of any kind of container of a pod."""
        ...

    def sandbox_id(self, uid: str) -> str | None: ...

    async def evict(self, pod: Object, message: str, reason: str = "Evicted") -> None:
        """Fail the pod with status.reason and message, and stop its containers."""
        ...
