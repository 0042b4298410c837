"""What a machine does before its services start: its own directories in the usual places, name, addresses, sysctls.

Runs once, in a child of PID 1 that shares its namespaces. DIRECTORY, the machine's own on the host, has

    run/       what the region tells the machine (machine.json, credentials.json): /run/twinplane
    disk/      the root volume: kept while the instance is stopped, gone when it is terminated

The host's /etc, /opt, /var/lib and /var/log are seen through overlays whose upper layers are on the disk, so nothing
that a node writes there, not even a mount point, is written to the host. What must lie on a plain file system
(containerd's snapshots are overlays themselves; volumes) is bound from the disk over that. /run is a fresh tmpfs, as
after any boot. The mount namespace is a slave of the host's and shared within the machine, as kubelet and containerd
need it for mount propagation.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twinplane.dataplane.node import containerd
from twinplane.dataplane.node.cgroups import join_system_group

OVERLAYS = ("/etc", "/opt", "/var/lib", "/var/log")
BINDS = ("/var/lib/kubelet", "/var/lib/containerd", "/var/log/pods", "/var/log/containers")
CNI_PLUGINS = ("/usr/lib/cni", "/usr/libexec/cni")
"""Where distributions put the reference plugins."""

MS_NOSUID, MS_NODEV, MS_BIND, MS_REC, MS_SLAVE, MS_SHARED = 0x2, 0x4, 0x1000, 0x4000, 1 << 19, 1 << 20
MNT_DETACH = 2

SYSCTLS = {
    "net/ipv4/ip_forward": "1",
    "net/ipv4/conf/all/forwarding": "1",
    "net/ipv4/conf/all/rp_filter": "0",
    "net/ipv4/conf/default/rp_filter": "0",
    "net/ipv4/neigh/default/gc_thresh1": "0",
    "net/core/somaxconn": "4096",
}
"""As the EKS-optimised image has them, where they belong to a namespace; those of the whole kernel are the host's."""

HOSTS = """127.0.0.1 localhost localhost.localdomain
::1 localhost6 localhost6.localdomain6
{address} {name}
"""
NAME_SERVER = "169.254.169.253"
"""The VPC's DNS server, in every VPC."""

POD_IDENTITY_AGENT = "169.254.170.23"
"""The agent listens on it; pods reach it over their route to the node."""


def boot_machine(directory: str) -> int:
    """The exit status of the boot."""
    try:
        machine = json.loads((Path(directory) / "run/machine.json").read_text())
        join_system_group(machine["cgroup"])
        mount_directories(Path(directory))
        write_files(machine)
        configure_kernel(machine["privateDnsName"])
    except (OSError, ValueError, KeyError, subprocess.CalledProcessError) as error:
        print(f"machine: cannot boot: {error!r}", file=sys.stderr, flush=True)
        return 1
    return 0


# -- mounts ------------------------------------------------------------------------------------------------------------


def mount_directories(directory: Path) -> None:
    libc = ctypes.CDLL(None, use_errno=True)

    def mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
        if libc.mount(source.encode(), target.encode(), kind.encode(), flags, options.encode()) != 0:
            code = ctypes.get_errno()
            raise OSError(code, f"mount {kind or source} on {target} ({options}): {os.strerror(code)}")

    mount("none", "/", "", MS_REC | MS_SLAVE)
    # Named namespaces of the host are mounts: a copy of one here would keep it after the host has deleted it.
    while libc.umount2(b"/run/netns", MNT_DETACH) == 0:
        pass
    disk = directory / "disk"
    for path in OVERLAYS:
        if not directory.is_relative_to(path):
            mount("overlay", path, "overlay", 0, _layers(path, disk))
    for path in BINDS:
        source = disk / path[1:]
        source.mkdir(parents=True, exist_ok=True)
        Path(path).mkdir(parents=True, exist_ok=True)
        mount(str(source), path, "", MS_BIND)
    run = os.open(directory / "run", os.O_PATH)
    mount("tmpfs", "/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755")
    for name in ("netns", "twinplane", "lock"):
        Path("/run", name).mkdir()
    mount(f"/proc/self/fd/{run}", "/run/twinplane", "", MS_BIND)
    os.close(run)
    mount("tmpfs", "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777")
    mount("none", "/", "", MS_REC | MS_SHARED)


def _layers(path: str, disk: Path) -> str:
    """Options of the overlay over a directory of the host. Colons and commas in paths must be escaped."""
    name = path[1:].replace("/", "-")
    upper, work = disk / "overlays" / name / "upper", disk / "overlays" / name / "work"
    for layer in (upper, work):
        layer.mkdir(parents=True, exist_ok=True)
    os.chmod(upper, os.stat(path).st_mode & 0o7777)
    options = {"lowerdir": path, "upperdir": str(upper), "workdir": str(work)}
    return ",".join(f"{key}={_escaped(value)}" for key, value in options.items())


def _escaped(path: str) -> str:
    for character in "\\:,":
        path = path.replace(character, "\\" + character)
    return path


# -- files and kernel --------------------------------------------------------------------------------------------------


def write_files(machine: Mapping[str, Any]) -> None:
    name = machine["privateDnsName"]
    domain = name.partition(".")[2]
    own = containerd.own_registry(machine["awsEndpoint"], machine["accountId"], machine["region"])
    for path, content in {
        "/etc/hostname": f"{name}\n",
        "/etc/hosts": HOSTS.format(address=machine["privateIp"], name=name),
        "/etc/resolv.conf": f"search {domain}\nnameserver {NAME_SERVER}\noptions timeout:2 attempts:5\n",
        containerd.CONFIGURATION: containerd.configuration(),
        containerd.REGISTRIES: containerd.registries(machine["awsEndpoint"]),
        own[0]: own[1],
    }.items():
        _write(Path(path), content)
    for directory in ("/etc/kubernetes", containerd.CNI_CONFIGURATION, containerd.CNI_PLUGINS):
        Path(directory).mkdir(parents=True, exist_ok=True)
    for found in (plugin for folder in CNI_PLUGINS for plugin in Path(folder).glob("*")):
        link = Path(containerd.CNI_PLUGINS, found.name)
        if not link.exists():
            link.symlink_to(found)


def _write(path: Path, content: str) -> None:
    """Through a new file: resolv.conf is often a link to somewhere in /run, and would be written through."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(path.name + ".new")
    new.write_text(content)
    new.chmod(0o644)
    new.replace(path)


def configure_kernel(name: str) -> None:
    Path("/proc/sys/kernel/hostname").write_text(name)
    for key, value in SYSCTLS.items():
        file = Path("/proc/sys", key)
        if file.exists():
            file.write_text(value)
    # Of scope host: else the kernel would take it as the source of what the node sends to its pods.
    for arguments in ("link set lo up", f"address replace {POD_IDENTITY_AGENT}/32 dev lo scope host"):
        subprocess.run(["ip", *arguments.split()], check=True)
