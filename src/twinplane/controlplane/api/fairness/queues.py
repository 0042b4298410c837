"""Waiting requests of one priority level: many short queues, from which the least served is taken next."""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from twinplane.controlplane.api.fairness.schemas import Queuing


@dataclass(eq=False, slots=True)
class Waiter:
    seats: int
    started: asyncio.Future[None]
    queue: int = 0


class FairQueues:
    """Start-time fair queuing: each queue's virtual time advances by the seats that it was given.

    A queue that has been empty joins at the present virtual time, so idleness saves up no advantage.
    """

    def __init__(self, queuing: Queuing) -> None:
        self.queuing = queuing
        self._queues: dict[int, deque[Waiter]] = {}
        self._virtual: dict[int, float] = {}
        """Of queues that are not empty."""
        self._order: list[tuple[float, int, int]] = []
        self._now = 0.0
        self._turn = 0
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def add(self, hand: tuple[int, ...], waiter: Waiter) -> bool:
        """Into the shortest queue of the hand; False when that is full."""
        queues = self._queues
        chosen = min(hand, key=lambda index: len(queues.get(index, ())))
        queue = queues.get(chosen)
        if queue is None:
            queue = queues[chosen] = deque()
            self._virtual[chosen] = self._now
            self._push(chosen)
        elif len(queue) >= self.queuing.length_limit:
            return False
        waiter.queue = chosen
        queue.append(waiter)
        self._length += 1
        return True

    def peek(self) -> Waiter | None:
        """The one whose turn it is."""
        while self._order:
            virtual, _, index = self._order[0]
            queue = self._queues.get(index)
            if queue and self._virtual[index] == virtual:
                return queue[0]
            heapq.heappop(self._order)
        return None

    def pop(self) -> None:
        """Take the one that `peek` showed."""
        virtual, _, index = heapq.heappop(self._order)
        queue = self._queues[index]
        waiter = queue.popleft()
        self._length -= 1
        self._now = max(self._now, virtual)
        if queue:
            self._virtual[index] = virtual + waiter.seats
            self._push(index)
        else:
            self._forget(index)

    def remove(self, waiter: Waiter) -> None:
        """One that no longer waits."""
        queue = self._queues.get(waiter.queue)
        if queue is not None and waiter in queue:
            queue.remove(waiter)
            self._length -= 1
            if not queue:
                self._forget(waiter.queue)

    def __iter__(self) -> Iterator[Waiter]:
        for queue in self._queues.values():
            yield from queue

    def _push(self, index: int) -> None:
        self._turn += 1
        heapq.heappush(self._order, (self._virtual[index], self._turn, index))

    def _forget(self, index: int) -> None:
        del self._queues[index], self._virtual[index]
