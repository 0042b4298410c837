"""`python -m twinplane.controlplane --config FILE`: the control plane of one cluster."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from dataclasses import replace
from pathlib import Path
from random import Random

from twinplane.clock import SystemClock
from twinplane.controlplane.composition import check_files
from twinplane.controlplane.configuration import ControlPlaneConfiguration
from twinplane.controlplane.process import ControlPlane
from twinplane.controlplane.store.contract import StoreError
from twinplane.termination import cancel_on_signals, leave


def main() -> int:
    parser = argparse.ArgumentParser(prog="twinplane.controlplane", description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="JSON file written by the region")
    parser.add_argument("--replica", type=int, default=0, help="which of the replicas this one is")
    parser.add_argument("--replicas", type=int, default=1, help="how many share the etcd store and the port")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        configuration = ControlPlaneConfiguration.load(arguments.config)
        configuration = replace(configuration, replica=arguments.replica, replicas=arguments.replicas)
        check_files(configuration)
    except (OSError, ValueError, TypeError) as error:
        print(f"control plane: {error}", file=sys.stderr)
        return 2
    import uvloop

    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_until_terminated(configuration))
    except (StoreError, OSError) as error:
        print(f"control plane: {error}", file=sys.stderr)
        return 1
    return 0


async def _until_terminated(configuration: ControlPlaneConfiguration) -> None:
    # Seeded by the system, for names, uids and pauses: none is a secret, and a system call for each would be felt.
    task = asyncio.create_task(ControlPlane(configuration, SystemClock(), Random()).run(), name="control plane")
    cancel_on_signals(task)
    try:
        await task
    except asyncio.CancelledError:
        logging.getLogger(__name__).info("stopped")


if __name__ == "__main__":
    leave(main())
