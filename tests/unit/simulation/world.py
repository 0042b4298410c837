"""A simulation with its API server and account in memory, and pods to put into it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from random import Random
from typing import Any

from tests.unit.simulation.account import MemoryAccount
from twinplane.dataplane.simulation.nodes import NodeTemplate
from twinplane.dataplane.simulation.process import Simulation
from twinplane.dataplane.simulation.runtime import Runtime
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.event_recorder import EventBroadcaster
from twinplane.kubeclient.resources import EVENTS, PODS
from twinplane.testing.memory_cluster import MemoryCluster
from twinplane.testing.virtual_time import VirtualClock

NODE = "ip-10-0-12-4.us-west-2.compute.internal"
"""The first node that an account starts."""


@dataclass
class World:
    cluster: MemoryCluster
    account: MemoryAccount
    clock: VirtualClock

    @classmethod
    def new(cls, clock: VirtualClock) -> World:
        return cls(MemoryCluster(clock), MemoryAccount(), clock)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Simulation]:
        broadcaster = EventBroadcaster(self.cluster, self.clock)
        recorder = broadcaster.recorder("kubelet")
        runtime = Runtime(self.cluster, self.account, self.clock, Random(7), recorder)
        simulation = Simulation(runtime, NodeTemplate("demo", "us-west-2", "1.36", "127.0.0.1:10250"))
        tasks = [asyncio.create_task(broadcaster.run()), asyncio.create_task(simulation.run())]
        try:
            await self._up(simulation)
            yield simulation
        finally:
            for task in tasks:
                task.cancel()
            for result in await asyncio.gather(*tasks, return_exceptions=True):
                if isinstance(result, Exception):
                    raise result

    async def _up(self, simulation: Simulation) -> None:
        running = [item for item in self.account.instances.values() if item["state"] == "running"]
        async with asyncio.timeout(60):
            while not all(simulation.nodes.get(item["private_dns_name"]) for item in running):
                await asyncio.sleep(0.02)

    async def create(self, body: Object) -> Object:
        return await self.cluster.create(PODS, body, "default")

    def pod(self, name: str = "web") -> Object:
        found = self.cluster.object(PODS, name, "default")
        assert found is not None
        return found

    def events(self, reason: str = "") -> list[str]:
        return [body["message"] for body in self.cluster.objects(EVENTS) if reason in ("", body["reason"])]


def pod(name: str = "web", *, node: str = NODE, **spec: Any) -> Object:
    container = {"name": "main", "image": "nginx", "ports": [{"containerPort": 80, "name": "http"}]}
    return {
        "metadata": {"name": name, "namespace": "default", "annotations": spec.pop("annotations", {})},
        "spec": {"nodeName": node, "containers": [container], **spec},
    }


def condition(body: Object, type: str) -> str:
    found = {item["type"]: item["status"] for item in body["status"]["conditions"]}
    return str(found.get(type))
