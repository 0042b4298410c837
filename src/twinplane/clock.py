"""The clock that every part is handed instead of reading the machine's.

Durations and sleeping belong to the event loop (`asyncio.sleep`, `loop.time()`), which tests replace with a loop whose
time jumps; what is left for this contract is the date on the wall, which objects carry (`creationTimestamp`, leases,
token expiry).
"""

from __future__ import annotations

import math
import re
import time
from datetime import UTC, datetime
from functools import lru_cache
from typing import Protocol

_UNIT_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION_PART = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|ms|s|m|h)")


class Clock(Protocol):
    def now(self) -> float:
        """Seconds since the epoch, as `time.time`."""
        ...


class SystemClock:
    def now(self) -> float:
        return time.time()


def rfc3339(seconds: float) -> str:
    """`metav1.Time` on the wire: UTC, whole seconds, e.g. `2026-11-23T13:22:58Z`."""
    return _rfc3339(math.floor(seconds))


@lru_cache(maxsize=64)
def _rfc3339(seconds: int) -> str:
    """Thousands of writes share a second."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def rfc3339_micro(seconds: float) -> str:
    """`metav1.MicroTime` on the wire, e.g. `2026-11-23T13:22:58.000000Z` (leases, events)."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def seconds_of(duration: str) -> float:
    """Of a Go duration such as `1m30s`. Raises ValueError as Go words it."""
    unsigned = duration.removeprefix("-")
    parts = _DURATION_PART.findall(unsigned)
    if not unsigned or (unsigned != "0" and "".join(number + unit for number, unit in parts) != unsigned):
        raise ValueError(f'time: invalid duration "{duration}"')
    total = sum(float(number) * _UNIT_SECONDS[unit] for number, unit in parts)
    return -total if duration != unsigned else total


def from_rfc3339(text: str) -> float:
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
