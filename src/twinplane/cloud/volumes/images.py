"""Files that are disks: sparse, copied without their holes (or shared, where the file system can), grown in place."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

CLONE = 0x40049409
"""FICLONE."""
CHUNK = 64 << 20


def create(path: Path, size: int) -> None:
    """All zeros, taking no space. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.ftruncate(descriptor, size)
    finally:
        os.close(descriptor)


def grow(path: Path, size: int) -> bool:
    """True if it was smaller. A disk never shrinks."""
    if path.stat().st_size >= size:
        return False
    os.truncate(path, size)
    return True


def copy(source: Path, target: Path, size: int) -> None:
    """A copy of at least `size` bytes, whole or not at all. Raises OSError."""
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = target.with_name(target.name + ".new")
    with source.open("rb", buffering=0) as read, temporary.open("wb", buffering=0) as written:
        os.fchmod(written.fileno(), 0o600)
        length = os.fstat(read.fileno()).st_size
        try:
            fcntl.ioctl(written.fileno(), CLONE, read.fileno())
        except OSError:
            _copy_data(read.fileno(), written.fileno(), length)
        os.ftruncate(written.fileno(), max(length, size))
        os.fsync(written.fileno())
    temporary.rename(target)


def _copy_data(read: int, written: int, length: int) -> None:
    position = 0
    while position < length:
        try:
            start = os.lseek(read, position, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            # Nothing but a hole is left.
            return
        position = start
        end = os.lseek(read, start, os.SEEK_HOLE)
        while position < end:
            copied = os.copy_file_range(read, written, min(CHUNK, end - position), position, position)
            if copied == 0:
                return
            position += copied
