"""The cgroup of what runs on a node besides pods, for both versions of cgroups: `CGROUP/system` of the machine."""

from __future__ import annotations

import os
from pathlib import Path

SYSTEM = "system"
MOUNTS = Path("/proc/self/mounts")


def hierarchies(mounts: str) -> list[Path]:
    """Where the cgroup hierarchies are mounted: one for v2, one for each controller for v1."""
    rows = (line.split() for line in mounts.splitlines())
    return [Path(row[1]) for row in rows if row[2] in ("cgroup", "cgroup2")]


def join_system_group(cgroup: str, pid: int | None = None) -> None:
    """Move a process (the parent of the caller by default: PID 1) into the machine's system group, in each hierarchy.

    What the region could not make (it says so itself) is skipped: then the machine has no limits there.
    """
    moved = pid or os.getppid()
    for hierarchy in hierarchies(MOUNTS.read_text()):
        group = hierarchy / cgroup.lstrip("/") / SYSTEM
        if group.is_dir():
            (group / "cgroup.procs").write_text(str(moved))
