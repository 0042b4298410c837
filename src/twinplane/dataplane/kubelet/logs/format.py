"""CRI's log format, and which of its lines a reader is given. Pure.

A line is `TIME STREAM TAGS CONTENT`; the tag P says that the content goes on in the next line of the stream. Facts:
KEP "CRI logging", kubernetes `pkg/kubelet/kuberuntime/logs`.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import NamedTuple

from twinplane.dataplane.log_options import LogOptions


class Message(NamedTuple):
    stamp: bytes
    """RFC 3339 with nanoseconds."""
    stream: bytes
    log: bytes
    """With its line end, unless more of the line follows."""


def parse(line: bytes) -> Message | None:
    """None for what is no line of a log (a runtime that was killed while it wrote)."""
    parts = line.split(b" ", 3)
    if len(parts) != 4 or parts[1] not in (b"stdout", b"stderr"):
        return None
    stamp, stream, tags, log = parts
    if tags.split(b":", 1)[0] == b"P" and log.endswith(b"\n"):
        log = log[:-1]
    return Message(stamp, stream, log)


class Selection:
    """Turns lines of a log into the text of an answer; remembers what depends on the lines before."""

    def __init__(self, options: LogOptions) -> None:
        self._timestamps = options.timestamps
        self._since = options.since
        # Most lines are decided by comparing their first 19 bytes.
        self._second = _second(options.since) if options.since > 0 else b""
        self._stream = None if options.stream == "All" else options.stream.lower().encode()
        self._bytes_left = options.limit
        self._lines_left = options.tail if options.tail is not None and not options.follow else None
        self._at_line_start = {b"stdout": True, b"stderr": True}
        self.complete = options.limit == 0

    def text(self, lines: Iterable[bytes]) -> bytes:
        """What the reader gets of these whole lines; `complete` says whether it has all it asked for."""
        found: list[bytes] = []
        for line in lines:
            if self.complete or self._lines_left == 0:
                self.complete = True
                break
            message = parse(line)
            if message is None:
                continue
            if self._lines_left is not None:
                self._lines_left -= 1
            if self._is_wanted(message):
                found.append(self._rendered(message))
        return b"".join(found)

    def _is_wanted(self, message: Message) -> bool:
        if self._stream is not None and message.stream != self._stream:
            return False
        if not self._second:
            return True
        second = message.stamp[:19]
        if second != self._second and message.stamp.endswith(b"Z"):
            return second > self._second
        return _seconds(message.stamp) >= self._since

    def _rendered(self, message: Message) -> bytes:
        text = message.log
        if self._timestamps and self._at_line_start[message.stream]:
            text = nine_digits(message.stamp) + b" " + text
        self._at_line_start[message.stream] = message.log.endswith(b"\n")
        if self._bytes_left is not None:
            text = text[: self._bytes_left]
            self._bytes_left -= len(text)
            self.complete = self._bytes_left == 0
        return text


def nine_digits(stamp: bytes) -> bytes:
    """The time with all digits of its nanoseconds, as `kubectl logs --timestamps` shows it."""
    whole, zone = (stamp[:-1], b"Z") if stamp.endswith(b"Z") else (stamp[:-6], stamp[-6:])
    seconds, _, fraction = whole.partition(b".")
    return seconds + b"." + fraction.ljust(9, b"0") + zone


def _second(time: float) -> bytes:
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%dT%H:%M:%S").encode()


def _seconds(stamp: bytes) -> float:
    try:
        return datetime.fromisoformat(stamp.decode()).timestamp()
    except ValueError:
        return 0.0
