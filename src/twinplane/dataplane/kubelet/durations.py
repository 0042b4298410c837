"""Go's durations (`1m30s`) as KubeletConfiguration has them, where none is no time. Pure."""

from __future__ import annotations

from twinplane import clock


def seconds_of(text: object) -> float:
    """Raises ValueError for what is no duration."""
    given = str(text).strip()
    return clock.seconds_of(given) if given else 0.0
