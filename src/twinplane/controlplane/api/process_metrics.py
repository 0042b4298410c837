"""What every Kubernetes component tells of its process and its build, in Prometheus text. Read for /metrics only."""

from __future__ import annotations

import os
import resource
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

_PROC = Path("/proc/self")
_BUILD = {
    "major": "major",
    "minor": "minor",
    "git_version": "gitVersion",
    "git_commit": "gitCommit",
    "git_tree_state": "gitTreeState",
    "build_date": "buildDate",
    "go_version": "goVersion",
    "compiler": "compiler",
    "platform": "platform",
}
"""Label -> field of /version."""


def text(version: Mapping[str, Any]) -> str:
    """Only the build and the processor's time where there is no /proc."""
    pairs = ",".join(f'{label}="{version.get(field, "")}"' for label, field in _BUILD.items())
    lines = ["# TYPE kubernetes_build_info gauge", f"kubernetes_build_info{{{pairs}}} 1"]
    for name, (kind, value) in _usage().items():
        lines += [f"# TYPE {name} {kind}", f"{name} {value:.12g}"]
    return "\n".join(lines) + "\n"


def _usage() -> dict[str, tuple[str, float]]:
    used = resource.getrusage(resource.RUSAGE_SELF)
    found: dict[str, tuple[str, float]] = {
        "process_cpu_seconds_total": ("counter", used.ru_utime + used.ru_stime),
        "process_max_fds": ("gauge", resource.getrlimit(resource.RLIMIT_NOFILE)[0]),
    }
    try:
        sizes = (_PROC / "statm").read_text().split()
        open_files = len(os.listdir(_PROC / "fd"))
        started = _started()
    except OSError:
        return found
    page = resource.getpagesize()
    return found | {
        "process_virtual_memory_bytes": ("gauge", int(sizes[0]) * page),
        "process_resident_memory_bytes": ("gauge", int(sizes[1]) * page),
        "process_open_fds": ("gauge", open_files),
        "process_start_time_seconds": ("gauge", started),
    }


@cache
def _started() -> float:
    """Seconds since the epoch. Raises OSError."""
    ticks = int((_PROC / "stat").read_text().rpartition(")")[2].split()[19])
    booted = next(line for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime"))
    return int(booted.split()[1]) + ticks / os.sysconf("SC_CLK_TCK")
