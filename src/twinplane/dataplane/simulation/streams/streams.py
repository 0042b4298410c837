"""Streams of simulated kubelets: commands answered in this process, logs as output, and the pods' own HTTP responder.

Implements `dataplane.streaming.contract.Streams` for all nodes of the process; made by `KubeletApi`.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any

from twinplane.clock import Clock
from twinplane.dataplane.simulation.endpoints import Directory, listens
from twinplane.dataplane.simulation.environment import environment_of
from twinplane.dataplane.simulation.logs import Logs, next_lines
from twinplane.dataplane.simulation.pods import PodFleet
from twinplane.dataplane.simulation.responder import PodConnection
from twinplane.dataplane.simulation.services import PodTarget, Target
from twinplane.dataplane.simulation.simulated_pod import SimulatedPod
from twinplane.dataplane.simulation.streams.commands import Commands, Container
from twinplane.dataplane.simulation.streams.terminal import TerminalOutput
from twinplane.dataplane.streaming.contract import ContainerIO, ContainerRef, Duplex, StreamError
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.errors import ApiError

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ReadPod = Callable[[str, str], Awaitable[Object]]
"""(namespace, name) -> the pod as the API server has it: its environment is not kept here. Raises ApiError."""


class SimulatedStreams:
    def __init__(
        self,
        pods: PodFleet,
        logs: Logs,
        clock: Clock,
        directory: Directory,
        *,
        answered: Callable[[SimulatedPod, str], None],
        read_pod: ReadPod,
    ) -> None:
        """`answered` is told a log line of each request a pod answered."""
        self._pods = pods
        self._logs = logs
        self._clock = clock
        self._directory = directory
        self._answered = answered
        self._read_pod = read_pod

    def check(self, target: ContainerRef) -> None:
        pod = self._pod(target)
        if target.container:
            self._check_container(pod, target.container)

    async def exec(self, target: ContainerRef, command: list[str], io: ContainerIO) -> int:
        pod = self._pod(target)
        self._check_container(pod, target.container)
        try:
            body = await self._read_pod(target.namespace, target.pod)
        except ApiError as error:
            raise StreamError(str(error)) from error
        hostname = hostname_of(pod, body)
        container = Container(hostname, _environment(pod, body, target.container, hostname), self._clock)
        return await Commands(container, _with_terminal(io)).run(command)

    async def attach(self, target: ContainerRef, io: ContainerIO) -> None:
        """What the container logs from now on; its input goes nowhere, as with a server that reads none."""
        pod = self._pod(target)
        self._check_container(pod, target.container)
        life = next(item for item in pod.life.containers if item.spec.name == target.container)
        ring = self._logs.opened(pod.spec.uid, target.container)
        io = _with_terminal(io)
        incarnation, written = ring.incarnation, ring.written
        while life.running and life.incarnation in (0, incarnation):
            lines = await next_lines(ring, written)
            written = ring.written
            if not lines:
                return
            for line in lines:
                if line.incarnation == incarnation:
                    await io.write(line.render(timestamps=False).encode())

    async def port_forward(self, target: ContainerRef, port: int) -> Duplex:
        pod = self._pod(target)
        if not listens(pod, port):
            raise ConnectionRefusedError(
                "failed to execute portforward in network namespace: failed to connect to "
                f"localhost:{port} inside namespace, IPv4: dial tcp4 127.0.0.1:{port}: connect: connection refused"
            )
        return await self._connected(PodTarget(pod, port))

    async def dial(self, host: str, port: int) -> Duplex:
        found = self._directory.find(host, port)
        if found is None:
            raise ConnectionRefusedError(f"dial tcp {host}:{port}: connect: connection refused")
        return await self._connected(found)

    async def _connected(self, target: Target) -> Duplex:
        """The responder of a pod on the far end of a pair of sockets, as real a connection as any."""
        near, far = socket.socketpair()
        loop = asyncio.get_running_loop()
        await loop.create_unix_connection(lambda: PodConnection(lambda _: target, self._answered), sock=far)
        return Duplex(*await asyncio.open_unix_connection(sock=near))

    def _pod(self, target: ContainerRef) -> SimulatedPod:
        pod = self._pods.find(target.namespace, target.pod)
        if pod is None:
            raise StreamError("pod does not exist", 404)
        if pod.node.silent:
            raise StreamError(f'node "{pod.node.name}" is lost', 503)
        return pod

    @staticmethod
    def _check_container(pod: SimulatedPod, name: str) -> None:
        """Only what runs can be found: the kubelet asks the runtime, not the spec."""
        life = next((item for item in pod.life.containers if item.spec.name == name), None)
        if life is None or not life.running:
            raise StreamError(f'container not found ("{name}")')


def _with_terminal(io: ContainerIO) -> ContainerIO:
    return TerminalOutput(io) if io.tty else io


def hostname_of(pod: SimulatedPod, body: Object) -> str:
    if pod.spec.host_network:
        return pod.node.name
    return str(body["spec"].get("hostname") or pod.spec.name)


def _environment(pod: SimulatedPod, body: Object, container: str, hostname: str) -> dict[str, str]:
    """What the container would find set, as far as it follows from the pod."""
    host = pod.node.spec.instance.private_ip
    addresses = {
        "status.podIP": pod.address,
        "status.podIPs": pod.address,
        "status.hostIP": host,
        "status.hostIPs": host,
        "spec.nodeName": pod.spec.node,
    }
    lists = (body["spec"].get(field) or () for field in ("containers", "initContainers", "ephemeralContainers"))
    item: dict[str, Any] = next((item for items in lists for item in items if item["name"] == container), {})
    return {"PATH": PATH, "HOSTNAME": hostname, **environment_of(item, body, addresses), "HOME": "/root"}
