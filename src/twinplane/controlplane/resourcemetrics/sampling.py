"""Usage of nodes and their containers, read from kubelets when somebody asks for it, and kept for a while.

metrics-server scrapes every kubelet every 15 seconds, asked or not. Here a sample is younger than that, so that an
autoscaler sees a new one each time it looks, and a cluster in which nobody asks pays nothing. What is read is
`/stats/summary`, in which kubelets have worked out the rate of CPU use already.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import Any, NamedTuple

import orjson

from twinplane.clock import Clock
from twinplane.controlplane.api.runtime import KubeletDialer
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.meta import name_of, time_of

log = logging.getLogger(__name__)

RESOLUTION_SECONDS = 10.0
"""As often as kubelets measure."""
TIMEOUT_SECONDS = 10.0
IN_FLIGHT_MAX = 32
SUMMARY = "/stats/summary"


class Usage(NamedTuple):
    """CPU in billionths of a core, memory (the working set) in bytes, and when that was, in seconds."""

    cpu: int
    memory: int
    at: float


class NodeSample(NamedTuple):
    """`pods`: by namespace and name, the usage of containers by name. Nothing is in it of which a part is unknown."""

    usage: Usage | None
    pods: dict[tuple[str, str], dict[str, Usage]]


NOTHING = NodeSample(None, {})


def sample_of(summary: Object) -> NodeSample:
    """Out of a `stats/v1alpha1.Summary`."""
    pods: dict[tuple[str, str], dict[str, Usage]] = {}
    for pod in summary.get("pods") or ():
        containers = {entry["name"]: _usage(entry) for entry in pod.get("containers") or ()}
        known = {name: usage for name, usage in containers.items() if usage is not None}
        if known and len(known) == len(containers):
            reference = pod["podRef"]
            pods[reference["namespace"], reference["name"]] = known
    return NodeSample(_usage(summary["node"]), pods)


def _usage(stats: dict[str, Any]) -> Usage | None:
    cpu, memory = stats.get("cpu") or {}, stats.get("memory") or {}
    rate, bytes_used = cpu.get("usageNanoCores"), memory.get("workingSetBytes")
    if rate is None or bytes_used is None:
        return None
    return Usage(int(rate), int(bytes_used), time_of(cpu.get("time")))


class Samples:
    """Of one API server."""

    def __init__(self, kubelet: KubeletDialer, clock: Clock) -> None:
        self._kubelet = kubelet
        self._clock = clock
        self._kept: dict[str, tuple[float, NodeSample]] = {}
        self._reading: dict[str, asyncio.Task[NodeSample]] = {}
        self._in_flight = asyncio.Semaphore(IN_FLIGHT_MAX)

    async def of(self, nodes: Iterable[Object]) -> dict[str, NodeSample]:
        """By name of the node. One whose kubelet does not answer has nothing."""
        wanted = {name_of(node): node for node in nodes}
        now = self._clock.now()
        self._kept = {name: kept for name, kept in self._kept.items() if now - kept[0] < RESOLUTION_SECONDS}
        missing = [node for name, node in wanted.items() if name not in self._kept]
        read = dict(zip(map(name_of, missing), await asyncio.gather(*map(self._shared, missing)), strict=True))
        return {
            name: read[name] if name in read else self._kept[name][1]
            for name in wanted
            if name in read or name in self._kept
        }

    def _shared(self, node: Object) -> asyncio.Future[NodeSample]:
        """One request for all who ask for a node at once; it goes on when one of them leaves."""
        name = name_of(node)
        task = self._reading.get(name)
        if task is None:
            task = self._reading[name] = asyncio.create_task(self._read(name, node), name=f"usage of node {name}")
            task.add_done_callback(lambda _: self._reading.pop(name, None))
        return asyncio.shield(task)

    async def _read(self, name: str, node: Object) -> NodeSample:
        try:
            async with self._in_flight, asyncio.timeout(TIMEOUT_SECONDS):
                answer = await self._kubelet.get(node, SUMMARY, {"only_cpu_and_memory": "true"})
                body = answer.whole()
                if answer.stream is not None:
                    body = b"".join([piece async for piece in answer.stream])
            found = sample_of(orjson.loads(body))
        except (ApiError, OSError, TimeoutError, ValueError, KeyError, TypeError) as error:
            # What a kubelet says is not under our control: one that talks nonsense must not hide the others.
            log.warning("usage of node %s: %s", name, error or type(error).__name__)
            found = NOTHING
        self._kept[name] = (self._clock.now(), found)
        return found

    async def close(self) -> None:
        reading = tuple(self._reading.values())
        for task in reading:
            task.cancel()
        await asyncio.gather(*reading, return_exceptions=True)
