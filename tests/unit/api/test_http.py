"""The protocol on real sockets: keep-alive, pipelining, streams, limits, and what is not HTTP."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from twinplane.controlplane.api.contract import Request, Response
from twinplane.controlplane.api.http.server import HttpServer, serve


class Echo:
    """Answers with what it was asked; some paths do more."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.streams_closed = 0
        self.cancelled = 0
        self.gate = asyncio.Event()

    async def handle(self, request: Request) -> Response:
        self.requests.append(request)
        if request.path == "/slow":
            try:
                await self.gate.wait()
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
        if request.path == "/stream":
            return Response(200, stream=self._stream(request))
        if request.path == "/large":
            return Response(200, b"x" * 300_000)
        if request.path == "/pieces":
            return Response(200, pieces=[b"a" * 70_000, b"b" * 70_000, b"c"])
        if request.path == "/none":
            return Response(304)
        return Response(200, f"{request.method} {request.path}".encode() + request.body, headers={"x-more": "1"})

    async def _stream(self, request: Request) -> AsyncIterator[bytes]:
        try:
            yield b"first\n"
            if "endless" in request.query:
                await asyncio.Event().wait()
            if "flood" in request.query:
                while True:
                    yield b"y" * 65536
            if "broken" in request.query:
                raise RuntimeError("the stream broke")
            yield b"second\n"
        finally:
            self.streams_closed += 1


class Socket:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def ask(self, text: str, body: bytes = b"") -> tuple[int, dict[str, str], bytes]:
        self.send(text, body)
        return await self.answer()

    def send(self, text: str, body: bytes = b"") -> None:
        length = f"content-length: {len(body)}\r\n" if body else ""
        self.writer.write(f"{text} HTTP/1.1\r\nhost: x\r\n{length}\r\n".encode() + body)

    async def answer(self, *, head_only: bool = False) -> tuple[int, dict[str, str], bytes]:
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = dict(line.split(": ", 1) for line in head[1:] if line)
        length = 0 if head_only else int(headers.get("content-length", 0))
        return int(head[0].split()[1]), headers, await self.reader.readexactly(length)

    async def chunk(self) -> bytes:
        size = int(await self.reader.readline(), 16)
        return (await self.reader.readexactly(size + 2))[:-2]

    async def ended(self) -> bool:
        return await self.reader.read(1) == b""


@asynccontextmanager
async def serving(echo: Echo, **options: bool | int) -> AsyncIterator[HttpServer]:
    server = await serve(echo, "127.0.0.1", 0, **options)  # type: ignore[arg-type] # either of two options
    try:
        yield server
    finally:
        await server.close(0.05)


@asynccontextmanager
async def connected(server: HttpServer) -> AsyncIterator[Socket]:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        yield Socket(reader, writer)
    finally:
        writer.close()
        await asyncio.gather(writer.wait_closed(), return_exceptions=True)


async def until(condition: object) -> None:
    for _ in range(12_000):
        if condition():  # type: ignore[operator] # a callable
            return
        await asyncio.sleep(0.005)
    raise AssertionError("did not come true")


async def test_requests_on_one_connection() -> None:
    echo = Echo()
    async with serving(echo) as server, connected(server) as socket:
        assert await socket.ask("GET /a%20b?x=1&x=2&y=") == (
            200,
            {"content-type": "application/json", "x-more": "1", "content-length": "8"},
            b"GET /a b",
        )
        assert (await socket.ask("POST /b", b"body"))[2] == b"POST /bbody"
        first = echo.requests[0]
        assert first.query == {"x": "2", "y": ""}
        assert first.queries == {"x": ["1", "2"], "y": [""]}
        assert server.connection_count == 1
    assert server.connection_count == 0


async def test_pipelined_requests_are_answered_in_order() -> None:
    echo = Echo()
    async with serving(echo) as server, connected(server) as socket:
        socket.send("GET /slow")
        for number in range(60):
            socket.send(f"GET /{number}")
        await until(lambda: echo.requests)
        echo.gate.set()
        assert (await socket.answer())[2] == b"GET /slow"
        for number in range(60):
            assert (await socket.answer())[2] == f"GET /{number}".encode()


async def test_bearer_tokens_and_repeated_headers() -> None:
    echo = Echo()
    async with serving(echo) as server, connected(server) as socket:
        await socket.ask(
            "GET / HTTP/1.1\r\nAuthorization: bearer abc\r\nImpersonate-Group: a\r\nImpersonate-Group: b\r\nX: y"
        )
        assert echo.requests[0].credentials.token == "abc"
        assert echo.requests[0].headers["impersonate-group"] == "a\nb"


async def test_streams_are_chunked_and_the_connection_goes_on() -> None:
    echo = Echo()
    async with serving(echo) as server, connected(server) as socket:
        socket.send("GET /stream")
        _, headers, _ = await socket.answer()
        assert headers["transfer-encoding"] == "chunked"
        assert [await socket.chunk() for _ in range(3)] == [b"first\n", b"second\n", b""]
        assert (await socket.ask("GET /next"))[0] == 200
        assert echo.streams_closed == 1


async def test_a_broken_stream_ends_the_connection(caplog: pytest.LogCaptureFixture) -> None:
    echo = Echo()
    async with serving(echo) as server, connected(server) as socket:
        socket.send("GET /stream?broken=1")
        await socket.answer()
        assert await socket.chunk() == b"first\n"
        with suppress(ConnectionResetError):
            assert await socket.ended()
        assert "the stream broke" in caplog.text


