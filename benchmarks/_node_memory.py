"""Memory of the real nodes of a region by process: what is resident (RSS), what the node would give back (PSS)."""

from __future__ import annotations

import os
from pathlib import Path

from benchmarks.fleet import Bench

KINDS = {"dataplane.node.agent": "agent", "dataplane.node": "PID 1", "containerd": "containerd"}


def memory(bench: Bench, when: str) -> None:
    """Rows for the node that has most."""
    machines = _machines(bench.region.home).values()
    most = max(machines, key=lambda found: sum(found["Rss"].values()), default={})
    for kind, processes in most.items():
        parts = ", ".join(f"{name} {kib / 1024:.0f}" for name, kib in processes.items())
        total = sum(processes.values()) / 1024
        bench.row(f"  memory of a node, {when}, {kind.upper()}", f"{total:.0f} MiB ({parts})")


def _machines(home: Path) -> dict[str, dict[str, dict[str, int]]]:
    """Instance id -> Rss or Pss -> process -> KiB."""
    commands = {pid: _command(pid) for pid in os.listdir("/proc") if pid.isdigit()}
    first = {pid: words[-1] for pid, words in commands.items() if _is_first(words, home)}
    found: dict[str, dict[str, dict[str, int]]] = {}
    for pid, words in commands.items():
        parent = _parent(pid)
        owner = first.get(pid) or first.get(parent)
        name = next((label for part, label in KINDS.items() if _runs(words, part)), None)
        if owner is None or name is None:
            continue
        for kind, kib in _rollup(pid).items():
            found.setdefault(Path(owner).name, {"Rss": {}, "Pss": {}})[kind][name] = kib
    return found


def _is_first(words: list[str], home: Path) -> bool:
    return "twinplane.dataplane.node" in words and words[0].endswith("python") and words[-1].startswith(str(home))


def _runs(words: list[str], part: str) -> bool:
    return any(word == f"twinplane.{part}" for word in words) or words[0] == part


def _command(pid: str) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").rstrip("\0").split("\0")
    except OSError:
        return [""]


def _parent(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[1]
    except OSError:
        return ""


def _rollup(pid: str) -> dict[str, int]:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return {}
    return {line.split(":")[0]: int(line.split()[1]) for line in lines if line.startswith(("Rss:", "Pss:"))}
