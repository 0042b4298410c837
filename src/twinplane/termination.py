"""SIGTERM and SIGINT as the cancellation of a process's main task: once, so that what it does then is not broken off.

People press Ctrl-C again, and who stops a process may say so twice: a second cancellation would end the clean-up that
the first has begun.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterable
from typing import Any


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
