"""Bytes on a socket: pods, node ports and nothing at all, told apart by the alias that was dialled."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.simulation.world import NODE, World, pod
from twinplane.clock import SystemClock
from twinplane.dataplane.simulation.endpoints import Aliases, EndpointListener
from twinplane.kubeclient.resources import ENDPOINT_SLICES, SERVICES
from twinplane.region.ports import free_ports

ADDRESS_OF_NODE = "10.0.12.4"


class Dialler:
    """Writes aliases and dials them."""

    def __init__(self, path: Path, port: int) -> None:
        self._path = path
        self._port = port
        self._table: dict[str, Any] = {}

    def alias(self, address: str, port: int) -> str:
        alias = f"127.64.0.{len(self._table) + 1}"
        self._table[alias] = {"vpc": "vpc-1", "address": address, "port": port}
        self._path.write_text(json.dumps(self._table))
        return alias

    async def send(self, alias: str, text: str) -> bytes:
        reader, writer = await asyncio.open_connection(alias, self._port)
        try:
            writer.write(text.encode())
            async with asyncio.timeout(60):
                return await reader.read(4096)
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def get(self, address: str, port: int, path: str = "/") -> Any:
        answer = await self.send(self.alias(address, port), f"GET {path} HTTP/1.1\r\nHost: shop\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200 OK")
        return json.loads(answer.partition(b"\r\n\r\n")[2])


@contextlib.asynccontextmanager
async def listening(tmp_path: Path) -> AsyncIterator[tuple[World, Dialler]]:
    world = World.new(SystemClock())  # type: ignore[arg-type]  # real sockets take real time
    world.account.start(1)
    (port,) = free_ports(1, "127.0.0.1")
    path = tmp_path / "aliases.json"
    async with world.running() as simulation:
        listener = EndpointListener(port, Aliases(path), simulation.directory, simulation.answered)
        task = asyncio.create_task(listener.run())
        await world.create(pod())
        while "podIP" not in world.pod().get("status", {}) or world.pod()["status"]["phase"] != "Running":
            await asyncio.sleep(0.02)
        try:
            yield world, Dialler(path, port)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_pods_node_ports_and_nothing(tmp_path: Path) -> None:
    async with listening(tmp_path) as (world, dialler):
        address = world.pod()["status"]["podIP"]
        answer = await dialler.get(address, 80, "/cart?item=1")
        assert answer["pod"] == "web"
        assert answer["node"] == NODE
        assert answer["zone"] == "us-west-2a"
        assert answer["namespace"] == "default"
        assert answer["path"] == "/cart?item=1"

        line = await dialler.send(dialler.alias(address, 80), "\x16\x03hello, I am no HTTP client\r\n\r\n")
        assert line == f"pod default/web on {NODE} (us-west-2a)\n".encode()

        for nothing in (dialler.alias(address, 81), dialler.alias("10.0.99.99", 80), "127.64.9.9"):
            with pytest.raises(ConnectionError):
                await dialler.send(nothing, "GET / HTTP/1.1\r\n\r\n")

        await _expose(world, dialler, address)
        assert (await dialler.get(ADDRESS_OF_NODE, 30080))["pod"] == "web"
        assert (await dialler.get(ADDRESS_OF_NODE, 32000))["localEndpoints"] == 1


async def _expose(world: World, dialler: Dialler, address: str) -> None:
    service = {
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {
            "ports": [{"name": "http", "port": 8080, "nodePort": 30080}],
            "externalTrafficPolicy": "Local",
            "healthCheckNodePort": 32000,
        },
    }
    slice_ = {
        "metadata": {"name": "web-1", "namespace": "default", "labels": {"kubernetes.io/service-name": "web"}},
        "ports": [{"name": "http", "port": 80}],
        "endpoints": [{"addresses": [address], "nodeName": NODE, "conditions": {"ready": True}}],
    }
    await world.cluster.create(SERVICES, service, "default")
    await world.cluster.create(ENDPOINT_SLICES, slice_, "default")
    node = dialler.alias(ADDRESS_OF_NODE, 30080)
    while True:
        with contextlib.suppress(ConnectionError):
            await dialler.send(node, "GET / HTTP/1.1\r\n\r\n")
            break
        await asyncio.sleep(0.01)


async def test_keep_alive_and_pipelined_requests(tmp_path: Path) -> None:
    async with listening(tmp_path) as (world, dialler):
        alias = dialler.alias(world.pod()["status"]["podIP"], 80)
        request = "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n"
        answer = await dialler.send(alias, request * 2)
        assert answer.count(b"HTTP/1.1 200 OK") == 2
        posted = await dialler.send(alias, "POST /x HTTP/1.0\r\nContent-Length: 2\r\n\r\nhi")
        assert b"Connection: close" in posted
        assert b'"method":"POST"' in posted
