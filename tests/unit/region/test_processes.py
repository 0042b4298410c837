"""Child processes: restarted when they end, adopted by the next supervisor, stopped for good."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from twinplane.region.data_directory import DataDirectory
from twinplane.region.processes import Processes, ProcessSpec, RunningProcess, held, hold, release, start_time

SLEEPER = ProcessSpec("sleeper", (sys.executable, "-S", "-c", "import time; time.sleep(600)"))


@asynccontextmanager
async def supervisor(directory: DataDirectory) -> AsyncIterator[Processes]:
    async with asyncio.TaskGroup() as tasks:
        processes = Processes(directory, tasks)
        try:
            yield processes
        finally:
            await processes.stop_all()


def directory_in(path: Path) -> DataDirectory:
    directory = DataDirectory(path)
    directory.create()
    return directory


def recorded(directory: DataDirectory) -> RunningProcess | None:
    return RunningProcess.read(directory.processes / "sleeper.json")


async def test_a_killed_process_is_started_again(tmp_path: Path) -> None:
    directory = directory_in(tmp_path)
    async with supervisor(directory) as processes:
        processes.ensure(SLEEPER)
        first = recorded(directory)
        assert first is not None
        os.kill(first.pid, signal.SIGKILL)
        async with asyncio.timeout(60):
            while (second := recorded(directory)) is None or second == first:
                await asyncio.sleep(0.02)
        assert second.alive
    assert not second.alive


async def test_a_new_supervisor_adopts_what_runs(tmp_path: Path) -> None:
    directory = directory_in(tmp_path)
    dead = asyncio.create_task(_supervise_until_cancelled(directory))
    async with asyncio.timeout(60):
        while (first := recorded(directory)) is None:
            await asyncio.sleep(0.01)
    dead.cancel()
    await asyncio.wait([dead])
    async with supervisor(directory) as processes:
        processes.ensure(SLEEPER)
        assert recorded(directory) == first
        assert processes.alive("sleeper")
    assert not first.alive


async def _supervise_until_cancelled(directory: DataDirectory) -> None:
    """A daemon that dies: its watchers go, its children stay."""
    async with asyncio.TaskGroup() as tasks:
        Processes(directory, tasks).ensure(SLEEPER)


async def test_another_command_under_the_same_name_replaces_the_process(tmp_path: Path) -> None:
    directory = directory_in(tmp_path)
    dead = asyncio.create_task(_supervise_until_cancelled(directory))
    async with asyncio.timeout(60):
        while (first := recorded(directory)) is None:
            await asyncio.sleep(0.01)
    dead.cancel()
    await asyncio.wait([dead])
    async with supervisor(directory) as processes:
        processes.ensure(ProcessSpec("sleeper", (*SLEEPER.command, "changed")))
        second = recorded(directory)
        assert second is not None
        assert second.pid != first.pid
        assert not first.alive


async def test_a_process_that_ignores_sigterm_is_killed(tmp_path: Path, monkeypatch: object) -> None:
    from twinplane.region import processes as module

    directory = directory_in(tmp_path)
    stubborn = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('on', flush=True); time.sleep(600)"
    )
    grace, module.STOP_GRACE = module.STOP_GRACE, 0.1
    try:
        async with supervisor(directory) as processes:
            processes.ensure(ProcessSpec("sleeper", (sys.executable, "-S", "-c", stubborn)))
            first = recorded(directory)
            assert first is not None
            async with asyncio.timeout(60):
                while not directory.log("sleeper").read_text():
                    await asyncio.sleep(0.01)
            await processes.stop("sleeper")
            assert not first.alive
            assert not processes.alive("sleeper")
    finally:
        module.STOP_GRACE = grace


def test_a_reused_pid_is_not_taken_for_the_process(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    mine = os.getpid()
    path.write_text(f'{{"pid": {mine}, "started": {start_time(mine)}, "command": []}}')
    assert RunningProcess.read(path) is not None
    path.write_text(f'{{"pid": {mine}, "started": 1, "command": []}}')
    assert RunningProcess.read(path) is None
    path.write_text("{")
    assert RunningProcess.read(path) is None


async def test_a_held_process_stays_away_until_it_is_released(tmp_path: Path) -> None:
    directory = directory_in(tmp_path)
    async with supervisor(directory) as processes:
        processes.ensure(SLEEPER)
        first = hold(directory, SLEEPER.name)
        assert first is not None
        os.kill(first.pid, signal.SIGKILL)
        async with asyncio.timeout(60):
            while first.alive:
                await asyncio.sleep(0.02)
        # Longer than a restart would take.
        await asyncio.sleep(0.05)
        assert recorded(directory) is None
        release(directory, SLEEPER.name)
        async with asyncio.timeout(60):
            while recorded(directory) is None:
                await asyncio.sleep(0.02)


async def test_the_next_supervisor_holds_what_was_held(tmp_path: Path) -> None:
    directory = directory_in(tmp_path)
    assert hold(directory, SLEEPER.name) is None
    async with supervisor(directory) as processes:
        processes.ensure(SLEEPER)
        await asyncio.sleep(0.02)
        assert recorded(directory) is None
        await processes.stop(SLEEPER.name)
        assert not held(directory, SLEEPER.name)


async def test_the_daemon_does_not_stop_itself(tmp_path: Path) -> None:
    """Its own pid file lies among the others: a signal to itself would break off its clean-up, or wait for its end."""
    directory = directory_in(tmp_path)
    own = directory.processes / "region.json"
    own.write_text(RunningProcess.of(os.getpid(), ()).dump())
    async with asyncio.timeout(60), supervisor(directory) as processes:
        processes.ensure(SLEEPER)
        process = recorded(directory)
    assert process is not None
    assert not process.alive
    assert own.exists()
