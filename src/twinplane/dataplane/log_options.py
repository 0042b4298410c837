"""The query of a kubelet's `/containerLogs`: PodLogOptions, as simulated and real kubelets read it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from twinplane.clock import from_rfc3339

STREAMS = ("All", "Stdout", "Stderr")


class InvalidLogOptions(ValueError):
    """Readable, but not allowed (422); what cannot be read is a plain ValueError (400)."""


@dataclass(frozen=True, slots=True)
class LogOptions:
    tail: int | None = None
    limit: int | None = None
    """Bytes."""
    since: float = 0.0
    """Seconds since the epoch."""
    follow: bool = False
    previous: bool = False
    timestamps: bool = False
    stream: str = "All"


def log_options(query: Mapping[str, str], now: float) -> LogOptions:
    """Raises ValueError for what is no number or date, `InvalidLogOptions` for numbers out of range."""
    tail = query.get("tailLines") or query.get("tail", "")
    limit, seconds, time = (query.get(name) or "" for name in ("limitBytes", "sinceSeconds", "sinceTime"))
    since = 0.0
    if seconds:
        since = now - int(seconds)
    elif time:
        since = from_rfc3339(time)
    options = LogOptions(
        tail=int(tail) if tail and tail != "all" else None,
        limit=int(limit) if limit else None,
        since=since,
        follow=_is_true(query, "follow"),
        previous=_is_true(query, "previous"),
        timestamps=_is_true(query, "timestamps"),
        stream=query.get("stream") or "All",
    )
    bad_stream = options.stream not in STREAMS or (options.stream != "All" and options.tail is not None)
    below = (options.tail or 0) < 0 or (limit and int(limit) < 1) or (seconds and int(seconds) < 1)
    if below or bad_stream or (seconds and time):
        raise InvalidLogOptions("Invalid request.")
    return options


def _is_true(query: Mapping[str, str], name: str) -> bool:
    return query.get(name, "").lower() in ("true", "1", "t")
