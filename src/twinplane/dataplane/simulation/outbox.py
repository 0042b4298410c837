"""Writes that wait for the API server: each key once, the latest state when its turn comes, a bounded number at once.

Level-triggered: what is queued is the key, not the content, so a pod that changes three times before its turn is
written once. A write that fails for want of a server is repeated after a pause that grows.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Hashable

from twinplane.kubeclient.errors import ApiError

log = logging.getLogger(__name__)

WORKERS = 16
RETRY_FIRST_SECONDS = 0.5
RETRY_MAX_SECONDS = 10.0


class Outbox:
    def __init__(self, name: str, write: Callable[[Hashable], Awaitable[None]], workers: int = WORKERS) -> None:
        """`write` makes one key's state known; it handles refusals that are about the object itself."""
        self._name = name
        self._write = write
        self._workers = workers
        self._queue: deque[Hashable] = deque()
        self._queued: set[Hashable] = set()
        self._busy: set[Hashable] = set()
        self._again: set[Hashable] = set()
        self._filled = asyncio.Event()

    def __len__(self) -> int:
        return len(self._queue)

    @property
    def idle(self) -> bool:
        """Nothing waits or is being written."""
        return not self._queue and not self._busy

    def put(self, key: Hashable) -> None:
        if key in self._busy:
            # One write a key at a time: the second would race the first.
            self._again.add(key)
        elif key not in self._queued:
            self._queued.add(key)
            self._queue.append(key)
            self._filled.set()

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            for number in range(self._workers):
                group.create_task(self._work(), name=f"{self._name} writer {number}")

    async def _work(self) -> None:
        pause = RETRY_FIRST_SECONDS
        while True:
            while not self._queue:
                self._filled.clear()
                await self._filled.wait()
            key = self._queue.popleft()
            self._queued.discard(key)
            self._busy.add(key)
            retry = False
            try:
                await self._write(key)
                pause = RETRY_FIRST_SECONDS
            except (OSError, TimeoutError) as error:
                log.debug("%s %s: %s", self._name, key, error)
                retry = True
            except ApiError as error:
                retry = error.code >= 429
                log.log(logging.DEBUG if retry else logging.WARNING, "%s %s: %s", self._name, key, error)
            except Exception:
                # The boundary of one write: the next one must not suffer for it.
                log.exception("%s %s", self._name, key)
            finally:
                self._busy.discard(key)
            if retry or key in self._again:
                self._again.discard(key)
                self.put(key)
            if retry:
                await asyncio.sleep(pause)
                pause = min(2 * pause, RETRY_MAX_SECONDS)
