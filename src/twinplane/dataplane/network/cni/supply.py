"""The pool kept supplied: one loop that asks `pool.plan` what to do, and does it through EC2.

Sandboxes take from the pool, and wait for the loop only when it is empty. A refusal (a full subnet, say) or silence of
the API stops the loop for five seconds; meanwhile what is in the pool is given out, and who finds none is told at once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from ipaddress import IPv4Address

from twinplane.clock import Clock
from twinplane.dataplane.aws import AwsError
from twinplane.dataplane.network.cni.checkpoint import Known
from twinplane.dataplane.network.cni.interfaces import FULL, Interfaces
from twinplane.dataplane.network.cni.pool import (
    Assign,
    Attach,
    Detach,
    Interface,
    Owner,
    Pool,
    Step,
    Unassign,
    plan,
)
from twinplane.dataplane.network.cni.settings import Settings

log = logging.getLogger(__name__)

RETRY_SECONDS = 5.0
RECONCILE_SECONDS = 60.0


class Supply:
    def __init__(
        self,
        known: Known,
        settings: Settings,
        interfaces: Interfaces,
        clock: Clock,
        *,
        set_up: Callable[[Interface], Awaitable[bool]],
        changed: Callable[[], None],
        full: Callable[[str], None],
        reconciled_at: float,
    ) -> None:
        """`set_up` makes a new interface usable, `changed` is told of a new pool, `full` of a full subnet."""
        self._known = known
        self._settings = settings
        self._interfaces = interfaces
        self._clock = clock
        self._set_up = set_up
        self._changed = changed
        self._full = full
        self._poke = asyncio.Event()
        self._progress = asyncio.Event()
        self._rounds = 0
        self._blocked_until = 0.0
        self._reconciled_at = reconciled_at

    @property
    def pool(self) -> Pool:
        return self._known.pool

    def poke(self) -> None:
        """The pool changed from outside."""
        self._poke.set()

    async def take(self, owner: Owner) -> tuple[str, Interface] | None:
        """Waits while more addresses are being asked for, and no longer."""
        self.pool.thaw(self._clock.now())
        taken = self.pool.take(owner)
        if taken is not None:
            return taken
        self.pool.waiting += 1
        try:
            rounds = self._rounds
            while taken is None and self._rounds == rounds:
                self._poke.set()
                await self._progress.wait()
                taken = self.pool.take(owner)
        finally:
            self.pool.waiting -= 1
        return taken

    async def run(self, reconcile: Callable[[], Awaitable[None]]) -> None:
        """Until cancelled; `reconcile` compares the pool with EC2, once a minute."""
        while True:
            self._poke.clear()
            now = self._clock.now()
            self.pool.thaw(now)
            if now >= self._blocked_until:
                await self._round(reconcile)
            self._rounds += 1
            self._advance()
            try:
                async with asyncio.timeout(self._pause()):
                    await self._poke.wait()
            except TimeoutError:
                pass

    def _advance(self) -> None:
        self._progress.set()
        self._progress = asyncio.Event()

    def _pause(self) -> float:
        now = self._clock.now()
        times = [self._reconciled_at + RECONCILE_SECONDS, *self.pool.cooling.values()]
        times += [until for _, until in self.pool.kept.values()]
        if self._blocked_until > now:
            times.append(self._blocked_until)
        return max(0.05, min(times) - now)

    async def _round(self, reconcile: Callable[[], Awaitable[None]]) -> None:
        try:
            if self._clock.now() >= self._reconciled_at + RECONCILE_SECONDS:
                self._reconciled_at = self._clock.now()
                await reconcile()
            while (step := plan(self.pool, self._settings, self._known.limits, self._clock.now())) is not None:
                if not await self._do(step):
                    self._blocked_until = self._clock.now() + RETRY_SECONDS
                    break
                self._changed()
                self._advance()
        except (AwsError, OSError) as error:
            log.warning("addresses: %s", error)
            self._blocked_until = self._clock.now() + RETRY_SECONDS

    async def _do(self, step: Step) -> bool:
        """False when it did not help; raises as the calls of `Interfaces`."""
        log.debug("%s", step)
        match step:
            case Assign():
                return await self._assign(step)
            case Attach():
                return await self._attach(step)
            case Unassign():
                # Out of the pool first: a sandbox that comes meanwhile must not get what is on its way out.
                self.pool.drop(self.pool.interfaces[step.interface], step.addresses)
                await self._interfaces.unassign(step.interface, step.addresses)
            case Detach():
                await self._interfaces.detach(self.pool.interfaces.pop(step.interface))
        return True

    async def _assign(self, step: Assign) -> bool:
        interface, count = self.pool.interfaces[step.interface], step.count
        while True:
            try:
                found = await self._interfaces.assign(interface, count)
            except AwsError as error:
                count //= 2
                if self._is_full(error) and count:
                    continue
                raise
            for address in sorted(found, key=IPv4Address):
                interface.addresses.setdefault(address, None)
            return bool(found)

    async def _attach(self, step: Attach) -> bool:
        count = step.count
        while True:
            try:
                interface = await self._interfaces.attach(step.device, count, self._clock.now())
                break
            except AwsError as error:
                count //= 2
                if self._is_full(error) and count:
                    continue
                raise
        if not await self._set_up(interface):
            await self._interfaces.detach(interface)
            return False
        self.pool.learn(interface)
        return True

    def _is_full(self, error: AwsError) -> bool:
        if error.code not in FULL:
            return False
        self._full(str(error))
        return True
