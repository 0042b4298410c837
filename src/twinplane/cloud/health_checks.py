"""EC2's health checks of Auto Scaling groups: an instance that was stopped and stays so is replaced.

One task of the daemon, woken by changes of the account; AWS takes about a minute to notice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection

from twinplane.clock import Clock
from twinplane.cloud.contract import CloudState

GROUP_TAG = "aws:autoscaling:groupName"
STOPPED_SECONDS = 15.0
"""How long an instance may be stopped before its group takes it for unhealthy."""


class HealthChecks:
    def __init__(self, state: CloudState, clock: Clock, replace: Callable[[Collection[str]], Awaitable[None]]) -> None:
        """`replace` gets the ids of instances that have been stopped for long enough."""
        self._state = state
        self._clock = clock
        self._replace = replace
        self._changed = asyncio.Event()
        self._since: dict[str, float] = {}

    async def run(self) -> None:
        """Until cancelled, from when the account is known."""
        self._state.subscribe(self._on_change)
        while True:
            self._changed.clear()
            due = self._due()
            if due:
                await self._replace(due)
            try:
                async with asyncio.timeout(self._pause()):
                    await self._changed.wait()
            except TimeoutError:
                pass

    def _on_change(self, service: str) -> None:
        if service in ("ec2", "autoscaling"):
            self._changed.set()

    def _due(self) -> list[str]:
        now = self._clock.now()
        stopped = {
            each.instance_id
            for each in self._state.instances()
            if each.state == "stopped" and GROUP_TAG in each.tags and not each.leaving
        }
        self._since = {name: self._since.get(name, now) for name in stopped}
        due = sorted(name for name, since in self._since.items() if since + STOPPED_SECONDS <= now)
        for name in due:
            # A group that keeps it (standby, suspended processes) is asked again after as long.
            self._since[name] = now
        return due

    def _pause(self) -> float | None:
        """Seconds until the next one is due; None when none is stopped."""
        if not self._since:
            return None
        return max(0.0, min(self._since.values()) + STOPPED_SECONDS - self._clock.now())
