"""A moment of the node: what it, each pod and each container used, read from their cgroups when somebody asks.

Between scrapes only CPU counters are read, every ten seconds, for the rates that the summary tells. A sample is kept
for a second, as several formats are often asked for at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from twinplane.clock import Clock
from twinplane.dataplane.kubelet.contract import RunningPods
from twinplane.dataplane.kubelet.logs.access import STATUSES
from twinplane.dataplane.kubelet.stats.cgroup_files import Usage
from twinplane.dataplane.kubelet.stats.cgroup_tree import CgroupTree, read_file
from twinplane.dataplane.kubelet.stats.filesystems import NO_DISK, Disk, FileSystems, Found, PodDisk
from twinplane.dataplane.kubelet.stats.proc_files import Interface, interfaces
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.meta import name_of, namespace_of, time_of, uid_of

HOUSEKEEPING_SECONDS = 10.0
KEPT_SECONDS = 1.0
RATE_SECONDS = 5.0
"""Rates are of at least this time."""


@dataclass(frozen=True, slots=True)
class Group:
    """One cgroup."""

    path: str
    usage: Usage
    at: float
    made_at: float
    rate: int = 0
    """Nanocores."""


@dataclass(frozen=True, slots=True)
class ContainerSample:
    name: str
    id: str
    image: str
    started: float
    group: Group
    layer: Disk = NO_DISK
    log: Disk = NO_DISK


@dataclass(frozen=True, slots=True)
class PodSample:
    name: str
    namespace: str
    uid: str
    started: float
    group: Group
    containers: tuple[ContainerSample, ...]
    sandbox_id: str = ""
    sandbox: Group | None = None
    interfaces: tuple[Interface, ...] = ()
    disk: PodDisk = field(default_factory=PodDisk)


@dataclass(frozen=True, slots=True)
class NodeSample:
    at: float
    node: Group
    levels: tuple[Group, ...]
    """The cgroups above the pods' (`/kubepods` ...)."""
    pods: tuple[PodSample, ...]
    interfaces: tuple[Interface, ...]
    files: Found


class Rates:
    """CPU rates from counters that are seen again and again."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[float, int]] = {}
        self._rates: dict[str, int] = {}

    def observe(self, path: str, at: float, cpu: int) -> None:
        before = self._seen.get(path)
        if before is not None and at - before[0] < RATE_SECONDS:
            return
        self._seen[path] = (at, cpu)
        if before is not None:
            self._rates[path] = max(int((cpu - before[1]) / (at - before[0])), 0)

    def rate(self, path: str) -> int:
        return self._rates.get(path, 0)

    def keep_only(self, paths: set[str]) -> None:
        for path in self._seen.keys() - paths:
            del self._seen[path]
            self._rates.pop(path, None)


class Sampler:
    def __init__(self, pods: RunningPods, tree: CgroupTree, files: FileSystems, clock: Clock) -> None:
        self._pods, self._tree, self._files, self._clock = pods, tree, files, clock
        self._rates = Rates()
        self._last: dict[bool, NodeSample] = {}
        """The last brief and the last whole sample."""

    @property
    def tree(self) -> CgroupTree:
        return self._tree

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self._observe_rates()
            await asyncio.sleep(HOUSEKEEPING_SECONDS)

    async def sample(self, *, brief: bool = False) -> NodeSample:
        """`brief` has CPU and memory only, for those who ask often."""
        last = self._last.get(brief)
        if last is not None and 0 <= self._clock.now() - last.at < KEPT_SECONDS:
            return last
        on_disk = self._tree.pods()
        pods = []
        for pod in self._pods.pods():
            path = on_disk.get(uid_of(pod))
            told = self._of_pod(pod, path, brief) if path is not None else None
            if told is not None:
                pods.append(told)
            # A scrape of a hundred pods takes some 50 ms: others may go on in between.
            await asyncio.sleep(0)
        levels = [group for path in self._tree.levels() if (group := self._group(path, brief)) is not None]
        node = levels[0] if levels else Group("/", Usage(), self._clock.now(), 0.0)
        network = interfaces(read_file("/proc/self/net/dev"))
        found = NodeSample(self._clock.now(), node, tuple(levels[1:]), tuple(pods), network, self._files.found)
        self._last[brief] = found
        return found

    def _of_pod(self, pod: Object, path: str, brief: bool) -> PodSample | None:
        group = self._group(path, brief)
        if group is None:
            return None
        uid = uid_of(pod)
        files = self._files.found
        disk = files.pods.get(uid) or PodDisk()
        sandbox_id = self._pods.sandbox_id(uid) or ""
        sandbox = self._group(f"{path}/{sandbox_id}", brief) if sandbox_id and not brief else None
        return PodSample(
            name=name_of(pod),
            namespace=namespace_of(pod),
            uid=uid,
            started=time_of((pod.get("status") or {}).get("startTime")) or group.made_at,
            group=group,
            containers=tuple(self._containers(pod, path, files.layers, disk, brief)),
            sandbox_id=sandbox_id,
            sandbox=sandbox,
            interfaces=self._interfaces(sandbox) if sandbox is not None else (),
            disk=disk,
        )

    def _containers(
        self, pod: Object, path: str, layers: Mapping[str, Disk], disk: PodDisk, brief: bool
    ) -> Iterator[ContainerSample]:
        for status in running_containers(pod):
            container_id = str(status.get("containerID", "")).rpartition("//")[2]
            group = self._group(f"{path}/{container_id}", brief) if container_id else None
            if group is not None:
                yield ContainerSample(
                    name=status["name"],
                    id=container_id,
                    image=status.get("image", ""),
                    started=time_of(status["state"]["running"].get("startedAt")) or group.made_at,
                    group=group,
                    layer=layers.get(container_id, NO_DISK),
                    log=disk.logs.get(status["name"], NO_DISK),
                )

    def _group(self, path: str, brief: bool) -> Group | None:
        usage = self._tree.usage(path, brief=brief)
        if usage is None:
            return None
        now = self._clock.now()
        self._rates.observe(path, now, usage.cpu)
        return Group(path, usage, now, self._tree.made_at(path), self._rates.rate(path))

    def _interfaces(self, sandbox: Group) -> tuple[Interface, ...]:
        pids = self._tree.processes(sandbox.path)
        return interfaces(read_file(f"/proc/{pids[0]}/net/dev")) if pids else ()

    def _observe_rates(self) -> None:
        now = self._clock.now()
        seen: set[str] = set()
        on_disk = self._tree.pods()
        paths = self._tree.levels()
        for pod in self._pods.pods():
            path = on_disk.get(uid_of(pod))
            if path is not None:
                ids = (str(item.get("containerID", "")).rpartition("//")[2] for item in running_containers(pod))
                paths += [path, *(f"{path}/{each}" for each in ids if each)]
        for path in paths:
            cpu = self._tree.cpu(path)
            if cpu is not None:
                self._rates.observe(path, now, cpu)
                seen.add(path)
        self._rates.keep_only(seen)


def running_containers(pod: Object) -> Iterator[Mapping[str, Any]]:
    """Statuses of all containers that run, of any kind."""
    status = pod.get("status") or {}
    for kind in STATUSES:
        for item in status.get(kind) or ():
            if "running" in (item.get("state") or {}):
                yield item
