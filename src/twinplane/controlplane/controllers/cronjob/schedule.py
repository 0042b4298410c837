"""Cron expressions: the five fields, names, steps, `@hourly` and the like. Pure.

The dialect of robfig/cron, which upstream uses: a day matches by day of month or day of week when both are restricted.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import NamedTuple

_MACROS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_MONTHS = {
    name: n
    for n, name in enumerate(["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"], 1)
}
_DAYS = {name: n for n, name in enumerate(["sun", "mon", "tue", "wed", "thu", "fri", "sat"])}
_YEARS_AHEAD = 5
"""A schedule that matches nothing for so long (30 February) never does."""


class ScheduleError(ValueError):
    pass


class Due(NamedTuple):
    at: float | None
    starts: int
    """About how many there were."""


@dataclass(frozen=True)
class Schedule:
    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    any_day: bool
    """Day of month is `*`."""
    any_weekday: bool
    every: float = 0.0
    """Seconds of `@every 1h30m`, which counts from the last start instead of following the clock."""

    @classmethod
    def parse(cls, text: str) -> Schedule:
        """Raises `ScheduleError`."""
        if text.startswith("@every "):
            nothing: frozenset[int] = frozenset()
            seconds = max(1.0, float(int(_duration(text.removeprefix("@every ")))))
            return cls(nothing, nothing, nothing, nothing, nothing, True, True, seconds)
        fields = _MACROS.get(text.strip(), text).split()
        if len(fields) != 5:
            raise ScheduleError(f"expected exactly 5 fields, found {len(fields)}: {text}")
        return cls(
            _field(fields[0], 0, 59, {}),
            _field(fields[1], 0, 23, {}),
            _field(fields[2], 1, 31, {}),
            _field(fields[3], 1, 12, _MONTHS),
            frozenset(day % 7 for day in _field(fields[4], 0, 7, _DAYS)),
            fields[2][0] in "*?",
            fields[4][0] in "*?",
        )

    def _day_matches(self, moment: datetime) -> bool:
        by_month = moment.day in self.days
        by_week = moment.isoweekday() % 7 in self.weekdays
        return (by_month and by_week) if self.any_day or self.any_weekday else (by_month or by_week)

    def next_start(self, since: float, now: float, zone: tzinfo = UTC) -> float | None:
        """The first start after `now`, where `since` was one (or the beginning)."""
        if self.every:
            return since + self.every * ((now - since) // self.every + 1)
        return self.next_after(now, zone)

    def last_due(self, since: float, now: float, zone: tzinfo = UTC) -> Due:
        """The latest start after `since` that should have happened by now, as upstream's `mostRecentScheduleTime`.

        How many there were is estimated by the time between the first two: there may be far too many to list. Raises
        `ScheduleError` for a schedule that matches nothing.
        """
        first = self.next_after(since, zone)
        if first is None:
            raise ScheduleError("time difference between two schedules is less than 1 second")
        if now < first:
            return Due(None, 0)
        second = self.next_after(first, zone)
        if second is None or now < second:
            return Due(first, 1)
        between = max(round(second - first), 1)
        count = int(now - first) // between + 1
        latest: float | None = None
        # One more back: the times between starts need not be equal.
        following = self.next_after(first + (count - 2) * between, zone)
        while following is not None and following <= now:
            latest, following = following, self.next_after(following, zone)
        return Due(latest, count)

    def next_after(self, seconds: float, zone: tzinfo = UTC) -> float | None:
        """The first match strictly after, in seconds since the epoch; None if there is none."""
        if self.every:
            return float(int(seconds)) + self.every
        start = datetime.fromtimestamp(seconds, zone).replace(second=0, microsecond=0) + timedelta(minutes=1)
        moment = start
        while moment.year <= start.year + _YEARS_AHEAD:
            if moment.month not in self.months:
                first = moment.replace(day=1, hour=0, minute=0)
                moment = (first + timedelta(days=32)).replace(day=1)
            elif not self._day_matches(moment):
                moment = moment.replace(hour=0, minute=0) + timedelta(days=1)
            elif moment.hour not in self.hours:
                moment = moment.replace(minute=0) + timedelta(hours=1)
            elif moment.minute not in self.minutes:
                moment += timedelta(minutes=1)
            elif moment.timestamp() > seconds:
                return moment.timestamp()
            else:
                # The hour that daylight saving repeats.
                moment += timedelta(minutes=1)
        return None


def _field(text: str, low: int, high: int, names: dict[str, int]) -> frozenset[int]:
    result: set[int] = set()
    for part in text.split(","):
        span, slash, step_text = part.partition("/")
        step = _number(step_text, {}) if slash else 1
        if span in ("*", "?"):
            first, last = low, min(high, 6) if names is _DAYS else high
        else:
            begin, dash, end = span.partition("-")
            first = _number(begin, names)
            last = _number(end, names) if dash else (high if slash else first)
        if step < 1 or first < low or last > high or first > last:
            raise ScheduleError(f"value out of range ({low} - {high}): {part}")
        result.update(range(first, last + 1, step))
    return frozenset(result)


def _duration(text: str) -> float:
    """A Go duration in seconds, e.g. `1h30m`."""
    parts = re.findall(r"(\d+(?:\.\d*)?|\.\d+)(ms|[hms])", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ScheduleError(f"failed to parse duration @every {text}")
    scale = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
    return sum(float(number) * scale[unit] for number, unit in parts)


def _number(text: str, names: dict[str, int]) -> int:
    if text.lower() in names:
        return names[text.lower()]
    if not text.isdigit():
        raise ScheduleError(f"failed to parse int from {text}")
    return int(text)
