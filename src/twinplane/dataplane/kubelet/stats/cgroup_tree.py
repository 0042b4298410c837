"""The node's cgroups on this host: which there are, and reading them.

The node's own cgroup stands for the whole machine ("/"), and pods are below `kubepods`, as in
`kubelet/containers/cgroups.py`. Plain reads of small kernel files, which do not wait.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from twinplane.dataplane.kubelet.stats.cgroup_files import Usage, flat, number, usage_v1, usage_v2

ROOT = Path("/sys/fs/cgroup")
QOS_LEVELS = ("kubepods", "kubepods/burstable", "kubepods/besteffort")
FILE_BYTES = 64 * 1024
BRIEF = frozenset(
    (
        *("cpuacct/cpuacct.usage", "memory/memory.usage_in_bytes", "memory/memory.stat"),
        *("memory/memory.limit_in_bytes", "pids/pids.current"),
        *("cpu.stat", "memory.current", "memory.stat", "memory.max", "memory.swap.current", "pids.current"),
    )
)
"""What a brief look reads: of v1, and of v2."""


class CgroupTree:
    """Paths are below the node's cgroup `parent` and begin with a slash; "/" is the node itself."""

    def __init__(self, parent: str, root: Path = ROOT) -> None:
        self._parent = parent.rstrip("/")
        self._root = str(root)
        self.unified = (root / "cgroup.controllers").exists()

    def levels(self) -> list[str]:
        """The node and the levels above pods, as far as they are there."""
        return ["/", *(f"/{level}" for level in QOS_LEVELS if self._is_there(f"/{level}"))]

    def pods(self) -> dict[str, str]:
        """UID -> path of each pod that has a cgroup."""
        found = {}
        for level in QOS_LEVELS:
            for name in self._below(f"/{level}"):
                if name.startswith("pod"):
                    found[name.removeprefix("pod")] = f"/{level}/{name}"
        return found

    def usage(self, path: str, *, brief: bool = False) -> Usage | None:
        """None for a cgroup that has gone; `brief` tells CPU, memory, swap and threads, and costs a third."""
        if not self._is_there(path):
            return None

        def read(name: str) -> str:
            return self._read(path, name) if not brief or name in BRIEF else ""

        return (usage_v2 if self.unified else usage_v1)(read)

    def cpu(self, path: str) -> int | None:
        """Nanoseconds of CPU time: the one number that is read often."""
        if self.unified:
            found = flat(self._read(path, "cpu.stat")).get("usage_usec")
            return found * 1000 if found is not None else None
        text = self._read(path, "cpuacct/cpuacct.usage")
        return number(text) if text else None

    def processes(self, path: str) -> list[int]:
        """In the cgroup and all below it, as our own PID namespace numbers them."""
        directory = self._directory(path, "memory")
        return [pid for each in _all_below(directory) for pid in _pids(f"{each}/cgroup.procs")]

    def made_at(self, path: str) -> float:
        """Seconds since the epoch; 0 when it has gone."""
        try:
            return os.stat(self._directory(path, "memory")).st_ctime
        except OSError:
            return 0.0

    def _read(self, path: str, name: str) -> str:
        if self.unified:
            return read_file(f"{self._root}{self._parent}{path}/{name}")
        controller, _, file = name.partition("/")
        return read_file(f"{self._directory(path, controller)}/{file}")

    def _directory(self, path: str, controller: str) -> str:
        top = self._root if self.unified else f"{self._root}/{controller}"
        return f"{top}{self._parent}{path}".rstrip("/")

    def _is_there(self, path: str) -> bool:
        return os.path.isdir(self._directory(path, "memory"))

    def _below(self, path: str) -> list[str]:
        try:
            return os.listdir(self._directory(path, "memory"))
        except OSError:
            return []


def read_file(path: str) -> str:
    """Empty for what cannot be read. Without Python's layers of files: a scrape reads a thousand."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        return os.read(descriptor, FILE_BYTES).decode(errors="replace")
    except OSError:
        return ""
    finally:
        os.close(descriptor)


def _all_below(directory: str) -> Iterator[str]:
    yield directory
    try:
        with os.scandir(directory) as entries:
            children = [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return
    for child in children:
        yield from _all_below(child)


def _pids(path: str) -> list[int]:
    return [int(word) for word in read_file(path).split() if word.isdecimal()]
