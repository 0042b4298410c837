"""emptyDir: a directory of the node's disk or memory that lives as long as the pod."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from typing import Any

from twinplane.dataplane.kubelet.contract import Mounted
from twinplane.dataplane.volumes import mounts, ownership
from twinplane.dataplane.volumes.contract import Request, SetUpFailed
from twinplane.kubeclient import quantity
from twinplane.kubeclient.contract import Object

PLUGIN = "kubernetes.io~empty-dir"
MODE = 0o777


async def set_up(request: Request) -> Mounted:
    path = request.directory(PLUGIN)
    medium = str(request.source.get("medium") or "")
    if medium == "" and path.is_dir():
        return Mounted(path)
    path.mkdir(parents=True, exist_ok=True)
    if medium and not mounts.is_mounted(path):
        _mount_memory(request, medium)
    path.chmod(MODE)
    group = ownership.of_pod(request.pod)
    if group is not None:
        ownership.own(path, group)
    return Mounted(path)


def _mount_memory(request: Request, medium: str) -> None:
    path = request.directory(PLUGIN)
    if medium == "Memory":
        mounts.mount_memory(path, memory_size(request.source, request.pod, request.node.allocatable()))
    elif medium.startswith("HugePages"):
        size = medium.removeprefix("HugePages").removeprefix("-") or _huge_page_size(request.pod)
        pages = quantity.whole(size)
        mounts.mount_memory(path, None, filesystem="hugetlbfs", options=f"pagesize={pages}")
    else:
        shutil.rmtree(path)
        raise SetUpFailed(f'unknown storage medium "{medium}"')


def memory_size(source: Mapping[str, Any], pod: Object, allocatable: Mapping[str, str]) -> int | None:
    """Bytes: the least of the volume's limit, what the pod may use, and what the node has. None for no bound."""
    bounds = [source.get("sizeLimit"), allocatable.get("memory")]
    found = [quantity.whole(bound) for bound in bounds if bound is not None]
    limits = [_limit(container, "memory") for container in pod["spec"]["containers"]]
    if all(limit is not None for limit in limits):
        found.append(sum(quantity.whole(limit) for limit in limits if limit is not None))
    return min((size for size in found if size > 0), default=None)


def _limit(container: Mapping[str, Any], resource: str) -> str | None:
    limit: str | None = ((container.get("resources") or {}).get("limits") or {}).get(resource)
    return limit


def _huge_page_size(pod: Object) -> str:
    """Medium HugePages: the one size that the pod asks for."""
    sizes: set[str] = {
        name.removeprefix("hugepages-")
        for container in _containers(pod)
        for name in (container.get("resources") or {}).get("requests") or {}
        if name.startswith("hugepages-")
    }
    if len(sizes) != 1:
        raise SetUpFailed("medium HugePages can only be used if the pod consumes one huge page size")
    return sizes.pop()


def _containers(pod: Object) -> Iterable[Mapping[str, Any]]:
    return [*(pod["spec"].get("initContainers") or []), *pod["spec"]["containers"]]
