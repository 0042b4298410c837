"""What goes over the wire to etcd: header blocks, HTTP/2 frames, messages; against bytes of the specifications."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinplane.controlplane.store.etcd import frames, http2, messages, protobuf
from twinplane.controlplane.store.etcd import header_compression as hpack
from twinplane.controlplane.store.etcd.configuration import BadEtcdConfiguration, Endpoint, EtcdConfiguration
from twinplane.controlplane.store.etcd.grpc import CallFailed, Channel
from twinplane.controlplane.store.etcd.http2 import ConnectionLost
from twinplane.controlplane.store.etcd.keys import Keyspace, end_of_prefix

# -- header blocks (RFC 7541, appendix C) ------------------------------------------------------------------------------

HUFFMAN = {
    "f1e3c2e5f23a6ba0ab90f4ff": b"www.example.com",
    "a8eb10649cbf": b"no-cache",
    "25a849e95ba97d7f": b"custom-key",
    "d07abe941054d444a8200595040b8166e082a62d1bff": b"Mon, 21 Oct 2013 20:13:21 GMT",
    "640eff": b"307",
}


@pytest.mark.parametrize("coded", HUFFMAN)
def test_huffman(coded: str) -> None:
    assert hpack.huffman_decode(bytes.fromhex(coded)) == HUFFMAN[coded]


@pytest.mark.parametrize("coded", ["00", "f1e3c2e5f23a6ba0ab90f400", "ffffffff"])
def test_huffman_with_wrong_padding(coded: str) -> None:
    with pytest.raises(hpack.BadHeaderBlock):
        hpack.huffman_decode(bytes.fromhex(coded))


def test_headers_from_the_static_table_and_literals() -> None:
    assert hpack.decode(bytes.fromhex("828684")) == ((b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/"))
    assert hpack.decode(bytes.fromhex("040c2f73616d706c652f70617468")) == ((b":path", b"/sample/path"),)
    assert hpack.decode(b"\x20\x88") == ((b":status", b"200"),), "after an update to a table of size zero"


@pytest.mark.parametrize("block", ["be", "80", "3fe11f", "04", "0405", "7f", "ffffffffffff"])
def test_bad_header_blocks(block: str) -> None:
    with pytest.raises(hpack.BadHeaderBlock):
        hpack.decode(bytes.fromhex(block))


@given(st.lists(st.tuples(st.binary(min_size=1, max_size=200), st.binary(max_size=300))))
def test_what_is_encoded_is_decoded(headers: list[tuple[bytes, bytes]]) -> None:
    assert hpack.decode(hpack.encode(headers)) == tuple(headers)


# -- messages ----------------------------------------------------------------------------------------------------------


def test_varints_and_fields() -> None:
    assert protobuf.varint(300) == b"\xac\x02"
    message = protobuf.integer(1, 150) + protobuf.data(2, b"testing") + b"\x19" + bytes(8) + protobuf.integer(16, 1)
    assert message[:3] == b"\x08\x96\x01"
    assert list(protobuf.fields(message)) == [(1, 150), (2, b"testing"), (16, 1)]


@given(st.lists(st.tuples(st.integers(1, 1000), st.integers(1, 2**63 - 1) | st.binary(max_size=300))))
def test_fields_survive(fields: list[tuple[int, int | bytes]]) -> None:
    encoded = (protobuf.integer(n, v) if isinstance(v, int) else protobuf.data(n, v) for n, v in fields)
    assert list(protobuf.fields(b"".join(encoded))) == fields


@given(st.binary(max_size=40))
def test_garbage_is_refused_or_read(garbage: bytes) -> None:
    with suppress(protobuf.BadMessage):
        list(protobuf.fields(garbage))


def kv(key: bytes, revision: int) -> bytes:
    return protobuf.data(1, key) + protobuf.integer(2, 1) + protobuf.integer(3, revision) + protobuf.data(5, b"v")


def test_answers_are_read() -> None:
    header = protobuf.data(1, protobuf.integer(3, 77))
    ranged = messages.ranged(header + protobuf.data(2, kv(b"/a", 7)) + protobuf.integer(4, 12))
    assert ranged == messages.Ranged(77, [messages.KeyValue(b"/a", b"v", 7, 1, 0)], 12)
    event = protobuf.integer(1, 1) + protobuf.data(2, protobuf.data(1, b"/a") + protobuf.integer(3, 9))
    watched = messages.watched(header + protobuf.integer(7, 1) + protobuf.data(11, event))
    assert watched.fragment
    assert watched.changes == [messages.Change(True, messages.KeyValue(b"/a", b"", 9, 0, 0), None)]


# -- keys and configuration --------------------------------------------------------------------------------------------


def test_keys_stay_in_their_prefix() -> None:
    keyspace = Keyspace("/twinplane/demo")
    assert keyspace.key("/registry/a") == b"/twinplane/demo/registry/a"
    assert keyspace.name(b"/twinplane/demo/registry/a") == "/registry/a"
    assert keyspace.bounds("") == (b"/twinplane/demo/", b"/twinplane/demo0")
    assert keyspace.bounds("/b", after="/bc") == (b"/twinplane/demo/bc\0", b"/twinplane/demo/c")
    first, end = keyspace.bounds("")
    assert not first <= keyspace.marker < end
    with pytest.raises(ValueError, match="not a key"):
        keyspace.key("2/registry")
    assert end_of_prefix(b"a\xff\xff") == b"b"
    assert end_of_prefix(b"\xff") == b"\0"


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"servers": ()}, "at least one"),
        ({"servers": ("localhost:2379",)}, "not a URL"),
        ({"servers": ("https://a:x",)}, "Port"),
        ({"servers": ("https://a/path",)}, "not a URL"),
        ({"servers": ("https://a", "http://b")}, "either all"),
        ({"certificate_file": "c"}, "key"),
        ({"user": "u"}, "password"),
    ],
)
def test_bad_configurations(fields: dict[str, object], why: str) -> None:
    with pytest.raises(BadEtcdConfiguration, match=why):
        EtcdConfiguration(**{"servers": ("https://a:2379",), "prefix": "/x", **fields})  # type: ignore[arg-type]


def test_configuration() -> None:
    found = EtcdConfiguration(["https://a", "https://[::1]:1"], "x/")  # type: ignore[arg-type] # as JSON gives it
    assert found.prefix == "/x"
    assert found.endpoints == (Endpoint("a", 2379, True), Endpoint("::1", 1, True))


# -- calls over a connection, with a server of a few lines -------------------------------------------------------------

Answer = Callable[["Peer", int, bytes], Awaitable[None]]
OK = hpack.encode(((b":status", b"200"), (b"content-type", b"application/grpc")))


class Peer:
    """The other end: reads frames, calls `answer` for each complete request."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: Answer) -> None:
        self.reader = reader
        self.writer = writer
        self.answer = answer
        self.bodies: dict[int, bytes] = {}
        self.credit: dict[int, int] = {}

    def frame(self, type: int, flags: int, stream: int, payload: bytes = b"") -> None:
        self.writer.write(frames.frame(type, flags, stream, payload))

    def message(self, stream: int, body: bytes) -> None:
        data = b"\0" + len(body).to_bytes(4, "big") + body
        for at in range(0, len(data), frames.FRAME_SIZE):
            self.frame(frames.DATA, 0, stream, data[at : at + frames.FRAME_SIZE])

    def end(self, stream: int, status: bytes = b"0", message: bytes = b"") -> None:
        block = hpack.encode(((b"grpc-status", status), (b"grpc-message", message)))
        self.frame(frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, stream, block)

    async def run(self) -> None:
        assert await self.reader.readexactly(len(frames.PREFACE)) == frames.PREFACE
        self.frame(frames.SETTINGS, 0, 0, struct.pack(">HI", frames.MAX_CONCURRENT_STREAMS, 3))
        while True:
            head = await self.reader.readexactly(9)
            size, kind, flags = int.from_bytes(head[:3], "big"), head[3], head[4]
            stream = int.from_bytes(head[5:], "big")
            payload = await self.reader.readexactly(size)
            if kind == frames.WINDOW_UPDATE:
                self.credit[stream] = self.credit.get(stream, 0) + int.from_bytes(payload, "big")
            elif kind == frames.DATA:
                self.bodies[stream] = self.bodies.get(stream, b"") + payload
                self.frame(frames.WINDOW_UPDATE, 0, stream, struct.pack(">I", max(size, 1)))
                self.frame(frames.WINDOW_UPDATE, 0, 0, struct.pack(">I", max(size, 1)))
                if flags & frames.END_STREAM:
                    await self.answer(self, stream, self.bodies[stream][5:])


