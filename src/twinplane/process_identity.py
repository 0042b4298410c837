"""Who a process is, across the death of whoever started it: a pid, and the kernel's start time, as a pid may be reused.

The region's child processes and its machines keep this in files, and adopt what still runs after a crash. Exits are
seen through pidfds, which work for one's own children and for adopted processes alike.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class RunningProcess:
    pid: int
    started: int
    """Clock ticks since boot: field 22 of /proc/PID/stat."""
    command: tuple[str, ...]

    @property
    def alive(self) -> bool:
        return start_time(self.pid) == self.started

    @classmethod
    def of(cls, pid: int, command: tuple[str, ...]) -> RunningProcess:
        return cls(pid, start_time(pid) or 0, command)

    @classmethod
    def read(cls, path: Path) -> RunningProcess | None:
        """The process that a pid file names, if it still is that one."""
        try:
            stored = json.loads(path.read_text())
            process = cls(int(stored["pid"]), int(stored["started"]), tuple(stored["command"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return process if process.alive else None

    def dump(self) -> str:
        """The content of a pid file."""
        return json.dumps({"pid": self.pid, "started": self.started, "command": list(self.command)})


def start_time(pid: int) -> int | None:
    """None when there is no such process, or only its zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def terminate(process: RunningProcess, signal_number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        if process.alive:
            os.kill(process.pid, signal_number)


async def exit_of(process: RunningProcess) -> None:
    """Returns when it has ended; a child of ours is reaped."""
    try:
        descriptor = os.pidfd_open(process.pid)
    except ProcessLookupError:
        _reap(process.pid)
        return
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()
    try:
        if process.alive:
            loop.add_reader(descriptor, _set, ended)
            await ended
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
    _reap(process.pid)


def _reap(pid: int) -> None:
    """Only our own children leave a zombie; an adopted process is reaped by init."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, 0)


def _set(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
