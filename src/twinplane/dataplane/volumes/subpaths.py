"""subPath: a part of a volume, mounted so that nobody can make it point out of the volume meanwhile.

A container may write to its volume, so a path in it can be a symbolic link to anywhere, and can become one between a
check and its use. The kernel resolves the path once, beneath the volume's root (openat2), and what it found, not its
name, is bound to `volume-subpaths/VOLUME/CONTAINER/INDEX` of the pod; the runtime is given that path.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from pathlib import Path

from twinplane.dataplane.volumes import mounts

OPENAT2 = 437
RESOLVE_NO_MAGICLINKS, RESOLVE_BENEATH = 0x02, 0x08


class _How(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


class UnsafePath(Exception):
    """The path leads out of the volume."""


def open_beneath(root: int, path: str, flags: int = os.O_PATH) -> int:
    """A descriptor of `path` below the directory `root`. Raises `UnsafePath`, OSError."""
    how = _How(flags | os.O_CLOEXEC, 0, RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS)
    call = ctypes.c_long(OPENAT2), ctypes.c_int(root), os.fsencode(path or "."), ctypes.byref(how)
    found = mounts.libc().syscall(*call, ctypes.c_size_t(ctypes.sizeof(how)))
    if found >= 0:
        return int(found)
    number = ctypes.get_errno()
    if number in (errno.EXDEV, errno.ELOOP):
        raise UnsafePath(path)
    raise OSError(number, os.strerror(number), path)


def make_directory(root: int, path: str, mode: int) -> None:
    """All of `path` below `root`, without leaving it. Raises `UnsafePath`, OSError."""
    done = "."
    for part in Path(path).parts:
        parent = open_beneath(root, done)
        try:
            os.mkdir(part, mode, dir_fd=parent)
        except FileExistsError:
            pass
        else:
            os.chmod(part, mode, dir_fd=parent)
        finally:
            os.close(parent)
        done = f"{done}/{part}"
    os.close(open_beneath(root, done))


def prepare(volume: Path, path: str, target: Path) -> None:
    """Bind what `path` is in the volume (a directory, made if it is missing) to `target`.

    Idempotent: a target that shows the same is kept. Raises `UnsafePath`, OSError.
    """
    root = os.open(volume, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            found = open_beneath(root, path)
        except FileNotFoundError:
            make_directory(root, path, stat.S_IMODE(volume.stat().st_mode))
            found = open_beneath(root, path)
        try:
            _bind(found, target)
        finally:
            os.close(found)
    finally:
        os.close(root)


def _bind(found: int, target: Path) -> None:
    wanted = os.fstat(found)
    if mounts.is_mounted(target):
        present = target.stat()
        if (present.st_dev, present.st_ino) == (wanted.st_dev, wanted.st_ino):
            return
        mounts.unmount(str(target))
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
    if stat.S_ISDIR(wanted.st_mode):
        target.unlink(missing_ok=True) if target.is_file() else None
        target.mkdir(exist_ok=True, mode=0o750)
    else:
        if target.is_dir():
            target.rmdir()
        target.touch(mode=0o640)
    mounts.bind(f"/proc/self/fd/{found}", target)
