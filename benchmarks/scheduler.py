"""Pods scheduled in a second: `python -m benchmarks.scheduler [--core] [--only WORD] [--large] [--profile FILE]`.

The workloads of upstream's scheduler_perf, twice. Core alone: pods as JSON go in, decisions come out. Through the API:
the pods are in a durable store when the scheduler starts, with informers, admission, authorization, bindings and events
as in a cluster, all in this process; measured is the time until the last pod is bound (for preemption: until it has its
node promised, the victims deleted and is bound there). `--large` puts 100,000 nodes through the API too. `--cpu` counts
the process's CPU seconds instead of the clock's, for machines that others use as well.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import gc
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from random import Random

import uvloop

from benchmarks import _scheduling_shapes as shapes
from benchmarks._control_plane import control_plane
from benchmarks._scheduling_shapes import SHAPES, Shape
from twinplane.clock import SystemClock
from twinplane.controlplane.api import heap
from twinplane.controlplane.api.inprocess import InProcessClient
from twinplane.controlplane.api.server import ApiServer
from twinplane.controlplane.composition import CONTROLLERS, LOOPBACK, SCHEDULER
from twinplane.controlplane.scheduler.loop import Scheduler
from twinplane.controlplane.scheduler.node import node_facts
from twinplane.controlplane.scheduler.planner import Planner
from twinplane.controlplane.scheduler.snapshot import Snapshot
from twinplane.kubeclient.contract import Object, Resource
from twinplane.kubeclient.event_recorder import EventBroadcaster
from twinplane.kubeclient.informer import SharedInformers
from twinplane.kubeclient.resources import NODES, PODS, PRIORITY_CLASSES, SERVICE_ACCOUNTS

WRITERS = 64
LIMIT_SECONDS = 300.0
LARGE = 50_000
"""Nodes from which on the way through the API is only taken when asked for."""


@dataclass
class Meter:
    now: Callable[[], float]
    profile: cProfile.Profile | None
    seconds: float = 0.0

    @contextmanager
    def measuring(self) -> Iterator[None]:
        with self.profile or nullcontext():
            began = self.now()
            yield
            self.seconds = self.now() - began


def core(shape: Shape, meter: Meter) -> float:
    snapshot = Snapshot(Random(1))
    parser = snapshot.shapes
    for body in shapes.nodes(shape):
        snapshot.set_node(node_facts(body))
    for body in shapes.running_pods(shape):
        pod = parser.pod(body)
        snapshot.add_pod(pod, pod.node)
    planner = Planner(snapshot)
    bodies = list(shapes.measured_pods(shape))
    gc.collect()
    with meter.measuring():
        decisions = [planner.place(parser.pod(body)) for body in bodies]
    lost = [decision for decision in decisions if decision.node is None and decision.nominated is None]
    if lost:
        raise RuntimeError(f"{len(lost)} pods found no node: {lost[0].message}")
    return shape.pods / meter.seconds


async def through_api(shape: Shape, meter: Meter) -> float:
    with tempfile.TemporaryDirectory() as directory:
        async with control_plane(Path(directory)) as server:
            await _fill(InProcessClient(server, LOOPBACK, "benchmark"), shape)
            async with asyncio.timeout(LIMIT_SECONDS):
                return await _measure(server, shape, meter)


async def _fill(client: InProcessClient, shape: Shape) -> None:
    account: Object = {"metadata": {"name": "default", "namespace": "default"}}
    await client.create(SERVICE_ACCOUNTS, account, "default")
    high: Object = {"metadata": {"name": shapes.HIGH}, "value": shapes.HIGH_VALUE}
    await client.create(PRIORITY_CLASSES, high)
    await _create(client, NODES, shapes.nodes(shape))
    await _create(client, PODS, shapes.running_pods(shape))
    await _create(client, PODS, shapes.measured_pods(shape))


async def _create(client: InProcessClient, resource: Resource, bodies: Iterable[Object]) -> None:
    waiting = iter(bodies)

    async def write() -> None:
        for body in waiting:
            made = await client.create(resource, body, body["metadata"].get("namespace"))
            if resource is NODES:
                # New nodes are tainted as not ready, and creation does not take the status.
                made = await client.update(NODES, {**made, "spec": {}})
                await client.update(NODES, {**made, "status": body["status"]}, subresource="status")

    async with asyncio.TaskGroup() as group:
        for _ in range(WRITERS):
            group.create_task(write())


async def _measure(server: ApiServer, shape: Shape, meter: Meter) -> float:
    informers = SharedInformers(InProcessClient(server, CONTROLLERS, "kube-controller-manager"))
    clock = SystemClock()
    broadcaster = EventBroadcaster(InProcessClient(server, CONTROLLERS, "kube-controller-manager"), clock)
    client = InProcessClient(server, SCHEDULER, "kube-scheduler")
    scheduler = Scheduler(client, informers, clock, Random(1), broadcaster.recorder)
    bound: set[str] = set()
    done = asyncio.Event()

    def count(old: Object | None, new: Object | None) -> None:
        if new is not None and new["spec"].get("nodeName") and new["metadata"]["name"].startswith("measured"):
            bound.add(new["metadata"]["name"])
            if len(bound) == shape.pods:
                done.set()

    pods = informers.of(PODS)
    pods.add_handler(count)
    tasks = [asyncio.create_task(part.run()) for part in (informers, broadcaster)]
    while not (pods.synced and informers.of(NODES).synced):  # noqa: ASYNC110 - all an informer tells
        await asyncio.sleep(0.02)
    # As a control plane's process has it.
    heap.settle()
    try:
        with meter.measuring():
            tasks.append(asyncio.create_task(scheduler.run()))
            await done.wait()
        return shape.pods / meter.seconds
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        gc.unfreeze()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--core", action="store_true", help="the core alone")
    parser.add_argument("--api", action="store_true", help="through the API alone")
    parser.add_argument("--only", default="", metavar="WORD", help="workloads whose name has the word")
    parser.add_argument("--large", action="store_true", help="100,000 nodes through the API too")
    parser.add_argument("--profile", metavar="FILE", help="write a cProfile of what is measured")
    parser.add_argument("--cpu", action="store_true", help="pods per CPU second")
    options, _ = parser.parse_known_args()
    profile = cProfile.Profile() if options.profile else None
    meter = Meter(time.process_time if options.cpu else time.perf_counter, profile)
    print(f"{'pods a second':<28}{'upstream CI':>12}{'core':>10}{'goal':>9}{'API':>10}{'goal':>9}")
    for shape in SHAPES:
        if options.only not in shape.name:
            continue
        cells = ["", ""]
        if not options.api:
            cells[0] = f"{core(shape, meter):,.0f}"
        if not options.core and (shape.nodes < LARGE or options.large):
            cells[1] = f"{uvloop.run(through_api(shape, meter)):,.0f}"
        print(
            f"{shape.name:<28}{shape.floor:>12,}{cells[0]:>10}{shape.core_goal:>9,}{cells[1]:>10}{shape.api_goal:>9,}",
            flush=True,
        )
    if profile is not None:
        profile.dump_stats(options.profile)


if __name__ == "__main__":
    main()
