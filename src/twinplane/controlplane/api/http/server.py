"""Listening: connections are counted, bounded, and ended gracefully."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress

from twinplane.controlplane.api.contract import Handler
from twinplane.controlplane.api.http.connection import Connection

MAX_CONNECTIONS = 20_000
BACKLOG = 1024


class HttpServer:
    """Made by `serve`. `port` is the one in use, also when 0 was asked for."""

    def __init__(self, *, max_connections: int, compresses_locally: bool) -> None:
        self._connections: set[Connection] = set()
        self._max = max_connections
        self._listener: asyncio.Server | None = None
        self.compresses_locally = compresses_locally
        self.port = 0
        self._empty = asyncio.Event()

    async def listen(
        self, handler: Handler, host: str, port: int, context: ssl.SSLContext | None, *, shared: bool = False
    ) -> None:
        """Raises OSError when the address cannot be bound."""
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(
            lambda: Connection(self, handler), host, port, ssl=context, backlog=BACKLOG, reuse_port=shared or None
        )
        self.port = self._listener.sockets[0].getsockname()[1]

    @property
    def connection_count(self) -> int:
        return len(self._connections)

    def admit(self, connection: Connection) -> bool:
        if len(self._connections) >= self._max:
            return False
        self._connections.add(connection)
        return True

    def forget(self, connection: Connection) -> None:
        self._connections.discard(connection)
        if not self._connections:
            self._empty.set()

    async def close(self, grace_seconds: float = 2.0) -> None:
        """Stop accepting, let running requests finish for `grace_seconds`, then cut off what is left (watches)."""
        if self._listener is None:
            return
        self._listener.close()
        for connection in tuple(self._connections):
            connection.closing = True
            if connection.is_idle:
                connection.close()
        self._listener = None
        if not await self._drained(grace_seconds):
            for connection in tuple(self._connections):
                connection.abort()
            await self._drained(grace_seconds)

    async def _drained(self, seconds: float) -> bool:
        """Wait until no connection is left, at most `seconds`."""
        self._empty.clear()
        if self._connections:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._empty.wait()
        return not self._connections


async def serve(
    handler: Handler,
    host: str,
    port: int,
    context: ssl.SSLContext | None = None,
    *,
    max_connections: int = MAX_CONNECTIONS,
    compresses_locally: bool = False,
    shared: bool = False,
) -> HttpServer:
    """Answer HTTP/1.1 on `host`:`port` (0: any) until the returned server is closed.

    `context` makes it TLS; with `verify_mode` CERT_OPTIONAL the client's certificate becomes part of `Credentials`.
    With `shared` other processes may listen there as well: the kernel spreads connections over those that live.
    """
    server = HttpServer(max_connections=max_connections, compresses_locally=compresses_locally)
    await server.listen(handler, host, port, context, shared=shared)
    return server
