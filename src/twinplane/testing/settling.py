"""When a cluster has come to rest: nobody has work now, and nobody will have any within moments.

Everything of a throwaway cluster runs on one event loop, so rest can be seen, not only guessed: queues are empty, no
request is under way, the cache is as new as the store, and that stays so while the loop turns a few times (an event
needs some turns from the store through a watch to a controller's queue).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple

QUIET_TURNS = 25
SOON_SECONDS = 2.0
"""Work that is put off no longer than this is waited for: the end of a simulated Job, an image pull, a retry."""
PAUSE_SECONDS = 0.01
PAUSE_SECONDS_MIN = 0.0005
"""Also for what is due now: without any pause virtual time would stand still."""
BUSY_TURNS_MAX = 200
"""Turns at full speed without a write before it is taken that somebody waits for something outside of this loop."""


class State(NamedTuple):
    """`busy` names those who have work now; `due` is the seconds until work that was put off, None when there is none;
    `revision` moves with every write."""

    busy: list[str]
    due: float | None
    revision: int


class NotSettled(TimeoutError):
    """The cluster did not come to rest in time; the message says who was busy."""


async def settle(state: Callable[[], State], timeout: float) -> None:
    """Raises `NotSettled` after `timeout` seconds of the loop's time."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout
    quiet, waited, revision = 0, 0, -1
    while quiet < QUIET_TURNS:
        busy, due, now = state()
        waits = not busy and due is not None and due <= SOON_SECONDS
        quiet = 0 if busy or waits or now != revision else quiet + 1
        waited = waited + 1 if now == revision else 0
        revision = now
        if loop.time() >= deadline:
            why = ", ".join(busy) or ("what was put off" if waits else "what was just written")
            raise NotSettled(f"the cluster did not settle in {timeout:g} s, because of {why}")
        if waits and due is not None:
            await asyncio.sleep(max(min(due, PAUSE_SECONDS), PAUSE_SECONDS_MIN))
        else:
            await asyncio.sleep(0 if waited < BUSY_TURNS_MAX else PAUSE_SECONDS_MIN)
