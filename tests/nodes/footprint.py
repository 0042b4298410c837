"""What a region has on its host outside of its data directory: everything that names it, or its data directory.

Other regions of the host come and go while tests run, so nothing is compared with the host as a whole: namespaces,
links, tables, cgroups carry the region's id in their names, and mounts, loop devices and processes lead to its data.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from twinplane.cloud.network.contract import NAMESPACES, name_prefix, region_id
from twinplane.cloud.network.fabric.slices import RUN

Footprint = dict[str, list[str]]


def footprint(data_dir: Path) -> Footprint:
    """By kind, what there is; kinds of which there is nothing are left out."""
    region = region_id(data_dir)
    found = {
        "processes": _processes(data_dir, region),
        "mounts": _mounts(data_dir, region),
        "network namespaces": _namespaces(region),
        "links": _lines(["ip", "-o", "link"], name_prefix(region)),
        "addresses": _lines(["ip", "-o", "address"], name_prefix(region)),
        "routes": _lines(["ip", "route", "show", "table", "all"], name_prefix(region)),
        "neighbours": _lines(["ip", "neigh", "show", "nud", "all"], name_prefix(region)),
        "nftables": _lines(["nft", "list", "tables"], region),
        "cgroups": _cgroups(region),
        "loop devices": _loop_devices(data_dir),
        "slices": _slices(data_dir),
    }
    return {kind: sorted(entries) for kind, lines in found.items() if (entries := list(lines))}


def _processes(data_dir: Path, region: str) -> Iterator[str]:
    """Those that say so, and those in the region's cgroups or network namespaces."""
    spaces = {_number(path) for path in NAMESPACES.glob(f"{name_prefix(region)}*")}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            groups = (process / "cgroup").read_text()
            space = (process / "ns/net").stat().st_ino
        except OSError:
            continue
        if process.name != str(os.getpid()) and (
            f"{data_dir}/" in command or f"{data_dir} " in command or f"/{region}/" in groups or space in spaces
        ):
            yield f"{process.name} {command}"


def _number(path: Path) -> int:
    try:
        return path.stat().st_ino
    except OSError:
        return -1


def _mounts(data_dir: Path, region: str) -> Iterator[str]:
    """In every mount namespace."""
    seen = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            space = os.readlink(process / "ns/mnt")
            if space in seen:
                continue
            seen.add(space)
            lines = (process / "mountinfo").read_text(errors="replace").splitlines()
        except OSError:
            continue
        yield from (f"{space} {line}" for line in lines if f"{data_dir}/" in line or name_prefix(region) in line)


def _namespaces(region: str) -> Iterator[str]:
    return (path.name for path in NAMESPACES.glob(f"{name_prefix(region)}*"))


def _lines(command: list[str], wanted: str) -> Iterator[str]:
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return (line for line in output.splitlines() if wanted in line)


def _cgroups(region: str) -> Iterator[str]:
    # With and without a hierarchy's own directory in between.
    for pattern in (f"twinplane/{region}", f"*/twinplane/{region}"):
        for top in Path("/sys/fs/cgroup").glob(pattern):
            yield from (str(path) for path in [top, *top.rglob("*")] if path.is_dir())


def _loop_devices(data_dir: Path) -> Iterator[str]:
    for path in Path("/sys/block").glob("loop*/loop/backing_file"):
        try:
            backing = path.read_text().strip()
        except OSError:
            continue
        if backing.startswith(f"{data_dir.resolve()}/"):
            yield f"{path.parts[3]} {backing}"


def _slices(data_dir: Path) -> Iterator[str]:
    try:
        registered = json.loads((RUN / "slices.json").read_text())
    except FileNotFoundError:
        return iter(())
    return (host for host, entry in registered.items() if entry["owner"] == str(data_dir.resolve()))
