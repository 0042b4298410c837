"""hostPath: a path of the node itself, checked against the type that the pod expects."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

from twinplane.dataplane.kubelet.contract import Mounted
from twinplane.dataplane.volumes.contract import Request, SetUpFailed

Test = Callable[[int], bool]
CHECKS: dict[str, tuple[Test, str]] = {
    "Directory": (stat.S_ISDIR, "is not a directory"),
    "DirectoryOrCreate": (stat.S_ISDIR, "is not a directory"),
    "File": (stat.S_ISREG, "is not a file"),
    "FileOrCreate": (stat.S_ISREG, "is not a file"),
    "Socket": (stat.S_ISSOCK, "is not a socket file"),
    "CharDevice": (stat.S_ISCHR, "is not a character device"),
    "BlockDevice": (stat.S_ISBLK, "is not a block device"),
}


async def set_up(request: Request) -> Mounted:
    """Raises `SetUpFailed` with upstream's words."""
    path = Path(str(request.source["path"]))
    kind = str(request.source.get("type") or "")
    if kind in CHECKS:
        _create(path, kind)
        test, complaint = CHECKS[kind]
        if not test(_mode(path)):
            raise SetUpFailed(f"hostPath type check failed: {path} {complaint}")
    elif kind:
        raise SetUpFailed(f"{kind} is an invalid volume type")
    return Mounted(path)


def _create(path: Path, kind: str) -> None:
    if path.exists():
        return
    if kind == "DirectoryOrCreate":
        path.mkdir(parents=True, mode=0o755)
    elif kind == "FileOrCreate":
        # The directory around it is not made: the pod would not see whose mistake it was.
        try:
            os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o644))
        except OSError as error:
            raise SetUpFailed(f"open {path}: {(error.strerror or '').lower()}") from error


def _mode(path: Path) -> int:
    try:
        return path.stat().st_mode
    except OSError:
        return 0
