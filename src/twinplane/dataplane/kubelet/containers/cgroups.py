"""The cgroups of pods: `NODE/kubepods[/burstable|/besteffort]/podUID`, on cgroup v1 (also hybrid) and v2.

The runtime makes a container's cgroup below its pod's; this makes the levels above, sets what a pod may use all
together, and takes them away. Plain files, small and local, so nothing here waits. Source: kubelet `cm/`.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from twinplane.dataplane.kubelet.containers.resources import (
    MINIMUM_SHARES,
    PERIOD_MICROSECONDS,
    cpu_weight,
    pod_limits,
    pod_requests,
    qos_class,
    quota,
    shares,
)
from twinplane.dataplane.kubelet.pods.spec import all_containers
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.meta import uid_of

log = logging.getLogger(__name__)

ROOT = Path("/sys/fs/cgroup")
V1_CONTROLLERS = ("cpu", "cpuacct", "cpuset", "memory", "pids", "blkio", "devices", "freezer", "hugetlb", "systemd")
V2_CONTROLLERS = ("cpu", "cpuset", "io", "memory", "pids")
QOS_DIRECTORY = {"Guaranteed": "", "Burstable": "/burstable", "BestEffort": "/besteffort"}
UNLIMITED = -1


class Cgroups:
    """`parent` is the node's cgroup (`Machine.cgroup`); `pids_max` is podPidsLimit, or -1."""

    def __init__(self, parent: str, *, root: Path = ROOT, pids_max: int = UNLIMITED) -> None:
        self._parent = parent.rstrip("/")
        self._root = root
        self._pids_max = pids_max
        self.unified = (root / "cgroup.controllers").exists()
        """cgroup v2."""

    def path(self, pod: Object) -> str:
        """As `cgroup_parent` of its sandbox."""
        return f"{self._parent}/kubepods{QOS_DIRECTORY[qos_class(pod)]}/pod{uid_of(pod)}"

    def prepare(self) -> None:
        """The levels that all pods share."""
        directory = self._root
        for part in self._parent.strip("/").split("/") if self.unified else ():
            self._delegate(directory)
            directory = directory / part
            directory.mkdir(exist_ok=True)
        for level in QOS_DIRECTORY.values():
            self._make(f"{self._parent}/kubepods{level}")
        self._set(f"{self._parent}/kubepods/besteffort", {"cpu": MINIMUM_SHARES})

    def apply(self, pod: Object) -> None:
        """Make a pod's cgroup, or change what it may use."""
        path = self.path(pod)
        self._make(path)
        asked, limited = pod_requests(pod), pod_limits(pod)
        everyone = [(container.get("resources") or {}).get("limits") or {} for _, container in all_containers(pod)]
        values = {"cpu": shares(asked.get("cpu", 0)), "pids": self._pids_max}
        # What only some containers limit does not limit the pod.
        values["quota"] = quota(limited.get("cpu", 0)) if all("cpu" in found for found in everyone) else 0
        values["memory"] = limited.get("memory", 0) if all("memory" in found for found in everyone) else 0
        self._set(path, values)

    def remove(self, uid: str) -> None:
        """Whatever QoS it had; what still has a process in it stays."""
        for level in QOS_DIRECTORY.values():
            for top in self._tops():
                _remove(Path(f"{top}{self._parent}/kubepods{level}/pod{uid}"))

    def uids(self) -> set[str]:
        """Of the pods that have a cgroup."""
        top = next(iter(self._tops()), None)
        found: set[str] = set()
        for level in QOS_DIRECTORY.values():
            with suppress(OSError):
                names = os.listdir(f"{top}{self._parent}/kubepods{level}")
                found |= {name.removeprefix("pod") for name in names if name.startswith("pod")}
        return found

    def _tops(self) -> Iterator[Path]:
        if self.unified:
            yield self._root
        else:
            yield from (self._root / name for name in V1_CONTROLLERS if (self._root / name).is_dir())

    def _make(self, path: str) -> None:
        for top in self._tops():
            self._make_below(top, path.strip("/").split("/"))

    def _make_below(self, top: Path, parts: list[str]) -> None:
        """Nearly always only the last level is missing: that is tried first, as each look costs a system call."""
        parent, directory = top.joinpath(*parts[:-1]), top.joinpath(*parts)
        if len(parts) > 1 and not parent.is_dir():
            self._make_below(top, parts[:-1])
        if self.unified:
            self._delegate(parent)
        with suppress(FileExistsError):
            directory.mkdir()
            if top.name == "cpuset":
                _inherit_cpuset(parent, directory)

    @staticmethod
    def _delegate(directory: Path) -> None:
        there = (directory / "cgroup.controllers").read_text().split()
        given = (directory / "cgroup.subtree_control").read_text().split()
        missing = [f"+{name}" for name in V2_CONTROLLERS if name in there and name not in given]
        if missing:
            _write(directory / "cgroup.subtree_control", " ".join(missing))

    def _set(self, path: str, values: dict[str, int]) -> None:
        if self.unified:
            directory = Path(f"{self._root}{path}")
            bandwidth = values.get("quota") or "max"
            memory = values.get("memory") or "max"
            files = {"cpu.weight": str(cpu_weight(values["cpu"]))}
            if "quota" in values:
                files |= {"cpu.max": f"{bandwidth} {PERIOD_MICROSECONDS}", "memory.max": str(memory)}
                files["pids.max"] = str(values["pids"]) if values["pids"] > 0 else "max"
            for name, text in files.items():
                _write(directory / name, text)
            return
        files = {"cpu/cpu.shares": str(values["cpu"])}
        if "quota" in values:
            files["cpu/cpu.cfs_period_us"] = str(PERIOD_MICROSECONDS)
            files["cpu/cpu.cfs_quota_us"] = str(values["quota"] or UNLIMITED)
            files["memory/memory.limit_in_bytes"] = str(values["memory"] or UNLIMITED)
            files["pids/pids.max"] = str(values["pids"]) if values["pids"] > 0 else "max"
        for name, text in files.items():
            controller, _, file = name.partition("/")
            _write(Path(f"{self._root}/{controller}{path}/{file}"), text)


def _inherit_cpuset(parent: Path, directory: Path) -> None:
    """A new cpuset of cgroup v1 is empty, and takes no process before it has CPUs and memory nodes."""
    for name in ("cpuset.cpus", "cpuset.mems"):
        with suppress(OSError):
            _write(directory / name, (parent / name).read_text().strip())


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text)
    except OSError as error:
        # A controller that this host has not, or a value that it refuses: the pod runs without it.
        log.debug("%s: %s", path, error)


def _remove(directory: Path) -> None:
    if not directory.is_dir():
        return
    with suppress(OSError):
        for child in directory.iterdir():
            if child.is_dir():
                _remove(child)
        directory.rmdir()
