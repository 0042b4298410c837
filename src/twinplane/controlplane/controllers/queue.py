"""The queue between informer handlers and a controller's workers, with client-go's three promises.

A key is never worked on twice at the same time; a key that was added many times before a worker came is worked on once;
a key added while it is being worked on comes again. So a burst of a thousand pod events costs one reconcile. The queue
holds each key at most once, so it is bounded by the number of objects.
"""

from __future__ import annotations

import asyncio
from collections import deque

from twinplane.controlplane.controllers.contract import Key

BACKOFF_SECONDS = (0.005, 1000.0)
"""First and longest delay of a key that keeps failing, doubling each time."""
REST_SECONDS_MIN = 0.005
"""Shorter rests are not worth a timer."""


class WorkQueue:
    def __init__(self) -> None:
        self._ready: deque[Key] = deque()
        self._dirty: set[Key] = set()
        self._processing: set[Key] = set()
        self._failures: dict[Key, int] = {}
        self._resting: dict[Key, asyncio.TimerHandle] = {}
        self._later: dict[Key, asyncio.TimerHandle] = {}
        self._waiting: deque[asyncio.Future[None]] = deque()

    def __len__(self) -> int:
        return len(self._ready)

    @property
    def idle(self) -> bool:
        """Nothing is queued or being worked on (delayed keys apart)."""
        return not self._dirty and not self._processing

    @property
    def resting(self) -> int:
        return len(self._resting)

    def next_due(self) -> float | None:
        """Seconds until the first delayed key comes back; None when there is none."""
        due = min((handle.when() for handle in self._later.values()), default=None)
        return None if due is None else due - asyncio.get_running_loop().time()

    def add(self, key: Key) -> None:
        if key in self._dirty:
            return
        self._dirty.add(key)
        if key not in self._processing and key not in self._resting:
            self._push(key)

    def add_after(self, key: Key, seconds: float) -> None:
        """The earlier of two delays counts."""
        if seconds <= 0:
            self.add(key)
            return
        loop = asyncio.get_running_loop()
        pending = self._later.get(key)
        if pending is not None:
            if pending.when() <= loop.time() + seconds:
                return
            pending.cancel()
        self._later[key] = loop.call_later(seconds, self._due, key)

    def add_after_failure(self, key: Key) -> None:
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        first, longest = BACKOFF_SECONDS
        self.add_after(key, min(first * 2 ** min(failures, 32), longest))

    def forget(self, key: Key) -> None:
        """It went well: the next failure is a first one."""
        self._failures.pop(key, None)

    def failures(self, key: Key) -> int:
        return self._failures.get(key, 0)

    async def get(self) -> Key:
        """The next key; the caller must call `done` with it."""
        while not self._ready:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                if waiter.done() and not waiter.cancelled():
                    # Woken and cancelled at once: the key needs another worker.
                    self._wake()
                raise
        key = self._ready.popleft()
        self._dirty.discard(key)
        self._processing.add(key)
        return key

    def done(self, key: Key, rest: float = 0.0) -> None:
        """The key may be given out again, `rest` seconds from now at the earliest."""
        self._processing.discard(key)
        if rest >= REST_SECONDS_MIN:
            self._resting[key] = asyncio.get_running_loop().call_later(rest, self._rested, key)
        elif key in self._dirty:
            self._push(key)

    def close(self) -> None:
        """Drop delayed keys, so that no timer outlives its controller."""
        for timers in (self._later, self._resting):
            for handle in timers.values():
                handle.cancel()
            timers.clear()

    def _due(self, key: Key) -> None:
        del self._later[key]
        self.add(key)

    def _rested(self, key: Key) -> None:
        del self._resting[key]
        if key in self._dirty:
            self._push(key)

    def _push(self, key: Key) -> None:
        self._ready.append(key)
        self._wake()

    def _wake(self) -> None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