async def test_a_client_that_leaves_ends_its_stream_and_its_request() -> None:
    echo = Echo()
    async with serving(echo) as server:
        async with connected(server) as socket:
            socket.send("GET /stream?endless=1")
            await socket.answer()
            assert await socket.chunk() == b"first\n"
        async with connected(server) as socket:
            socket.send("GET /slow")
            await until(lambda: len(echo.requests) == 2)
        await until(lambda: echo.streams_closed == 1 and echo.cancelled == 1)
        await until(lambda: server.connection_count == 0)


async def test_a_client_that_does_not_read_holds_up_its_own_stream() -> None:
    echo = Echo()
    async with serving(echo) as server, connected(server) as slow, connected(server) as other:
        slow.send("GET /stream?flood=1")
        await slow.answer()
        assert (await other.ask("GET /fine"))[2] == b"GET /fine"


async def test_heads_and_empty_answers() -> None:
    async with serving(Echo()) as server, connected(server) as socket:
        socket.send("HEAD /x")
        assert (await socket.answer(head_only=True))[1]["content-length"] == "7"
        assert await socket.ask("GET /none") == (304, {"content-type": "application/json", "content-length": "0"}, b"")


@pytest.mark.parametrize("announced", [True, False])
async def test_bodies_over_the_limit_are_refused(announced: bool) -> None:
    echo = Echo()
    async with serving(echo) as server, connected(server) as socket:
        if announced:
            socket.writer.write(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 3145729\r\n\r\n")
        else:
            socket.writer.write(b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
            for _ in range(49):
                socket.writer.write(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
        code, headers, body = await socket.answer()
        assert (code, headers["connection"]) == (413, "close")
        assert b"Request entity too large: limit is 3145728" in body
        assert not echo.requests


async def test_a_body_at_the_limit_passes() -> None:
    async with serving(Echo()) as server, connected(server) as socket:
        body = b"x" * 3_145_728
        assert len((await socket.ask("POST /", body))[2]) == len(body) + 6


async def test_expect_continue() -> None:
    async with serving(Echo()) as server, connected(server) as socket:
        socket.writer.write(b"POST / HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n")
        assert await socket.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        socket.writer.write(b"ok")
        assert (await socket.answer())[2] == b"POST /ok"


@pytest.mark.parametrize(
    ("sent", "code"),
    [(b"nonsense\r\n\r\n", 400), (b"GET / HTTP/1.1\r\nx: " + b"y" * 70_000 + b"\r\n\r\n", 431)],
)
async def test_what_is_not_http_is_refused(sent: bytes, code: int) -> None:
    async with serving(Echo()) as server, connected(server) as socket:
        socket.writer.write(sent)
        assert (await socket.answer())[0] == code
        assert await socket.ended()


async def test_upgrades_are_answered_as_requests_and_end_the_connection() -> None:
    async with serving(Echo()) as server, connected(server) as socket:
        socket.writer.write(b"GET /up HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: spdy/3.1\r\n\r\n\x00\x01")
        assert (await socket.answer())[2] == b"GET /up"


async def test_connection_close_is_honoured() -> None:
    async with serving(Echo()) as server, connected(server) as socket:
        socket.writer.write(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        assert (await socket.answer())[1]["connection"] == "close"
        assert await socket.ended()


async def test_large_answers_are_compressed_for_clients_elsewhere() -> None:
    async with serving(Echo(), compresses_locally=True) as server, connected(server) as socket:
        _, headers, body = await socket.ask("GET /large HTTP/1.1\r\naccept-encoding: gzip\r\nx: y")
        assert headers["content-encoding"] == "gzip"
        assert gzip.decompress(body) == b"x" * 300_000
        assert "content-encoding" not in (await socket.ask("GET /large"))[1]
    async with serving(Echo()) as server, connected(server) as socket:
        assert "content-encoding" not in (await socket.ask("GET /large HTTP/1.1\r\naccept-encoding: gzip\r\nx: y"))[1]


async def test_pieces_are_one_body_of_known_length() -> None:
    async with serving(Echo(), compresses_locally=True) as server, connected(server) as socket:
        for text in ("GET /pieces", "GET /pieces HTTP/1.1\r\naccept-encoding: gzip\r\nx: y"):
            _, headers, body = await socket.ask(text)
            body = gzip.decompress(body) if "content-encoding" in headers else body
            assert body == b"a" * 70_000 + b"b" * 70_000 + b"c"
        socket.send("HEAD /pieces")
        assert (await socket.answer(head_only=True))[1]["content-length"] == "140001"
        assert (await socket.ask("GET /next"))[2] == b"GET /next"


async def test_connections_are_bounded() -> None:
    async with serving(Echo(), max_connections=1) as server, connected(server) as first:
        await first.ask("GET /")
        async with connected(server) as second:
            with suppress(ConnectionResetError):
                assert await second.ended()
        assert (await first.ask("GET /again"))[0] == 200


async def test_closing_lets_running_requests_finish() -> None:
    echo = Echo()
    server = await serve(echo, "127.0.0.1", 0)
    async with connected(server) as busy, connected(server) as idle:
        await idle.ask("GET /")
        busy.send("GET /slow")
        await until(lambda: len(echo.requests) == 2)
        closing = asyncio.create_task(server.close(5))
        await asyncio.sleep(0)
        echo.gate.set()
        assert (await busy.answer())[1]["connection"] == "close"
        assert await idle.ended()
        await closing
    await server.close()
