"""Where bytes for simulated pods arrive: one listener for every alias of every pod and node of the cluster.

A load balancer or a client on this host dials an alias in 127/8; the address on which the connection was accepted says
which VPC address and port were meant (`aliases_file`). Behind it is a pod, a node port, or nothing, in which case the
connection is reset, as near to "refused" as an accepted connection can be.
"""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from twinplane.dataplane.simulation.nodes import NodeFleet
from twinplane.dataplane.simulation.pods import PodFleet, SimulatedPod
from twinplane.dataplane.simulation.responder import PodConnection
from twinplane.dataplane.simulation.services import PodTarget, ServiceRouter, Target

log = logging.getLogger(__name__)

LINGER_NONE = struct.pack("ii", 1, 0)
BACKLOG = 512


class Endpoint(NamedTuple):
    vpc: str
    address: str
    port: int


class Aliases:
    """The alias file, read again when it has changed and an alias is not known."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read_at: tuple[int, int] | None = None
        self._table: dict[str, Endpoint] = {}

    def get(self, alias: str) -> Endpoint | None:
        """Looks at the file's date first: an alias may have been given to another target."""
        try:
            stat = self._path.stat()
        except FileNotFoundError:
            return None
        if self._read_at != (stat.st_mtime_ns, stat.st_ino):
            self._table = self._load()
            self._read_at = (stat.st_mtime_ns, stat.st_ino)
        return self._table.get(alias)

    def _load(self) -> dict[str, Endpoint]:
        try:
            content = json.loads(self._path.read_text())
            return {alias: Endpoint(item["vpc"], item["address"], int(item["port"])) for alias, item in content.items()}
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("alias file %s: %s", self._path, error)
            return {}


class Directory:
    """Who is at an address of the VPC: a pod, or a node with its host ports and node ports."""

    def __init__(self, pods: PodFleet, router: ServiceRouter, nodes: NodeFleet) -> None:
        self._pods = pods
        self._router = router
        self._nodes = nodes

    def find(self, address: str, port: int) -> Target | None:
        """Whatever VPC the address is of: that of the cluster, or the range of a fleet."""
        return next(
            (found for vpc in self._nodes.vpcs if (found := self.resolve(Endpoint(vpc, address, port), ""))), None
        )

    def resolve(self, endpoint: Endpoint, client: str) -> Target | None:
        pod = self._pods.by_address(endpoint.address)
        if pod is not None:
            return PodTarget(pod, endpoint.port) if listens(pod, endpoint.port) else None
        node = self._nodes.at(endpoint.vpc, endpoint.address)
        if node is None or node.silent:
            return None
        for pod in self._pods.on_node(node.name):
            port = _host_port(pod, endpoint.port)
            if port is not None:
                return PodTarget(pod, port)
        return self._router.node_port(node, endpoint.port, client)


def listens(pod: SimulatedPod, port: int) -> bool:
    """A pod that declares ports listens on those; one that declares none might listen anywhere."""
    declared = {number for container in pod.spec.containers for _, number, _ in container.ports}
    return pod.serving and (not declared or port in declared)


def _host_port(pod: SimulatedPod, port: int) -> int | None:
    for container in pod.spec.containers:
        for _, number, host_port in container.ports:
            if pod.serving and port == (number if pod.spec.host_network else host_port):
                return number
    return None


class EndpointListener:
    """`run` serves until cancelled."""

    def __init__(
        self,
        port: int,
        aliases: Aliases,
        directory: Directory,
        answered: Callable[[SimulatedPod, str], None],
    ) -> None:
        """`answered` is told a log line of each request a pod answered."""
        self._port = port
        self._aliases = aliases
        self._directory = directory
        self._answered = answered

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        listener = listening_socket(self._port)
        server = await loop.create_server(self._connection, sock=listener)
        async with server:
            await server.serve_forever()

    def _connection(self) -> asyncio.Protocol:
        return PodConnection(self._target, self._answered)

    def _target(self, transport: asyncio.Transport) -> Target | None:
        local, peer = transport.get_extra_info("sockname")[0], transport.get_extra_info("peername")[0]
        endpoint = self._aliases.get(local) if local.startswith("127.") else None
        target = self._directory.resolve(endpoint, peer) if endpoint is not None else None
        if target is None:
            reset(transport)
        return target


def listening_socket(port: int) -> socket.socket:
    """All addresses, but only through the loopback device where the kernel lets us say so."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo\0")
    except OSError:
        # Not permitted here: connections that came from elsewhere are reset by their local address.
        log.debug("SO_BINDTODEVICE is not permitted")
    try:
        listener.bind(("0.0.0.0", port))
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener


def reset(transport: asyncio.Transport) -> None:
    """Close with RST instead of FIN."""
    sock = transport.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NONE)
    transport.abort()
