"""Runs controllers: registers their handlers, waits for the caches, then works their queues until cancelled.

The composition root (and tests) make one runner with the list of `controllers.all`. A reconcile that fails is repeated
with back-off, a failure that nobody foresaw is logged as well; neither disturbs other keys. After a reconcile that
computed long its key rests in proportion, while its changes gather: a Service with thousands of pods would otherwise be
computed anew for each of them.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from twinplane.controlplane.controllers.contract import Batching, Controller, Key
from twinplane.controlplane.controllers.queue import WorkQueue
from twinplane.controlplane.controllers.stopwatch import Timed
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.informer import SharedInformers

log = logging.getLogger(__name__)

REST_PROPORTION = 4.0
REST_SECONDS_MAX = 1.0
"""A key rests four times as long as its reconcile computed, times the keys that rest already: a hundred large
ReplicaSets together must not take more than one of them may. And never so long that a user would notice."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One reconcile, for metrics."""

    controller: str
    key: Key
    error: BaseException | None


class ControllerRunner:
    """`run` is the whole life; `observe` hears of every reconcile; `timer` measures their cost, in seconds."""

    def __init__(
        self,
        controllers: Sequence[Controller],
        informers: SharedInformers,
        *,
        observe: Callable[[Outcome], None] = lambda outcome: None,
        timer: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._controllers = controllers
        self._informers = informers
        self._observe = observe
        self._timer = timer
        self._queues: dict[str, WorkQueue] = {}
        self.started = asyncio.Event()
        """Set when all caches are full and the workers run."""

    @property
    def depths(self) -> dict[str, int]:
        """Keys that wait, by controller."""
        return {name: len(queue) for name, queue in self._queues.items()}

    @property
    def idle(self) -> bool:
        return all(queue.idle for queue in self._queues.values())

    def next_due(self) -> float | None:
        """Seconds until a controller looks again at what it put off; None when it has put off nothing."""
        return min((due for queue in self._queues.values() if (due := queue.next_due()) is not None), default=None)

    async def run(self) -> None:
        for controller in self._controllers:
            queue = self._queues[controller.name] = WorkQueue()
            controller.watch(queue.add)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._informers.run(), name="informers")
                await self._informers.wait_synced()
                for controller in self._controllers:
                    queue = self._queues[controller.name]
                    for number in range(controller.workers):
                        group.create_task(self._work(controller, queue), name=f"{controller.name} {number}")
                self.started.set()
        finally:
            for queue in self._queues.values():
                queue.close()

    async def _work(self, controller: Controller, queue: WorkQueue) -> None:
        batch_period = controller.batch_period if isinstance(controller, Batching) else _no_batches
        while True:
            key = await queue.get()
            work = Timed(self._reconcile(controller, queue, key), self._timer)
            try:
                await work
            finally:
                rest = min(REST_PROPORTION * work.seconds * (1 + queue.resting), REST_SECONDS_MAX)
                queue.done(key, max(rest, batch_period(key)))

    async def _reconcile(self, controller: Controller, queue: WorkQueue, key: Key) -> None:
        failure: Exception | None = None
        try:
            again = await controller.reconcile(key)
        except ApiError as error:
            failure = error
            level = logging.DEBUG if error.code in (404, 409) else logging.WARNING
            log.log(level, "%s: %s: %s", controller.name, "/".join(filter(None, key)), error)
        except Exception as error:
            # The boundary of a worker: one object that a controller cannot cope with must not stop it for the others.
            failure = error
            log.exception("%s: %s", controller.name, "/".join(filter(None, key)))
        if failure is not None:
            queue.add_after_failure(key)
        else:
            queue.forget(key)
            if again is not None:
                queue.add_after(key, again)
        self._observe(Outcome(controller.name, key, failure))


def _no_batches(key: Key) -> float:
    return 0.0
