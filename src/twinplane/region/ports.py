"""Free loopback ports for the processes of a cluster, chosen once and kept, so that a restart changes no address."""

from __future__ import annotations

import json
import socket
from collections.abc import Sequence
from pathlib import Path

from twinplane.region.data_directory import write_atomically


def kept_ports(path: Path, names: Sequence[str], host: str) -> dict[str, int]:
    """The ports in `path`; those of new names are added to it."""
    ports: dict[str, int] = json.loads(path.read_text()) if path.exists() else {}
    missing = [name for name in names if name not in ports]
    if missing:
        ports |= dict(zip(missing, free_ports(len(missing), host), strict=True))
        write_atomically(path, json.dumps(ports, indent=2) + "\n")
    return ports


def free_ports(count: int, host: str) -> list[int]:
    """Ports that nothing listens on now. All are held at once, so that none comes twice."""
    sockets = [socket.socket(socket.AF_INET, socket.SOCK_STREAM) for _ in range(count)]
    try:
        for each in sockets:
            each.bind((host, 0))
        return [int(each.getsockname()[1]) for each in sockets]
    finally:
        for each in sockets:
            each.close()
