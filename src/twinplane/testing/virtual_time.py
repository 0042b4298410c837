"""Tests in virtual time: an event loop whose clock jumps to the next timer as soon as nothing is left to run.

A test that waits five minutes takes microseconds and can assert that exactly five minutes passed. Sockets and threads
still work: the loop looks at the former before it jumps, and stands still while one of the latter works for it. Use as
a decorator:

    @virtual_time
    async def test_lease_expires(clock: VirtualClock) -> None: ...

`clock` is injected when the test asks for it; other parameters stay fixtures.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import selectors
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from typing import Any, TypeVar, TypeVarTuple

T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")

EPOCH = 1_700_000_000.0
"""2023-11-14T22:13:20Z: where virtual time starts."""
DELIVERY_SECONDS = 0.005
"""Real ones: a busy kernel may take them from one end of a local socket to the other."""


class _JumpingSelector(selectors.DefaultSelector):
    """Polls without waiting; when nothing is ready, moves the time on instead."""

    def __init__(self) -> None:
        super().__init__()
        self.elapsed = 0.0
        self.threads = 0
        """Calls that threads work at now."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        if timeout is None or self.threads:
            # No timer is set, or a thread is not done: only a socket or a thread can go on, so wait for it really.
            return super().select(None)
        # One is the loop's own, by which threads wake it.
        if len(self.get_map()) > 1 and (ready := super().select(DELIVERY_SECONDS)):
            return ready
        self.elapsed += timeout
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.elapsed

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[*Arguments], T], *args: *Arguments
    ) -> asyncio.Future[T]:
        def over(_: asyncio.Future[T]) -> None:
            self._jumping.threads -= 1

        future = super().run_in_executor(executor, func, *args)
        self._jumping.threads += 1
        future.add_done_callback(over)
        return future


class VirtualClock:
    """The wall clock of a `VirtualTimeLoop`."""

    def __init__(self, loop: VirtualTimeLoop, epoch: float = EPOCH) -> None:
        self._loop = loop
        self._epoch = epoch

    def now(self) -> float:
        return self._epoch + self._loop.time()


def virtual_time(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run an async test on a loop of its own whose time jumps."""
    parameters = inspect.signature(test).parameters

    @functools.wraps(test)
    def run(**fixtures: Any) -> None:
        loop = VirtualTimeLoop()
        if "clock" in parameters:
            fixtures["clock"] = VirtualClock(loop)
        try:
            loop.run_until_complete(test(**fixtures))
        finally:
            _cancel_left_over(loop)
            loop.close()

    kept = [parameter for name, parameter in parameters.items() if name != "clock"]
    run.__signature__ = inspect.Signature(kept)  # type: ignore[attr-defined]
    del run.__wrapped__
    return run


def _cancel_left_over(loop: asyncio.AbstractEventLoop) -> None:
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
    loop.run_until_complete(loop.shutdown_asyncgens())


__all__ = ["EPOCH", "VirtualClock", "VirtualTimeLoop", "virtual_time"]
