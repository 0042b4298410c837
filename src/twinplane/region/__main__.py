"""`python -m twinplane.region --data-dir DIR`: the daemon in the foreground; `twinplane up` runs it detached."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import logging
import sys
from pathlib import Path

from twinplane.region.data_directory import DataDirectory
from twinplane.region.launcher import DAEMON, CannotStart, daemon_lock
from twinplane.region.settings import BadSettings, Settings
from twinplane.termination import cancel_on_signals


def main() -> int:
    parser = argparse.ArgumentParser(prog="twinplane.region", description=__doc__)
    parser.add_argument("--data-dir", type=Path, required=True)
    directory = DataDirectory(parser.parse_args().data_dir)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        directory.create()
        with daemon_lock(directory):
            return _run(directory)
    except (CannotStart, BadSettings, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        (directory.processes / f"{DAEMON}.json").unlink(missing_ok=True)


def _run(directory: DataDirectory) -> int:
    import uvloop

    from twinplane.cloud.service import PortInUse, SnapshotCorrupt, StateCorrupt
    from twinplane.region.daemon import Daemon

    settings = Settings.load(directory.settings) or Settings()
    gc.freeze()
    status = 0
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_until_terminated(Daemon(directory, settings).run))
    except* (PortInUse, SnapshotCorrupt, StateCorrupt) as group:
        for error in group.exceptions:
            print(error, file=sys.stderr)
        status = 1
    return status


async def _until_terminated(run: object) -> None:
    assert callable(run)
    task = asyncio.create_task(run(), name="daemon")
    cancel_on_signals(task)
    with contextlib.suppress(asyncio.CancelledError):
        await task


if __name__ == "__main__":
    sys.exit(main())
