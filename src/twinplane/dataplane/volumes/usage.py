"""How much disk or memory a volume takes, as `du` counts: for eviction and for the kubelet's statistics."""

from __future__ import annotations

import os
from pathlib import Path

BLOCK = 512


def used_bytes(directory: Path) -> int:
    """Of all files on the directory's own file system, each once. What goes away meanwhile is not counted."""
    try:
        root = os.lstat(directory)
    except OSError:
        return 0
    total, seen = root.st_blocks * BLOCK, set[int]()
    pending = [str(directory)]
    while pending:
        try:
            entries = list(os.scandir(pending.pop()))
        except OSError:
            continue
        for entry in entries:
            try:
                status = entry.stat(follow_symlinks=False)
                is_directory = entry.is_dir(follow_symlinks=False)
            except OSError:
                continue
            if status.st_dev != root.st_dev or status.st_ino in seen:
                continue
            if status.st_nlink > 1 and not is_directory:
                seen.add(status.st_ino)
            total += status.st_blocks * BLOCK
            if is_directory:
                pending.append(entry.path)
    return total