@asynccontextmanager
async def channel(*answers: Answer) -> AsyncIterator[Channel]:
    """To as many servers as there are answers."""

    def accept(answer: Answer) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                await Peer(reader, writer, answer).run()
            writer.close()

        return serve

    servers = [await asyncio.start_server(accept(answer), "127.0.0.1", 0) for answer in answers]
    made = Channel([Endpoint("127.0.0.1", server.sockets[0].getsockname()[1], False) for server in servers], None)
    try:
        yield made
    finally:
        await made.close()
        for server in servers:
            server.close()
        await asyncio.sleep(0.01)


async def echo(peer: Peer, stream: int, body: bytes) -> None:
    peer.frame(frames.HEADERS, frames.END_HEADERS, stream, OK)
    peer.message(stream, body[::-1])
    peer.end(stream)


async def test_many_calls_share_a_connection_and_respect_its_limit() -> None:
    async with channel(echo) as made:
        answers = await asyncio.gather(*(made.unary("/x", b"%d!" % number) for number in range(200)))
    assert answers == [b"!" + str(number).encode()[::-1] for number in range(200)]


async def test_requests_and_answers_larger_than_the_windows() -> None:
    body = bytes(range(256)) * 40_000
    async with channel(echo) as made:
        assert await made.unary("/x", body) == body[::-1]


