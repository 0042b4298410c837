"""One heap of timers for the whole process: a pod or a node costs an entry, not a task."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from heapq import heapify, heappop, heappush

from twinplane.clock import Clock

BATCH_MAX = 500
"""Timers fired before the event loop gets a turn."""
SLACK_SECONDS = 0.005
"""A timer may be so late: those of many pods then fire together, in one turn of the loop."""


class Timers:
    """At most one timer a key; setting it again moves it. `fire` is called with the key, on the event loop."""

    def __init__(self, clock: Clock, fire: Callable[[Hashable], None]) -> None:
        self._clock = clock
        self._fire = fire
        self._heap: list[tuple[float, int, Hashable]] = []
        self._tickets: dict[Hashable, int] = {}
        self._next_ticket = 0
        self._sooner = asyncio.Event()

    def __len__(self) -> int:
        return len(self._tickets)

    def set(self, key: Hashable, when: float) -> None:
        """`when` is a time of the clock; one in the past fires at once."""
        self._next_ticket += 1
        self._tickets[key] = self._next_ticket
        if not self._heap or when < self._heap[0][0]:
            self._sooner.set()
        heappush(self._heap, (when, self._next_ticket, key))
        if len(self._heap) > 2 * len(self._tickets) + 1000:
            self._heap = [entry for entry in self._heap if self._tickets.get(entry[2]) == entry[1]]
            heapify(self._heap)

    def cancel(self, key: Hashable) -> None:
        self._tickets.pop(key, None)

    def next_due(self) -> float | None:
        """The time of the clock at which the first timer fires."""
        while self._heap and self._tickets.get(self._heap[0][2]) != self._heap[0][1]:
            heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self._sooner.clear()
            self._fire_due()
            if not self._heap:
                await self._sooner.wait()
                continue
            delay = self._heap[0][0] - self._clock.now()
            if delay <= 0:
                await asyncio.sleep(0)
                continue
            # The bare timer: `asyncio.timeout` costs several times as much, thousands of times a second.
            alarm = asyncio.get_running_loop().call_later(max(delay, SLACK_SECONDS), self._sooner.set)
            try:
                await self._sooner.wait()
            finally:
                alarm.cancel()

    def _fire_due(self) -> None:
        now = self._clock.now()
        for _ in range(BATCH_MAX):
            if not self._heap or self._heap[0][0] > now:
                return
            _, ticket, key = heappop(self._heap)
            if self._tickets.get(key) == ticket:
                del self._tickets[key]
                self._fire(key)
