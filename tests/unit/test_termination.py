"""A process that is told to end does so once and in order; then it leaves at once."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys

from twinplane.termination import cancel_on_signals


async def test_a_clean_up_is_not_broken_off() -> None:
    begun, goes_on, done = asyncio.Event(), asyncio.Event(), []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            begun.set()
            await goes_on.wait()
            done.append("cleaned up")

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    loop = asyncio.get_running_loop()
    try:
        cancel_on_signals(task, (signal.SIGUSR1, signal.SIGUSR2))
        os.kill(os.getpid(), signal.SIGUSR1)
        await begun.wait()
        for number in (signal.SIGUSR1, signal.SIGUSR2):
            os.kill(os.getpid(), number)
            await asyncio.sleep(0.01)
        goes_on.set()
        await asyncio.wait([task])
    finally:
        for number in (signal.SIGUSR1, signal.SIGUSR2):
            loop.remove_signal_handler(number)
    assert task.cancelled()
    assert done == ["cleaned up"]


def test_leaving_says_the_last_words_and_the_status() -> None:
    code = (
        "import atexit; from twinplane.termination import leave; "
        "atexit.register(print, 'never'); print('said'); leave(3)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False)
    assert (ended.stdout, ended.stderr, ended.returncode) == ("said\n", "", 3)
