"""Values whose stamp is easy to see, and a clock that stands still."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from twinplane.controlplane.store.contract import Event


def stamp(value: bytes, revision: int) -> bytes:
    return b"%b@%d" % (value, revision)


class FixedClock:
    def __init__(self, now: float = 0.0) -> None:
        self.seconds = now

    def now(self) -> float:
        return self.seconds


async def take(watch: AsyncIterator[list[Event]], count: int) -> list[Event]:
    """The next `count` events; fails when they do not come."""
    events: list[Event] = []
    async with asyncio.timeout(60):
        while len(events) < count:
            events += await anext(watch)
    assert len(events) == count
    return events


async def is_quiet(watch: AsyncIterator[list[Event]]) -> bool:
    """Nothing is waiting for the reader."""
    try:
        async with asyncio.timeout(0.01):
            await anext(watch)
    except TimeoutError:
        return True
    return False
