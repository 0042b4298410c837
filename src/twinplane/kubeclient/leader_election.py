"""Leader election over a Lease: of several replicas, one at a time does the work.

Each component that must run once (controllers, scheduler, cloud controller) has an elector of its own. The decision is
a pure function of what was seen and when; time is measured from when a replica itself saw the lease change, never by
comparing clocks of machines, so wrong clocks elect nobody twice (k8s.io/client-go/tools/leaderelection).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from random import Random
from typing import Literal

from twinplane.clock import Clock, rfc3339_micro
from twinplane.kubeclient.contract import KubeClient, Object
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.resources import LEASES

log = logging.getLogger(__name__)

NAMESPACE = "kube-system"
JITTER = 1.2


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds; the values of kube-controller-manager and kube-scheduler."""

    lease: float = 15.0
    """A lease that has not changed for so long is free."""
    renew: float = 10.0
    """A leader that could not renew for so long stops, well before others may begin."""
    retry: float = 2.0


@dataclass(frozen=True, slots=True)
class Observation:
    """What the lease said, and when (on our own monotonic clock) it was first seen to say so."""

    spec: Object
    at: float

    @classmethod
    def after(cls, before: Observation | None, lease: Object, now: float) -> Observation:
        spec = lease.get("spec") or {}
        return before if before is not None and before.spec == spec else cls(spec, now)


@dataclass(frozen=True, slots=True)
class Decision:
    action: Literal["create", "update", "wait"]
    spec: Object


def decide(observed: Observation | None, identity: str, *, now: float, date: float, timing: Timing) -> Decision:
    """What a replica does about the lease as it last saw it. `observed` None: there is no lease.

    `now` is on the observation's clock, `date` in seconds since the epoch. A leader renews by the same decision.
    """
    mine: Object = {
        "holderIdentity": identity,
        "leaseDurationSeconds": int(timing.lease),
        "acquireTime": rfc3339_micro(date),
        "renewTime": rfc3339_micro(date),
        "leaseTransitions": 0,
    }
    if observed is None:
        return Decision("create", mine)
    spec = observed.spec
    holder = spec.get("holderIdentity") or ""
    if holder == identity:
        kept: Object = {name: spec[name] for name in ("acquireTime", "leaseTransitions") if name in spec}
        return Decision("update", {**mine, **kept})
    if holder and now < observed.at + (spec.get("leaseDurationSeconds") or 0):
        return Decision("wait", {})
    return Decision("update", {**mine, "leaseTransitions": (spec.get("leaseTransitions") or 0) + 1})


def released(spec: Object, date: float) -> Object:
    """The lease of a leader that leaves: free at once."""
    now = rfc3339_micro(date)
    kept = {name: value for name, value in spec.items() if name != "holderIdentity"}
    return {**kept, "leaseDurationSeconds": 1, "acquireTime": now, "renewTime": now}


class LeaderElector:
    """One replica's part in the election of one lease. `run` does the led work whenever the lease is held."""

    def __init__(
        self,
        client: KubeClient,
        clock: Clock,
        random: Random,
        *,
        lease: str,
        identity: str,
        timing: Timing | None = None,
    ) -> None:
        """`identity` must differ between replicas, and between lives of one replica."""
        self._client = client
        self._clock = clock
        self._random = random
        self._name = lease
        self._identity = identity
        self._timing = timing or Timing()
        self._observed: Observation | None = None
        self._lease: Object | None = None
        self.leading = False

    async def run(self, lead: Callable[[], Awaitable[None]]) -> None:
        """Until cancelled; then the work is stopped first, the lease given up after it. Raises what `lead` raises."""
        while True:
            await self._acquire()
            log.info("%s leads %s", self._identity, self._name)
            work = asyncio.ensure_future(lead())
            renewal = asyncio.create_task(self._renew(), name=f"renew {self._name}")
            try:
                await asyncio.wait([work, renewal], return_when=asyncio.FIRST_COMPLETED)
            finally:
                await _stop(work)
                await _stop(renewal)
                lost = renewal.done() and not renewal.cancelled()
                self.leading = False
                if not lost:
                    await self._release()
            if work.done() and not work.cancelled():
                work.result()
            log.warning("%s has lost %s", self._identity, self._name)

    async def _acquire(self) -> None:
        while True:
            if await self._try(self._timing.renew):
                self.leading = True
                return
            await asyncio.sleep(self._timing.retry * (1 + JITTER * self._random.random()))

    async def _renew(self) -> None:
        """Ends when the lease is lost, or when it could not be renewed in time."""
        loop = asyncio.get_running_loop()
        end = self._end()
        while True:
            await asyncio.sleep(self._timing.retry)
            if await self._try(end - loop.time()):
                end = self._end()
            elif self._holder() != self._identity or loop.time() >= end:
                return

    def _end(self) -> float:
        """Of the attempts to renew again, the first of which is a retry period away."""
        return asyncio.get_running_loop().time() + self._timing.retry + self._timing.renew

    def _holder(self) -> str:
        return "" if self._observed is None else self._observed.spec.get("holderIdentity") or ""

    async def _try(self, seconds: float) -> bool:
        """One attempt to hold the lease, or to go on holding it; it takes no longer than `seconds`."""
        try:
            async with asyncio.timeout(max(seconds, 0.0)):
                if self._lease is None or self._holder() != self._identity:
                    await self._look()
                return await self._act()
        except (ApiError, OSError, TimeoutError) as error:
            log.debug("lease %s: %s", self._name, error)
            if isinstance(error, ApiError) and error.code in (404, 409):
                # Not what we thought: the next attempt looks before it acts.
                self._lease = None
            return False

    async def _look(self) -> None:
        try:
            self._lease = await self._client.get(LEASES, self._name, NAMESPACE)
        except ApiError as error:
            if error.code != 404:
                raise
            self._lease = self._observed = None
            return
        self._observed = Observation.after(self._observed, self._lease, asyncio.get_running_loop().time())

    async def _act(self) -> bool:
        now, date = asyncio.get_running_loop().time(), self._clock.now()
        decision = decide(self._observed, self._identity, now=now, date=date, timing=self._timing)
        if decision.action == "wait":
            return False
        await self._put(decision)
        return True

    async def _put(self, decision: Decision) -> None:
        if decision.action == "create":
            body = {
                "apiVersion": LEASES.api_version,
                "kind": LEASES.kind,
                "metadata": {"name": self._name, "namespace": NAMESPACE},
                "spec": decision.spec,
            }
            self._lease = await self._client.create(LEASES, body, NAMESPACE)
        else:
            assert self._lease is not None
            self._lease = await self._client.update(LEASES, {**self._lease, "spec": decision.spec})
        self._observed = Observation.after(None, self._lease, asyncio.get_running_loop().time())

    async def _release(self) -> None:
        """Not held against anybody: others take over at once instead of after the lease has run out."""
        lease = self._lease
        if lease is None or self._holder() != self._identity:
            return
        try:
            async with asyncio.timeout(self._timing.retry):
                body = {**lease, "spec": released(lease["spec"], self._clock.now())}
                self._lease = await self._client.update(LEASES, body)
        except (ApiError, OSError, TimeoutError) as error:
            log.warning("lease %s was not released: %s", self._name, error)


async def _stop(task: asyncio.Future[None]) -> None:
    task.cancel()
    await asyncio.wait([task])
