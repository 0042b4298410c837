"""HTTP/1.1 as a Kubernetes client needs it: whole requests, answers that are whole or go on, kept connections.

Used by `kubeclient.http` only. A node's client sends thousands of small requests to one server, for which a general
HTTP library takes several times as long as the bytes do; here a request is one write and an answer one future.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator
from typing import NamedTuple, cast

import httptools

CONNECT_SECONDS = 60.0
READ_AHEAD_BYTES = 1 << 20
"""Of an answer that goes on, before the server has to wait."""


class Answer(NamedTuple):
    status: int
    body: bytes


class Connection(asyncio.Protocol):
    """One exchange after the other. Whoever does not see one through must `abort`."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._parts: list[bytes] = []
        self._size = 0
        self._status = 0
        self._is_sized = False
        """The answer says where it ends."""
        self._ended = False
        self._streams = False
        self._head: asyncio.Future[int] | None = None
        self._more: asyncio.Future[None] | None = None
        self._error: ConnectionError | None = None
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.reusable = True

    def abort(self) -> None:
        self.reusable = False
        if self._transport is not None:
            self._transport.abort()

    # -- exchanges -----------------------------------------------------------------------------------------------

    async def exchange(self, message: bytes) -> Answer:
        """Raises ConnectionError."""
        status = await self._send(message, streams=False)
        return Answer(status, self._taken())

    async def begin(self, message: bytes) -> int:
        """The status; then `rest` or `pieces`."""
        return await self._send(message, streams=True)

    async def rest(self) -> bytes:
        return b"".join([piece async for piece in self.pieces()])

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """Until the answer ends. Raises ConnectionError when the connection ends before it."""
        while True:
            if self._parts:
                yield self._taken()
                continue
            if self._ended:
                return
            if self._error is not None:
                raise self._error
            self._more = asyncio.get_running_loop().create_future()
            await self._more

    async def _send(self, message: bytes, *, streams: bool) -> int:
        if self._error is not None:
            raise self._error
        assert self._transport is not None
        self._streams, self._ended, self._is_sized, self._status, self._parts = streams, False, False, 0, []
        self._head = asyncio.get_running_loop().create_future()
        self._transport.write(message)
        return await self._head

    def _taken(self) -> bytes:
        parts = self._parts
        taken = parts[0] if len(parts) == 1 else b"".join(parts)
        self._parts = []
        if self._size > READ_AHEAD_BYTES and self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()
        self._size = 0
        return taken

    # -- what comes ----------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(ConnectionError(f"not an answer in HTTP: {error}"))
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self.reusable = False
        if exc is None and self._status and not self._is_sized and not self._ended:
            # An answer without a length ends with its connection.
            self._end()
        self._fail(ConnectionError(str(exc) if exc is not None else "the server closed the connection"))
        if not self.lost.done():
            self.lost.set_result(None)

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() in (b"content-length", b"transfer-encoding"):
            self._is_sized = True

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200:
            # Not the answer yet.
            return
        self._status = status
        if self._streams and self._head is not None and not self._head.done():
            self._head.set_result(status)

    def on_body(self, body: bytes) -> None:
        self._parts.append(body)
        if self._streams:
            before, self._size = self._size, self._size + len(body)
            if before <= READ_AHEAD_BYTES < self._size and self._transport is not None:
                self._transport.pause_reading()
            self._wake()

    def on_message_complete(self) -> None:
        if self._status:
            self.reusable = self.reusable and self._parser.should_keep_alive()
            self._end()

    def _end(self) -> None:
        self._ended = True
        if self._head is not None and not self._head.done():
            self._head.set_result(self._status)
        self._wake()

    def _wake(self) -> None:
        if self._more is not None and not self._more.done():
            self._more.set_result(None)

    def _fail(self, error: ConnectionError) -> None:
        self._error = error
        if self._head is not None and not self._head.done():
            self._head.set_exception(error)
        self._wake()


class Wire:
    """The connections to one server. `close` at the end."""

    def __init__(self, host: str, port: int, context: ssl.SSLContext | None, server_name: str | None) -> None:
        """`server_name`: for whom the certificate must be, where that is not the host; `context` None: no TLS."""
        self._host = host
        self._port = port
        self._context = context
        self._server_name = (server_name or host) if context is not None else None
        self._idle: list[Connection] = []
        self._open: set[Connection] = set()

    async def exchange(self, message: bytes, seconds: float, *, repeats: bool) -> Answer:
        """Raises ConnectionError, and TimeoutError after so many seconds.

        A kept connection may have ended the moment it was used. Whether the server has seen the request is not known
        then: only one that `repeats` without harm is sent once more.
        """
        while True:
            was_kept = bool(self._idle)
            connection = await self._take()
            timer = asyncio.get_running_loop().call_later(seconds, connection.abort)
            try:
                answer = await connection.exchange(message)
            except ConnectionError:
                connection.abort()
                if timer.when() <= asyncio.get_running_loop().time():
                    raise TimeoutError(f"no answer within {seconds:g} s") from None
                if not (was_kept and repeats):
                    raise
            except BaseException:
                connection.abort()
                raise
            else:
                self._keep(connection)
                return answer
            finally:
                timer.cancel()

    async def open(self) -> Connection:
        """One of its own, which the caller aborts. Raises ConnectionError."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                _, connection = await loop.create_connection(
                    Connection, self._host, self._port, ssl=self._context, server_hostname=self._server_name
                )
        except OSError as error:
            raise ConnectionError(str(error) or type(error).__name__) from error
        self._open.add(connection)
        connection.lost.add_done_callback(lambda _: self._open.discard(connection))
        return connection

    async def close(self) -> None:
        connections = list(self._open)
        for connection in connections:
            connection.abort()
        if connections:
            await asyncio.wait([connection.lost for connection in connections], timeout=1)

    async def _take(self) -> Connection:
        while self._idle:
            connection = self._idle.pop()
            if connection.reusable:
                return connection
        return await self.open()

    def _keep(self, connection: Connection) -> None:
        if connection.reusable:
            self._idle.append(connection)
        else:
            connection.abort()
