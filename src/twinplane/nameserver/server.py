"""The sockets of a DNS server, UDP and TCP on one address."""

from __future__ import annotations

import asyncio
import logging
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

from twinplane.nameserver.responder import Responder

log = logging.getLogger(__name__)

IN_FLIGHT_MAX = 2000
CONNECTION_IDLE_SECONDS = 10.0
CONNECTIONS_MAX = 500


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, responder: Responder) -> None:
        self._responder = responder
        self._tasks: set[asyncio.Task[None]] = set()
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        # What does not fit is dropped: clients ask again, and a queue would only make answers late.
        if len(self._tasks) < IN_FLIGHT_MAX:
            task = asyncio.get_running_loop().create_task(self._answer(data, addr))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _answer(self, data: bytes, address: tuple[str, int]) -> None:
        answer = await self._responder.respond(data)
        if answer is not None and self._transport is not None and not self._transport.is_closing():
            self._transport.sendto(answer, address)

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


class _Connections:
    def __init__(self, responder: Responder) -> None:
        self._responder = responder
        self._open = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            while self._open <= CONNECTIONS_MAX:
                async with asyncio.timeout(CONNECTION_IDLE_SECONDS):
                    (length,) = struct.unpack("!H", await reader.readexactly(2))
                    query = await reader.readexactly(length)
                answer = await self._responder.respond(query, over_tcp=True)
                if answer is None:
                    return
                writer.write(struct.pack("!H", len(answer)) + answer)
                await writer.drain()
        except (TimeoutError, OSError, asyncio.IncompleteReadError):
            return
        finally:
            self._open -= 1
            writer.close()


@asynccontextmanager
async def serving(responder: Responder, host: str, port: int) -> AsyncIterator[int]:
    """Listens on both protocols until the block ends; gives the port, which 0 leaves to the system. Raises OSError."""
    connections = _Connections(responder)
    server = await asyncio.start_server(connections.serve, host, port)
    number: int = server.sockets[0].getsockname()[1]
    datagrams = _Datagrams(responder)
    try:
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: datagrams, local_addr=(host, number)
        )
        try:
            yield number
        finally:
            transport.close()
            await datagrams.stop()
    finally:
        server.close()
