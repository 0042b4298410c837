"""`python -m twinplane.dataplane.simulation --config FILE`: all simulated nodes of one cluster."""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import sys
from pathlib import Path

from twinplane.dataplane.simulation.config import SimulationConfig
from twinplane.dataplane.simulation.process import run
from twinplane.termination import cancel_on_signals, leave

COLLECTOR_THRESHOLDS = (20_000, 50, 100)
"""With Python's own a fleet's pods, which stay, are walked through for the sake of each pod that comes."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="twinplane.dataplane.simulation", description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="JSON file written by the region")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        config = SimulationConfig.load(arguments.config)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    # What was imported stays: the collector need not look at it again. And what pods leave behind is seldom a cycle.
    gc.freeze()
    gc.set_threshold(*COLLECTOR_THRESHOLDS)
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(_until_terminated(config))
    except* OSError as refused:
        # A port that is taken, a certificate that cannot be read: whoever started us reads one line.
        sys.exit(f"simulation: {refused.exceptions[0]}")
    return 0


def _loop_factory() -> type[asyncio.AbstractEventLoop] | None:
    import uvloop

    return uvloop.Loop  # type: ignore[no-any-return]  # uvloop is untyped here


async def _until_terminated(config: SimulationConfig) -> None:
    task = asyncio.create_task(run(config), name="simulation")
    cancel_on_signals(task)
    try:
        await task
    except asyncio.CancelledError:
        logging.getLogger(__name__).info("stopped")


if __name__ == "__main__":
    leave(main())
