"""The one writer of the audit file: a bounded buffer, written by a background task, with rotation.

Requests only append to the buffer. When the disk cannot keep up and the buffer is full, lines are dropped and counted,
as upstream's batching backend does: auditing must not stop the cluster.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from twinplane.clock import Clock

CAPACITY = 10_000
"""Lines that may wait; upstream's --audit-log-batch-buffer-size."""
MAX_BYTES = 100 << 20
BACKUPS = 10
_log = logging.getLogger(__name__)


class AuditLog:
    """`run` is the writer's life; at its end, what waits is written. Lines come with their newline."""

    def __init__(
        self,
        path: Path,
        clock: Clock,
        *,
        max_bytes: int = MAX_BYTES,
        backups: int = BACKUPS,
        capacity: int = CAPACITY,
    ) -> None:
        self._path = path
        self._clock = clock
        self._max_bytes = max_bytes
        self._backups = backups
        self._capacity = capacity
        self._lines: list[bytes] = []
        self._filled = asyncio.Event()
        self.dropped = 0

    def write(self, line: bytes) -> None:
        """Never blocks."""
        if len(self._lines) >= self._capacity:
            self.dropped += 1
            return
        self._lines.append(line)
        self._filled.set()

    async def run(self) -> None:
        """Until cancelled. A failing disk is logged and tried again with the next lines."""
        loop = asyncio.get_running_loop()
        writing: asyncio.Future[None] | None = None
        try:
            while True:
                await self._filled.wait()
                self._filled.clear()
                writing = loop.run_in_executor(None, self._guarded(self._take()))
                await asyncio.shield(writing)
        finally:
            if writing is not None:
                await asyncio.wait((writing,))
            self._guarded(self._take())()

    def _take(self) -> list[bytes]:
        lines, self._lines = self._lines, []
        return lines

    def _guarded(self, lines: list[bytes]) -> Callable[[], None]:
        def append() -> None:
            try:
                self._append(lines)
            except OSError as error:
                self.dropped += len(lines)
                _log.error("audit log %s: %s", self._path, error)

        return append

    def _append(self, lines: list[bytes]) -> None:
        if not lines:
            return
        data = b"".join(lines)
        size = self._path.stat().st_size if self._path.exists() else 0
        if size and size + len(data) > self._max_bytes:
            self._rotate()
        with self._path.open("ab") as file:
            file.write(data)

    def _rotate(self) -> None:
        """The full file gets the time into its name; the oldest beyond `backups` go."""
        path = self._path
        stamp = datetime.fromtimestamp(self._clock.now(), UTC).strftime("%Y-%m-%dT%H-%M-%S.%f")[:-3]
        target = path.with_name(f"{path.stem}-{stamp}{path.suffix}")
        number = 1
        while target.exists():
            target = path.with_name(f"{path.stem}-{stamp}-{number}{path.suffix}")
            number += 1
        path.rename(target)
        kept = sorted(path.parent.glob(f"{path.stem}-*{path.suffix}"), key=lambda each: each.stat().st_mtime_ns)
        for old in kept[: max(0, len(kept) - self._backups)]:
            old.unlink(missing_ok=True)
