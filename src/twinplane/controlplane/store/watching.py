"""Watchers of the embedded store: who gets which event, and the bounded queue of each.

An event is not tested against every watcher: watchers are found by the prefixes of its key, one dictionary look-up for
each length of prefix that somebody watches.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from twinplane.controlplane.store.contract import Compacted, Event

BACKLOG = 32_768
"""Events a watcher may be behind before it is cut off."""


class Watcher:
    """An iterator over batches of events; its reader is one task."""

    def __init__(self, after_revision: int, events: list[Event], backlog: int, compacted: Callable[[], int]) -> None:
        self._after = after_revision
        self._waiting_events = events
        self._backlog = max(backlog, len(events))
        self._compacted = compacted
        self._cut_off_at: int | None = None
        self._closed = False
        self._wake: asyncio.Future[None] | None = None

    def __aiter__(self) -> Watcher:
        return self

    async def __anext__(self) -> list[Event]:
        while not self._waiting_events:
            if self._cut_off_at is not None:
                raise Compacted(max(self._cut_off_at, self._compacted()))
            if self._closed:
                raise StopAsyncIteration
            self._wake = asyncio.get_running_loop().create_future()
            try:
                await self._wake
            finally:
                self._wake = None
        events, self._waiting_events = self._waiting_events, []
        return events

    def offer(self, event: Event) -> None:
        if event.revision <= self._after or self._cut_off_at is not None:
            return
        if len(self._waiting_events) >= self._backlog:
            # What is lost cannot be told apart later, so nothing of the backlog is delivered either.
            self._cut_off_at = event.revision
            self._waiting_events = []
        else:
            self._waiting_events.append(event)
        self._notify()

    def close(self) -> None:
        self._closed = True
        self._notify()

    def _notify(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)


class Watchers:
    def __init__(self) -> None:
        self._by_prefix: dict[str, list[Watcher]] = {}
        self._lengths: tuple[int, ...] = ()

    def add(self, prefix: str, watcher: Watcher) -> None:
        self._by_prefix.setdefault(prefix, []).append(watcher)
        self._measure()

    def remove(self, prefix: str, watcher: Watcher) -> None:
        watchers = self._by_prefix[prefix]
        watchers.remove(watcher)
        if not watchers:
            del self._by_prefix[prefix]
            self._measure()

    def _measure(self) -> None:
        self._lengths = tuple(sorted({len(prefix) for prefix in self._by_prefix}))

    def publish(self, events: Iterable[Event]) -> None:
        for event in events:
            key = event.key
            for length in self._lengths:
                if length > len(key):
                    break
                for watcher in self._by_prefix.get(key[:length], ()):
                    watcher.offer(event)

    def close(self) -> None:
        for watchers in self._by_prefix.values():
            for watcher in watchers:
                watcher.close()
