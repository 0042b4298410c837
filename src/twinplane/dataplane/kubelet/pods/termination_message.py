"""What a container said when it ended: the file that it was given, or the end of its log. Pure but for reading.

Limits: 4096 bytes of the file, 2048 bytes or 80 lines of the log; all containers of a pod together 12 KiB.
"""

from __future__ import annotations

from pathlib import Path

from cri_api.v1 import api_pb2 as cri

from twinplane.dataplane.kubelet.pods.state import MESSAGE_PATH, MESSAGE_POLICY

FILE_MAX = 4096
LOG_MAX = 2048
LOG_LINES_MAX = 80
LINE_SLACK = 64
"""Bytes that the CRI log format adds to a line."""


def termination_message(status: cri.ContainerStatus) -> str:
    """Of a container that has ended."""
    path = status.annotations.get(MESSAGE_PATH, "")
    text = ""
    for mount in status.mounts:
        if path and mount.container_path == path:
            text = _head(Path(mount.host_path))
    fallback = status.annotations.get(MESSAGE_POLICY) == "FallbackToLogsOnError"
    if not text and fallback and status.exit_code != 0 and status.log_path:
        return _log_tail(Path(status.log_path))
    return text


def _head(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(FILE_MAX).decode(errors="replace")
    except OSError:
        return ""


def _log_tail(path: Path) -> str:
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(size - LOG_MAX - LOG_LINES_MAX * LINE_SLACK, 0))
            data = file.read()
    except OSError:
        return ""
    pieces = []
    for line in data.splitlines()[-LOG_LINES_MAX:]:
        words = line.split(b" ", 3)
        if len(words) == 4 and words[1] in (b"stdout", b"stderr"):
            pieces.append(words[3] + (b"\n" if words[2].startswith(b"F") else b""))
    return b"".join(pieces)[-LOG_MAX:].decode(errors="replace")
