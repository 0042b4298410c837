"""One connection: requests are read as they come, answered one after the other, and streamed to at the client's pace.

A task is made for a request when the one before it has been answered, so a pipelining client is served in order. What
arrives while `PIPELINED` requests wait is left in the socket. When the client goes, the running request is cancelled.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from http import HTTPStatus
from typing import TYPE_CHECKING, cast

import httptools

from twinplane.controlplane.api.bodies import MAX_BYTES, too_large
from twinplane.controlplane.api.contract import Handler, Request, Response, Tunnel
from twinplane.controlplane.api.encoding import dump
from twinplane.controlplane.api.http.compression import compress
from twinplane.controlplane.api.http.requests import Incoming
from twinplane.kubeclient.errors import bad_request

if TYPE_CHECKING:
    from twinplane.controlplane.api.http.server import HttpServer

_log = logging.getLogger(__name__)

PIPELINED = 32
WRITE_HIGH_WATER = 1 << 20
"""Bytes that may wait in the transport before a stream pauses."""
_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_LAST_CHUNK = b"0\r\n\r\n"
_NO_BODY = frozenset({204, 304})


class Connection(asyncio.Protocol):
    def __init__(self, server: HttpServer, handler: Handler) -> None:
        self._server = server
        self._handler = handler
        self._parser: httptools.HttpRequestParser | None = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._incoming = Incoming(MAX_BYTES)
        self._waiting: deque[tuple[Request, Response | None, bool]] = deque()
        self._task: asyncio.Task[None] | None = None
        self._certificate = b""
        self._is_local = False
        self._source = ""
        self._writable: asyncio.Future[None] | None = None
        self._paused_reading = False
        self._past_http = False
        self._early = b""
        self._tunnel: Tunnel | None = None
        self.closing = False

    # -- the transport's side

    def connection_made(self, base: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclasses of asyncio's, so this cannot be an assertion.
        self._transport = transport = cast("asyncio.Transport", base)
        if not self._server.admit(self):
            transport.abort()
            return
        transport.set_write_buffer_limits(high=WRITE_HIGH_WATER)
        tls = transport.get_extra_info("ssl_object")
        if tls is not None:
            self._certificate = tls.getpeercert(binary_form=True) or b""
        peer = transport.get_extra_info("peername")
        self._is_local = not peer or peer[0].startswith("127.") or peer[0] == "::1"
        self._source = peer[0] if peer else ""

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.forget(self)
        self._transport = None
        # The two know each other, and nothing else would let go of them before a garbage collection.
        self._parser = None
        self._waiting.clear()
        if self._task is not None:
            self._task.cancel()
        self.resume_writing()

    def data_received(self, data: bytes) -> None:
        if self._past_http:
            if self._tunnel is not None:
                self._tunnel.write(data)
            return
        if self._parser is None:
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            # The request itself is complete; what follows waits until its answer says whose it is.
            self._past_http = True
            self._early = data[upgrade.args[0] :]
            if self._transport is not None:
                self._transport.pause_reading()
        except httptools.HttpParserError as error:
            self._refuse(bad_request(f"malformed HTTP request: {error}").status(), 400)

    def pause_writing(self) -> None:
        if self._tunnel is not None:
            self._tunnel.pause()
        if self._writable is None:
            self._writable = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        if self._tunnel is not None:
            self._tunnel.resume()
        writable, self._writable = self._writable, None
        if writable is not None and not writable.done():
            writable.set_result(None)

    # -- the parser's side

    def on_message_begin(self) -> None:
        self._incoming = Incoming(MAX_BYTES)

    def on_url(self, url: bytes) -> None:
        self._incoming.add_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._incoming.add_header(name, value) and not self._past_http:
            self._refuse(bad_request("request header fields too large").status(), 431)

    def on_headers_complete(self) -> None:
        incoming = self._incoming
        if incoming.expects_too_much():
            incoming.too_large = True
            self._refuse_body()
        elif incoming.headers.get("expect", "").lower() == "100-continue" and self._transport is not None:
            self._transport.write(_CONTINUE)

    def on_body(self, body: bytes) -> None:
        if not self._incoming.add_body(body):
            self._refuse_body()

    def on_message_complete(self) -> None:
        parser = self._parser
        if self._past_http or parser is None:
            return
        method = parser.get_method().decode("latin-1")
        request = self._incoming.finish(method, self._certificate)
        request.source = self._source
        keep_alive = parser.should_keep_alive() and not parser.should_upgrade()
        self._enqueue(request, None, keep_alive=keep_alive)

    def _refuse_body(self) -> None:
        error = too_large()
        self._refuse(error.status(), error.code)

    def _refuse(self, status: dict[str, object], code: int) -> None:
        """Answer after what is under way, then close: the rest of the input cannot be understood."""
        self._past_http = True
        self._enqueue(Request("", "", {}, {}), Response(code, dump(status)), keep_alive=False)

    def _enqueue(self, request: Request, answer: Response | None, *, keep_alive: bool) -> None:
        self._waiting.append((request, answer, keep_alive))
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._serve())
        elif len(self._waiting) >= PIPELINED and self._transport is not None:
            self._transport.pause_reading()
            self._paused_reading = True

    # -- answering

    async def _serve(self) -> None:
        try:
            while self._waiting and self._transport is not None:
                request, response, keep_alive = self._waiting.popleft()
                if self._paused_reading and self._transport is not None:
                    self._transport.resume_reading()
                    self._paused_reading = False
                if response is None:
                    response = await self._handler.handle(request)
                await self._send(request, response, keep_alive=keep_alive and not self.closing)
                if not keep_alive or self.closing:
                    break
            else:
                return
            self.close()
        except Exception:  # noqa: BLE001 - the boundary of a connection, see below
            # The boundary of a connection: a stream that fails halfway can only be cut off.
            _log.exception("answering failed")
            self.abort()
        finally:
            self._task = None

    async def _send(self, request: Request, response: Response, *, keep_alive: bool) -> None:
        if response.stream is not None:
            await self._stream(response, keep_alive=keep_alive)
            return
        if response.tunnel is not None:
            await self._join(response, response.tunnel)
            return
        transport = self._transport
        if transport is None:
            return
        if not self._is_local or self._server.compresses_locally:
            await compress(request, response)
        if response.pieces:
            await self._send_pieces(request, response, keep_alive=keep_alive)
            return
        body = response.body
        length = 0 if response.status in _NO_BODY else len(body)
        head = self._head(response, f"content-length: {length}\r\n", keep_alive=keep_alive)
        if request.method == "HEAD" or response.status in _NO_BODY:
            transport.write(head)
        elif length < _COPY_BELOW:
            transport.write(head + body)
        else:
            transport.writelines((head, body))
        if self._writable is not None:
            await self._writable

    async def _send_pieces(self, request: Request, response: Response, *, keep_alive: bool) -> None:
        """At the client's pace, and everybody else gets a turn between two pieces."""
        length = sum(map(len, response.pieces))
        self._write(self._head(response, f"content-length: {length}\r\n", keep_alive=keep_alive))
        for piece in () if request.method == "HEAD" else response.pieces:
            self._write(piece)
            # The transport sends what it was given when the loop turns.
            await asyncio.sleep(0)
            if self._writable is not None:
                await self._writable

    async def _join(self, response: Response, tunnel: Tunnel) -> None:
        """The connection belongs to the tunnel until either end closes."""
        transport = self._transport
        try:
            if transport is None:
                return
            head = "".join(f"{name}: {value}\r\n" for name, value in response.headers.items())
            transport.write(_STATUS_LINES[101] + head.encode("latin-1", "replace") + b"\r\n")
            if self._early:
                tunnel.write(self._early)
                self._early = b""
            self._tunnel = tunnel
            transport.resume_reading()
            await tunnel.join(transport)
        finally:
            tunnel.close()

    async def _stream(self, response: Response, *, keep_alive: bool) -> None:
        """Chunk by chunk; a client that does not read holds up its own stream only."""
        stream = response.stream
        assert stream is not None
        try:
            self._write(self._head(response, "transfer-encoding: chunked\r\n", keep_alive=keep_alive))
            async for piece in stream:
                if piece:
                    self._write(b"%x\r\n%b\r\n" % (len(piece), piece))
                if self._writable is not None:
                    await self._writable
            self._write(_LAST_CHUNK)
        finally:
            close = getattr(stream, "aclose", None)
            if close is not None:
                await close()

    def _write(self, data: bytes) -> None:
        """Nothing once the client has gone: its task is being cancelled."""
        if self._transport is not None:
            self._transport.write(data)

    def _head(self, response: Response, framing: str, *, keep_alive: bool) -> bytes:
        line = _STATUS_LINES.get(response.status) or b"HTTP/1.1 %d Unknown\r\n" % response.status
        extra = "".join(f"{name}: {value}\r\n" for name, value in response.headers.items())
        ending = "\r\n" if keep_alive else "connection: close\r\n\r\n"
        return line + f"content-type: {response.content_type}\r\n{extra}{framing}{ending}".encode("latin-1", "replace")

    # -- the server's side

    @property
    def is_idle(self) -> bool:
        return self._task is None

    def close(self) -> None:
        """After what was written has been sent."""
        self.closing = True
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()


_COPY_BELOW = 64 * 1024
"""Smaller bodies are copied behind their head, which is cheaper than a second write."""
