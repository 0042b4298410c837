"""Free loopback ports for the processes of a cluster, chosen once and kept, so that a restart changes no address."""

from __future__ import annotations

import json
import socket
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from random import Random

from twinplane.region.data_directory import write_atomically

RANGE = range(12_000, 30_000)
"""Below those of outgoing connections and of who asks for any port (from 32768 on) and below node ports: between the
choice of a port and its use, and while the region is down, nobody comes by it."""


def kept_ports(path: Path, names: Sequence[str], host: str) -> dict[str, int]:
    """The ports in `path`; those of new names are added to it."""
    ports: dict[str, int] = json.loads(path.read_text()) if path.exists() else {}
    missing = [name for name in names if name not in ports]
    if missing:
        ports |= dict(zip(missing, free_ports(len(missing), host), strict=True))
        write_atomically(path, json.dumps(ports, indent=2) + "\n")
    return ports


def free_ports(count: int, host: str, random: Random | None = None) -> list[int]:
    """Ports that nothing listens on now. All are held at once, so that none comes twice. Raises OSError when there are
    not as many."""
    found: list[int] = []
    with ExitStack() as held:
        for port in (random or Random()).sample(RANGE, len(RANGE)):
            made = held.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
            try:
                made.bind((host, port))
            except OSError:
                continue
            found.append(port)
            if len(found) == count:
                return found
    raise OSError(f"there are no {count} free ports at {host} from {RANGE.start} to {RANGE.stop - 1}")