async def test_a_status_is_a_failure_with_its_message() -> None:
    async def refuse(peer: Peer, stream: int, body: bytes) -> None:
        peer.end(stream, b"11", b"compacted%21")

    async with channel(refuse) as made:
        with pytest.raises(CallFailed, match="compacted!") as caught:
            await made.unary("/x", b"")
    assert caught.value.code == 11


async def test_a_lost_connection_tells_that_the_call_was_sent_and_the_next_goes_elsewhere() -> None:
    async def vanish(peer: Peer, stream: int, body: bytes) -> None:
        peer.writer.transport.abort()

    async with channel(vanish, echo) as made:
        with pytest.raises(ConnectionLost) as caught:
            await made.unary("/x", b"ab")
        assert caught.value.sent
        assert await made.unary("/x", b"ab") == b"ba"


async def test_calls_that_a_leaving_server_did_not_take_are_known_as_not_sent() -> None:
    async def leave(peer: Peer, stream: int, body: bytes) -> None:
        if stream == 3:
            peer.frame(frames.GOAWAY, 0, 0, struct.pack(">II", 1, 0))
            await echo(peer, 1, b"first")

    async with channel(leave, echo) as made:
        first, second = await asyncio.gather(
            made.unary("/x", b"first"), made.unary("/x", b"second"), return_exceptions=True
        )
        assert first == b"tsrif"
        assert isinstance(second, ConnectionLost)
        assert not second.sent
        assert await made.unary("/x", b"ab") == b"ba"


async def test_a_server_that_is_not_there() -> None:
    made = Channel([Endpoint("127.0.0.1", 1, False)], None)
    with pytest.raises(ConnectionLost) as caught:
        await made.unary("/x", b"")
    assert not caught.value.sent
    await made.close()


async def test_a_server_that_does_not_speak_http2() -> None:
    async def babble(peer: Peer, stream: int, body: bytes) -> None:
        peer.writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 10)

    async with channel(babble) as made:
        with pytest.raises(ConnectionLost, match="does not speak HTTP/2"):
            await made.unary("/x", b"")


async def test_a_cancelled_call_frees_its_place() -> None:
    async def hold(peer: Peer, stream: int, body: bytes) -> None:
        if body == b"answer":
            await echo(peer, stream, body)

    async with channel(hold) as made:
        assert await made.unary("/x", b"answer") == b"rewsna", "from now on the server's limit is known"
        held = [asyncio.create_task(made.unary("/x", b"hold")) for _ in range(3)]
        await asyncio.sleep(0.02)
        waiting = asyncio.create_task(made.unary("/x", b"answer"))
        await asyncio.sleep(0.02)
        assert not waiting.done()
        for task in held:
            task.cancel()
        assert await waiting == b"rewsna"
        await asyncio.gather(*held, return_exceptions=True)


async def test_silence_is_questioned_and_then_taken_for_a_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http2, "PING_AFTER_SECONDS", 0.02)
    monkeypatch.setattr(http2, "PING_ANSWER_SECONDS", 0.02)

    async def silence(peer: Peer, stream: int, body: bytes) -> None:
        pass

    async with channel(silence, echo) as made:
        with pytest.raises(ConnectionLost, match="no answer to a ping") as caught:
            await made.unary("/x", b"ab")
        assert caught.value.sent
        monkeypatch.undo()
        assert await made.unary("/x", b"ab") == b"ba"


async def test_a_call_has_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    async def silence(peer: Peer, stream: int, body: bytes) -> None:
        pass

    async with channel(silence, echo) as made:
        with pytest.raises(ConnectionLost, match="no answer within"):
            await made.unary("/x", b"ab", seconds=0.02)
        assert await made.unary("/x", b"ab") == b"ba", "another server is asked next"
