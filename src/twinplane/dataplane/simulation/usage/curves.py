"""Curves over time, with their integrals in closed form.

A kubelet reports CPU as a counter. Were it added up tick by tick, it would depend on when it was asked and be lost with
the process; as an integral it is a pure function of time. Levels are never negative, so counters never fall.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from dataclasses import dataclass
from math import cos, pi, sin
from typing import Protocol

NOISE_PERIODS = (13.0, 47.0, 181.0)
"""Seconds; they have no common multiple that a dashboard would show."""


class Curve(Protocol):
    @property
    def lowest(self) -> float: ...

    def level(self, now: float, began: float) -> float:
        """At `now`, for a pod that began at `began`; both in seconds since the epoch."""
        ...

    def total(self, now: float, began: float) -> float:
        """The integral of `level` from `began` to `now`."""
        ...


@dataclass(frozen=True, slots=True)
class Constant:
    value: float

    @property
    def lowest(self) -> float:
        return self.value

    def level(self, now: float, began: float) -> float:
        return self.value

    def total(self, now: float, began: float) -> float:
        return self.value * (now - began)


@dataclass(frozen=True, slots=True)
class Wave:
    """A cosine between `low` and `high` that peaks `peak` seconds into every period (UTC)."""

    low: float
    high: float
    period: float
    peak: float

    @property
    def lowest(self) -> float:
        return self.low

    def level(self, now: float, began: float) -> float:
        middle, swing = (self.low + self.high) / 2, (self.high - self.low) / 2
        return middle + swing * cos(2 * pi * ((now - self.peak) % self.period) / self.period)

    def total(self, now: float, began: float) -> float:
        middle, swing = (self.low + self.high) / 2, (self.high - self.low) / 2
        return middle * (now - began) + swing * (self._primitive(now) - self._primitive(began))

    def _primitive(self, now: float) -> float:
        turn = 2 * pi / self.period
        return sin(turn * ((now - self.peak) % self.period)) / turn


@dataclass(frozen=True, slots=True)
class Ramp:
    """From `first` to `last` in a straight line, `over` seconds from the pod's beginning; then it stays there."""

    first: float
    last: float
    over: float

    @property
    def lowest(self) -> float:
        return min(self.first, self.last)

    def level(self, now: float, began: float) -> float:
        return self.first + (self.last - self.first) * min(max(now - began, 0.0) / self.over, 1.0)

    def total(self, now: float, began: float) -> float:
        since = max(now - began, 0.0)
        rising = min(since, self.over)
        return (self.first + self.level(began + rising, began)) / 2 * rising + self.last * (since - rising)


@dataclass(frozen=True, slots=True)
class Steps:
    """Values that hold from their moment on, counted from the pod's beginning; `period` > 0 repeats them."""

    moments: tuple[float, ...]
    """Ascending, the first is 0."""
    values: tuple[float, ...]
    sums: tuple[float, ...]
    """The integral up to each moment."""
    period: float

    @classmethod
    def of(cls, rows: list[tuple[float, float]], period: float) -> Steps:
        sums, total = [], 0.0
        for index, (moment, value) in enumerate(rows):
            sums.append(total)
            if index + 1 < len(rows):
                total += value * (rows[index + 1][0] - moment)
        return cls(tuple(row[0] for row in rows), tuple(row[1] for row in rows), tuple(sums), period)

    @property
    def lowest(self) -> float:
        return min(self.values)

    def level(self, now: float, began: float) -> float:
        since = max(now - began, 0.0)
        return self.values[self._place(since % self.period if self.period else since)]

    def total(self, now: float, began: float) -> float:
        since = max(now - began, 0.0)
        if not self.period:
            return self._until(since)
        rounds, rest = divmod(since, self.period)
        return rounds * self._until(self.period) + self._until(rest)

    def _place(self, since: float) -> int:
        return bisect_right(self.moments, since) - 1

    def _until(self, since: float) -> float:
        place = self._place(since)
        return self.sums[place] + self.values[place] * (since - self.moments[place])


@dataclass(frozen=True, slots=True)
class Noise:
    """Three sines whose phases come from the seed, at most `amplitude` together."""

    amplitude: float
    phases: tuple[float, ...]

    @classmethod
    def seeded(cls, amplitude: float, seed: str) -> Noise:
        digest = hashlib.blake2b(seed.encode(), digest_size=2 * len(NOISE_PERIODS)).digest()
        return cls(amplitude, tuple(digest[2 * i] / 256 * 2 * pi for i in range(len(NOISE_PERIODS))))

    @property
    def lowest(self) -> float:
        return -self.amplitude

    def level(self, now: float, began: float) -> float:
        if not self.amplitude:
            return 0.0
        waves = zip(NOISE_PERIODS, self.phases, strict=True)
        return self.amplitude / len(NOISE_PERIODS) * sum(sin(2 * pi * (now % p) / p + phase) for p, phase in waves)

    def total(self, now: float, began: float) -> float:
        return self._primitive(now) - self._primitive(began) if self.amplitude else 0.0

    def _primitive(self, now: float) -> float:
        waves = zip(NOISE_PERIODS, self.phases, strict=True)
        parts = (-cos(2 * pi * (now % p) / p + phase) * p / (2 * pi) for p, phase in waves)
        return self.amplitude / len(NOISE_PERIODS) * sum(parts)
