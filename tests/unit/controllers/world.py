"""A cluster for controller tests: the in-memory API, the controllers under test, and a kubelet that is never slow."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from random import Random
from typing import Any

from twinplane.clock import Clock, rfc3339
from twinplane.controlplane.controllers.contract import Context, Controller
from twinplane.controlplane.controllers.runner import ControllerRunner
from twinplane.kubeclient.contract import Object, Resource
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.event_recorder import EventBroadcaster
from twinplane.kubeclient.informer import SharedInformers
from twinplane.kubeclient.meta import is_deleting, name_of, namespace_of
from twinplane.kubeclient.resources import EVENTS, PODS
from twinplane.testing.memory_cluster import MemoryCluster

Build = Callable[[Context], Sequence[Controller]]


class World:
    def __init__(self, clock: Clock, options: Mapping[str, str] | None = None) -> None:
        self.clock = clock
        self.cluster = MemoryCluster(clock)
        self.informers = SharedInformers(self.cluster)
        self.broadcaster = EventBroadcaster(self.cluster, clock)
        self.context = Context(
            self.cluster, self.informers, clock, Random(1), self.broadcaster.recorder("test"), options or {}
        )
        self.kubelet_works = True
        self.unready: set[str] = set()
        """Names of pods that shall run without becoming ready; a prefix that ends in `*` covers many."""

    async def settle(self, seconds: float = 1.0) -> None:
        """Everything that happens without delay has happened after a second of virtual time."""
        await asyncio.sleep(seconds)

    def one(self, resource: Resource, name: str, namespace: str = "default") -> Object:
        found = self.cluster.object(resource, name, namespace if resource.namespaced else "")
        assert found is not None, f"no {resource.kind} {name}"
        return found

    def names(self, resource: Resource, namespace: str | None = None) -> list[str]:
        return [name_of(body) for body in self.cluster.objects(resource, namespace)]

    def pods(self, *, active: bool = True) -> list[Object]:
        found = self.cluster.objects(PODS)
        return [pod for pod in found if not (active and is_deleting(pod))]

    def events(self, reason: str = "") -> list[str]:
        found = self.cluster.objects(EVENTS)
        return [event["message"] for event in found if not reason or event["reason"] == reason]

    async def kubelet(self) -> None:
        async for event in self.cluster.watch(PODS):
            pod = event.object
            try:
                if event.type != "DELETED" and self.kubelet_works:
                    await self._sync(pod)
            except ApiError as error:
                if error.code not in (404, 409):
                    raise

    async def _sync(self, pod: Object) -> None:
        if is_deleting(pod):
            if not pod["metadata"].get("finalizers"):
                await self.cluster.delete(PODS, name_of(pod), namespace_of(pod), grace_period_seconds=0)
        elif pod.get("status", {}).get("phase") == "Pending":
            name = name_of(pod)
            held = any(name == entry or (entry.endswith("*") and name.startswith(entry[:-1])) for entry in self.unready)
            status = running_status(self.clock, ready=not held)
            await self.cluster.patch(PODS, name, {"status": status}, namespace_of(pod), subresource="status")


def running_status(clock: Clock, *, ready: bool = True, ip: str = "10.0.0.1") -> Object:
    now = rfc3339(clock.now())
    condition = {"type": "Ready", "status": "True" if ready else "False", "lastTransitionTime": now}
    return {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}], "conditions": [condition]}


@asynccontextmanager
async def running(
    clock: Clock, build: Build, *, options: Mapping[str, str] | None = None, seed: Callable[[World], Any] | None = None
) -> AsyncIterator[World]:
    """A world whose controllers, event recorder and kubelet run until the block ends."""
    world = World(clock, options)
    if seed is not None:
        seed(world)
    loop = asyncio.get_running_loop()
    # Costs measured in real time would make tests in virtual time depend on the machine.
    runner = ControllerRunner(build(world.context), world.informers, timer=loop.time)
    tasks = [
        asyncio.create_task(part, name=name)
        for name, part in (
            ("runner", runner.run()),
            ("events", world.broadcaster.run()),
            ("kubelet", world.kubelet()),
        )
    ]
    try:
        await runner.started.wait()
        yield world
        for task in tasks:
            assert not task.done(), f"{task.get_name()} ended: {task}"
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def pod_template(labels: Mapping[str, str], image: str = "app:1") -> Object:
    return {"metadata": {"labels": dict(labels)}, "spec": {"containers": [{"name": "app", "image": image}]}}
