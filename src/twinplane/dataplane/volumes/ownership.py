"""fsGroup: files of a volume belong to the pod's supplementary group, and the group may use them.

Called when a volume is set up. The bits are upstream's: the group gets read and write (read where the volume is
read-only), directories also the set-group-id bit, so that what is made in them belongs to the group as well.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

READ_WRITE, READ_ONLY = 0o660, 0o440
DIRECTORY = stat.S_ISGID | 0o110


class Ownership(NamedTuple):
    group: int
    read_only: bool = False
    only_on_mismatch: bool = False
    """fsGroupChangePolicy OnRootMismatch: leave a volume alone whose root is right already."""


def of_pod(pod: Mapping[str, Any], *, read_only: bool = False, policy: bool = False) -> Ownership | None:
    """None without fsGroup. `policy`: the volume is one whose content outlives the pod."""
    context = pod["spec"].get("securityContext") or {}
    group = context.get("fsGroup")
    if group is None:
        return None
    return Ownership(int(group), read_only, policy and context.get("fsGroupChangePolicy") == "OnRootMismatch")


def own(root: Path, ownership: Ownership) -> None:
    """Everything below `root`, and it. Never follows a link, never leaves the volume. Raises OSError."""
    if ownership.only_on_mismatch and _is_right(root.stat(), ownership):
        return
    for directory, folders, files, descriptor in os.fwalk(root, topdown=False):
        for name in (*files, *(name for name in folders if os.path.islink(os.path.join(directory, name)))):
            _give(name, descriptor, ownership)
        _give(".", descriptor, ownership)


def _give(name: str, directory: int, ownership: Ownership) -> None:
    status = os.stat(name, dir_fd=directory, follow_symlinks=False)
    if status.st_gid != ownership.group:
        os.chown(name, -1, ownership.group, dir_fd=directory, follow_symlinks=False)
    if stat.S_ISLNK(status.st_mode):
        return
    wanted = status.st_mode | _bits(status, ownership)
    # chown clears the set-group-id bit, so it is written again whenever the group changed.
    if wanted != status.st_mode or status.st_gid != ownership.group:
        os.chmod(name, stat.S_IMODE(wanted), dir_fd=directory)


def _bits(status: os.stat_result, ownership: Ownership) -> int:
    bits = READ_ONLY if ownership.read_only else READ_WRITE
    return bits | DIRECTORY if stat.S_ISDIR(status.st_mode) else bits


def _is_right(status: os.stat_result, ownership: Ownership) -> bool:
    bits = _bits(status, ownership)
    return status.st_gid == ownership.group and status.st_mode & bits == bits
