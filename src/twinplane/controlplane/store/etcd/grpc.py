"""gRPC calls over `http2`: one connection to one of several endpoints, another one when it is lost.

A failure says whether the server may have acted on the call, because only the caller knows whether it can be repeated.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Sequence
from functools import lru_cache
from urllib.parse import unquote

from twinplane.controlplane.store.etcd.configuration import Endpoint
from twinplane.controlplane.store.etcd.header_compression import Header, encode
from twinplane.controlplane.store.etcd.http2 import STREAM_WINDOW, Connection, ConnectionLost

CONNECT_SECONDS = 2.0
CALL_SECONDS = 8.0
"""A little longer than etcd lets a proposal wait (5 s and two elections)."""
OK = 0
DEADLINE_EXCEEDED = 4
UNAVAILABLE = 14


class CallFailed(Exception):
    """The server answered with another status than OK (https://grpc.github.io/grpc/core/md_doc_statuscodes.html)."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message or f"gRPC status {code}")
        self.code = code
        self.message = message


class Call:
    """One call and the messages that come back; `read` from one task. Made by `Channel.call`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._input = bytearray()
        self._messages: deque[tuple[bytes, int]] = deque()
        self._returned = 0
        self._end: Exception | None = None
        self._wake: asyncio.Future[None] | None = None
        self.stream_id = 0

    async def read(self) -> bytes:
        """The next message. Raises `CallFailed` (code OK: the server has ended the stream) and `ConnectionLost`."""
        while not self._messages:
            if self._end is not None:
                raise self._end
            await self._change()
        message, owed = self._messages.popleft()
        self._connection.consumed(self.stream_id, owed)
        return message

    async def only(self) -> bytes:
        """The one message of a unary call, once its status is known to be OK."""
        while self._end is None:
            await self._change()
        if isinstance(self._end, CallFailed) and self._end.code == OK and len(self._messages) == 1:
            return self._messages[0][0]
        raise self._end

    async def _change(self) -> None:
        self._wake = asyncio.get_running_loop().create_future()
        try:
            await self._wake
        finally:
            self._wake = None

    def send(self, message: bytes, *, last: bool = False) -> None:
        self._connection.send(self.stream_id, b"\0" + len(message).to_bytes(4, "big") + message, end=last)

    def cancel(self) -> None:
        self._connection.cancel(self.stream_id)

    def on_headers(self, headers: tuple[Header, ...]) -> None:
        found = dict(headers)
        status, code = found.get(b":status", b"200"), found.get(b"grpc-status")
        if code is not None:
            message = unquote(found.get(b"grpc-message", b"").decode(errors="replace"))
            self._finish(CallFailed(int(code) if code.isdigit() else 2, message))
        elif status != b"200":
            self._finish(CallFailed(UNAVAILABLE, f"HTTP status {status.decode(errors='replace')}"))

    def on_data(self, data: bytes) -> None:
        held = self._input
        held += data
        while len(held) >= 5 and len(held) >= (size := 5 + int.from_bytes(held[1:5], "big")):
            self._messages.append((bytes(held[5:size]), max(0, size - self._returned)))
            self._returned = 0
            del held[:size]
        if len(held) - self._returned > STREAM_WINDOW // 4:
            # The rest of a message that is larger than the window must still be able to come.
            self._connection.consumed(self.stream_id, len(held) - self._returned)
            self._returned = len(held)
        self._notify()

    def on_end(self) -> None:
        self._finish(CallFailed(UNAVAILABLE, "the answer has no status"))

    def on_lost(self, error: ConnectionLost) -> None:
        self._finish(error)

    def _finish(self, end: Exception) -> None:
        if self._end is None:
            self._end = end
        self._notify()

    def _notify(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)


class Channel:
    """Endpoints are tried in turn, beginning with the one that served last."""

    def __init__(self, endpoints: Sequence[Endpoint], context: ssl.SSLContext | None) -> None:
        self._endpoints = list(endpoints)
        self._context = context
        self._connection: Connection | None = None
        self._connecting = asyncio.Lock()
        self._closed = False
        self.metadata: tuple[Header, ...] = ()
        """Sent with every call: the token of the authenticated user."""

    async def unary(self, method: str, message: bytes, *, seconds: float = CALL_SECONDS) -> bytes:
        """Raises `CallFailed` and `ConnectionLost`."""
        call = await self.call(method)
        try:
            async with asyncio.timeout(seconds):
                call.send(message, last=True)
                return await call.only()
        except TimeoutError:
            self.turn_away()
            raise ConnectionLost(f"no answer within {seconds} s", sent=True) from None
        finally:
            call.cancel()

    async def call(self, method: str, *metadata: Header) -> Call:
        """A call that is open for messages both ways. Raises `ConnectionLost` with `sent` False."""
        while True:
            connection = await self._usable()
            try:
                await connection.until_room()
            except ConnectionLost:
                continue
            call = Call(connection)
            call.stream_id = connection.open(
                call, _headers(method, self._context is not None, self.metadata + metadata)
            )
            return call

    def turn_away(self) -> None:
        """The server in use cannot help now (it has no leader): the next call goes to another one."""
        if self._connection is not None:
            self._connection.retire()

    async def close(self) -> None:
        self._closed = True
        if self._connection is not None:
            self._connection.abort("closed")
            await self._connection.wait_closed()

    async def _usable(self) -> Connection:
        if self._connection is not None and self._connection.usable:
            return self._connection
        async with self._connecting:
            if self._connection is not None and self._connection.usable:
                return self._connection
            if self._connection is not None:
                # The one that failed or refused comes last.
                self._endpoints.append(self._endpoints.pop(0))
            self._connection = await self._connect()
            return self._connection

    async def _connect(self) -> Connection:
        reasons = []
        for _ in range(len(self._endpoints)):
            if self._closed:
                break
            endpoint = self._endpoints[0]
            try:
                async with asyncio.timeout(CONNECT_SECONDS):
                    return await self._connect_to(endpoint)
            except (OSError, TimeoutError) as error:
                reasons.append(f"{endpoint}: {error or 'no answer'}")
                self._endpoints.append(self._endpoints.pop(0))
        raise ConnectionLost("; ".join(reasons) or "the channel is closed", sent=False)

    async def _connect_to(self, endpoint: Endpoint) -> Connection:
        name = endpoint.host if self._context is not None else None
        _, connection = await asyncio.get_running_loop().create_connection(
            Connection, endpoint.host, endpoint.port, ssl=self._context, server_hostname=name
        )
        return connection


@lru_cache(64)
def _headers(method: str, tls: bool, metadata: tuple[Header, ...]) -> bytes:
    return encode(
        (
            (b":method", b"POST"),
            (b":scheme", b"https" if tls else b"http"),
            (b":path", method.encode()),
            (b":authority", b"etcd"),
            (b"te", b"trailers"),
            (b"content-type", b"application/grpc"),
            *metadata,
        )
    )
