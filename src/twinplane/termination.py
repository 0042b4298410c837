"""How a process ends: its main task is cancelled by SIGTERM or SIGINT, once, and then the process leaves at once.

People press Ctrl-C again, and who stops a process may say so twice: a second cancellation would end the clean-up that
the first has begun.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Iterable
from typing import Any, NoReturn


def cancel_on_signals(
    task: asyncio.Task[Any], numbers: Iterable[signal.Signals] = (signal.SIGTERM, signal.SIGINT)
) -> None:
    """In the running loop. Whatever comes after the first signal is ignored: the clean-up has its own bounds."""
    signalled = False

    def stop() -> None:
        nonlocal signalled
        if not signalled:
            signalled = True
            task.cancel()

    loop = asyncio.get_running_loop()
    for number in numbers:
        loop.add_signal_handler(number, stop)


def leave(status: int) -> NoReturn:
    """End the process after its main task has: the kernel takes its memory back as a whole.

    The interpreter would let go of a large cluster's heap object by object, for 20 seconds.
    """
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(status)
