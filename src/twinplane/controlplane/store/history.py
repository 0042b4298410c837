"""The newest events, in memory: what makes old revisions readable and lets a watch begin in the past.

Every revision is one event, so an event is found by its distance from the first one kept. Values are the bytes that the
records hold, so only superseded values cost memory; the bounds below are for those.
"""

from __future__ import annotations

from collections import deque

from twinplane.controlplane.store.contract import Compacted, Event, FutureRevision, Record

KEPT_EVENTS = 100_000
KEPT_BYTES = 64 << 20
"""Of superseded values."""
KEPT_SECONDS = 300.0
"""As long as kube-apiserver's compaction (--etcd-compaction-interval) leaves a revision at least."""
MARK_SECONDS = 30.0
TRIM_SHARE = 8
"""Trimming happens when a bound is exceeded by this fraction, because cutting a list's head moves the rest."""


def superseded_bytes(event: Event) -> int:
    return len(event.previous.value) if event.previous else 0


class History:
    """`revision` is the newest at the start; `compacted` the one below which nothing can be answered."""

    def __init__(self, revision: int, compacted: int, *, kept_events: int = KEPT_EVENTS) -> None:
        self.revision = revision
        self.compacted = compacted
        self._events: list[Event] = []
        self._kept_events = kept_events
        self._bytes = 0
        self._marks: deque[tuple[float, int]] = deque()

    def append(self, event: Event) -> None:
        assert event.revision == self.revision + 1, "a revision was skipped"
        self.revision = event.revision
        self._events.append(event)
        self._bytes += superseded_bytes(event)

    def since(self, revision: int) -> list[Event]:
        """Events above `revision`. Raises `Compacted` and `FutureRevision`."""
        if revision < self.compacted:
            raise Compacted(self.compacted)
        if revision > self.revision:
            raise FutureRevision(self.revision)
        return self._events[-(self.revision - revision) :] if revision < self.revision else []

    def before(self, prefix: str, revision: int) -> dict[str, Record | None]:
        """For each key under `prefix` that changed after `revision`: what it was at that revision."""
        earlier: dict[str, Record | None] = {}
        for event in self.since(revision):
            if event.key.startswith(prefix):
                earlier.setdefault(event.key, event.previous)
        return earlier

    def compact(self, revision: int) -> None:
        """Forget events up to `revision`. Raises `FutureRevision`."""
        if revision > self.revision:
            raise FutureRevision(self.revision)
        gone = len(self._events) - (self.revision - revision)
        if gone > 0:
            self._bytes -= sum(map(superseded_bytes, self._events[:gone]))
            del self._events[:gone]
        self.compacted = max(self.compacted, revision)

    def trim(self, now: float) -> None:
        """Keep the bounds. `now` in seconds of the wall clock; called after every commit, so it is cheap."""
        self._mark(now)
        if len(self._events) > self._kept_events + self._kept_events // TRIM_SHARE:
            self.compact(self.revision - self._kept_events)
        if self._bytes > KEPT_BYTES + KEPT_BYTES // TRIM_SHARE:
            self._compact_to_bytes()

    def _mark(self, now: float) -> None:
        marks = self._marks
        if not marks or now - marks[-1][0] >= MARK_SECONDS:
            marks.append((now, self.revision))
            while now - marks[0][0] > KEPT_SECONDS:
                self.compact(marks.popleft()[1])

    def _compact_to_bytes(self) -> None:
        left = self._bytes
        for event in self._events:
            left -= superseded_bytes(event)
            if left <= KEPT_BYTES:
                self.compact(event.revision)
                return
