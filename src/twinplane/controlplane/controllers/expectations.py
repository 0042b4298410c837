"""What a controller has asked for and not yet seen in its cache.

The cache lags behind the writes: a ReplicaSet that has just made ten pods and looks again may count none and make ten
more. So a controller notes what it is about to do, informer handlers cross it off, and until the note is empty (or five
minutes old: an event may be lost with a watch) it changes nothing. As client-go's UIDTrackingControllerExpectations.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from twinplane.clock import Clock
from twinplane.controlplane.controllers.contract import Key

TIMEOUT_SECONDS = 300.0


@dataclass
class _Note:
    at: float
    creations: int = 0
    deletions: set[str] = field(default_factory=set)


class Expectations:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._notes: dict[Key, _Note] = {}

    def expect(self, key: Key, *, creations: int = 0, deletions: Iterable[str] = ()) -> None:
        """Replaces the note of `key`; `deletions` are uids, for a deleted object is seen more than once.

        Nothing expected is nothing to wait for.
        """
        note = self._notes[key] = _Note(self._clock.now(), creations, set(deletions))
        self._drop_if_met(key, note)

    def creation_observed(self, key: Key, count: int = 1) -> None:
        """Also for a creation that failed: it will not be seen."""
        note = self._notes.get(key)
        if note is not None:
            note.creations -= count
            self._drop_if_met(key, note)

    def deletion_observed(self, key: Key, uid: str) -> None:
        note = self._notes.get(key)
        if note is not None:
            note.deletions.discard(uid)
            self._drop_if_met(key, note)

    def satisfied(self, key: Key) -> bool:
        note = self._notes.get(key)
        return note is None or self._clock.now() - note.at > TIMEOUT_SECONDS

    def forget(self, key: Key) -> None:
        self._notes.pop(key, None)

    def _drop_if_met(self, key: Key, note: _Note) -> None:
        if note.creations <= 0 and not note.deletions:
            del self._notes[key]
