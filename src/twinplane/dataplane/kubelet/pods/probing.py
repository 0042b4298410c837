"""The probes of one pod's containers: started with each instance that runs, ended with it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from twinplane.clock import Clock
from twinplane.dataplane.kubelet.events import PodEvents
from twinplane.dataplane.kubelet.pods.spec import all_containers, is_host_network
from twinplane.dataplane.kubelet.pods.state import ContainerState, PodState
from twinplane.dataplane.kubelet.probes.actions import Prober, Target
from twinplane.dataplane.kubelet.probes.container import ContainerProbes, Findings, ProbeContext
from twinplane.kubeclient.contract import Object

log = logging.getLogger(__name__)

ProbeObserver = Callable[[Object, str, str, str], None]
"""(pod, container, Readiness and the like, verdict): for the metrics of probes."""


class PodProbes:
    """`changed` is called when a finding has."""

    def __init__(
        self,
        prober: Prober,
        *,
        events: PodEvents,
        clock: Clock,
        host_ip: str,
        observed: ProbeObserver | None,
        changed: Callable[[], None],
    ) -> None:
        self._prober = prober
        self._events = events
        self._clock = clock
        self._host_ip = host_ip
        self._observed = observed
        self._changed = changed
        self._running: dict[str, tuple[ContainerProbes, asyncio.Task[None] | None]] = {}

    @property
    def findings(self) -> dict[str, Findings]:
        """By container id."""
        return {key: probes.findings for key, (probes, _) in self._running.items()}

    def follow(self, pod: Object, state: PodState) -> None:
        """Start and end what the state asks for."""
        wanted: dict[str, ContainerState] = {}
        for kind, container in all_containers(pod):
            current = state.latest(container["name"])
            if current is not None and current.running and kind != "init":
                wanted[current.id] = current
        for key in self._running.keys() - wanted.keys():
            self._end(key)
        for key in wanted.keys() - self._running.keys():
            self._start(pod, state, wanted[key])

    def stop(self) -> None:
        for key in list(self._running):
            self._end(key)

    def _start(self, pod: Object, state: PodState, current: ContainerState) -> None:
        container = next(item for _, item in all_containers(pod) if item["name"] == current.name)
        sandbox = state.ready_sandbox
        address = self._host_ip if is_host_network(pod) else (sandbox.ips[0] if sandbox and sandbox.ips else "")

        def observed(kind: str, verdict: str) -> None:
            if self._observed is not None:
                self._observed(pod, current.name, kind, verdict)

        context = ProbeContext(
            self._prober,
            self._clock,
            self._changed,
            lambda message: self._events.warning(pod, "Unhealthy", message, container),
            observed,
        )
        # Only what is written in the spec itself is known to probes, as upstream has it.
        static = {item["name"]: item["value"] for item in container.get("env") or () if item.get("value")}
        target = Target(container, current.id, address, static)
        probes = ContainerProbes(target, current.started_at, context, _restored(pod, current))
        task = None
        if probes.needed:
            task = asyncio.create_task(probes.run(), name=f"probes of {current.name}")
            task.add_done_callback(_log_failure)
        self._running[current.id] = (probes, task)

    def _end(self, key: str) -> None:
        _, task = self._running.pop(key)
        if task is not None:
            task.cancel()


def _restored(pod: Object, current: ContainerState) -> Findings | None:
    """What the API server knows of a container that ran before this agent did: it stays ready until a probe fails."""
    status = pod.get("status") or {}
    for field in ("containerStatuses", "initContainerStatuses"):
        for item in status.get(field) or ():
            if (item.get("containerID") or "").endswith(current.id):
                return Findings(started=bool(item.get("started")), ready=bool(item.get("ready")))
    return None


def _log_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        log.error("%s failed", task.get_name(), exc_info=task.exception())
