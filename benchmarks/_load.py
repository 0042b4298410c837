"""A client that costs little: one connection, one request at a time, answers read by content-length or chunk."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from typing import cast


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
            self._needed = self._body_at + int(head[at + 16 :].split(b"\r\n", 1)[0])
        if len(received) >= self._needed and self._waiter is not None:
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
        return answer[self._body_at :]

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


def timed_gets(port: int, context: ssl.SSLContext, token: str, path: str, times: int) -> tuple[list[float], int]:
    """(seconds of each, bytes of one) with a blocking socket: what a large answer costs without a loop's copying."""
    request = f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {token}\r\n\r\n".encode()
    buffer = bytearray(1 << 20)
    found = []
    with context.wrap_socket(socket.create_connection(("127.0.0.1", port)), server_hostname="127.0.0.1") as connection:
        for _ in range(times):
            began = time.monotonic()
            connection.sendall(request)
            received = connection.recv_into(buffer)
            head, _, _ = bytes(buffer[:received]).partition(b"\r\n\r\n")
            size = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            while received < len(head) + 4 + size:
                received += connection.recv_into(buffer)
            found.append(time.monotonic() - began)
    return found, size


async def connect(port: int, context: ssl.SSLContext, token: str) -> Client:
    loop = asyncio.get_running_loop()
    _, client = await loop.create_connection(lambda: Client(token), "127.0.0.1", port, ssl=context)
    return client
