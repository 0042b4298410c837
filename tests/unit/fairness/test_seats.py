"""Seats and queues: borrowing, fairness between flows, refusals, and requests that stop waiting."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinplane.controlplane.api.fairness.queues import FairQueues, Waiter
from twinplane.controlplane.api.fairness.schemas import Limits, Queuing
from twinplane.controlplane.api.fairness.seats import Level, Pool
from twinplane.kubeclient.errors import ApiError

QUEUING = Queuing(queues=8, hand_size=2, length_limit=3)


def pool() -> Pool:
    return Pool(lambda: None)


def limited(of: Pool, name: str, nominal: int, *, lendable: float = 0.0, queuing: Queuing | None = QUEUING) -> Level:
    level = Level(name, of)
    level.configure(Limits(False, nominal, lendable, None, queuing), nominal, "")
    of.lendable += nominal - level.minimum
    return level


async def turns(count: int = 3) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_seats_are_free_when_the_turn_is_over() -> None:
    level = limited(pool(), "a", 2)
    assert level.start(1)
    assert level.start(1)
    level.end(1)
    assert not level.start(1)
    await turns()
    assert level.start(1)


async def test_idle_seats_are_borrowed_and_what_is_kept_is_kept() -> None:
    shared = pool()
    greedy, other = limited(shared, "greedy", 10, lendable=0.5), limited(shared, "other", 10, lendable=0.5)
    assert sum(greedy.start(1) for _ in range(30)) == 15
    assert sum(other.start(1) for _ in range(30)) == 5


async def test_a_borrowing_limit_holds() -> None:
    shared = pool()
    level = Level("a", shared)
    level.configure(Limits(False, 4, 0.0, 0.5, None), 4, "")
    shared.lendable = 100
    assert sum(level.start(1) for _ in range(30)) == 6


async def test_a_wide_request_is_served_alone() -> None:
    level = limited(pool(), "a", 2)
    assert level.start(10)
    assert not level.start(1)


async def test_without_queues_there_is_no_waiting() -> None:
    level = limited(pool(), "a", 1, queuing=None)
    assert level.start(1)
    with pytest.raises(ApiError) as refused:
        await level.wait((), 1)
    assert (refused.value.code, refused.value.reason, refused.value.retry_after) == (429, "TooManyRequests", 1)
    assert level.rejected == {"concurrency-limit": 1}


async def test_the_least_served_flow_is_next() -> None:
    level = limited(pool(), "a", 1)
    assert level.start(1)
    order: list[str] = []

    async def request(name: str, queue: int) -> None:
        await level.wait((queue,), 1)
        order.append(name)
        level.end(1)

    tasks = [asyncio.create_task(request("greedy", 0)) for _ in range(3)]
    tasks += [asyncio.create_task(request(name, queue)) for name, queue in (("b", 1), ("c", 2))]
    await turns()
    level.end(1)
    await asyncio.gather(*tasks)
    assert order == ["greedy", "b", "c", "greedy", "greedy"]


async def test_a_full_queue_refuses_and_cancelled_requests_make_room() -> None:
    level = limited(pool(), "a", 1)
    assert level.start(1)
    waiting = [asyncio.create_task(level.wait((0,), 1)) for _ in range(3)]
    await turns()
    with pytest.raises(ApiError):
        await level.wait((0,), 1)
    waiting[0].cancel()
    await turns()
    assert level.waiting == 2
    again = asyncio.create_task(level.wait((0,), 1))
    level.end(1)
    await turns()
    assert waiting[1].done()
    assert level.executing == 1
    for task in (waiting[2], again):
        task.cancel()
    await turns()
    assert level.waiting == 0


async def test_one_cancelled_in_the_very_turn_gives_its_seat_back() -> None:
    level = limited(pool(), "a", 1)
    assert level.start(1)
    first, second = (asyncio.create_task(level.wait((0,), 1)) for _ in range(2))
    await turns()
    level.end(1)
    level._pool._end_turn()
    first.cancel()
    await turns(5)
    assert second.done()
    assert level.executing == 1


async def test_other_queues_take_over_who_waits() -> None:
    level = limited(pool(), "a", 1)
    assert level.start(1)
    waiting = asyncio.create_task(level.wait((7,), 1))
    await turns()
    level.configure(Limits(False, 1, 0.0, None, Queuing(2, 1, 5)), 1, "")
    level.end(1)
    await turns(5)
    assert waiting.done()


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 5)), max_size=60))
def test_queues_lose_nobody_and_share_by_seats(arrivals: list[tuple[int, int]]) -> None:
    loop = asyncio.new_event_loop()
    queues = FairQueues(Queuing(6, 1, 1000))
    for queue, seats in arrivals:
        assert queues.add((queue,), Waiter(seats, loop.create_future()))
    served: Counter[int] = Counter()
    left = Counter(queue for queue, _ in arrivals)
    while (waiter := queues.peek()) is not None:
        queues.pop()
        active = [queue for queue in left if left[queue]]
        assert served[waiter.queue] <= min(served[queue] for queue in active) + 5
        served[waiter.queue] += waiter.seats
        left[waiter.queue] -= 1
    loop.close()
    assert not any(left.values())
    assert len(queues) == 0
