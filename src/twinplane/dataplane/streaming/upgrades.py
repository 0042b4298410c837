"""Connections whose first request asks for something other than WebSocket: SPDY, or raw bytes (`Upgrade: tcp`).

The API server makes a new connection for each stream, so looking at the first head of a connection is enough to tell;
all others are handed to the ordinary HTTP server, which knows WebSockets itself.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import cast
from urllib.parse import parse_qs, unquote

from twinplane.dataplane.streaming.contract import StreamError
from twinplane.dataplane.streaming.spdy import SpdyError

log = logging.getLogger(__name__)

HEAD_BYTES_MAX = 64 * 1024
_FORBIDDEN = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 10\r\nConnection: close\r\n\r\nForbidden\n"
_REASONS = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    500: "Internal Server Error",
    502: "Bad Gateway",
}


@dataclass(slots=True)
class UpgradeRequest:
    """`upgrade` is in lower case, as the names of `headers` are."""

    method: str
    path: list[str]
    query: dict[str, list[str]]
    headers: dict[str, str]

    @property
    def upgrade(self) -> str:
        return self.headers.get("upgrade", "").lower()


class RawConnection:
    """What is left of a connection after its head: bytes. Nothing may be sent before `accept`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.accepted = False

    async def accept(self, protocol: str, **headers: str) -> None:
        lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        head = f"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\n{lines}\r\n"
        self.accepted = True
        await self.write(head.encode("latin-1"))

    async def read(self) -> bytes:
        return await self.reader.read(64 * 1024)

    async def write(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def refuse(self, error: StreamError) -> None:
        text = f"{error}\n".encode()
        reason = _REASONS.get(error.code, "Error")
        head = f"HTTP/1.1 {error.code} {reason}\r\nContent-Type: text/plain; charset=utf-8\r\n"
        await self.write(f"{head}Content-Length: {len(text)}\r\nConnection: close\r\n\r\n".encode() + text)


Serve = Callable[[UpgradeRequest, RawConnection], Awaitable[None]]
Admit = Callable[[UpgradeRequest, asyncio.BaseTransport], Awaitable[None]]
"""Raises StreamError for a request that its sender may not make."""


async def admit_all(request: UpgradeRequest, transport: asyncio.BaseTransport) -> None:
    """For those who decide by connection alone (`allowed`)."""


class Upgrades:
    """The protocol factory of a kubelet's listener. `ordinary` makes the protocols of all other connections."""

    def __init__(
        self,
        ordinary: Callable[[], asyncio.BaseProtocol],
        serve: Serve,
        allowed: Callable[[asyncio.BaseTransport], bool],
        admit: Admit = admit_all,
    ) -> None:
        self._admit = admit
        self._ordinary = ordinary
        self._serve = serve
        self._allowed = allowed
        self._tasks: set[asyncio.Task[None]] = set()

    def __call__(self) -> asyncio.Protocol:
        return FirstHead(self)

    def hand_over(self, transport: asyncio.Transport, received: bytes, request: UpgradeRequest | None) -> None:
        """The head is known: None for a connection that is not for us."""
        if not self._allowed(transport):
            transport.write(_FORBIDDEN)
            transport.close()
            return
        if request is None:
            protocol = cast("asyncio.Protocol", self._ordinary())
            transport.set_protocol(protocol)
            protocol.connection_made(transport)
            protocol.data_received(received)
            return
        reader = asyncio.StreamReader()
        streams = asyncio.StreamReaderProtocol(reader)
        transport.set_protocol(streams)
        streams.connection_made(transport)
        rest = received.partition(b"\r\n\r\n")[2]
        if rest:
            reader.feed_data(rest)
        writer = asyncio.StreamWriter(transport, streams, reader, asyncio.get_running_loop())
        task = asyncio.create_task(self._run(request, RawConnection(reader, writer)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """End what is under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self, request: UpgradeRequest, connection: RawConnection) -> None:
        try:
            await self._admit(request, connection.writer.transport)
            await self._serve(request, connection)
        except StreamError as error:
            if not connection.accepted:
                await connection.refuse(error)
        except (SpdyError, ConnectionError, TimeoutError) as error:
            log.debug("stream of %s ended: %s", "/".join(request.path), error)
        except Exception:
            # The boundary of a connection: a defect in one stream must not end the kubelet.
            log.exception("stream of %s failed", "/".join(request.path))
        finally:
            connection.writer.close()


class FirstHead(asyncio.Protocol):
    """Collects the first head of a connection."""

    def __init__(self, upgrades: Upgrades) -> None:
        self._upgrades = upgrades
        self._transport: asyncio.Transport | None = None
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclasses of asyncio's.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        if self._transport is None:
            return
        if b"\r\n\r\n" in self._received or len(self._received) > HEAD_BYTES_MAX:
            self._upgrades.hand_over(self._transport, self._received, upgrade_request(self._received))


def upgrade_request(head: bytes) -> UpgradeRequest | None:
    """None for what is no request to upgrade, or one to a WebSocket. Never raises."""
    first, *lines = head.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
    headers: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        key = name.strip().lower()
        headers[key] = f"{headers[key]}, {value.strip()}" if key in headers else value.strip()
    words = first.split(" ")
    if len(words) != 3 or headers.get("upgrade", "websocket").lower() == "websocket":
        return None
    path, _, query = words[1].partition("?")
    parts = [unquote(part) for part in path.strip("/").split("/")]
    return UpgradeRequest(words[0], parts, parse_qs(query, keep_blank_values=True), headers)
