"""Starting and stopping the daemon from outside it: what `twinplane up` and `down` do. Imports nothing heavy."""

from __future__ import annotations

import errno
import fcntl
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from twinplane.region.data_directory import DataDirectory
from twinplane.region.left_behind import end_machines
from twinplane.region.processes import RunningProcess, start_time, terminate
from twinplane.region.settings import Settings

START_SECONDS_MAX = 60
STOP_SECONDS_MAX = 30
FREE_BYTES_MIN = 50 * 1024 * 1024
DAEMON = "region"


class CannotStart(Exception):
    """One sentence that says what to change."""


def prepare(directory: DataDirectory, settings: Settings) -> None:
    """Make the data directory and check what would make a start fail, so that the reason is one clear sentence."""
    try:
        directory.create()
        settings.save(directory.settings)
    except OSError as error:
        raise CannotStart(_disk_sentence(directory.root, error)) from error
    free = shutil.disk_usage(directory.root).free
    if free < FREE_BYTES_MIN:
        raise CannotStart(f"only {free // 2**20} MiB are free on the disk of {directory.root}; 50 MiB are needed")
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as error:
            raise CannotStart(_port_sentence(settings, error)) from error


def _disk_sentence(root: Path, error: OSError) -> str:
    if error.errno == errno.ENOSPC:
        return f"the disk of {root} is full"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"no permission to write to {root}; choose another place with --data-dir or TWINPLANE_HOME"
    return f"cannot use {root}: {error.strerror}"


def _port_sentence(settings: Settings, error: OSError) -> str:
    address = f"{settings.host}:{settings.port}"
    if error.errno == errno.EADDRINUSE:
        return f"port {settings.port} on {settings.host} is in use by another program; choose another with --port"
    if error.errno == errno.EACCES:
        return f"no permission to listen on {address}; choose a port above 1023 with --port"
    return f"cannot listen on {address}: {error.strerror}"


def running_daemon(directory: DataDirectory) -> RunningProcess | None:
    return RunningProcess.read(directory.processes / f"{DAEMON}.json")


def record_daemon(directory: DataDirectory) -> None:
    """Called by the daemon itself as soon as it holds the lock."""
    from twinplane.region.data_directory import write_atomically

    pid = os.getpid()
    stored = {"pid": pid, "started": start_time(pid), "command": sys.argv}
    write_atomically(directory.processes / f"{DAEMON}.json", json.dumps(stored))


@contextmanager
def daemon_lock(directory: DataDirectory) -> Iterator[None]:
    """Held by the daemon while it lives; the kernel releases it however the daemon ends. Raises `CannotStart`."""
    with directory.lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise CannotStart(f"another daemon already runs in {directory.root}") from error
        yield


def daemon_command(directory: DataDirectory) -> list[str]:
    return [sys.executable, "-P", "-m", "twinplane.region", "--data-dir", str(directory.root)]


def start_detached(directory: DataDirectory, settings: Settings) -> dict[str, Any]:
    """Start the daemon in a session of its own; its health answer once every cluster is back."""
    log = directory.log(DAEMON)
    with log.open("ab") as output:
        offset = output.tell()
        child = subprocess.Popen(
            daemon_command(directory), stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    end = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < end:
        answer = health(settings)
        if answer is not None and answer.get("ready"):
            return answer
        if child.poll() is not None:
            raise CannotStart(_last_line(log, offset) or f"the daemon ended at once; see {log}")
        time.sleep(0.05)
    raise CannotStart(f"the region was not ready after {START_SECONDS_MAX} s; see {log}")


def health(settings: Settings) -> dict[str, Any] | None:
    """What the daemon says of itself, None when nothing (or something else) answers."""
    connection = http.client.HTTPConnection(settings.host, settings.port, timeout=2)
    try:
        connection.request("GET", "/_twinplane/health")
        answer: dict[str, Any] = json.loads(connection.getresponse().read())
    except (OSError, ValueError, http.client.HTTPException):
        return None
    finally:
        connection.close()
    return answer if isinstance(answer, dict) else None


def _last_line(log: Path, offset: int) -> str:
    with log.open("rb") as file:
        file.seek(offset)
        lines = file.read().decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else ""


def stop(directory: DataDirectory) -> int:
    """Stop the daemon and every process of the region, also those that a dead daemon left. How many were stopped."""
    files = sorted(directory.processes.glob("*.json"))
    found = [process for path in files if (process := RunningProcess.read(path)) is not None]
    envoy = running_envoy(directory)
    if envoy is not None:
        found.append(envoy)
    daemon = running_daemon(directory)
    if daemon is not None:
        # It stops its children itself, in the right order.
        terminate(daemon, signal.SIGTERM)
        _wait([daemon], STOP_SECONDS_MAX)
    for number, seconds in ((signal.SIGTERM, 5), (signal.SIGKILL, 5)):
        left = [process for process in found if process.alive]
        for process in left:
            terminate(process, number)
        _wait(left, seconds)
    for path in files:
        path.unlink(missing_ok=True)
    end_machines(directory.root)
    return len(found)


def running_envoy(directory: DataDirectory) -> RunningProcess | None:
    """The Envoy of this region, if it runs: also one that a killed daemon left."""
    try:
        pid = int((directory.envoy / "envoy.pid").read_text())
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError):
        return None
    started = start_time(pid)
    if started is None or os.fsencode(directory.envoy / "bootstrap.json") not in command:
        return None
    return RunningProcess(pid, started, tuple(os.fsdecode(part) for part in command))


def _wait(processes: list[RunningProcess], seconds: float) -> None:
    end = time.monotonic() + seconds
    while any(process.alive for process in processes) and time.monotonic() < end:
        time.sleep(0.02)
