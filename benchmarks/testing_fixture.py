"""What a throwaway cluster costs a test: `python -m benchmarks testing_fixture`.

Cold is a process that has imported nothing yet, up to a cluster at rest; warm is every further cluster of a process.
Processor time is what a start costs on a machine that does nothing else.
"""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

ROUNDS = 20
COLD_ROUNDS = 5
COLD = """
import asyncio, time
began = time.perf_counter()
import twinplane.testing
async def main():
    async with twinplane.testing.cluster():
        print(time.perf_counter() - began, time.process_time())
asyncio.run(main())
"""


def main() -> int:
    print("| cluster | start, median | its processor time | slowest | close, median | slowest |")
    print("|---|---|---|---|---|---|")
    show("cold, with imports and keys", [_cold() for _ in range(COLD_ROUNDS)])
    show("warm, on the test's loop", asyncio.run(on_the_loop(0)))
    show("warm, 3 simulated nodes", asyncio.run(on_the_loop(3)))
    from twinplane.testing import running_cluster

    show("warm, on a thread", on_a_thread(running_cluster))
    return 0


class Life(NamedTuple):
    """Of one cluster, in seconds."""

    start: float
    processor: float
    close: float | None


def _cold() -> Life:
    command = [sys.executable, "-c", COLD]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    start, processor = printed.split()
    return Life(float(start), float(processor), None)


def show(name: str, lives: list[Life]) -> None:
    start = [life.start for life in lives]
    close = [life.close for life in lives if life.close is not None]
    times = [statistics.median(start), statistics.median(life.processor for life in lives), max(start)]
    times += [statistics.median(close), max(close)] if close else []
    cells = [f"{1000 * seconds:.0f} ms" for seconds in times] + [""] * (5 - len(times))
    print(f"| {name} | {' | '.join(cells)} |", flush=True)


class Stopwatch:
    """Reads both clocks at the ends of one cluster's life."""

    def __init__(self) -> None:
        self._began, self._processor = time.perf_counter(), time.process_time()
        self._ready = self._spent = 0.0

    def ready(self) -> None:
        self._ready, self._spent = time.perf_counter(), time.process_time() - self._processor

    def life(self) -> Life:
        return Life(self._ready - self._began, self._spent, time.perf_counter() - self._ready)


async def on_the_loop(nodes: int) -> list[Life]:
    from twinplane.testing import cluster

    lives = []
    for _ in range(ROUNDS + 1):
        watch = Stopwatch()
        async with cluster(nodes):
            watch.ready()
        lives.append(watch.life())
    # The first one is not warm.
    return lives[1:]


def on_a_thread(made: Callable[[], AbstractContextManager[Any]]) -> list[Life]:
    lives = []
    for _ in range(ROUNDS):
        watch = Stopwatch()
        with made():
            watch.ready()
        lives.append(watch.life())
    return lives


if __name__ == "__main__":
    sys.exit(main())
