"""Loop devices by ioctl: attach a file, let it grow, detach, and list what is attached according to the kernel.

The kernel is the only record: devices are found by the files behind them, so a daemon that was killed finds what its
predecessor attached. Source of the numbers: include/uapi/linux/loop.h.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import time
from pathlib import Path
from typing import NamedTuple

CONTROL = "/dev/loop-control"
GET_FREE = 0x4C82
CONFIGURE, CLEAR, SET_CAPACITY = 0x4C0A, 0x4C01, 0x4C07
CONFIGURATION = struct.Struct("=II40x16x64s96x16x64x")
"""struct loop_config: descriptor, block size, loop_info64 (of which only the file's name), reserved."""
TRIES = 32
SHUTDOWN = 0x8004587D
"""EXT4_IOC_SHUTDOWN, which XFS calls XFS_IOC_GOINGDOWN."""
WITHOUT_LOG = struct.pack("=I", 2)
DELETED = " (deleted)"


class LoopDevice(NamedTuple):
    device: str
    """/dev/loopN."""
    backing: str
    """Path of the file, without the mark of a deleted one."""

    @property
    def number(self) -> str:
        return self.device.removeprefix("/dev/loop")


def attach(path: Path) -> str:
    """The new device. Raises OSError."""
    for _ in range(TRIES):
        control = os.open(CONTROL, os.O_RDWR | os.O_CLOEXEC)
        try:
            number = fcntl.ioctl(control, GET_FREE)
        finally:
            os.close(control)
        try:
            _configure(f"/dev/loop{number}", path)
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            # Somebody else took it between the two calls.
            continue
        return f"/dev/loop{number}"
    raise OSError(errno.EBUSY, "no loop device is free", str(path))


def _configure(device: str, path: Path) -> None:
    file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        opened = os.open(device, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.ioctl(opened, CONFIGURE, CONFIGURATION.pack(file, 0, os.fsencode(path.name)[:63]))
        finally:
            os.close(opened)
    finally:
        os.close(file)


def update_size(device: str) -> None:
    """Show the file's new size, also while the device is mounted. Raises OSError."""
    _ioctl(device, SET_CAPACITY)


def detach(device: str) -> bool:
    """False when it is still in use: the kernel then detaches it after its last user. Raises OSError."""
    try:
        _ioctl(device, CLEAR)
    except OSError as error:
        if error.errno not in (errno.ENXIO, errno.ENOENT):
            raise
    # It ends with the last close, which the kernel may finish a moment later.
    for _ in range(5):
        if not _backing(device):
            return True
        time.sleep(0.01)
    return False


def _ioctl(device: str, request: int) -> None:
    opened = os.open(device, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.ioctl(opened, request)
    finally:
        os.close(opened)


def _backing(device: str) -> str:
    try:
        return (Path("/sys/block") / Path(device).name / "loop" / "backing_file").read_text().rstrip("\n")
    except OSError:
        return ""


def attached(under: Path) -> list[LoopDevice]:
    """All whose file lies (or lay) below a directory."""
    prefix = f"{under.resolve()}/"
    found = []
    for entry in Path("/sys/block").glob("loop*"):
        backing = _backing(entry.name).removesuffix(DELETED)
        if backing.startswith(prefix):
            found.append(LoopDevice(f"/dev/{entry.name}", backing))
    return sorted(found)


def cut_off(device: LoopDevice) -> bool:
    """End all writing to a mounted device at once, as pulling the disk would; False if nothing has it mounted.

    Forced detachment: the machine may be alive and write on, while the volume is to be attached elsewhere.
    """
    found = False
    wanted = f"7:{device.number}"
    for root, path in _mounted(wanted):
        try:
            opened = os.open(f"{root}{path}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            fcntl.ioctl(opened, SHUTDOWN, WITHOUT_LOG)
            found = True
        except OSError:
            continue
        finally:
            os.close(opened)
    return found


def _mounted(wanted: str) -> list[tuple[str, str]]:
    """(root of a process, path) of the mounts of a device, in all mount namespaces."""
    seen, found = set[str](), []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            namespace = os.readlink(process / "ns" / "mnt")
            if namespace in seen:
                continue
            seen.add(namespace)
            lines = (process / "mountinfo").read_text(errors="surrogateescape").splitlines()
        except OSError:
            continue
        mounts = (line.split(" ", 5) for line in lines)
        found += [(f"{process}/root", fields[4].replace("\\040", " ")) for fields in mounts if fields[2] == wanted]
    return found
