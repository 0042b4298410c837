"""A kubelet of one pod `web` with one container `main`: real protocols, a program that the tests can see through."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from twinplane.controlplane.api.contract import Response
from twinplane.controlplane.api.streams.dialing import dial, through
from twinplane.controlplane.api.streams.upstream import Upstream
from twinplane.dataplane.streaming.contract import ContainerIO, ContainerRef, Duplex, StreamError
from twinplane.dataplane.streaming.server import accepting
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.errors import ApiError


class FakeStreams:
    """`exec` knows: `cat`, `exit N`, `hang`, `size`, `both`, `flood N`; ports 80 (echo) and 8080 (HTTP) are open."""

    def __init__(self) -> None:
        self.cancelled = asyncio.Event()
        self.hanging = asyncio.Event()
        self.echoed = asyncio.Event()
        """A connection to port 80 has ended."""
        self.flooded = 0
        self.dialled: list[tuple[str, int]] = []
        self.tls_port = 0
        """Where 8443 leads."""
        self.requests: list[bytes] = []
        self.answers: list[bytes] = []

    def check(self, target: ContainerRef) -> None:
        if (target.namespace, target.pod) != ("default", "web"):
            raise StreamError("pod does not exist", 404)
        if target.container not in ("", "main"):
            raise StreamError(f'container not found ("{target.container}")')

    async def exec(self, target: ContainerRef, command: list[str], io: ContainerIO) -> int:
        match command:
            case ["cat"]:
                while data := await io.read():
                    await io.write(data)
            case ["exit", code]:
                return int(code)
            case ["both"]:
                await io.write(b"out\n")
                await io.write(b"err\n", error=True)
            case ["size"]:
                size = await io.resized()
                await io.write(f"{size.width}x{size.height}".encode())
            case ["flood", count]:
                for _ in range(int(count)):
                    await io.write(bytes(32 * 1024))
                    self.flooded += 1
            case ["hang"]:
                self.hanging.set()
                try:
                    await asyncio.Event().wait()
                finally:
                    self.cancelled.set()
            case _:
                raise StreamError(f"no {command}")
        return 0

    async def attach(self, target: ContainerRef, io: ContainerIO) -> None:
        await io.write(b"attached\n")

    async def port_forward(self, target: ContainerRef, port: int) -> Duplex:
        return await self._open(port)

    async def dial(self, host: str, port: int) -> Duplex:
        self.dialled.append((host, port))
        if port == 8443:
            return Duplex(*await asyncio.open_connection("127.0.0.1", self.tls_port))
        return await self._open(port)

    async def _open(self, port: int) -> Duplex:
        if port not in (80, 8080):
            raise ConnectionRefusedError(f"dial tcp4 127.0.0.1:{port}: connect: connection refused")
        near, far = socket.socketpair()
        serve = self._echo if port == 80 else self.http
        reader, writer = await asyncio.open_unix_connection(sock=far)
        self._task = asyncio.create_task(serve(reader, writer))
        return Duplex(*await asyncio.open_unix_connection(sock=near))

    async def _echo(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        self.echoed.set()
        writer.close()

    async def http(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Keeps what it is asked, answers what it is told."""
        self.requests.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(self.answers.pop(0))
        await writer.drain()
        writer.close()


class Dialer:
    """Implements `KubeletDialer` for a kubelet on a local port, without TLS."""

    def __init__(self, port: int, log: list[bytes] | None = None) -> None:
        """`log` is what every container has printed; None for a kubelet that does not say."""
        self.port = port
        self.log = log

    async def get(self, node: Object, path: str, query: dict[str, str]) -> Response:
        if self.log is None:
            raise ApiError("InternalError", "no logs here", code=503)
        return Response(200, stream=self._lines(self.log), content_type="text/plain")

    async def _lines(self, lines: list[bytes]) -> AsyncIterator[bytes]:
        for line in lines:
            yield line

    async def connect(self, node: Object) -> Upstream:
        return await dial("127.0.0.1", self.port)

    async def reach(self, node: Object | None, host: str, port: int) -> Upstream:
        return await through(await dial("127.0.0.1", self.port), host, port)


@asynccontextmanager
async def kubelet(*, allowed: bool = True) -> AsyncIterator[tuple[FakeStreams, int]]:
    """The streams behind it, and its port."""

    async def healthz(request: web.Request) -> web.Response:
        return web.Response(text="ok")

    streams = FakeStreams()
    application = web.Application()
    application.add_routes([web.get("/healthz", healthz)])
    async with accepting(application, streams, lambda _: allowed) as protocol:
        server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0)
        try:
            yield streams, server.sockets[0].getsockname()[1]
        finally:
            server.close()
