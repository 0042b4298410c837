"""The probes of one running container: startup first, then readiness and liveness side by side.

One task a probe, from the container's start to its end. What they found is read by the pod's worker (`Findings`), which
is woken when something changes. Source: kubelet `prober/worker.go`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from twinplane.clock import Clock
from twinplane.dataplane.kubelet.probes.actions import Answer, Prober, Target

ERROR_TRIES = 3
FIRST_PAUSE_SECONDS = 0.25
"""A container that has not been ready yet is asked more often than its period, as the API documents it."""


@dataclass(slots=True)
class Findings:
    """Of one instance of a container."""

    started: bool = False
    ready: bool = False
    failed_liveness: bool = False
    failed_startup: bool = False


@dataclass(frozen=True, slots=True)
class ProbeContext:
    """What probes need beside the container itself."""

    prober: Prober
    clock: Clock
    changed: Callable[[], None]
    """Findings have changed."""
    unhealthy: Callable[[str], None]
    """The message of an event."""
    observed: Callable[[str, str], None]
    """(Readiness, success): for the metrics of probes."""


class ContainerProbes:
    """`restored` are the findings that an adopted container had."""

    def __init__(
        self, target: Target, started_at: float, context: ProbeContext, restored: Findings | None = None
    ) -> None:
        self._target = target
        self._started_at = started_at
        self._context = context
        container = target.container
        self._startup, self._readiness, self._liveness = (
            container.get(f"{kind}Probe") for kind in ("startup", "readiness", "liveness")
        )
        self.findings = restored or Findings()
        if self._startup is None:
            self.findings.started = True
        if self.findings.started and self._readiness is None:
            self.findings.ready = True

    @property
    def needed(self) -> bool:
        return any((self._startup, self._readiness, self._liveness))

    async def run(self) -> None:
        """Until the container is restarted for it, or cancelled."""
        if self._startup is not None and not self.findings.started:
            await self._until_started(self._startup)
            if not self.findings.started:
                return
        async with asyncio.TaskGroup() as group:
            if self._readiness is not None:
                group.create_task(self._follow_readiness(self._readiness))
            if self._liveness is not None:
                group.create_task(self._follow_liveness(self._liveness))

    async def _until_started(self, probe: dict[str, Any]) -> None:
        await self._initial_delay(probe)
        if await self._until(probe, "Startup", success=True, failure=True):
            self.findings.started = True
            self.findings.ready = self._readiness is None
        else:
            self.findings.failed_startup = True
        self._context.changed()

    async def _follow_liveness(self, probe: dict[str, Any]) -> None:
        await self._initial_delay(probe)
        await self._until(probe, "Liveness", success=False, failure=True)
        self.findings.failed_liveness = True
        self._context.changed()

    async def _follow_readiness(self, probe: dict[str, Any]) -> None:
        await self._initial_delay(probe)
        if not self.findings.ready:
            await self._first_readiness(probe)
        while True:
            ready = await self._until(probe, "Readiness", success=not self.findings.ready, failure=self.findings.ready)
            self.findings.ready = ready
            self._context.changed()
            await asyncio.sleep(_period(probe))

    async def _first_readiness(self, probe: dict[str, Any]) -> None:
        """The first success, as soon as it comes. Counts for a success threshold of 1 only."""
        pause, period = FIRST_PAUSE_SECONDS, _period(probe)
        if int(probe.get("successThreshold") or 1) > 1:
            return
        while pause < period:
            answer = await self._ask(probe, "Readiness", quiet=pause > FIRST_PAUSE_SECONDS)
            if answer.verdict == "success":
                self.findings.ready = True
                self._context.changed()
                await asyncio.sleep(period)
                return
            await asyncio.sleep(pause)
            pause *= 2

    async def _until(self, probe: dict[str, Any], kind: str, *, success: bool, failure: bool) -> bool:
        """Ask each period until the threshold of one of the outcomes that are waited for; which one it was."""
        thresholds = {
            "success": int(probe.get("successThreshold") or 1),
            "failure": int(probe.get("failureThreshold") or 3),
        }
        awaited = {"success": success, "failure": failure}
        last, count = "", 0
        while True:
            began = asyncio.get_running_loop().time()
            verdict = (await self._ask(probe, kind)).verdict
            if verdict != "unknown":
                count = count + 1 if verdict == last else 1
                last = verdict
                if awaited[verdict] and count >= thresholds[verdict]:
                    return verdict == "success"
            await self._rest(began, probe)

    async def _rest(self, began: float, probe: dict[str, Any]) -> None:
        spent = asyncio.get_running_loop().time() - began
        await asyncio.sleep(max(_period(probe) - spent, 0.0))

    async def _ask(self, probe: dict[str, Any], kind: str, *, quiet: bool = False) -> Answer:
        seconds = float(probe.get("timeoutSeconds") or 1)
        answer = Answer("unknown", "")
        for _ in range(ERROR_TRIES):
            try:
                answer = await self._context.prober.ask(probe, self._target, seconds)
            except ValueError as error:
                answer = Answer("unknown", str(error))
            if answer.verdict != "unknown":
                break
        self._context.observed(kind, answer.verdict)
        if not quiet and answer.verdict == "failure":
            self._context.unhealthy(f"{kind} probe failed: {answer.output}")
        elif not quiet and answer.verdict == "unknown":
            self._context.unhealthy(f"{kind} probe errored and resulted in unknown state: {answer.output}")
        return answer

    async def _initial_delay(self, probe: dict[str, Any]) -> None:
        ends = self._started_at + float(probe.get("initialDelaySeconds") or 0)
        await asyncio.sleep(max(ends - self._context.clock.now(), 0.0))


def _period(probe: dict[str, Any]) -> float:
    return max(float(probe.get("periodSeconds") or 10), 1.0)
