"""One machine on disk and as a process: its directory, its start, its end, and how it is found again.

    DATA/machines/INSTANCE-ID/
        run/            what the region tells it: /run/twinplane in the machine
        disk/           its root volume
        machine.pid     who runs it
        console.log     what its PID 1, containerd and the agent say

The process that we start and watch is `unshare`, which waits for PID 1 outside of the machine's PID namespace; each
takes the other along when it is killed.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twinplane.cloud.machines import cgroups
from twinplane.cloud.network.contract import NAMESPACES, region_id
from twinplane.process_identity import RunningProcess, exit_of, terminate

MODULE = "twinplane.dataplane.node"
"""Started by its name: machine and region meet in files only."""
STOP_GRACE = 4.0
"""Seconds between SIGTERM to PID 1 and the end of everything; PID 1 gives its services two."""
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class Machine:
    """`data_dir` is the region's."""

    data_dir: Path
    instance_id: str

    @property
    def directory(self) -> Path:
        return self.data_dir / "machines" / self.instance_id

    @property
    def cgroup(self) -> str:
        return cgroups.group_of(region_id(self.data_dir), self.instance_id)

    @property
    def _pid_file(self) -> Path:
        return self.directory / "machine.pid"

    def running(self) -> RunningProcess | None:
        return RunningProcess.read(self._pid_file)

    def boots(self) -> int:
        """The number of the boot (`Instance.boots`) that runs."""
        stored = json.loads(self._pid_file.read_text())
        return int(stored.get("boots", 0))

    # -- files -------------------------------------------------------------------------------------------------------

    def prepare(self, machine: Mapping[str, Any], pause_archive: Path | None) -> None:
        """Everything but the process; repeated for each start."""
        for folder in (self.directory / "run", self.directory / "disk"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.tell("machine.json", machine)
        if pause_archive is not None:
            target = self.directory / "run" / "pause.tar"
            target.unlink(missing_ok=True)
            os.link(pause_archive, target)
        cgroups.make(self.cgroup, int(machine["vcpus"]), int(machine["memoryMebibytes"]))

    def tell(self, name: str, content: Mapping[str, Any]) -> None:
        """Write a file of the machine's /run/twinplane, whole or not at all."""
        _write(self.directory / "run" / name, json.dumps(content, indent=1))

    # -- process -----------------------------------------------------------------------------------------------------

    def start(self, namespace: str, boots: int) -> RunningProcess:
        """Boot it in a network namespace (name under /run/netns). Raises OSError."""
        command = command_line(namespace, self.directory)
        console = str(self.directory / "console.log")
        pid = os.posix_spawn(
            command[0],
            command,
            _environment(),
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, console, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
        )
        process = RunningProcess.of(pid, command)
        _write(self._pid_file, json.dumps({**json.loads(process.dump()), "boots": boots}))
        return process

    async def stop(self) -> None:
        """SIGTERM to PID 1; after the grace time the end of all. What lies on the disk stays."""
        import asyncio

        process = self.running()
        if process is None:
            return
        init = first_process(process.pid)
        if init is not None:
            terminate(init, signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP_GRACE if init is not None else 0):
                await exit_of(process)
        except TimeoutError:
            self.kill()
            await exit_of(process)

    def kill(self) -> None:
        """At once, with everything in it: who waits for PID 1 outside ends when the last process inside has."""
        process = self.running()
        if process is not None:
            terminate(first_process(process.pid) or process, signal.SIGKILL)

    def take_away(self) -> None:
        """Forget a machine that does not run: its disk and its cgroups. Mounts and namespaces ended with it."""
        cgroups.remove(self.cgroup)
        shutil.rmtree(self.directory, ignore_errors=True)


def kept(data_dir: Path) -> list[Machine]:
    """All that have a directory, whoever made it."""
    folder = data_dir / "machines"
    return [Machine(data_dir, path.name) for path in sorted(folder.iterdir())] if folder.is_dir() else []


def take_all_away(data_dir: Path) -> None:
    """For a region that is purged, also after its daemon was killed."""
    machines = kept(data_dir)
    ending = [machine.running() for machine in machines]
    for machine in machines:
        machine.kill()
    for machine, process in zip(machines, ending, strict=True):
        if process is not None:
            _wait(process.pid)
        machine.take_away()


def command_line(namespace: str, directory: Path) -> tuple[str, ...]:
    """Never `ip netns exec`: it mounts /sys anew, without the cgroups."""
    return (
        _program("nsenter"),
        f"--net={NAMESPACES / namespace}",
        _program("unshare"),
        *("--mount", "--propagation=slave", "--pid", "--uts", "--ipc", "--fork", "--mount-proc", "--kill-child"),
        *(sys.executable, "-P", "-m", MODULE, str(directory)),
    )


def first_process(waiting: int) -> RunningProcess | None:
    """PID 1 of the machine: the only child of the `unshare` that waits for it."""
    try:
        children = Path(f"/proc/{waiting}/task/{waiting}/children").read_text().split()
    except OSError:
        return None
    return RunningProcess.of(int(children[0]), ()) if children else None


def _program(name: str) -> str:
    return shutil.which(name, path=PATH) or f"/usr/bin/{name}"


def _environment() -> dict[str, str]:
    """A machine boots with nothing of the user's environment but where the interpreter finds this program."""
    found = {"PATH": PATH, "HOME": "/root", "LANG": "C.UTF-8"}
    return found | ({"PYTHONPATH": os.environ["PYTHONPATH"]} if "PYTHONPATH" in os.environ else {})


def _wait(pid: int) -> None:
    import select

    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        poll.poll(5000)
    finally:
        os.close(descriptor)


def _write(path: Path, text: str) -> None:
    new = path.with_name(path.name + ".new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    os.replace(new, path)
