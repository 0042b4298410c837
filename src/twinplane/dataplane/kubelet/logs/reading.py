"""Reading and following one container's log file, across its rotation, as upstream's `ReadLogs` does.

Only the newest file is read. A reader that follows looks for more ten times a second, which costs a few microseconds
and is the same on every file system; it ends when the container does.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import BinaryIO

from twinplane.dataplane.kubelet.logs.format import Selection
from twinplane.dataplane.log_options import LogOptions

POLL_SECONDS = 0.1
CHECK_SECONDS = 1.0
"""How often a follower with nothing to read asks whether its container still runs."""
READ_BYTES = 64 * 1024

Running = Callable[[], Awaitable[bool]]


async def log_text(path: Path, options: LogOptions, running: Running) -> AsyncIterator[bytes]:
    """The text that was asked for, as it comes. Raises OSError when there is no log."""
    selection = Selection(options)
    reader = _Reader(path, options.tail)
    try:
        while not selection.complete:
            lines = reader.lines()
            if lines:
                text = selection.text(lines)
                if text:
                    yield text
                else:
                    await asyncio.sleep(0)
            elif not options.follow or not await _more(reader, running):
                # The last line may have been left without its end.
                rest = selection.text(reader.rest())
                if rest:
                    yield rest
                return
    finally:
        reader.close()


async def _more(reader: _Reader, running: Running) -> bool:
    """Waits for more to read; False when the container has ended and all is read."""
    waited = 0.0
    while not reader.has_more():
        if waited >= CHECK_SECONDS:
            waited = 0.0
            if not await running():
                # It may have written after the last look.
                return reader.has_more()
        await asyncio.sleep(POLL_SECONDS)
        waited += POLL_SECONDS
    return True


class _Reader:
    def __init__(self, path: Path, tail: int | None) -> None:
        self._path = path
        self._file = path.open("rb")
        self._partial = b""
        if tail is not None:
            self._file.seek(tail_offset(self._file, tail))

    def close(self) -> None:
        self._file.close()

    def lines(self) -> list[bytes]:
        """Some of the whole lines that are there; from the next file when this one was moved away and read."""
        while True:
            data = self._file.read(READ_BYTES)
            if not data:
                if not self._is_moved():
                    return []
                self._reopen()
                continue
            *whole, self._partial = (self._partial + data).split(b"\n")
            if whole:
                return [line + b"\n" for line in whole]

    def rest(self) -> list[bytes]:
        rest, self._partial = self._partial, b""
        return [rest] if rest else []

    def has_more(self) -> bool:
        return self._file.tell() < os.fstat(self._file.fileno()).st_size or self._is_moved()

    def _is_moved(self) -> bool:
        """The path is another file now; while it is none, the old one is all there is."""
        try:
            there, own = self._path.stat(), os.fstat(self._file.fileno())
        except FileNotFoundError:
            return False
        return (there.st_ino, there.st_dev) != (own.st_ino, own.st_dev)

    def _reopen(self) -> None:
        fresh = self._path.open("rb")
        self._file.close()
        self._file = fresh


def tail_offset(file: BinaryIO, lines: int) -> int:
    """Where the last `lines` lines begin."""
    position = file.seek(0, os.SEEK_END)
    if lines == 0:
        return position
    # An end of line that closes the file begins no line.
    wanted, end = lines + 1, position
    while position > 0:
        start = max(position - READ_BYTES, 0)
        file.seek(start)
        block = file.read(position - start)
        if position == end and not block.endswith(b"\n"):
            wanted -= 1
        at = len(block)
        while (at := block.rfind(b"\n", 0, at)) >= 0:
            wanted -= 1
            if wanted == 0:
                return start + at + 1
        position = start
    return 0
