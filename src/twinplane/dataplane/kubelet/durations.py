"""Go's durations (`1m30s`), as KubeletConfiguration has them. Pure."""

from __future__ import annotations

import re

_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")


def seconds_of(text: object) -> float:
    """Raises ValueError for what is no duration."""
    given = str(text).strip()
    if given in ("", "0"):
        return 0.0
    parts = _PART.findall(given)
    if "".join(number + unit for number, unit in parts) != given:
        raise ValueError(f'time: invalid duration "{given}"')
    return sum(float(number) * _UNITS[unit] for number, unit in parts)
