"""Stopping containers: preStop hooks, grace periods, the order of a pod's end. Source: kubelet `killContainer`,
`killContainersWithSyncResult`, `containerTerminationOrdering`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from twinplane.dataplane.kubelet.events import PodEvents
from twinplane.dataplane.kubelet.pods.spec import (
    Container,
    all_containers,
    grace_seconds,
    init_containers_of,
    is_sidecar,
)
from twinplane.dataplane.kubelet.pods.state import ContainerState, PodState
from twinplane.dataplane.kubelet.probes.actions import Prober, Target
from twinplane.dataplane.kubelet.probes.hooks import HookFailed, run_hook
from twinplane.dataplane.runtime.contract import Runtime, RuntimeFailure
from twinplane.kubeclient.contract import Object

log = logging.getLogger(__name__)

MINIMUM_GRACE_SECONDS = 2.0
"""What is left after a preStop hook that took everything."""


class Stopper:
    def __init__(self, runtime: Runtime, prober: Prober, events: PodEvents) -> None:
        self._runtime = runtime
        self._prober = prober
        self._events = events

    async def stop_pod(self, pod: Object, state: PodState, grace: float | None = None) -> None:
        """All containers, then the sandboxes. Sidecars go after the others, last started first.

        `grace` is what the pod is given instead of its own. Raises `RuntimeFailure`.
        """
        loop = asyncio.get_running_loop()
        ends = loop.time() + (grace if grace is not None else grace_seconds(pod))
        order = [container["name"] for container in init_containers_of(pod) if is_sidecar(container)]
        sidecars = [item for item in state.running if item.name in order]
        others = [item for item in state.running if item not in sidecars]
        await asyncio.gather(*(self.stop(pod, item, f"Stopping container {item.name}", grace) for item in others))
        for item in sorted(sidecars, key=lambda item: order.index(item.name), reverse=True):
            left = max(ends - loop.time(), 0.0 if grace == 0 else MINIMUM_GRACE_SECONDS)
            await self.stop(pod, item, f"Stopping container {item.name}", left)
        for sandbox in state.sandboxes:
            if sandbox.ready:
                await self._runtime.stop_pod_sandbox(sandbox.id)

    async def stop(
        self, pod: Object, item: ContainerState, message: str, grace: float | None = None, probe: str = ""
    ) -> None:
        """`probe` is liveness or startup when that has failed: it may have a grace period of its own."""
        container = next((found for _, found in all_containers(pod) if found["name"] == item.name), None)
        seconds = float(grace) if grace is not None else _grace(pod, container, probe)
        self._events.normal(pod, "Killing", message, container or {"name": item.name})
        hook = ((container or {}).get("lifecycle") or {}).get("preStop")
        if hook and seconds > 0 and item.running:
            address = next(iter(_addresses(pod)), "")
            target = Target(container or {"name": item.name}, item.id, address)
            seconds -= await self._pre_stop(pod, hook, target, seconds)
            seconds = max(seconds, MINIMUM_GRACE_SECONDS)
        try:
            await self._runtime.stop_container(item.id, int(seconds))
        except RuntimeFailure as error:
            if not error.not_found:
                raise

    async def _pre_stop(self, pod: Object, hook: Mapping[str, Any], target: Target, seconds: float) -> float:
        """Seconds that it took."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            async with asyncio.timeout(seconds):
                await run_hook(self._prober, hook, target)
        except HookFailed as error:
            log.info("preStop hook of %s: %s", target.container["name"], error)
            self._events.warning(pod, "FailedPreStopHook", "PreStopHook failed", target.container)
        except TimeoutError:
            log.info("preStop hook of %s did not end within %g s", target.container["name"], seconds)
        return loop.time() - began


def _grace(pod: Object, container: Container | None, probe: str) -> float:
    if container is not None and probe and "deletionTimestamp" not in pod["metadata"]:
        own = (container.get(f"{probe}Probe") or {}).get("terminationGracePeriodSeconds")
        if own is not None:
            return float(own)
    return float(grace_seconds(pod))


def _addresses(pod: Object) -> list[str]:
    return [item["ip"] for item in (pod.get("status") or {}).get("podIPs") or ()]
