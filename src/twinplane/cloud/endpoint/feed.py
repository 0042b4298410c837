"""Long polls on what changes: the latest value of a topic and its revision, kept for whoever asks.

Used for the instances of a cluster (which boot its nodes) and for its access entries (which decide who may log in).
Readers name the revision they have; a different one is answered at once, the same one when it changes or when their
time is over. Revisions start at the time of day, so those of an earlier life of the daemon never look current.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

Read = Callable[[], Any]


class Feed:
    def __init__(self, first_revision: int) -> None:
        self._revision = first_revision
        self._values: dict[str, tuple[int, Any]] = {}
        self._readers: dict[str, Read] = {}
        self._changed = asyncio.Event()

    def update(self) -> None:
        """Something may have changed: read every topic that somebody has asked for."""
        changed = False
        for topic, read in self._readers.items():
            value = read()
            if self._values[topic][1] != value:
                self._revision += 1
                self._values[topic] = (self._revision, value)
                changed = True
        if changed:
            self._changed.set()
            self._changed = asyncio.Event()

    async def poll(self, topic: str, read: Read, after: int, timeout: float) -> tuple[int, Any]:
        """Revision and value, at once when the revision is not `after`, else within `timeout` seconds."""
        if topic not in self._readers:
            self._readers[topic] = read
            self._values[topic] = (self._revision, read())
        try:
            async with asyncio.timeout(timeout):
                while self._values[topic][0] == after:
                    await self._changed.wait()
        except TimeoutError:
            pass
        return self._values[topic]
