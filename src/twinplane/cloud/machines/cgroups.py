"""The cgroup subtree of a machine, with the size of its instance type as limit; both versions of cgroups.

A machine's group has `system` for what runs on the node besides pods, and gets `kubepods` from its kubelet. Limits are
set where the host lets us: a host without a controller has machines without that limit.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

log = logging.getLogger(__name__)

MOUNTS = Path("/proc/self/mounts")
TOP = "twinplane"
SYSTEM = "system"
CPU_PERIOD = 100_000
"""Microseconds."""
ENDING_SECONDS = 5.0
"""How long the last processes of a killed machine may take to leave their groups."""
_CONTROLLERS = ("cpuset", "cpu", "io", "memory", "pids")
_INHERITED = ("cpuset.cpus", "cpuset.mems")
"""A new cpuset of v1 is empty, and takes no process before it has these."""


@dataclass(frozen=True, slots=True)
class Hierarchy:
    root: Path
    unified: bool
    controllers: frozenset[str]


def hierarchies(mounts: str) -> list[Hierarchy]:
    """All that are mounted; the unified one beside v1 ones (hybrid) has no controllers but must have the groups."""
    found = []
    for row in (line.split() for line in mounts.splitlines()):
        if row[2] == "cgroup2":
            root = Path(row[1])
            with contextlib.suppress(OSError):
                found.append(Hierarchy(root, True, frozenset((root / "cgroup.controllers").read_text().split())))
        elif row[2] == "cgroup":
            found.append(Hierarchy(Path(row[1]), False, frozenset(row[3].split(","))))
    return found


def group_of(region_id: str, instance_id: str) -> str:
    return f"/{TOP}/{region_id}/{instance_id}"


def make(group: str, vcpus: int, memory_mebibytes: int, mounts: Path = MOUNTS) -> None:
    """Idempotent."""
    for hierarchy in hierarchies(mounts.read_text()):
        try:
            for path in _ancestry(hierarchy.root, group + "/" + SYSTEM):
                _make_one(hierarchy, path)
            _limit(hierarchy, hierarchy.root / group[1:], vcpus, memory_mebibytes << 20)
        except OSError as error:
            log.warning("cgroup %s in %s: %s", group, hierarchy.root, error)


def _ancestry(root: Path, group: str) -> Iterator[Path]:
    path = root
    for part in group.strip("/").split("/"):
        path = path / part
        yield path


def _make_one(hierarchy: Hierarchy, path: Path) -> None:
    if hierarchy.unified:
        wanted = " ".join(f"+{name}" for name in _CONTROLLERS if name in hierarchy.controllers)
        if wanted:
            (path.parent / "cgroup.subtree_control").write_text(wanted)
    path.mkdir(exist_ok=True)
    if "cpuset" in hierarchy.controllers and not hierarchy.unified:
        for name in _INHERITED:
            if not (path / name).read_text().strip():
                (path / name).write_text((path.parent / name).read_text())


def _limit(hierarchy: Hierarchy, path: Path, vcpus: int, memory: int) -> None:
    quota = vcpus * CPU_PERIOD
    limits = (
        {"cpu.max": f"{quota} {CPU_PERIOD}", "memory.max": memory}
        if hierarchy.unified
        else {"cpu.cfs_quota_us": quota, "memory.limit_in_bytes": memory}
    )
    for name, value in limits.items():
        if name.partition(".")[0] in hierarchy.controllers:
            (path / name).write_text(str(value))


def remove(group: str, mounts: Path = MOUNTS) -> None:
    """The group and all below it, and what is then empty above. Blocking: processes that are ending are waited for."""
    deadline = time.monotonic() + ENDING_SECONDS
    for hierarchy in hierarchies(mounts.read_text()):
        path = hierarchy.root / group.strip("/")
        below = [found for found in path.rglob("*") if found.is_dir()] if path.is_dir() else []
        for found in [*sorted(below, key=lambda each: -len(each.parts)), path]:
            while not _removed(found) and time.monotonic() < deadline:
                time.sleep(0.01)
        for above in (path.parent, path.parent.parent):
            if above.is_relative_to(hierarchy.root / TOP):
                _removed(above)


def _removed(group: Path) -> bool:
    try:
        group.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True
