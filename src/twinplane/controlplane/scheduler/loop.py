"""The scheduler's loop: take ready pods, ask the core, write the decisions, many at once.

Deciding is synchronous and fast; writing waits for the API server. So decisions are counted in the snapshot at once
(assumed) and handed to a fixed number of workers over a bounded queue; a binding that is refused takes the assumption
back and the pod tries again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from random import Random

from twinplane.clock import Clock
from twinplane.controlplane.controllers.contract import EventRecorder
from twinplane.controlplane.scheduler.cluster_view import ClusterView
from twinplane.controlplane.scheduler.configuration import SchedulerConfiguration
from twinplane.controlplane.scheduler.devices.writing import DeviceBindingFailed, DeviceWriter
from twinplane.controlplane.scheduler.explain import Verdict, explain
from twinplane.controlplane.scheduler.planner import Decision, Planner
from twinplane.controlplane.scheduler.queue import SchedulingQueue
from twinplane.controlplane.scheduler.shape import Pod, Shapes
from twinplane.controlplane.scheduler.volume_writing import VolumeBindingFailed, VolumeWriter
from twinplane.controlplane.scheduler.writing import DecisionWriter
from twinplane.kubeclient.contract import KubeClient, Object
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.informer_contract import Informers
from twinplane.kubeclient.resources import PERSISTENT_VOLUMES, PODS

log = logging.getLogger(__name__)

BATCH_MAX = 100
"""Pods decided before the event loop gets a turn."""
WRITERS = 32
VOLUME_WAITS_MAX = 1000
"""Pods that wait for their volumes at a time."""
UNWRITTEN_MAX = 1000
SYNC_POLL_SECONDS = 0.02
DEFAULT_CONFIGURATION = SchedulerConfiguration()


class Scheduler:
    """Schedules the pods of the configuration's profiles. Make it before the informers start; then `run`.

    `recorders` gives an event recorder for a component: events come from the pod's scheduler by name.
    """

    def __init__(
        self,
        client: KubeClient,
        informers: Informers,
        clock: Clock,
        random: Random,
        recorders: Callable[[str], EventRecorder],
        *,
        configuration: SchedulerConfiguration = DEFAULT_CONFIGURATION,
        taint_rules: bool = False,
    ) -> None:
        self._clock = clock
        self._woken = asyncio.Event()
        self._profiles = {profile.name: profile for profile in configuration.profiles}
        queue = SchedulingQueue(configuration.backoff_first, configuration.backoff_max)
        self._view = ClusterView(self._profiles, queue, clock, random, self._woken.set, taint_rules=taint_rules)
        snapshot = self._view.snapshot
        self._planners = {
            name: Planner(snapshot, profile.plugins, profile.preemption) for name, profile in self._profiles.items()
        }
        self._followed = self._view.follow(informers)
        events = {name: recorders(name) for name in self._profiles}
        self._writer = DecisionWriter(client, clock, events, informers.of(PODS).get)
        volumes = informers.of(PERSISTENT_VOLUMES).get
        self._volumes = VolumeWriter(client, snapshot.surroundings.storage, self._view.claims, volumes)
        self._devices = DeviceWriter(client, clock, snapshot.surroundings.devices, self._view.device_claims)
        self._unwritten: asyncio.Queue[Decision] = asyncio.Queue(UNWRITTEN_MAX)
        self._waiting_for_volumes = asyncio.Semaphore(VOLUME_WAITS_MAX)

    async def run(self) -> None:
        """Until cancelled. Waits for the informers first: half a view would over-commit nodes."""
        while not all(informer.synced for informer in self._followed):  # noqa: ASYNC110 - all an informer tells
            await asyncio.sleep(SYNC_POLL_SECONDS)
        async with asyncio.TaskGroup() as group:
            for number in range(WRITERS):
                group.create_task(self._write_decisions(group), name=f"scheduler writer {number}")
            group.create_task(self._decide(), name="scheduler")

    @property
    def idle(self) -> bool:
        """No pod can be decided now and no decision waits to be written."""
        return not self._woken.is_set() and not self._view.queue.has_ready and self._unwritten.empty()

    def next_due(self) -> float | None:
        """Seconds until a pod is tried again without any event; None when none will be."""
        due = self._view.queue.next_due()
        return None if due is None else due - self._clock.now()

    def explain(self, body: Object) -> list[Verdict]:
        """Every node's verdict on a pod (as JSON), the best first."""
        pod = Shapes().pod(body)
        return explain(self._view.snapshot, pod, self._profiles[pod.scheduler].plugins)

    # -- deciding ------------------------------------------------------------------------------------------------

    async def _decide(self) -> None:
        while True:
            self._woken.clear()
            batch = self._view.queue.pop(self._clock.now(), BATCH_MAX)
            if not batch:
                await self._wait()
                continue
            for pod in batch:
                await self._unwritten.put(self._place(pod))
            await asyncio.sleep(0)

    def _place(self, pod: Pod) -> Decision:
        decision = self._planners[pod.scheduler].place(pod)
        if decision.node is not None:
            self._view.assumed.add(pod.uid)
            # Back into the queue only if the binding fails.
            self._view.queue.remove(pod.uid)
        elif decision.failed:
            self._view.queue.retry(pod, self._clock.now())
        else:
            self._view.queue.failed(pod, decision.plugins, self._clock.now())
        return decision

    async def _wait(self) -> None:
        due = self._view.queue.next_due()
        if due is None:
            await self._woken.wait()
            return
        try:
            async with asyncio.timeout(max(due - self._clock.now(), 0.0)):
                await self._woken.wait()
        except TimeoutError:
            return

    # -- writing -------------------------------------------------------------------------------------------------

    async def _write_decisions(self, group: asyncio.TaskGroup) -> None:
        while True:
            decision = await self._unwritten.get()
            if decision.volumes is None and decision.devices is None:
                await self._write(decision)
                continue
            # Volumes and devices take as long as their drivers do: the writers go on meanwhile.
            await self._waiting_for_volumes.acquire()
            waiting = group.create_task(self._write(decision), name=f"volumes of {decision.pod.key}")
            waiting.add_done_callback(lambda _: self._waiting_for_volumes.release())

    async def _write(self, decision: Decision) -> None:
        try:
            if decision.node is not None:
                await self._bind(decision, decision.node)
            else:
                await self._writer.report(decision, reason="SchedulerError" if decision.failed else "Unschedulable")
                if decision.deallocated:
                    await self._devices.deallocate(decision.deallocated)
        except Exception:
            # The boundary of one decision: a report that failed is made again with the next attempt.
            log.exception("writing the decision on pod %s", decision.pod.key)

    async def _bind(self, decision: Decision, node: str) -> None:
        pod = decision.pod
        timeouts = self._profiles[pod.scheduler].timeouts
        step = 'running PreBind plugin "VolumeBinding"'
        try:
            if decision.volumes is not None or decision.devices is not None:
                await self._writer.nominate(pod, node)
            if decision.volumes is not None:
                await self._volumes.bind(pod, decision.volumes, timeouts.volumes)
            if decision.devices is not None:
                step = 'running PreBind plugin "DynamicResources"'
                await self._devices.bind(
                    pod, decision.devices, timeouts.devices, partial(self._writer.waits_for_devices, pod, node)
                )
            step = 'running Bind plugin "DefaultBinder"'
            await self._writer.bind(pod, node)
        except (ApiError, ConnectionError, TimeoutError, VolumeBindingFailed, DeviceBindingFailed) as error:
            log.warning("binding pod %s to %s: %s", pod.key, node, error)
            if decision.devices is not None:
                self._view.snapshot.surroundings.devices.forget(decision.devices)
            gone = isinstance(error, ApiError) and error.code == 404
            if self._take_back(pod, gone=gone) and not gone:
                await self._writer.report(Decision(pod, None, f"{step}: {error}"), reason="SchedulerError")
            if decision.devices is not None:
                # Last: what cannot be written here must not keep the pod from its next attempt.
                await self._devices.release(pod, decision.devices)

    def _take_back(self, pod: Pod, *, gone: bool) -> bool:
        view = self._view
        if pod.uid not in view.assumed:
            # The informer knows better already: bound after all, or deleted.
            return False
        view.assumed.discard(pod.uid)
        if not gone:
            view.queue.retry(pod, self._clock.now())
        view.left(pod.uid)
        return True
