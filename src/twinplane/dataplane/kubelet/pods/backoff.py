"""Back-off of restarts and image pulls: doubles with each use, forgotten after a long quiet. Pure but for its table.

Source: client-go `flowcontrol.Backoff`, as the kubelet uses it (10 s to 5 min, reset after twice the longest).
"""

from __future__ import annotations

from dataclasses import dataclass

FIRST_SECONDS = 10.0
LONGEST_SECONDS = 300.0


@dataclass(slots=True)
class _Entry:
    seconds: float
    used_at: float


class Backoff:
    """Keys are forgotten by `forget`, which the owner calls when what they stand for is gone."""

    def __init__(self, first: float = FIRST_SECONDS, longest: float = LONGEST_SECONDS) -> None:
        self._first = first
        self._longest = longest
        self._entries: dict[str, _Entry] = {}

    def seconds(self, key: str) -> float:
        entry = self._entries.get(key)
        return entry.seconds if entry is not None else 0.0

    def left(self, key: str, since: float, now: float) -> float:
        """Seconds still to wait after an event at `since`; 0 when it may be tried."""
        entry = self._entries.get(key)
        if entry is None or self._expired(entry, since):
            return 0.0
        return max(since + entry.seconds - now, 0.0)

    def left_since_use(self, key: str, now: float) -> float:
        entry = self._entries.get(key)
        return self.left(key, entry.used_at, now) if entry is not None else 0.0

    def use(self, key: str, since: float, now: float) -> None:
        """It is tried again now, after an event at `since`."""
        entry = self._entries.get(key)
        if entry is None or self._expired(entry, since):
            self._entries[key] = _Entry(self._first, now)
        else:
            entry.seconds = min(entry.seconds * 2, self._longest)
            entry.used_at = now

    def forget(self, prefix: str) -> None:
        for key in [key for key in self._entries if key.startswith(prefix)]:
            del self._entries[key]

    def _expired(self, entry: _Entry, since: float) -> bool:
        return since - entry.used_at > 2 * self._longest
