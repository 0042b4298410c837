"""Child processes that outlive the daemon: started, watched, restarted, and adopted again after a crash of the daemon.

Nodes must go on when the daemon dies, so children run in sessions of their own, and a pid file says who they are
(`twinplane.process_identity`).
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from twinplane.process_identity import RunningProcess, exit_of, start_time, terminate
from twinplane.region.data_directory import DataDirectory, write_atomically

__all__ = ["ProcessSpec", "Processes", "RunningProcess", "start_time", "terminate"]

LOG = logging.getLogger(__name__)

RESTART_DELAY_FIRST = 0.2
RESTART_DELAY_LAST = 10.0
STOP_GRACE = 5.0
"""Seconds between SIGTERM and SIGKILL."""
HELD_SECONDS = 0.1
"""Between two looks at whether a process is still held."""


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    name: str
    command: tuple[str, ...]
    """With the absolute path of the program."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Added to the daemon's own."""


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
        if process is None and not held(self._directory, spec.name):
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
                    await exit_of(process)
            except TimeoutError:
                terminate(process, signal.SIGKILL)
                await exit_of(process)
        self._pid_file(name).unlink(missing_ok=True)
        release(self._directory, name)

    async def stop_all(self) -> None:
        """All but the daemon itself, whose pid file lies among the others."""
        files = {path.stem: RunningProcess.read(path) for path in self._directory.processes.glob("*.json")}
        found = {name for name, process in files.items() if process is None or process.pid != os.getpid()}
        names = found | set(self._watchers)
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
        process = RunningProcess.of(pid, spec.command)
        write_atomically(self._pid_file(spec.name), process.dump())
        return process

    async def _keep(self, spec: ProcessSpec, process: RunningProcess | None) -> None:
        loop = asyncio.get_running_loop()
        delay = RESTART_DELAY_FIRST
        while True:
            if process is not None:
                began = loop.time()
                await exit_of(process)
                if loop.time() - began > RESTART_DELAY_LAST:
                    delay = RESTART_DELAY_FIRST
                LOG.warning("process %s (pid %d) ended; starting it again in %.1f s", spec.name, process.pid, delay)
                await asyncio.sleep(delay)
                delay = min(delay * 2, RESTART_DELAY_LAST)
            while held(self._directory, spec.name):  # noqa: ASYNC110 - another process's file
                await asyncio.sleep(HELD_SECONDS)
            process = self._start(spec)


def hold(directory: DataDirectory, name: str) -> RunningProcess | None:
    """From now on it is not started again when it ends, by this daemon or the next; the process, if it runs."""
    _held_file(directory, name).touch(mode=0o600)
    return RunningProcess.read(directory.processes / f"{name}.json")


def release(directory: DataDirectory, name: str) -> None:
    """It is started within `HELD_SECONDS`, if there is a daemon."""
    _held_file(directory, name).unlink(missing_ok=True)


def held(directory: DataDirectory, name: str) -> bool:
    return _held_file(directory, name).exists()


def _held_file(directory: DataDirectory, name: str) -> Path:
    return directory.processes / f"{name}.held"
