"""What this host lacks for real nodes: one sentence for each, naming the Debian package that brings it."""

from __future__ import annotations

import ctypes
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from twinplane.cloud.network.fabric import requirements as fabric

PROGRAMS = {
    # program: Debian package
    "containerd": "containerd",
    "ctr": "containerd",
    "containerd-shim-runc-v2": "containerd",
    "runc": "runc",
    "nsenter": "util-linux",
    "unshare": "util-linux",
}
SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
CNI_PLUGINS = (Path("/usr/lib/cni"), Path("/opt/cni/bin"), Path("/usr/libexec/cni"))
NEEDED_PLUGINS = ("loopback", "host-local", "portmap")
CGROUP_CONTROLLERS = ("cpu", "cpuset", "memory", "pids")

CAP_SYS_ADMIN, CAP_NET_ADMIN = 21, 12


def requirements(data_dir: Path) -> list[str]:
    """What is missing; empty when real nodes can run here with their disks in `data_dir`."""
    checks: tuple[Callable[[], Iterator[str]], ...] = (_programs, _plugins, _cgroups)
    missing = [sentence for check in checks for sentence in check()]
    if os.geteuid() != 0:
        return ["Real nodes need root: run as root (sudo).", *missing]
    refused = [f"Real nodes need the capability {name}." for name, number in _CAPABILITIES if not _capable(number)]
    if refused:
        return refused + missing
    return missing + _overlay(data_dir) + fabric.requirements()


_CAPABILITIES = (("CAP_SYS_ADMIN", CAP_SYS_ADMIN), ("CAP_NET_ADMIN", CAP_NET_ADMIN))


def _programs() -> Iterator[str]:
    for program, package in PROGRAMS.items():
        if shutil.which(program, path=SEARCH_PATH) is None:
            yield f"`{program}` is not installed: apt-get install {package}."


def _plugins() -> Iterator[str]:
    lacking = [name for name in NEEDED_PLUGINS if not any((folder / name).exists() for folder in CNI_PLUGINS)]
    if lacking:
        yield f"The CNI plugins {', '.join(lacking)} are not installed: apt-get install containernetworking-plugins."


def _cgroups() -> Iterator[str]:
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    found: set[str] = set()
    for row in mounts:
        if row[2] == "cgroup":
            found |= set(row[3].split(","))
        elif row[2] == "cgroup2":
            controllers = Path(row[1], "cgroup.controllers")
            found |= set(controllers.read_text().split()) if controllers.exists() else set()
    lacking = [name for name in CGROUP_CONTROLLERS if name not in found]
    if lacking:
        yield f"The cgroup controllers {', '.join(lacking)} are not mounted: apt-get install cgroupfs-mount."


def _capable(number: int) -> bool:
    status = Path("/proc/self/status").read_text()
    effective = next(line for line in status.splitlines() if line.startswith("CapEff:"))
    return bool(int(effective.split()[1], 16) >> number & 1)


def _overlay(data_dir: Path) -> list[str]:
    """Tried, as only the kernel knows which file systems may be a layer."""
    parent = next(path for path in (data_dir, *data_dir.parents) if path.is_dir())
    libc = ctypes.CDLL(None, use_errno=True)
    with tempfile.TemporaryDirectory(dir=parent, prefix=".overlay-") as folder:
        for name in ("lower", "upper", "work", "merged"):
            os.mkdir(f"{folder}/{name}")
        options = f"lowerdir={folder}/lower,upperdir={folder}/upper,workdir={folder}/work"
        merged = f"{folder}/merged".encode()
        if libc.mount(b"overlay", merged, b"overlay", 0, options.encode()) != 0:
            reason = os.strerror(ctypes.get_errno())
            return [f"{parent} cannot hold layers of overlayfs ({reason}): use a --data-dir on ext4 or xfs."]
        libc.umount2(merged, 0)
    return []
