"""What the controllers do in a second: `python -m benchmarks.controllers` prints one table.

One Deployment with its Service, on the API server with durable writes, all in one process; a stand-in for scheduler and
kubelets binds, runs and removes pods as fast as it can. So the figures are those of API server and controllers together
on one core, whose speed is what users wait for: filling, a rolling update of every pod, and deletion.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import pstats
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

from benchmarks._control_plane import control_plane
from twinplane.clock import SystemClock, rfc3339
from twinplane.controlplane.api.inprocess import InProcessClient
from twinplane.controlplane.api.types.registry import built_in_types
from twinplane.controlplane.auth.contract import UserInfo
from twinplane.controlplane.composition import collected_types
from twinplane.controlplane.controllers.all import controllers
from twinplane.controlplane.controllers.contract import Context
from twinplane.controlplane.controllers.runner import ControllerRunner, Outcome
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.event_recorder import EventBroadcaster
from twinplane.kubeclient.informer import SharedInformers
from twinplane.kubeclient.meta import is_deleting, name_of, namespace_of
from twinplane.kubeclient.resources import DEPLOYMENTS, ENDPOINT_SLICES, PODS, SERVICES
from twinplane.kubeclient.resources import NODES as NODES_OF_CLUSTER

REPLICAS = 10_000
NODES = 100
KUBELETS = 32
LABELS = {"app": "web"}
OPTIONS = {"node-monitor-grace-period": "36000", "node-startup-grace-period": "36000"}
"""The stand-in kubelets renew no leases."""
ADMIN = UserInfo("benchmark", ("system:masters", "system:authenticated"))


def deployment(replicas: int, image: str) -> Object:
    template = {"metadata": {"labels": LABELS}, "spec": {"containers": [{"name": "app", "image": image}]}}
    spec = {"replicas": replicas, "selector": {"matchLabels": LABELS}, "template": template}
    return {"metadata": {"name": "web", "namespace": "default"}, "spec": spec}


class Kubelets:
    """Scheduler and kubelets: every pod gets a node, an address and a Running status, or goes when it shall."""

    def __init__(self, client: InProcessClient, informers: SharedInformers) -> None:
        self._client = client
        self._clock = SystemClock()
        self._changed: asyncio.Queue[Object] = asyncio.Queue(1_000_000)
        self._started = 0
        informers.of(PODS).add_handler(lambda old, new: self._changed.put_nowait(new) if new is not None else None)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(KUBELETS):
                tasks.create_task(self._work())

    async def _work(self) -> None:
        while True:
            pod = await self._changed.get()
            try:
                await self._sync(pod, name_of(pod), namespace_of(pod))
            except ApiError as error:
                if error.code not in (404, 409):
                    raise

    async def _sync(self, pod: Object, name: str, namespace: str) -> None:
        if is_deleting(pod):
            if pod["spec"].get("nodeName"):
                await self._client.delete(PODS, name, namespace, grace_period_seconds=0)
        elif not pod["spec"].get("nodeName"):
            self._started += 1
            target = {"kind": "Node", "name": f"n{self._started % NODES}"}
            binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name}, "target": target}
            await self._client.create(PODS, binding, namespace, name=name, subresource="binding")
        elif pod["status"].get("phase") == "Pending":
            await self._client.patch(PODS, name, {"status": self._running()}, namespace, subresource="status")

    def _running(self) -> Object:
        number = self._started
        ip = f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
        ready = {"type": "Ready", "status": "True", "lastTransitionTime": rfc3339(self._clock.now())}
        return {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}], "conditions": [ready]}


class Bench:
    def __init__(self, client: InProcessClient, informers: SharedInformers, profile: bool) -> None:
        self.client = client
        self.informers = informers
        self.reconciles: dict[str, int] = {}
        self.tasks: list[asyncio.Task[None]] = []
        self._profile = profile

    def observe(self, outcome: Outcome) -> None:
        self.reconciles[outcome.controller] = self.reconciles.get(outcome.controller, 0) + 1

    async def timed(self, what: str, pods: int, act: Callable[[], Awaitable[Any]], done: Callable[[], bool]) -> None:
        self.reconciles.clear()
        profiler = cProfile.Profile() if self._profile else None
        began, used = time.monotonic(), time.process_time()
        if profiler is not None:
            profiler.enable()
        await act()
        async with asyncio.timeout(600):
            while not done():
                await asyncio.sleep(0.02)
                for task in self.tasks:
                    if task.done():
                        task.result()
        seconds, used = time.monotonic() - began, time.process_time() - used
        busiest = sorted(self.reconciles.items(), key=lambda entry: -entry[1])[:3]
        counts = ", ".join(f"{name} {count:,}" for name, count in busiest)
        print(f"| {what} | {seconds:.1f} s | {pods / seconds:,.0f}/s | {used:.1f} s | {counts} |", flush=True)
        if profiler is not None:
            profiler.disable()
            pstats.Stats(profiler).sort_stats("tottime").print_stats(25)

    def status(self) -> Object:
        found = self.informers.of(DEPLOYMENTS).get("web", "default") or {}
        status: Object = found.get("status") or {}
        return status

    def endpoints(self) -> int:
        slices = self.informers.of(ENDPOINT_SLICES).list("default")
        return sum(len(entry.get("endpoints") or []) for entry in slices if name_of(entry).startswith("web-"))


@asynccontextmanager
async def bench(*, profile: bool) -> AsyncIterator[Bench]:
    with tempfile.TemporaryDirectory() as directory:
        async with control_plane(Path(directory)) as server:
            client = InProcessClient(server, ADMIN, "kube-controller-manager")
            informers = SharedInformers(client, Random(1))
            clock = SystemClock()
            broadcaster = EventBroadcaster(client, clock)
            found = Bench(client, informers, profile)
            registry = built_in_types("1.36")
            every = controllers(
                Context(client, informers, clock, Random(1), broadcaster.recorder("benchmark"), OPTIONS),
                types=lambda: collected_types(registry),
                root_certificate="PEM",
                recorders=broadcaster.recorder,
            )
            runner = ControllerRunner(every, informers, observe=found.observe)
            kubelets = Kubelets(client, informers)
            parts = (runner.run(), broadcaster.run(), kubelets.run())
            tasks = found.tasks = [asyncio.create_task(part) for part in parts]
            try:
                await runner.started.wait()
                yield found
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)


async def run(replicas: int, *, profile: bool) -> None:
    async with bench(profile=profile) as found:
        for number in range(NODES):
            await found.client.create(NODES_OF_CLUSTER, {"metadata": {"name": f"n{number}"}})
        spec = {"selector": LABELS, "ports": [{"port": 80}], "clusterIP": "None"}
        await found.client.create(SERVICES, {"metadata": {"name": "web"}, "spec": spec}, "default")

        def settled() -> bool:
            status = found.status()
            counts = [status.get(field, 0) for field in ("replicas", "updatedReplicas", "availableReplicas")]
            generation = (found.informers.of(DEPLOYMENTS).get("web", "default") or {"metadata": {}})["metadata"]
            seen = status.get("observedGeneration") == generation.get("generation")
            return seen and counts == [replicas] * 3 and found.endpoints() == replicas

        print("| what | time | pods | processor | reconciles |\n|---|---|---|---|---|")
        body = deployment(replicas, "app:1")
        await found.timed("filling", replicas, lambda: found.client.create(DEPLOYMENTS, body, "default"), settled)
        template = {"spec": {"template": deployment(replicas, "app:2")["spec"]["template"]}}

        async def update() -> None:
            await found.client.patch(DEPLOYMENTS, "web", template, "default")
            await asyncio.sleep(0.5)

        await found.timed("rolling update", replicas, update, settled)

        async def delete() -> None:
            await found.client.delete(DEPLOYMENTS, "web", "default", propagation_policy="Foreground")

        await found.timed("deletion", replicas, delete, lambda: not found.informers.of(PODS).list("default"))


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replicas", type=int, default=REPLICAS)
    parser.add_argument("--profile", action="store_true", help="where the time goes, after each row")
    options = parser.parse_args(arguments if arguments is not None else [])
    asyncio.run(run(options.replicas, profile=options.profile))


if __name__ == "__main__":
    main(sys.argv[1:])
