"""Simulated nodes beside an API server in the same process: no instances, no ports, kubelets called directly."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from random import Random
from typing import cast

from twinplane.clock import Clock
from twinplane.controlplane import node_fleet
from twinplane.controlplane.api.contract import Handler, Response
from twinplane.controlplane.api.inprocess import InProcessClient
from twinplane.controlplane.api.streams.dialing import through
from twinplane.controlplane.api.streams.upstream import Upstream
from twinplane.controlplane.auth.contract import AUTHENTICATED, UserInfo
from twinplane.dataplane.log_options import log_options
from twinplane.dataplane.simulation.kubelet_api import KubeletApi, log_chunks, log_refusal
from twinplane.dataplane.simulation.nodes import NodeTemplate
from twinplane.dataplane.simulation.process import Simulation
from twinplane.dataplane.simulation.runtime import Runtime
from twinplane.dataplane.simulation.streams.streams import SimulatedStreams
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.errors import ApiError, bad_request
from twinplane.kubeclient.event_recorder import EventBroadcaster
from twinplane.kubeclient.resources import PODS
from twinplane.testing.memory_account import MemoryAccount

FLEET = UserInfo(node_fleet.USER, (node_fleet.GROUP, AUTHENTICATED))
NO_SOCKET = "127.0.0.1:0"
"""Where the kubelets listen: nowhere, their API server calls them."""


class SimulatedNodes:
    """The simulation of `dataplane`, its client and its events; `run` until cancelled."""

    def __init__(self, server: Handler, account: MemoryAccount, template: NodeTemplate, clock: Clock, random: Random):
        client = InProcessClient(server, FLEET, "kubelet")
        self.broadcaster = EventBroadcaster(client, clock)
        self.simulation = Simulation(
            Runtime(client, account, clock, random, self.broadcaster.recorder("kubelet")), template
        )
        self._clock = clock
        pods, logs = self.simulation.pods, self.simulation.logs
        streams = SimulatedStreams(
            pods,
            logs,
            clock,
            self.simulation.directory,
            answered=self.simulation.answered,
            read_pod=lambda namespace, name: client.get(PODS, name, namespace),
        )
        self._kubelets = KubeletApi(pods, logs, clock, streams)
        self._open = AsyncExitStack()
        self._accept: Callable[[], asyncio.BaseProtocol] | None = None

    async def run(self) -> None:
        async with self._open, asyncio.TaskGroup() as group:
            group.create_task(self.broadcaster.run(), name="kubelet events")
            group.create_task(self.simulation.run(), name="simulation")

    async def get(self, node: Object, path: str, query: dict[str, str]) -> Response:
        """What the kubelets answer the API server (`KubeletDialer`)."""
        _, what, *rest = path.split("/")
        if what != "containerLogs" or len(rest) != 3:
            raise ApiError("NotFound", "404 page not found")
        namespace, name, container = rest
        pod = self.simulation.pods.find(namespace, name)
        if pod is None:
            raise ApiError("NotFound", f'pod "{name}" not found')
        try:
            options = log_options(query, self._clock.now())
        except ValueError as error:
            raise bad_request(str(error)) from error
        refusal = log_refusal(pod, container, options)
        if refusal is not None:
            raise bad_request(refusal)
        ring = self.simulation.logs.ring(pod.spec.uid, container)
        if ring is None:
            return Response(200, content_type="text/plain")
        return Response(200, content_type="text/plain", stream=log_chunks(ring, options))

    async def connect(self, node: Object) -> Upstream:
        """Streams take a pair of sockets: their protocols want to read and write at their own pace."""
        if self._accept is None:
            self._accept = await self._open.enter_async_context(self._kubelets.listening())
        near, far = socket.socketpair()
        loop = asyncio.get_running_loop()
        await loop.connect_accepted_socket(cast("Callable[[], asyncio.Protocol]", self._accept), far)
        _, upstream = await loop.create_unix_connection(Upstream, sock=near)
        return upstream

    async def reach(self, node: Object | None, host: str, port: int) -> Upstream:
        return await through(await self.connect(node or {}), host, port)


def node_config(labels: Mapping[str, str], taints: Sequence[str]) -> str:
    """User data as nodeadm reads it; taints as `key=value:Effect`."""
    import json

    flags = []
    if labels:
        flags.append("--node-labels=" + ",".join(f"{key}={value}" for key, value in labels.items()))
    if taints:
        flags.append("--register-with-taints=" + ",".join(taints))
    body = {"apiVersion": "node.eks.aws/v1alpha1", "kind": "NodeConfig", "spec": {"kubelet": {"flags": flags}}}
    return json.dumps(body) if flags else ""
