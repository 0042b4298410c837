"""What simulated containers "print": a bounded ring of lines each, read by `kubectl logs`.

Lines are the container's life (image, start, exit) and the requests it answered. The ring outlives a restart of the
container (`--previous` asks for the incarnation before) but not of this process.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NamedTuple

LINES_MAX = 500
"""Lines kept a container."""


class Line(NamedTuple):
    at: float
    incarnation: int
    text: str

    def render(self, *, timestamps: bool) -> str:
        return f"{rfc3339_nano(self.at)} {self.text}\n" if timestamps else f"{self.text}\n"


def rfc3339_nano(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f") + "000Z"


@dataclass(slots=True)
class Ring:
    lines: deque[Line] = field(default_factory=lambda: deque(maxlen=LINES_MAX))
    written: int = 0
    """Lines ever: a follower knows by it how many are new."""
    incarnation: int = 0
    changed: asyncio.Event | None = None
    """Only there while somebody follows."""
    closed: bool = False

    def since(self, written: int) -> list[Line]:
        new = min(self.written - written, len(self.lines))
        return list(self.lines)[len(self.lines) - new :] if new > 0 else []


class Logs:
    def __init__(self) -> None:
        self._rings: dict[tuple[str, str], Ring] = {}

    def ring(self, uid: str, container: str) -> Ring | None:
        return self._rings.get((uid, container))

    def opened(self, uid: str, container: str) -> Ring:
        """The same for a container that runs but may not have written anything yet."""
        return self._rings.setdefault((uid, container), Ring())

    def write(self, uid: str, container: str, at: float, text: str, incarnation: int | None = None) -> None:
        """`incarnation` only where the container's life is told; other lines belong to the present one."""
        ring = self.opened(uid, container)
        if incarnation is not None:
            ring.incarnation = incarnation
        ring.lines.append(Line(at, ring.incarnation, text))
        ring.written += 1
        _wake(ring)

    def forget(self, uid: str, containers: list[str]) -> None:
        for container in containers:
            ring = self._rings.pop((uid, container), None)
            if ring is not None:
                ring.closed = True
                _wake(ring)


def _wake(ring: Ring) -> None:
    if ring.changed is not None:
        ring.changed.set()
        ring.changed = None


async def next_lines(ring: Ring, written: int) -> list[Line]:
    """Lines after the first `written`, waiting for some; empty when the container is gone."""
    while ring.written <= written and not ring.closed:
        if ring.changed is None:
            ring.changed = asyncio.Event()
        await ring.changed.wait()
    return ring.since(written)
