"""One connection of the API server to a node or to something behind it: HTTP/1.1, and raw bytes after a 101.

Made for each stream and each proxied request (`KubeletDialer.connect`). A tunnel needs no task and no buffer of its
own: what one transport receives is written to the other, and a transport that is full stops the reading of its peer.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import cast

import httptools

BUFFERED_MAX = 1 << 18
"""Bytes of an answer's body that may wait for a slow client, and of a tunnel before its client has joined."""

Headers = Sequence[tuple[str, str]]


class Broken(Exception):
    """The connection ended, or was no HTTP, before there was an answer."""


@dataclass(slots=True)
class Head:
    """Status and headers of an answer, names in lower case, in their order."""

    status: int = 0
    headers: list[tuple[str, str]] = field(default_factory=list)

    def get(self, name: str) -> str:
        return next((value for key, value in self.headers if key == name), "")


class Upstream(asyncio.Protocol):
    """Implements `Tunnel`. One request at a time; after a 101 there may be a tunnel, or another request through it."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._parser: httptools.HttpResponseParser | None = None
        self._head = Head()
        self._answered: asyncio.Future[Head] | None = None
        self._pieces: deque[bytes] = deque()
        self._waiting = 0
        self._arrived = asyncio.Event()
        self._complete = False
        self._client: asyncio.Transport | None = None
        self._closed = asyncio.Event()

    # -- asking ----------------------------------------------------------------------------------------------------

    async def ask(self, method: str, target: str, headers: Headers, body: bytes = b"") -> Head:
        """The head of the answer. `target` is already escaped. Raises Broken."""
        if self._transport is None:
            raise Broken("EOF")
        self._parser = httptools.HttpResponseParser(self)
        self._head, self._complete = Head(), False
        self._answered = asyncio.get_running_loop().create_future()
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
        self._transport.write(f"{method} {target} HTTP/1.1\r\n{lines}\r\n".encode("latin-1", "replace") + body)
        return await self._answered

    async def body(self) -> AsyncIterator[bytes]:
        """What follows the head, as it comes. The connection is closed afterwards."""
        try:
            while True:
                while self._pieces:
                    piece = self._pieces.popleft()
                    self._waiting -= len(piece)
                    if self._waiting < BUFFERED_MAX and self._transport is not None:
                        self._transport.resume_reading()
                    yield piece
                if self._complete or self._transport is None:
                    return
                self._arrived.clear()
                await self._arrived.wait()
        finally:
            self.close()

    async def start_tls(self, context: ssl.SSLContext) -> None:
        """Speak TLS with what is behind a tunnel. Raises OSError and ssl.SSLError."""
        assert self._transport is not None
        transport = await asyncio.get_running_loop().start_tls(self._transport, self, context)
        self._transport = cast("asyncio.Transport", transport)

    # -- Tunnel ----------------------------------------------------------------------------------------------------

    async def join(self, client: asyncio.Transport) -> None:
        self._client = client
        while self._pieces:
            client.write(self._pieces.popleft())
        self.resume()
        if self._transport is not None:
            await self._closed.wait()

    def write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    def pause(self) -> None:
        if self._transport is not None:
            self._transport.pause_reading()

    def resume(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def close(self) -> None:
        """What was written is still sent."""
        if self._transport is not None:
            self._transport.close()

    # -- asyncio.Protocol ------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclasses of asyncio's.
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._answered is not None and not self._answered.done():
            self._answered.set_exception(Broken(str(exc) if exc else "EOF"))
        self._arrived.set()
        self._closed.set()

    def data_received(self, data: bytes) -> None:
        if self._client is not None:
            if not self._client.is_closing():
                self._client.write(data)
        elif self._parser is None:
            self._keep(data)
        else:
            self._parse(data)

    def pause_writing(self) -> None:
        if self._client is not None:
            self._client.pause_reading()

    def resume_writing(self) -> None:
        if self._client is not None and not self._client.is_closing():
            self._client.resume_reading()

    def _parse(self, data: bytes) -> None:
        assert self._parser is not None
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._parser = None
            rest = data[upgrade.args[0] :]
            if rest:
                self._keep(rest)
        except httptools.HttpParserError as error:
            if self._answered is not None and not self._answered.done():
                self._answered.set_exception(Broken(f"malformed HTTP response: {error}"))
            self.close()

    def _keep(self, data: bytes) -> None:
        self._pieces.append(data)
        self._waiting += len(data)
        if self._waiting >= BUFFERED_MAX:
            self.pause()
        self._arrived.set()

    # -- httptools -------------------------------------------------------------------------------------------------

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head.headers.append((name.decode("latin-1").lower(), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        assert self._parser is not None
        assert self._answered is not None
        self._head.status = self._parser.get_status_code()
        if 100 <= self._head.status < 200 and self._head.status != 101:
            self._head = Head()
        elif not self._answered.done():
            self._answered.set_result(self._head)

    def on_body(self, body: bytes) -> None:
        self._keep(body)

    def on_message_complete(self) -> None:
        if self._answered is not None and self._answered.done():
            self._complete = True
            self._arrived.set()
