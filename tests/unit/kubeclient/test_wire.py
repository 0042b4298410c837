"""The client's HTTP against a server that says byte for byte what the test wants."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from twinplane.kubeclient.wire import Wire

REQUEST = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"
EMPTY = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
CLOSE = b"close"
SILENCE = b"silence"

Script = Callable[[int, int], list[bytes]]
"""(connection, request), each from 0 -> what is sent, in pieces."""


@asynccontextmanager
async def serving(script: Script) -> AsyncIterator[tuple[Wire, list[int]]]:
    """The wire, and for each connection how many requests it has seen."""
    counts: list[int] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = len(counts)
        counts.append(0)
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                counts[number] += 1
                for piece in script(number, counts[number] - 1):
                    if piece == CLOSE:
                        return
                    if piece != SILENCE:
                        writer.write(piece)
                        await writer.drain()
                        await asyncio.sleep(0)
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    wire = Wire("127.0.0.1", server.sockets[0].getsockname()[1], None, None)
    try:
        yield wire, counts
    finally:
        await wire.close()
        server.close()
        await server.wait_closed()


async def test_connections_are_kept() -> None:
    async with serving(lambda _, number: [b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%d" % number]) as (
        wire,
        counts,
    ):
        bodies = [(await wire.exchange(REQUEST, 60, repeats=True)).body for _ in range(3)]
        assert bodies == [b"0", b"1", b"2"]
        assert counts == [3]
        await asyncio.gather(*(wire.exchange(REQUEST, 60, repeats=True) for _ in range(3)))
        assert len(counts) == 3


@pytest.mark.parametrize(
    ("pieces", "status", "body"),
    [
        (
            [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", b"2\r\nde\r\n0\r\n\r\n"],
            200,
            b"abcde",
        ),
        ([b"HTTP/1.1 404 Not", b" Found\r\nContent-Le", b"ngth: 4\r\n\r\nno", b"pe"], 404, b"nope"),
        ([b"HTTP/1.1 200 OK\r\n\r\nto the", b" end", CLOSE], 200, b"to the end"),
        ([b"HTTP/1.1 204 No Content\r\n\r\n"], 204, b""),
        ([b"HTTP/1.1 103 Early Hints\r\n\r\n", EMPTY], 200, b""),
    ],
    ids=["chunked", "in pieces", "until the end", "without a body", "after an interim answer"],
)
async def test_answers(pieces: list[bytes], status: int, body: bytes) -> None:
    async with serving(lambda *_: pieces) as (wire, _):
        assert await wire.exchange(REQUEST, 60, repeats=False) == (status, body)


async def test_a_connection_that_is_to_close_is_not_kept() -> None:
    closing = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    async with serving(lambda *_: [closing]) as (wire, counts):
        for _ in range(2):
            assert (await wire.exchange(REQUEST, 60, repeats=False)).status == 200
        assert counts == [1, 1]


async def test_only_what_repeats_is_sent_again() -> None:
    """The kept connection ends instead of answering a second request."""
    async with serving(lambda _, number: [EMPTY] if number == 0 else [CLOSE]) as (wire, counts):
        await wire.exchange(REQUEST, 60, repeats=False)
        assert (await wire.exchange(REQUEST, 60, repeats=True)).status == 200
        assert counts == [2, 1]
        with pytest.raises(ConnectionError, match="closed"):
            await wire.exchange(REQUEST, 60, repeats=False)
        assert counts == [2, 2]


@pytest.mark.parametrize(
    "pieces",
    [[CLOSE], [b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", CLOSE], [b"SSH-2.0-OpenSSH_9.2\r\n"]],
    ids=["no answer", "half an answer", "another protocol"],
)
async def test_no_answer_is_a_connection_error(pieces: list[bytes]) -> None:
    async with serving(lambda *_: pieces) as (wire, _):
        with pytest.raises(ConnectionError):
            await wire.exchange(REQUEST, 60, repeats=True)


async def test_patience_ends() -> None:
    async with serving(lambda *_: [SILENCE]) as (wire, _):
        with pytest.raises(TimeoutError):
            await wire.exchange(REQUEST, 0.01, repeats=True)


async def test_a_cancelled_request_takes_its_connection_with_it() -> None:
    """Its answer would be taken for the next one's."""
    async with serving(lambda number, _: [SILENCE] if number == 0 else [EMPTY]) as (wire, counts):
        task = asyncio.create_task(wire.exchange(REQUEST, 60, repeats=True))
        while counts != [1]:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await wire.exchange(REQUEST, 60, repeats=True)).status == 200
        assert counts == [1, 1]


async def test_an_answer_that_goes_on_waits_for_its_reader() -> None:
    """All of it arrives, although the server is told to wait; a break is not an end."""
    chunk = b"%x\r\n" % 65536 + b"x" * 65536 + b"\r\n"
    pieces = [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", *[chunk] * 64, CLOSE]
    async with serving(lambda *_: pieces) as (wire, _):
        connection = await wire.open()
        assert await connection.begin(REQUEST) == 200
        received: list[int] = []

        async def read() -> None:
            async for piece in connection.pieces():
                received.append(len(piece))
                await asyncio.sleep(0)

        with pytest.raises(ConnectionError):
            await read()
        assert sum(received) == 64 * 65536
        connection.abort()
