"""Child processes that outlive the daemon: started, watched, restarted, and adopted again after a crash of the daemon.

Nodes must go on when the daemon dies, so children run in sessions of their own, and a pid file says who they are. A pid
alone may have been reused; the kernel's start time of the process tells. Exits are seen through pidfds, which work for
our own children and for adopted ones alike.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from twinplane.region.data_directory import DataDirectory, write_atomically

LOG = logging.getLogger(__name__)

RESTART_DELAY_FIRST = 0.2
RESTART_DELAY_LAST = 10.0
STOP_GRACE = 5.0
"""Seconds between SIGTERM and SIGKILL."""


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    name: str
    command: tuple[str, ...]
    """With the absolute path of the program."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Added to the daemon's own."""


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
    def read(cls, path: Path) -> RunningProcess | None:
        """The process that a pid file names, if it still is that one."""
        try:
            stored = json.loads(path.read_text())
            process = cls(int(stored["pid"]), int(stored["started"]), tuple(stored["command"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return process if process.alive else None


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


class Processes:
    """The supervisor. `ensure` and `stop` are idempotent; the task group that it is given owns the watchers."""

    def __init__(self, directory: DataDirectory, tasks: asyncio.TaskGroup) -> None:
        self._directory = directory
        self._tasks = tasks
        self._watchers: dict[str, asyncio.Task[None]] = {}

    def ensure(self, spec: ProcessSpec) -> None:
        """Run it, or adopt it when it runs already, and keep it running until `stop`."""
        if spec.name in self._watchers:
            return
        process = RunningProcess.read(self._pid_file(spec.name))
        if process is not None and process.command != spec.command:
            terminate(process, signal.SIGKILL)
            process = None
        if process is None:
            process = self._start(spec)
        self._watchers[spec.name] = self._tasks.create_task(self._keep(spec, process), name=f"process {spec.name}")

    async def stop(self, name: str) -> None:
        """Ask it to end, make it end after the grace time, forget it."""
        watcher = self._watchers.pop(name, None)
        if watcher is not None:
            watcher.cancel()
            await asyncio.wait([watcher])
        process = RunningProcess.read(self._pid_file(name))
        if process is not None:
            terminate(process, signal.SIGTERM)
            try:
                async with asyncio.timeout(STOP_GRACE):
                    await self._exit_of(process)
            except TimeoutError:
                terminate(process, signal.SIGKILL)
                await self._exit_of(process)
        self._pid_file(name).unlink(missing_ok=True)

    async def stop_all(self) -> None:
        names = {path.stem for path in self._directory.processes.glob("*.json")} | set(self._watchers)
        await asyncio.gather(*(self.stop(name) for name in sorted(names)))

    def alive(self, name: str) -> bool:
        return RunningProcess.read(self._pid_file(name)) is not None

    def _pid_file(self, name: str) -> Path:
        return self._directory.processes / f"{name}.json"

    def _start(self, spec: ProcessSpec) -> RunningProcess:
        log = str(self._directory.log(spec.name))
        pid = os.posix_spawn(
            spec.command[0],
            spec.command,
            {**os.environ, **spec.environment},
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
        )
        process = RunningProcess(pid, start_time(pid) or 0, spec.command)
        stored = {"pid": process.pid, "started": process.started, "command": list(process.command)}
        write_atomically(self._pid_file(spec.name), json.dumps(stored))
        return process

    async def _keep(self, spec: ProcessSpec, process: RunningProcess) -> None:
        loop = asyncio.get_running_loop()
        delay = RESTART_DELAY_FIRST
        while True:
            began = loop.time()
            await self._exit_of(process)
            if loop.time() - began > RESTART_DELAY_LAST:
                delay = RESTART_DELAY_FIRST
            LOG.warning("process %s (pid %d) ended; starting it again in %.1f s", spec.name, process.pid, delay)
            await asyncio.sleep(delay)
            delay = min(delay * 2, RESTART_DELAY_LAST)
            process = self._start(spec)

    async def _exit_of(self, process: RunningProcess) -> None:
        try:
            descriptor = os.pidfd_open(process.pid)
        except ProcessLookupError:
            self._reap(process.pid)
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
        self._reap(process.pid)

    def _reap(self, pid: int) -> None:
        """Only our own children leave a zombie; an adopted process is reaped by init."""
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)


def _set(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
