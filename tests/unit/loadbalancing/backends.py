"""Small asyncio servers that stand for targets, and a client for what is in front of them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

from twinplane.cloud.contract import ChangeListener, Instance
from twinplane.cloud.loadbalancing.contract import SocketAddress, Target


class Response(NamedTuple):
    status: int
    headers: dict[str, str]
    body: str

    def json(self) -> dict[str, object]:
        content = json.loads(self.body)
        assert isinstance(content, dict)
        return content


@asynccontextmanager
async def backend(name: str) -> AsyncIterator[SocketAddress]:
    """Answers every request with its own name, the request line and the headers it saw."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                headers = {}
                while (header := await reader.readline()) not in (b"\r\n", b""):
                    key, _, value = header.decode().partition(":")
                    headers[key.lower()] = value.strip()
                body = json.dumps({"target": name, "request": line.decode().strip(), "headers": headers}).encode()
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
                await writer.drain()
                if headers.get("connection") == "close":
                    break
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        host, port = server.sockets[0].getsockname()
        yield host, port
    finally:
        server.close()


async def get(address: SocketAddress, path: str = "/", **headers: str) -> Response:
    reader, writer = await asyncio.open_connection(*address, local_addr=("127.0.0.1", 0))
    lines = {"host": "shop.example.com", "connection": "close"} | headers
    head = "".join(f"{key.replace('_', '-')}: {value}\r\n" for key, value in lines.items())
    writer.write(f"GET {path} HTTP/1.1\r\n{head}\r\n".encode())
    top = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 60)).decode().removesuffix("\r\n\r\n")
    first, *rest = top.split("\r\n")
    found = {key.lower(): value.strip() for key, _, value in (line.partition(":") for line in rest)}
    body = await asyncio.wait_for(reader.readexactly(int(found["content-length"])), 60)
    writer.close()
    return Response(int(first.split()[1]), found, body.decode())


class FixedReach:
    """`Reach` from a table by target."""

    def __init__(self, table: dict[Target, SocketAddress]) -> None:
        self.table = table

    def resolve(self, vpc_id: str, target: Target) -> list[SocketAddress]:
        return [self.table[target]] if target in self.table else []


class Account:
    """`CloudState` with instances in a list."""

    def __init__(self, instances: list[Instance] | None = None) -> None:
        self.present = instances or []
        self.listeners: list[ChangeListener] = []

    def instances(self, cluster: str = "") -> list[Instance]:
        return [instance for instance in self.present if not cluster or instance.cluster == cluster]

    def instance_by_address(self, vpc_id: str, address: str) -> Instance | None:
        return next((found for found in self.present if (found.vpc_id, found.private_ip) == (vpc_id, address)), None)

    def subscribe(self, listener: ChangeListener) -> None:
        self.listeners.append(listener)

    def changed(self, service: str = "elasticloadbalancing") -> None:
        for listener in self.listeners:
            listener(service)
