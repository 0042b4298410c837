"""The kubelet's side by itself: every subprotocol, as its clients speak it."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from tests.unit.streams.kubelet import FakeStreams, kubelet
from tests.unit.streams.spdy_client import SpdyClient
from twinplane.dataplane.streaming import spdy
from twinplane.dataplane.streaming.spdy import Frame
from twinplane.dataplane.streaming.websocket import CLOSE_SIGNAL

EXEC = "/exec/default/web/main?output=1&error=1"
Socket = aiohttp.ClientWebSocketResponse


@asynccontextmanager
async def socket(target: str, protocol: str) -> AsyncIterator[tuple[FakeStreams, Socket]]:
    async with kubelet() as (streams, port), aiohttp.ClientSession() as session:
        url = f"http://127.0.0.1:{port}{target}"
        async with session.ws_connect(url, protocols=[protocol] if protocol else []) as open_socket:
            yield streams, open_socket


async def channels(open_socket: Socket) -> dict[int, bytes]:
    """All that comes, by channel, until the server closes."""
    found: dict[int, bytes] = {}
    async for message in open_socket:
        if message.type is aiohttp.WSMsgType.TEXT:
            channel, data = int(message.data[0]), base64.b64decode(message.data[1:])
        else:
            channel, data = message.data[0], message.data[1:]
        found[channel] = found.get(channel, b"") + data
    return found


SUCCESS = b'{"metadata":{},"status":"Success"}'


@pytest.mark.parametrize(
    ("protocol", "status"),
    [
        ("v5.channel.k8s.io", SUCCESS),
        ("v4.channel.k8s.io", SUCCESS),
        ("v4.base64.channel.k8s.io", SUCCESS),
        ("channel.k8s.io", None),
        ("base64.channel.k8s.io", None),
        ("", None),
    ],
)
async def test_output_by_channel(protocol: str, status: bytes | None) -> None:
    async with socket(f"{EXEC}&command=both", protocol) as (_, open_socket):
        found = await channels(open_socket)
        assert (found[1], found[2], found.get(3)) == (b"out\n", b"err\n", status)
        assert open_socket.close_code == 1000


async def test_exit_codes() -> None:
    async with socket(f"{EXEC}&command=exit&command=7", "v4.channel.k8s.io") as (_, open_socket):
        status = json.loads((await channels(open_socket))[3])
    assert status["reason"] == "NonZeroExitCode"
    assert status["details"]["causes"] == [{"reason": "ExitCode", "message": "7"}]
    async with socket(f"{EXEC}&command=exit&command=7", "channel.k8s.io") as (_, open_socket):
        assert b"non-zero exit code" in (await channels(open_socket))[3]


async def test_standard_input_and_its_end() -> None:
    async with socket(f"{EXEC}&input=1&command=cat", "v5.channel.k8s.io") as (_, open_socket):
        await open_socket.send_bytes(b"\0hello ")
        await open_socket.send_bytes(b"")
        await open_socket.send_bytes(b"\x09ignored")
        await open_socket.send_bytes(b"\0world")
        await open_socket.send_bytes(bytes((CLOSE_SIGNAL, 0)))
        assert (await channels(open_socket))[1] == b"hello world"


async def test_base64_input() -> None:
    async with socket(f"{EXEC}&input=1&command=cat", "v4.base64.channel.k8s.io") as (_, open_socket):
        await open_socket.send_str("0" + base64.b64encode(b"abc").decode())
        messages = [await open_socket.receive_str() for _ in range(2)]
        assert messages == ["1", "1" + base64.b64encode(b"abc").decode()]


async def test_terminals() -> None:
    target = "/exec/default/web/main?input=1&output=1&error=1&tty=1&command="
    async with socket(f"{target}size", "v5.channel.k8s.io") as (_, open_socket):
        await open_socket.send_bytes(b"\4not json")
        await open_socket.send_bytes(b'\4{"Width":80,"Height":24}')
        assert (await channels(open_socket))[1] == b"80x24"
    async with socket(f"{target}both", "v5.channel.k8s.io") as (_, open_socket):
        found = await channels(open_socket)
        assert found[1] == b"out\nerr\n"
        assert 2 not in found


async def test_a_client_that_goes_ends_its_command() -> None:
    async with socket(f"{EXEC}&command=hang", "v5.channel.k8s.io") as (streams, open_socket):
        await streams.hanging.wait()
        await open_socket.close()
        await asyncio.wait_for(streams.cancelled.wait(), 60)


async def test_a_client_that_does_not_read_holds_up_its_command() -> None:
    async with socket(f"{EXEC}&command=flood&command=4000", "v5.channel.k8s.io") as (streams, open_socket):
        before = -1
        while before != streams.flooded or before <= 0:
            before = streams.flooded
            await asyncio.sleep(0.05)
        assert 0 < streams.flooded < 4000
        received = 0
        async for message in open_socket:
            received += len(message.data) - 1 if message.data[0] == 1 else 0
        assert received == 4000 * 32 * 1024


async def test_a_missing_container() -> None:
    """v5 has been told so by the API server, after the upgrade; others see the upgrade fail."""
    target = "/exec/default/web/none?output=1&command=both"
    async with socket(target, "v5.channel.k8s.io") as (_, open_socket):
        status = json.loads((await channels(open_socket))[3])
    expected = 'Internal error occurred: unable to upgrade connection: container not found ("none")'
    assert status["message"] == expected
    with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
        async with socket(target, "v4.channel.k8s.io"):
            pass
    assert caught.value.status == 500


@pytest.mark.parametrize(
    ("target", "code", "says"),
    [
        ("/exec/default/web/main?command=ls", 400, "you must specify at least 1 of stdin, stdout, stderr"),
        ("/exec/default/gone/main?command=ls&output=1", 404, "pod does not exist"),
        ("/exec/default/web/none?command=ls&output=1", 500, 'container not found ("none")'),
        ("/portForward/default/gone", 404, "pod does not exist"),
        ("/nothing", 404, "404 page not found"),
    ],
)
async def test_refused_before_the_upgrade(target: str, code: int, says: str) -> None:
    async with kubelet() as (_, port):
        client, head = await SpdyClient.connect(port, target, "")
        client.close()
        assert f" {code} " in head
        assert head.endswith(f"{says}\n")


async def test_plain_requests() -> None:
    async with kubelet() as (_, port), aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
        for path, code in (("/healthz", 200), ("/exec/default/web/main?output=1", 400), ("/portForward/a/b", 400)):
            async with session.get(path) as answer:
                assert answer.status == code


async def test_others_than_the_api_server_are_refused() -> None:
    async with kubelet(allowed=False) as (_, port):
        client, head = await SpdyClient.connect(port, f"{EXEC}&command=both", "")
        client.close()
        assert " 403 " in head


@pytest.mark.parametrize(("offered", "agreed"), [("v5.channel.k8s.io v4.channel.k8s.io", "v4."), ("", "channel.")])
async def test_spdy_exec(offered: str, agreed: str) -> None:
    async with kubelet() as (_, port):
        client, head = await SpdyClient.connect(port, f"{EXEC}&input=1&command=cat", offered)
        assert f"X-Stream-Protocol-Version: {agreed}" in head
        error, stdin, stdout, _ = (client.open(streamType=name) for name in ("error", "stdin", "stdout", "stderr"))
        client.send(Frame(spdy.PING, 1))
        client.write(stdin, b"abc")
        client.write(stdin, b"", last=True)
        found = await client.rest()
        assert found[stdout] == b"abc"
        assert found[error] == (SUCCESS if agreed == "v4." else b"")
        client.close()


async def test_spdy_protocols_that_nobody_speaks() -> None:
    async with kubelet() as (_, port):
        client, head = await SpdyClient.connect(port, f"{EXEC}&command=both", "v9")
        client.close()
        assert " 403 " in head
        assert "unable to negotiate protocol: client supports [v9]" in head


async def test_spdy_garbage_ends_the_connection() -> None:
    async with kubelet() as (_, port):
        client, _ = await SpdyClient.connect(port, f"{EXEC}&command=hang", "v4.channel.k8s.io")
        client.send(Frame(spdy.SYN_STREAM, 2))
        assert await client.frame() is None
        client.close()


async def test_spdy_port_forward() -> None:
    async with kubelet() as (_, port):
        client, _ = await SpdyClient.connect(port, "/portForward/default/web", "portforward.k8s.io")
        pairs = [
            [client.open(streamType=kind, port=str(number), requestID=str(request)) for kind in ("error", "data")]
            for request, number in enumerate((80, 80, 81))
        ]
        client.open(streamType="video", port="80")
        client.open(streamType="data", port="http")
        for error, data in pairs:
            client.write(error, b"", last=True)
            client.write(data, f"stream {data}".encode(), last=True)
        found: dict[int, bytes] = {}
        ended = 0
        while ended < 6:
            frame = await client.frame()
            assert frame is not None
            if frame.type == spdy.DATA:
                found[frame.number] = found.get(frame.number, b"") + frame.data
                ended += frame.is_last
        client.close()
        assert [found[data] for _, data in pairs[:2]] == [f"stream {data}".encode() for _, data in pairs[:2]]
        assert b"error forwarding port 81 to pod web, uid : dial" in found[pairs[2][0]]


async def test_a_stream_that_is_reset_ends_its_connection() -> None:
    async with kubelet() as (streams, port):
        client, _ = await SpdyClient.connect(port, "/portForward/default/web", "portforward.k8s.io")
        client.open(streamType="error", port="80", requestID="0")
        data = client.open(streamType="data", port="80", requestID="0")
        client.write(data, b"abc")
        while (frame := await client.frame()) is not None and frame.data != b"abc":
            pass
        client.send(spdy.reset(data, spdy.CANCEL))
        await asyncio.wait_for(streams.echoed.wait(), 60)
        client.close()


async def test_port_forward_by_channels() -> None:
    async with socket("/portForward/default/web?port=80,81", "v4.channel.k8s.io") as (_, open_socket):
        received: dict[int, bytes] = {}
        await open_socket.send_bytes(b"\0hello")
        while received.get(0, b"")[2:] != b"hello" or len(received.get(3, b"")) <= 2:
            data = await open_socket.receive_bytes()
            received[data[0]] = received.get(data[0], b"") + data[1:]
        assert [received[channel][:2] for channel in range(4)] == [b"\x50\0", b"\x50\0", b"\x51\0", b"\x51\0"]
        assert b"error forwarding port 81" in received[3]


async def test_port_forward_needs_ports() -> None:
    for query in ("", "?port=0", "?port=80,x"):
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            async with socket(f"/portForward/default/web{query}", "v4.channel.k8s.io"):
                pass
        assert caught.value.status == 400


async def dialled(port: int, query: str) -> tuple[bytes, Any, Any]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET /dial?{query} HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\nearly".encode())
    return await reader.readuntil(b"\r\n\r\n"), reader, writer


async def test_dial() -> None:
    async with kubelet() as (streams, port):
        head, reader, writer = await dialled(port, "host=10.0.0.7&port=80")
        assert b" 101 " in head
        assert await reader.readexactly(5) == b"early"
        assert streams.dialled == [("10.0.0.7", 80)]
        writer.close()
        for query, code in (("host=a&port=81", b" 502 "), ("host=a", b" 400 ")):
            head, _, writer = await dialled(port, query)
            assert code in head
            writer.close()
