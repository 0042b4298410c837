"""A directory as a layer: a tar whose bytes depend on nothing but the files (sorted names, no times, no user names)."""

from __future__ import annotations

import os
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

from twinplane.images.store import LAYER, Descriptor, ImageStore


def add_layer(store: ImageStore, root: Path) -> Descriptor:
    """Not compressed: nodes fetch it over loopback, where time to decompress costs more than bytes."""
    with store.upload() as upload:
        with tarfile.open(fileobj=cast(IO[bytes], upload), mode="w|", format=tarfile.GNU_FORMAT) as archive:
            seen: dict[tuple[int, int], str] = {}
            for path in _walk(root):
                _add(archive, root, path, seen)
        upload.flush()
        store.keep(upload.path, upload.digest)
    return Descriptor(upload.digest, upload.size, LAYER)


def _walk(root: Path) -> Iterator[Path]:
    for entry in sorted(os.scandir(root), key=lambda each: each.name):
        yield Path(entry.path)
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(Path(entry.path))


def _add(archive: tarfile.TarFile, root: Path, path: Path, seen: dict[tuple[int, int], str]) -> None:
    status = path.lstat()
    info = tarfile.TarInfo(str(path.relative_to(root)))
    info.mode, info.uid, info.gid = stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid
    if stat.S_ISLNK(status.st_mode):
        info.type, info.linkname = tarfile.SYMTYPE, os.readlink(path)
    elif stat.S_ISDIR(status.st_mode):
        info.type = tarfile.DIRTYPE
    elif stat.S_ISREG(status.st_mode):
        inode = (status.st_dev, status.st_ino)
        if inode in seen:
            info.type, info.linkname = tarfile.LNKTYPE, seen[inode]
        else:
            seen[inode] = info.name
            info.size = status.st_size
    else:
        # Devices and sockets are made by the runtime.
        return
    if info.isreg():
        with path.open("rb") as file:
            archive.addfile(info, file)
    else:
        archive.addfile(info)
