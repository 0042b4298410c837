"""A client that costs little: one connection, one request at a time, answers read by content-length or chunk."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Iterable
from typing import NamedTuple, cast

_LAST_CHUNK = b"0\r\n\r\n"


class Client(asyncio.Protocol):
    """Made by `connect`."""

    def __init__(self, token: str) -> None:
        self._authorization = f"authorization: Bearer {token}\r\n"
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._waiter: asyncio.Future[bytes] | None = None
        self._data: asyncio.Future[None] | None = None
        self._needed = 0
        self._body_at = 0
        self._is_chunked = False
        self._streams = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        for waiter in (self._waiter, self._data):
            if waiter is not None and not waiter.done():
                waiter.set_exception(ConnectionError("the server closed the connection"))

    def data_received(self, data: bytes) -> None:
        if self._streams:
            if self._data is not None and not self._data.done():
                self._data.set_result(None)
            return
        received = self._received
        received += data
        if not self._needed:
            end = received.find(b"\r\n\r\n")
            if end < 0:
                return
            head = bytes(received[:end]).lower()
            at = head.find(b"content-length: ")
            self._body_at = end + 4
            self._is_chunked = at < 0
            self._needed = self._body_at + (5 if at < 0 else int(head[at + 16 :].split(b"\r\n", 1)[0]))
        if len(received) < self._needed or (self._is_chunked and not received.endswith(_LAST_CHUNK)):
            return
        if self._waiter is not None:
            self._needed = 0
            waiter, self._waiter = self._waiter, None
            waiter.set_result(bytes(received))
            received.clear()

    def _write(self, method: str, path: str, body: bytes, content_type: str) -> None:
        assert self._transport is not None
        head = (
            f"{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nuser-agent: benchmark\r\n{self._authorization}"
            f"accept: application/json\r\ncontent-type: {content_type}\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        self._transport.write(head.encode() + body)

    async def request(
        self, method: str, path: str, body: bytes = b"", *, expect: int = 200, content_type: str = "application/json"
    ) -> bytes:
        """The body. Raises RuntimeError for another status than the one expected."""
        waiter: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiter = waiter
        self._write(method, path, body, content_type)
        answer = await waiter
        if int(answer[9:12]) != expect:
            raise RuntimeError(answer[:2000].decode(errors="replace"))
        body = answer[self._body_at :]
        return _joined(body) if self._is_chunked else body

    def begin(self, method: str, path: str) -> None:
        """Start a stream; what comes is only waited for, not kept."""
        self._streams = True
        self._write(method, path, b"", "application/json")

    def until_data(self) -> asyncio.Future[None]:
        self._data = asyncio.get_running_loop().create_future()
        return self._data

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


def _joined(chunked: bytes) -> bytes:
    """The chunks of a whole body. Go servers send what is longer than their buffer this way."""
    parts = []
    while chunked:
        size, _, rest = chunked.partition(b"\r\n")
        length = int(size, 16)
        parts.append(rest[:length])
        chunked = rest[length + 2 :]
    return b"".join(parts)


class Timed(NamedTuple):
    """Seconds from the request's start."""

    first_byte: float
    total: float
    size: int


def timed_gets(port: int, context: ssl.SSLContext, token: str, path: str, times: int) -> list[Timed]:
    """With a blocking socket: what a large answer costs without a loop's copying."""
    request = f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {token}\r\n\r\n".encode()
    buffer = bytearray(1 << 20)
    found = []
    with context.wrap_socket(socket.create_connection(("127.0.0.1", port)), server_hostname="127.0.0.1") as connection:
        for _ in range(times):
            began = time.monotonic()
            connection.sendall(request)
            received = connection.recv_into(buffer)
            first = time.monotonic() - began
            head, _, _ = bytes(buffer[:received]).lower().partition(b"\r\n\r\n")
            _, announced, length = head.partition(b"content-length: ")
            whole = len(head) + 4 + int(length.split(b"\r\n")[0]) if announced else 0
            tail = bytes(buffer[max(0, received - 5) : received])
            while received < whole or not (whole or tail == _LAST_CHUNK):
                last = connection.recv_into(buffer)
                received += last
                tail = (tail + bytes(buffer[max(0, last - 5) : last]))[-5:]
            found.append(Timed(first, time.monotonic() - began, received))
    return found


def hold_watches(port: int, context: ssl.SSLContext, token: str, paths: Iterable[str]) -> list[ssl.SSLSocket]:
    """Connections with a watch on each, of which the first bytes of the answer have come; the caller closes them."""
    held = []
    for path in paths:
        connection = context.wrap_socket(socket.create_connection(("127.0.0.1", port)), server_hostname="127.0.0.1")
        request = f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {token}\r\n\r\n"
        connection.sendall(request.encode())
        connection.recv(4096)
        held.append(connection)
    return held


async def connect(port: int, context: ssl.SSLContext, token: str) -> Client:
    loop = asyncio.get_running_loop()
    _, client = await loop.create_connection(lambda: Client(token), "127.0.0.1", port, ssl=context)
    return client
