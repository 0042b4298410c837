"""Writes a set of files into a volume so that a reader sees all of the old or all of the new, never a mixture.

The scheme is Kubernetes' own: files live in a directory with the time in its name, `..data` is a symbolic link to it,
and what users see are links through `..data`. A change makes a new directory and renames one link. Containers that
hold the volume's directory keep following it, which is how ConfigMaps change in place.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from twinplane.dataplane.volumes.ownership import Ownership, own

DATA = "..data"
NEW_DATA = "..data_tmp"
PATH_MAX = 4096
NAME_MAX = 255


class File(NamedTuple):
    content: bytes
    mode: int
    user: int | None = None


Payload = Mapping[str, File]
"""Relative path -> file."""


def check_path(path: str) -> None:
    """Raises ValueError with upstream's wording for a path that must not be written."""
    if not path:
        raise ValueError(f"invalid path: must not be empty: {path!r}")
    if os.path.isabs(path):
        raise ValueError(f"invalid path: must be relative path: {path}")
    if len(path) > PATH_MAX:
        raise ValueError(f"invalid path: must be less than or equal to {PATH_MAX} characters")
    parts = path.split("/")
    if ".." in parts:
        raise ValueError(f"invalid path: must not contain '..': {path}")
    if any(len(part) > NAME_MAX for part in parts):
        raise ValueError(f"invalid path: filenames must be less than or equal to {NAME_MAX} characters")
    if parts[0].startswith("..") and len(parts[0]) > 2:
        raise ValueError(f"invalid path: must not start with '..': {path}")


def write(directory: Path, payload: Payload, ownership: Ownership | None = None, now: float = 0.0) -> bool:
    """Make the directory show exactly the payload; False when it did already. Raises OSError, ValueError."""
    for path in payload:
        check_path(path)
    link = directory / DATA
    old = directory / os.readlink(link) if link.is_symlink() else None
    if old is not None and _shows(old, payload):
        _link_names(directory, payload)
        return False
    prefix = datetime.fromtimestamp(now, UTC).strftime("..%Y_%m_%d_%H_%M_%S.")
    new = Path(tempfile.mkdtemp(prefix=prefix, dir=directory))
    new.chmod(0o755)
    for path, file in payload.items():
        _write_file(new, path, file)
    if ownership is not None:
        own(new, ownership)
    temporary = directory / NEW_DATA
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(new.name)
    temporary.rename(link)
    _link_names(directory, payload)
    if old is not None and old != new:
        shutil.rmtree(old, ignore_errors=True)
    return True


def _write_file(root: Path, path: str, file: File) -> None:
    target = root / path
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as out:
        out.write(file.content)
    # By itself, because the mode of open() passes through the umask.
    target.chmod(file.mode)
    if file.user is not None:
        os.chown(target, file.user, -1)


def _shows(directory: Path, payload: Payload) -> bool:
    present = {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}
    if present != set(payload):
        return False
    return all((directory / path).read_bytes() == file.content for path, file in payload.items())


def _link_names(directory: Path, payload: Payload) -> None:
    """First parts of the paths as links through `..data`; links to what is gone are removed last."""
    wanted = {path.split("/", 1)[0] for path in payload}
    for name in wanted:
        if not (directory / name).is_symlink():
            (directory / name).symlink_to(f"{DATA}/{name}")
    for entry in directory.iterdir():
        if entry.is_symlink() and not entry.name.startswith("..") and entry.name not in wanted:
            entry.unlink()
