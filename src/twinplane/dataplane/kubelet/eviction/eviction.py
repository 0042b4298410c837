"""The eviction manager's loop: observe every ten seconds, reclaim what the node itself can give, end one pod.

Node conditions for the node's status are in `conditions`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from twinplane.clock import Clock
from twinplane.dataplane.kubelet.contract import RunningPods
from twinplane.dataplane.kubelet.durations import seconds_of
from twinplane.dataplane.kubelet.eviction.local_storage import excess
from twinplane.dataplane.kubelet.eviction.ranking import Candidate, is_critical, message, ranked
from twinplane.dataplane.kubelet.eviction.thresholds import (
    INODES,
    STORAGE,
    Observation,
    Observations,
    Threshold,
    Tracker,
    met,
    thresholds_of,
)
from twinplane.dataplane.kubelet.metrics import KubeletMetrics
from twinplane.dataplane.kubelet.stats.filesystems import FileSystem
from twinplane.dataplane.kubelet.stats.sampling import NodeSample, running_containers
from twinplane.dataplane.runtime.contract import RuntimeFailure
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.meta import name_of, namespace_of, uid_of

log = logging.getLogger(__name__)

MONITOR_SECONDS = 10.0
CLEANUP_SECONDS, CLEANUP_POLL_SECONDS = 30.0, 1.0


class Measuring(Protocol):
    """`stats.statistics.Statistics`."""

    memory_bytes: int

    async def sample(self, *, brief: bool = False) -> NodeSample: ...

    def processes(self) -> tuple[int, int]: ...


class Reclaiming(Protocol):
    """`garbage.collection.GarbageCollection`."""

    async def collect_containers(self, *, all_dead: bool = False) -> None: ...

    async def delete_unused_images(self) -> None: ...


Report = Callable[[str, str, str], None]
"""(type, reason, message): an event of the node."""
ReportPod = Callable[[Object, str, str, str], None]
"""(pod, type, reason, message): an event of a pod."""


class Eviction:
    def __init__(
        self,
        pods: RunningPods,
        statistics: Measuring,
        garbage: Reclaiming,
        *,
        clock: Clock,
        metrics: KubeletMetrics,
        kubelet: Mapping[str, Any],
        report: Report,
        report_pod: ReportPod,
        look: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        """`kubelet` is the KubeletConfiguration; `look` measures disks anew after something was reclaimed."""
        self._pods, self._statistics, self._garbage = pods, statistics, garbage
        self._clock, self._metrics, self._look = clock, metrics, look
        self._report, self._report_pod = report, report_pod
        self._last: dict[str, float] = {}
        """When each signal was measured in the round before."""
        self._thresholds = thresholds_of(kubelet)
        self._tracker = Tracker(self._thresholds, seconds_of(kubelet["evictionPressureTransitionPeriod"]))

    def conditions(self) -> frozenset[str]:
        """MemoryPressure, DiskPressure, PIDPressure: those that are true now."""
        return self._tracker.conditions(self._clock.now())

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            evicted = await self.synchronize()
            if evicted:
                await self._wait_for_cleanup(evicted)
            else:
                await asyncio.sleep(MONITOR_SECONDS)

    async def synchronize(self) -> list[Object]:
        """One round; the pods that were evicted."""
        sample = await self._statistics.sample(brief=True)
        observations = self._observations(sample)
        decision = self._tracker.decide(observations, self._clock.now())
        candidates = self._candidates(sample)
        over = await self._evict_over_limit(candidates)
        if over or not decision.thresholds:
            return over
        threshold = self._measured_anew(decision.thresholds, observations)
        if threshold is None:
            return []
        self._report("Warning", "EvictionThresholdMet", f"Attempting to reclaim {threshold.resource}")
        if threshold.resource in (STORAGE, INODES) and await self._reclaimed():
            return []
        return await self._evict_one(candidates, threshold, observations[threshold.signal])

    def _measured_anew(self, thresholds: tuple[Threshold, ...], observations: Observations) -> Threshold | None:
        """The first that was measured since the last time: old numbers know nothing of what was evicted meanwhile."""
        last, self._last = self._last, {signal: found.at for signal, found in observations.items()}
        return next((each for each in thresholds if self._last[each.signal] > last.get(each.signal, -1.0)), None)

    # -- observing -------------------------------------------------------------------------------------------------

    def _observations(self, sample: NodeSample) -> Observations:
        capacity = self._statistics.memory_bytes
        processes, most = self._statistics.processes()
        found = {
            "memory.available": Observation(max(capacity - sample.node.usage.working_set, 0), capacity, sample.at),
            "pid.available": Observation(max(most - processes, 0), most, sample.at),
        }
        if sample.files.at:
            for name in ("nodefs", "imagefs", "containerfs"):
                found |= _disk(name, sample.files.node, sample.files.at)
        return found

    def _candidates(self, sample: NodeSample) -> list[Candidate]:
        samples = {pod.uid: pod for pod in sample.pods}
        active = (pod for pod in self._pods.pods() if _is_active(pod))
        return [Candidate(pod, samples.get(uid_of(pod))) for pod in active]

    # -- acting ----------------------------------------------------------------------------------------------------

    async def _evict_over_limit(self, candidates: list[Candidate]) -> list[Object]:
        evicted = []
        for candidate in candidates:
            found = excess(candidate)
            if found is not None and await self._evict(candidate.pod, found.message, found.signal):
                evicted.append(candidate.pod)
        return evicted

    async def _reclaimed(self) -> bool:
        """Whether dead containers and unused images were all that was too much."""
        try:
            await self._garbage.collect_containers(all_dead=True)
            await self._garbage.delete_unused_images()
        except (RuntimeFailure, OSError) as error:
            log.warning("eviction manager: %s", error)
        if self._look is not None:
            await self._look()
        await asyncio.sleep(CLEANUP_POLL_SECONDS)
        return not met(self._thresholds, self._observations(await self._statistics.sample(brief=True)), reclaimed=True)

    async def _evict_one(
        self, candidates: list[Candidate], threshold: Threshold, observed: Observation
    ) -> list[Object]:
        for candidate in ranked(candidates, threshold.resource):
            if await self._evict(candidate.pod, message(candidate, threshold, observed), threshold.signal):
                age = max(self._clock.now() - observed.at, 0.0)
                self._metrics.eviction_stats_age.observe(age, threshold.signal)
                return [candidate.pod]
        log.error("eviction manager: unable to evict any pods from the node")
        return []

    async def _evict(self, pod: Object, text: str, signal: str) -> bool:
        if is_critical(pod):
            log.error("eviction manager: cannot evict critical pod %s/%s", namespace_of(pod), name_of(pod))
            return False
        self._report_pod(pod, "Warning", "Evicted", text)
        await self._pods.evict(pod, text)
        self._metrics.evictions.add(signal)
        return True

    async def _wait_for_cleanup(self, evicted: list[Object]) -> None:
        waited = 0.0
        while waited < CLEANUP_SECONDS:
            await asyncio.sleep(CLEANUP_POLL_SECONDS)
            waited += CLEANUP_POLL_SECONDS
            present = {uid_of(pod): pod for pod in self._pods.pods()}
            if not any(uid_of(pod) in present and _runs(present[uid_of(pod)]) for pod in evicted):
                return


def _disk(name: str, files: FileSystem, at: float) -> dict[str, Observation]:
    found = {}
    if files.capacity:
        found[f"{name}.available"] = Observation(files.available, files.capacity, at)
    if files.inodes:
        found[f"{name}.inodesFree"] = Observation(files.inodes_free, files.inodes, at)
    return found


def _is_active(pod: Object) -> bool:
    return (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed")


def _runs(pod: Object) -> bool:
    return next(running_containers(pod), None) is not None
