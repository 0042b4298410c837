"""Seats: how many requests of each priority level are under way, and who gets the next free one.

`Level.start` is on the path of every request; everything else happens when seats run short, or once a turn.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from twinplane.controlplane.api.fairness.queues import FairQueues, Waiter
from twinplane.controlplane.api.fairness.schemas import Limits, Queuing
from twinplane.kubeclient.errors import ApiError

WAIT_SECONDS = 15.0
"""A quarter of upstream's request timeout."""
RETRY_AFTER = 1


def too_many_requests() -> ApiError:
    return ApiError("TooManyRequests", "Too many requests, please try again later.", retry_after=RETRY_AFTER)


class Level:
    """One priority level. `minimum` seats are always its own; those above come from the pool, up to `maximum`."""

    def __init__(self, name: str, pool: Pool) -> None:
        self.name = name
        self.uid = ""
        self.is_exempt = False
        self.nominal = 0
        self.minimum = 0
        self.maximum = 0
        self.executing = 0
        """Seats, those of requests that ended in this turn included."""
        self.rejected: dict[str, int] = {}
        """By reason: queue-full, concurrency-limit, time-out."""
        self.started = 0
        self._ended = 0
        self._pool = pool
        self._queues: FairQueues | None = None

    def configure(self, limits: Limits, nominal: int, uid: str) -> None:
        self.uid, self.is_exempt, self.nominal = uid, limits.is_exempt, nominal
        self.minimum = nominal - round(nominal * limits.lendable)
        self.maximum = 1 << 30 if limits.borrowing is None else nominal + round(nominal * limits.borrowing)
        self._requeue(limits.queuing)

    @property
    def queuing(self) -> Queuing | None:
        return None if self._queues is None else self._queues.queuing

    @property
    def waiting(self) -> int:
        return 0 if self._queues is None else len(self._queues)

    def start(self, seats: int) -> bool:
        """Take seats now, if there are some and nobody waits for them."""
        if self._queues or not self._fits(seats):
            return False
        self._take(seats)
        return True

    async def wait(self, hand: tuple[int, ...], seats: int) -> None:
        """Until `seats` are taken. Raises TooManyRequests when there is no room to wait, or it took too long."""
        queues = self._queues
        if queues is None:
            raise self._reject("concurrency-limit")
        waiter = Waiter(seats, asyncio.get_running_loop().create_future())
        if not queues.add(hand, waiter):
            raise self._reject("queue-full")
        self._pool.waiting(self)
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await waiter.started
        except TimeoutError:
            self._give_up(waiter)
            raise self._reject("time-out") from None
        except asyncio.CancelledError:
            self._give_up(waiter)
            raise

    def end(self, seats: int) -> None:
        """Of a request: the seats are free when the turn is over."""
        self._ended += seats
        self._pool.ended(self)

    def free(self) -> None:
        """The turn is over."""
        self._take(-self._ended)
        self._ended = 0

    def start_next(self) -> bool:
        """The waiting request whose turn it is, if its seats are free."""
        queues = self._queues
        while queues is not None and (waiter := queues.peek()) is not None:
            if waiter.started.done():
                # Its client has gone, which its task has not noticed yet.
                queues.pop()
            elif self._fits(waiter.seats):
                queues.pop()
                self._take(waiter.seats)
                waiter.started.set_result(None)
                return True
            else:
                break
        return False

    def _fits(self, seats: int) -> bool:
        wanted = self.executing + seats
        if wanted <= self.minimum:
            return True
        if self.executing == 0 and self.minimum:
            # A request that is wider than its level is still served, alone.
            return True
        if wanted > self.maximum:
            return False
        return self._pool.lends(wanted - max(self.executing, self.minimum))

    def _take(self, seats: int) -> None:
        before = max(0, self.executing - self.minimum)
        self.executing += seats
        borrowed = max(0, self.executing - self.minimum) - before
        if borrowed:
            self._pool.lent += borrowed
        if seats > 0:
            self.started += 1

    def _give_up(self, waiter: Waiter) -> None:
        if waiter.started.done() and not waiter.started.cancelled():
            self.end(waiter.seats)
        elif self._queues is not None:
            self._queues.remove(waiter)

    def _reject(self, reason: str) -> ApiError:
        self.rejected[reason] = self.rejected.get(reason, 0) + 1
        return too_many_requests()

    def _requeue(self, queuing: Queuing | None) -> None:
        """With other queues, those that wait are dealt to them again, by the queue that they were in."""
        old = self._queues
        if queuing == self.queuing:
            return
        self._queues = None if queuing is None else FairQueues(queuing)
        for waiter in old or ():
            if waiter.started.done():
                continue
            if self._queues is None or not self._queues.add((waiter.queue % self._queues.queuing.queues,), waiter):
                waiter.started.set_exception(self._reject("queue-full"))


class Pool:
    """The seats that levels lend, and the end of the turn, when free seats are given to those that wait.

    `each_turn` is called once in every turn that had a request.
    """

    def __init__(self, each_turn: Callable[[], None]) -> None:
        self.lendable = 0
        self.lent = 0
        self._each_turn = each_turn
        self._ended: set[Level] = set()
        self._waiting: dict[Level, None] = {}
        self._is_scheduled = False

    def lends(self, seats: int) -> bool:
        return self.lent + seats <= self.lendable

    def ended(self, level: Level) -> None:
        self._ended.add(level)
        if not self._is_scheduled:
            self.schedule()

    def waiting(self, level: Level) -> None:
        self._waiting[level] = None
        if not self._is_scheduled:
            self.schedule()

    def schedule(self) -> None:
        """Have the end of this turn noticed."""
        if not self._is_scheduled:
            self._is_scheduled = True
            asyncio.get_running_loop().call_soon(self._end_turn)

    def _end_turn(self) -> None:
        self._is_scheduled = False
        if self._ended:
            for level in self._ended:
                level.free()
            self._ended.clear()
        if self._waiting:
            self._start_waiting()
        self._each_turn()

    def _start_waiting(self) -> None:
        """One request of each level after the other, so that borrowed seats go around."""
        able = list(self._waiting)
        while able:
            able = [level for level in able if level.start_next()]
        for level in [level for level in self._waiting if not level.waiting]:
            del self._waiting[level]
