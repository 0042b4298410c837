"""Mounting by system call, and what is mounted according to the kernel.

Called by every plugin. Binds and tmpfs are system calls through libc: a fork for each volume of each pod would cost
more than the rest of its start. Only a block device's file system goes through mount(8), which knows its options.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import time
from functools import cache
from pathlib import Path
from typing import NamedTuple

MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 32, 4096, 16384, 1 << 18
UMOUNT_NOFOLLOW = 8
MOUNTINFO = Path("/proc/self/mountinfo")
BUSY_TRIES, BUSY_SECONDS = 5, 0.02
_octal = re.compile(r"\\([0-7]{3})")


class Mount(NamedTuple):
    path: str
    device: str
    """`MAJOR:MINOR` of the file system."""
    filesystem: str
    source: str


@cache
def libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _failed(path: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number), path)


def _mount(source: str, target: str, filesystem: str | None, flags: int, options: str = "") -> None:
    kind = filesystem.encode() if filesystem else None
    data = options.encode() if options else None
    if libc().mount(os.fsencode(source), os.fsencode(target), kind, ctypes.c_ulong(flags), data) != 0:
        raise _failed(target)


def bind(source: str, target: Path, *, read_only: bool = False, recursive: bool = False) -> None:
    """Show `source` at `target` (which exists) as well. Raises OSError."""
    _mount(source, str(target), None, MS_BIND | (MS_REC if recursive else 0))
    if read_only:
        try:
            _mount(source, str(target), None, MS_BIND | MS_REMOUNT | MS_RDONLY)
        except OSError:
            unmount(str(target))
            raise


def mount_memory(target: Path, size: int | None, *, filesystem: str = "tmpfs", options: str = "") -> None:
    """A tmpfs (or hugetlbfs) of at most `size` bytes. Raises OSError."""
    given = [option for option in (options, f"size={size}" if size else "") if option]
    _mount("tmpfs" if filesystem == "tmpfs" else "nodev", str(target), filesystem, 0, ",".join(given))


def unmount(path: str) -> None:
    """Idempotent; waits a moment for one who is just leaving. Raises OSError (EBUSY) when it is in use."""
    for attempt in range(BUSY_TRIES):
        if libc().umount2(os.fsencode(path), UMOUNT_NOFOLLOW) == 0:
            return
        number = ctypes.get_errno()
        if number in (errno.EINVAL, errno.ENOENT):
            return
        if number != errno.EBUSY or attempt == BUSY_TRIES - 1:
            raise OSError(number, os.strerror(number), path)
        time.sleep(BUSY_SECONDS)


def mounts(under: Path | None = None, mountinfo: Path = MOUNTINFO) -> list[Mount]:
    """What is mounted at or below a directory, in the order in which it was mounted."""
    prefix = f"{under}/" if under is not None else ""
    found = []
    for line in mountinfo.read_text(errors="surrogateescape").splitlines():
        fields = line.split(" ")
        path = _decoded(fields[4])
        if under is not None and path != str(under) and not path.startswith(prefix):
            continue
        tail = fields[fields.index("-", 6) + 1 :]
        found.append(Mount(path, fields[2], tail[0], _decoded(tail[1])))
    return found


def _decoded(text: str) -> str:
    return _octal.sub(lambda found: chr(int(found[1], 8)), text) if "\\" in text else text


def is_mounted(path: Path) -> bool:
    return any(mount.path == str(path) for mount in mounts(path))


def has_own_filesystem(path: Path) -> bool:
    """Other than that of its parent: enough to know a tmpfs by, without reading all of the node's mounts."""
    return os.path.ismount(path)


def unmount_all(under: Path) -> None:
    """Everything at or below a directory, the newest first. Raises OSError when something is in use."""
    for mount in reversed(mounts(under)):
        unmount(mount.path)
