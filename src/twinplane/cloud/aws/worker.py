"""The one thread in which moto runs, and the group commit before answers leave.

moto is synchronous and not safe to run in parallel, so requests queue here (bounded) and run one after another while
the event loop stays free. What changed in a batch is saved once: a mutating request is answered only when the snapshot
that holds it is on disk, and requests that arrive meanwhile share the next one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

QUEUE_MAX = 1024
BATCH_MAX = 128
log = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(slots=True)
class _Job(Generic[T]):
    work: Callable[[], T]
    changes: bool
    """Whether the answer has to wait until the account is saved."""
    done: asyncio.Future[T]


class Worker:
    """`commit` is called in the thread after a batch that changed something; what it raises fails those requests."""

    def __init__(self, commit: Callable[[], None]) -> None:
        self._commit = commit
        self._queue: asyncio.Queue[_Job[Any]] = asyncio.Queue(QUEUE_MAX)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="aws")
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="aws-worker")

    async def stop(self) -> None:
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._thread.shutdown(wait=True)

    async def call(self, work: Callable[[], T], *, changes: bool = False) -> T:
        """Run in the thread. With `changes` return only when the change is on disk."""
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        await self._queue.put(_Job(work, changes, done))
        return await done

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            batch = [await self._queue.get()]
            while len(batch) < BATCH_MAX and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            await loop.run_in_executor(self._thread, self._process, loop, batch)

    def _process(self, loop: asyncio.AbstractEventLoop, batch: list[_Job[Any]]) -> None:
        waiting: list[tuple[_Job[Any], Any, BaseException | None]] = []
        for job in batch:
            outcome = _attempt(job)
            if job.changes:
                waiting.append((job, *outcome))
            else:
                loop.call_soon_threadsafe(_settle, job.done, *outcome)
        if not waiting:
            return
        failure: BaseException | None = None
        try:
            self._commit()
        except Exception as error:
            log.exception("the account could not be saved")
            failure = error
        for job, result, raised in waiting:
            loop.call_soon_threadsafe(_settle, job.done, result, failure or raised)


def _attempt(job: _Job[Any]) -> tuple[Any, BaseException | None]:
    try:
        return job.work(), None
    except Exception as error:  # noqa: BLE001  (task boundary: it is re-raised to whoever awaits the job)
        return None, error


def _settle(done: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if done.done():
        return
    if error is not None:
        done.set_exception(error)
    else:
        done.set_result(result)
