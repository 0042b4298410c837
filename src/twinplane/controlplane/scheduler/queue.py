"""Pods that wait for a node: ready, backing off, or set aside until something that concerns them changes.

Pure: times are passed in. As upstream's scheduling queue: ready pods leave by priority and then by time; a pod that
failed waits for an event that could help it (see `hints`), and for its back-off of 1 s doubling to 10 s unless there is
nothing else to try; whatever is still set aside after five minutes is tried again anyway. Gated pods wait for nothing
but their gates.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from heapq import heappop, heappush

from twinplane.controlplane.scheduler.hints import Happening, helps
from twinplane.controlplane.scheduler.shape import Pod, PodShape

BACKOFF_FIRST_SECONDS = 1.0
BACKOFF_MAX_SECONDS = 10.0
SET_ASIDE_MAX_SECONDS = 300.0
HURRIED_MAX = 100
"""Pods that are tried before their back-off ends when there is nothing else to try (upstream's PopFromBackoffQ). Where
more are backing off, they wait: this scheduler shares its processor with the API server.
"""


class Place(Enum):
    READY = "ready"
    BACKING_OFF = "backing off"
    SET_ASIDE = "set aside"
    GATED = "gated"


Class = tuple[frozenset[str], PodShape, int, bool]
"""Plugins that refused, shape, priority, whether it preempts: one hint answers for all such pods."""


@dataclass(slots=True)
class Waiting:
    pod: Pod
    since: float
    place: Place = Place.READY
    attempts: int = 0
    plugins: frozenset[str] = frozenset()
    broken: bool = False
    """The last attempt failed for no reason of the pod: its back-off is not cut short."""
    ticket: int = 0
    """Grows with every move; a heap entry with an older one is outdated."""
    kept_under: Class | None = None


@dataclass
class SchedulingQueue:
    backoff_first: float = BACKOFF_FIRST_SECONDS
    backoff_max: float = BACKOFF_MAX_SECONDS
    _waiting: dict[str, Waiting] = field(default_factory=dict)
    _ready: list[tuple[int, float, int, str]] = field(default_factory=list)
    _backing_off: list[tuple[float, int, str]] = field(default_factory=list)
    _set_aside: dict[str, None] = field(default_factory=dict)
    """uids in the order in which they were set aside."""
    _classes: dict[Class, dict[str, None]] = field(default_factory=dict)
    """The same uids by what could help them."""
    _tickets: int = 0

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def has_ready(self) -> bool:
        """A pod is about to be tried."""
        return any(waiting.place is Place.READY for waiting in self._waiting.values())

    def place_of(self, uid: str) -> Place | None:
        waiting = self._waiting.get(uid)
        return waiting.place if waiting else None

    def set(self, pod: Pod, now: float, *, changed: bool = True) -> None:
        """A pod that is new, or that was updated; `changed` says that the update may make it fit."""
        waiting = self._waiting.get(pod.uid)
        if waiting is None:
            waiting = self._waiting[pod.uid] = Waiting(pod, now)
            self._move(waiting, Place.GATED if pod.gates else Place.READY, now)
            return
        waiting.pod = pod
        if waiting.place is Place.GATED and not pod.gates:
            self._move(waiting, Place.READY, now)
        elif changed and waiting.place is Place.SET_ASIDE:
            self._revive(waiting, now)

    def remove(self, uid: str) -> None:
        waiting = self._waiting.pop(uid, None)
        if waiting is not None:
            self._take_up(waiting)

    def pop(self, now: float, limit: int) -> list[Pod]:
        """The next pods to try, at most `limit`. They leave the queue; report back those that fail."""
        self._flush(now)
        found = self._take(limit)
        if not found and self._hurry(now):
            found = self._take(limit)
        return found

    def failed(self, pod: Pod, plugins: frozenset[str], now: float) -> None:
        """No node would have it. Put it aside until something happens."""
        waiting = self._waiting.get(pod.uid)
        if waiting is not None:
            waiting.plugins = plugins
            waiting.broken = False
            waiting.since = now
            self._move(waiting, Place.SET_ASIDE, now)

    def retry(self, pod: Pod, now: float) -> None:
        """The attempt broke for no fault of the pod (its binding was refused, say): back off and try again."""
        waiting = self._waiting.setdefault(pod.uid, Waiting(pod, now, attempts=1))
        waiting.since, waiting.broken = now, True
        self._move(waiting, Place.BACKING_OFF, now)

    def happened(self, happening: Happening, now: float) -> None:
        helped = [
            uids
            for (plugins, *_), uids in self._classes.items()
            if helps(happening, plugins, self._waiting[next(iter(uids))].pod)
        ]
        for uids in helped:
            for uid in list(uids):
                self._revive(self._waiting[uid], now)

    def helped(self, uids: Iterable[str], now: float) -> None:
        """What these waited for has happened."""
        for uid in uids:
            if uid in self._set_aside:
                self._revive(self._waiting[uid], now)

    def next_due(self) -> float | None:
        """When to look again without any event; None when there is nothing to wait for."""
        due = [self._backing_off[0][0]] if self._backing_off else []
        oldest = next(iter(self._set_aside), None)
        if oldest is not None:
            due.append(self._waiting[oldest].since + SET_ASIDE_MAX_SECONDS)
        return min(due, default=None)

    # -- the inside ----------------------------------------------------------------------------------------------

    def _flush(self, now: float) -> None:
        while self._backing_off and self._backing_off[0][0] <= now:
            _, ticket, uid = heappop(self._backing_off)
            waiting = self._waiting.get(uid)
            if waiting is not None and waiting.ticket == ticket:
                self._move(waiting, Place.READY, now)
        while self._set_aside:
            waiting = self._waiting[next(iter(self._set_aside))]
            if waiting.since + SET_ASIDE_MAX_SECONDS > now:
                break
            self._move(waiting, Place.READY, now)

    def _take(self, limit: int) -> list[Pod]:
        found: list[Pod] = []
        while self._ready and len(found) < limit:
            *_, ticket, uid = heappop(self._ready)
            waiting = self._waiting.get(uid)
            if waiting is not None and waiting.ticket == ticket:
                found.append(waiting.pod)
                waiting.attempts += 1
                waiting.ticket = -1
        return found

    def _hurry(self, now: float) -> bool:
        """True when some need not wait for the end of their back-off."""
        if len(self._backing_off) > HURRIED_MAX:
            return False
        hurried = [
            waiting
            for _, ticket, uid in self._backing_off
            if (waiting := self._waiting.get(uid)) is not None and waiting.ticket == ticket and not waiting.broken
        ]
        for waiting in hurried:
            self._move(waiting, Place.READY, now)
        return bool(hurried)

    def _revive(self, waiting: Waiting, now: float) -> None:
        ended = self._backoff_end(waiting) <= now
        self._move(waiting, Place.READY if ended else Place.BACKING_OFF, now)

    def _backoff_end(self, waiting: Waiting) -> float:
        doublings = min(max(waiting.attempts - 1, 0), 10)
        return waiting.since + min(self.backoff_first * (1 << doublings), self.backoff_max)

    def _move(self, waiting: Waiting, place: Place, now: float) -> None:
        uid = waiting.pod.uid
        self._tickets += 1
        self._take_up(waiting)
        waiting.place, waiting.ticket = place, self._tickets
        if place is Place.READY:
            heappush(self._ready, (-waiting.pod.priority, waiting.since, waiting.ticket, uid))
        elif place is Place.BACKING_OFF:
            heappush(self._backing_off, (self._backoff_end(waiting), waiting.ticket, uid))
        elif place is Place.SET_ASIDE:
            self._set_aside[uid] = None
            pod = waiting.pod
            waiting.kept_under = (waiting.plugins, pod.shape, pod.priority, pod.preempts)
            self._classes.setdefault(waiting.kept_under, {})[uid] = None

    def _take_up(self, waiting: Waiting) -> None:
        """Out of those set aside, if it is there."""
        uid = waiting.pod.uid
        self._set_aside.pop(uid, None)
        if waiting.kept_under is not None:
            uids = self._classes[waiting.kept_under]
            uids.pop(uid, None)
            if not uids:
                del self._classes[waiting.kept_under]
            waiting.kept_under = None
