"""The loop of PID 1, run in a process of its own (it takes over the process's signals)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

CODE = """
import sys
from twinplane.dataplane.node import init
init.BACK_OFF_FIRST = 0.01
init.STOP_GRACE = 0.2
folder = sys.argv[1]
def service(name, script, **options):
    return init.Service(name, ("/bin/sh", "-c", f"echo {name} >> {folder}/log; {script}"), **options)
services = [
    service("steady", "exec sleep 1000"),
    service("failing", "exit 3"),
    service("loading", f"[ -e {folder}/tried ] || {{ touch {folder}/tried; exit 1; }}", once=True),
    service("stubborn", "trap '' TERM; while :; do sleep 1; done"),
    init.Service("missing", ("/no/such/program",)),
]
sys.exit(init.Init(services, {"PATH": "/usr/bin:/bin"}).run())
"""


def until(ready: Callable[[], object]) -> None:
    end = time.monotonic() + 120
    while not ready():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_services_are_started_again_and_end_on_sigterm(tmp_path: Path) -> None:
    log = tmp_path / "log"
    command = [sys.executable, "-c", CODE, str(tmp_path)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:

        def starts(name: str) -> int:
            return log.read_text().split().count(name) if log.exists() else 0

        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        until(lambda: starts("failing") >= 3 and starts("loading") == 2 and starts("stubborn") == 1)
        until(lambda: any(_is(pid, "sleep") for pid in children.read_text().split()))
        steady = next(int(pid) for pid in children.read_text().split() if _is(pid, "sleep"))
        os.kill(steady, signal.SIGKILL)
        until(lambda: starts("steady") == 2)
        left = [int(pid) for pid in children.read_text().split()]
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=120)
        for pid in left:
            # Outside of a PID namespace nobody ends them with PID 1.
            try:
                os.killpg(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        assert process.stderr is not None
        said = process.stderr.read()
    assert process.returncode == 0
    assert starts("loading") == 2
    assert "machine: failing ended with 3; starting it again" in said
    assert "machine: steady was killed by signal 9" in said
    assert "machine: missing does not start" in said
    assert "killed by signal 15" not in said


def _is(pid: str, name: str) -> bool:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip() == name
    except OSError:
        return False
