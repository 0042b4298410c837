"""`python -m twinplane.controlplane --config FILE`: the control plane of one cluster."""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys
from pathlib import Path
from random import SystemRandom

from twinplane.clock import SystemClock
from twinplane.controlplane.configuration import ControlPlaneConfiguration
from twinplane.controlplane.process import ControlPlane
from twinplane.controlplane.store.log import UnusableDatabase


def main() -> int:
    parser = argparse.ArgumentParser(prog="twinplane.controlplane", description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="JSON file written by the region")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        configuration = ControlPlaneConfiguration.load(arguments.config)
    except (OSError, ValueError, TypeError) as error:
        print(f"control plane: {error}", file=sys.stderr)
        return 2
    import uvloop

    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_until_terminated(configuration))
    except (UnusableDatabase, OSError) as error:
        print(f"control plane: {error}", file=sys.stderr)
        return 1
    return 0


async def _until_terminated(configuration: ControlPlaneConfiguration) -> None:
    task = asyncio.create_task(ControlPlane(configuration, SystemClock(), SystemRandom()).run(), name="control plane")
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        logging.getLogger(__name__).info("stopped")


if __name__ == "__main__":
    sys.exit(main())
