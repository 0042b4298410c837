"""What the machines of a killed daemon have left: ended by `down`, which finds no daemon that would. Imports nothing
heavy.
"""

from __future__ import annotations

import time
from pathlib import Path

from twinplane import edge
from twinplane.process_identity import RunningProcess

KILL_SECONDS = 5.0


def end_machines(data_dir: Path) -> None:
    """What a killed daemon's machines have left running, for `down`: their disks stay. Blocking."""
    if not (data_dir / "machines").is_dir() and not (data_dir / edge.FILE).exists():
        return
    from twinplane.cloud.machines import cgroups
    from twinplane.cloud.machines.machine import kept
    from twinplane.cloud.network.fabric.loop import clean
    from twinplane.cloud.volumes.data_path import release_all

    machines = kept(data_dir)
    for machine in machines:
        machine.kill()
    for machine in machines:
        _wait(machine.running())
        cgroups.remove(machine.cgroup)
    release_all(data_dir)
    clean(data_dir)


def _wait(process: RunningProcess | None) -> None:
    end = time.monotonic() + KILL_SECONDS
    while process is not None and process.alive and time.monotonic() < end:
        time.sleep(0.02)
