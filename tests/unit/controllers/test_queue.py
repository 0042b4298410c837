from __future__ import annotations

import asyncio
from functools import partial
from itertools import pairwise

import pytest

from twinplane.controlplane.controllers.contract import Enqueue, Key
from twinplane.controlplane.controllers.expectations import Expectations
from twinplane.controlplane.controllers.podcontrol import slow_start
from twinplane.controlplane.controllers.queue import WorkQueue
from twinplane.controlplane.controllers.runner import ControllerRunner, Outcome
from twinplane.controlplane.controllers.stopwatch import Timed
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.informer import SharedInformers
from twinplane.testing.memory_cluster import MemoryCluster
from twinplane.testing.virtual_time import VirtualClock, virtual_time

A, B = Key("ns", "a"), Key("ns", "b")


@virtual_time
async def test_a_key_waits_once() -> None:
    queue = WorkQueue()
    for key in (A, B, A, A):
        queue.add(key)
    assert len(queue) == 2
    assert [await queue.get(), await queue.get()] == [A, B]


@virtual_time
async def test_a_key_in_work_comes_again_when_done() -> None:
    queue = WorkQueue()
    queue.add(A)
    assert await queue.get() == A
    queue.add(A)
    assert len(queue) == 0
    assert not queue.idle
    queue.done(A)
    assert await queue.get() == A
    queue.done(A)
    assert queue.idle


@virtual_time
async def test_delays_and_back_off(clock: VirtualClock) -> None:
    queue = WorkQueue()
    start = clock.now()
    queue.add_after(A, 60)
    queue.add_after(A, 30)
    queue.add_after(A, 90)
    await queue.get()
    assert clock.now() - start == 30
    queue.done(A)
    waits = []
    for _ in range(22):
        before = clock.now()
        queue.add_after_failure(A)
        await queue.get()
        queue.done(A)
        waits.append(round(clock.now() - before, 6))
    assert waits[:4] == [0.005, 0.01, 0.02, 0.04]
    assert waits[-1] == 1000
    queue.forget(A)
    assert queue.failures(A) == 0


@virtual_time
async def test_a_key_rests(clock: VirtualClock) -> None:
    queue = WorkQueue()
    queue.add(A)
    await queue.get()
    queue.done(A, rest=0.2)
    before = clock.now()
    for _ in range(3):
        queue.add(A)
    assert len(queue) == 0
    assert await queue.get() == A
    assert round(clock.now() - before, 6) == 0.2
    queue.done(A, rest=0.2)
    await asyncio.sleep(1)
    assert queue.idle
    queue.add(A)
    assert len(queue) == 1


@virtual_time
async def test_a_cancelled_worker_passes_its_key_on() -> None:
    queue = WorkQueue()
    first = asyncio.create_task(queue.get())
    second = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.add(A)
    first.cancel()
    assert await second == A


class Failing:
    name = "failing"
    workers = 2

    def __init__(self) -> None:
        self.calls = 0
        self.concurrent = 0

    def watch(self, enqueue: Enqueue) -> None:
        enqueue(A)

    async def reconcile(self, key: Key) -> float | None:
        assert self.concurrent == 0
        self.concurrent += 1
        await asyncio.sleep(0.001)
        self.concurrent -= 1
        self.calls += 1
        if self.calls < 3:
            raise ApiError("Conflict", "try again") if self.calls == 1 else KeyError("a mistake")
        return 100.0 if self.calls == 3 else None


@virtual_time
async def test_the_runner_repeats_failures_and_looks_again_when_told() -> None:
    outcomes: list[Outcome] = []
    controller = Failing()
    runner = ControllerRunner([controller], SharedInformers(MemoryCluster()), observe=outcomes.append)
    task = asyncio.create_task(runner.run())
    await runner.started.wait()
    await asyncio.sleep(50)
    assert [type(outcome.error) for outcome in outcomes] == [ApiError, KeyError, type(None)]
    assert runner.idle
    await asyncio.sleep(60)
    assert controller.calls == 4
    assert runner.depths == {"failing": 0}
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled()


class Busy:
    """Its key changes all the time, and costs ten milliseconds."""

    name = "busy"
    workers = 1

    def __init__(self) -> None:
        self.times: list[float] = []
        self.computed = 0.0

    def watch(self, enqueue: Enqueue) -> None:
        self.enqueue = enqueue
        enqueue(A)

    async def reconcile(self, key: Key) -> float | None:
        self.times.append(asyncio.get_running_loop().time())
        self.computed += 0.01
        self.enqueue(key)
        return None


class InBatches(Busy):
    def batch_period(self, key: Key) -> float:
        return 0.2


@virtual_time
async def test_a_key_rests_in_proportion_and_for_its_batch_period() -> None:
    for controller, rest in ((Busy(), 0.04), (InBatches(), 0.2)):
        informers = SharedInformers(MemoryCluster())
        runner = ControllerRunner([controller], informers, timer=partial(getattr, controller, "computed"))
        task = asyncio.create_task(runner.run())
        await runner.started.wait()
        await asyncio.sleep(1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert {round(after - before, 6) for before, after in pairwise(controller.times)} == {rest}


@virtual_time
async def test_timed_counts_computing_and_passes_errors_through(clock: VirtualClock) -> None:
    ticks = iter(range(100))

    async def work() -> str:
        await asyncio.sleep(50)
        try:
            async with asyncio.timeout(1):
                await asyncio.sleep(50)
        except TimeoutError:
            return "late"
        return "early"

    timed = Timed(work(), lambda: float(next(ticks)))
    assert await timed == "late"
    assert timed.seconds == 3.0

    async def fail() -> None:
        await asyncio.sleep(0)
        raise ApiError("Conflict", "no")

    with pytest.raises(ApiError):
        await Timed(fail(), clock.now)


@virtual_time
async def test_expectations(clock: VirtualClock) -> None:
    expectations = Expectations(clock)
    assert expectations.satisfied(A)
    expectations.expect(A, creations=2, deletions=["u"])
    expectations.creation_observed(A)
    expectations.deletion_observed(A, "u")
    expectations.deletion_observed(A, "u")
    assert not expectations.satisfied(A)
    expectations.creation_observed(A)
    assert expectations.satisfied(A)
    expectations.expect(A, creations=1)
    await asyncio.sleep(301)
    assert expectations.satisfied(A)


@virtual_time
async def test_slow_start_doubles_and_stops() -> None:
    calls: list[int] = []

    async def act(number: int) -> None:
        calls.append(number)
        if number >= 5:
            raise ApiError("Forbidden", "no")

    done, failure = await slow_start(100, act)
    assert calls == [0, 1, 2, 3, 4, 5, 6]
    assert done == 5
    assert isinstance(failure, ApiError)
