"""exec, attach and port-forward through the API server: who may, what is refused, and bytes both ways."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from tests.unit.api.harness import TOKEN, Api, PolicyAuthorizer, api_server, pod
from tests.unit.streams.kubelet import Dialer, FakeStreams, kubelet
from tests.unit.streams.spdy_client import SpdyClient
from twinplane.controlplane.admission.contract import AdmissionRequest
from twinplane.controlplane.api.http.server import HttpServer, serve
from twinplane.kubeclient.errors import forbidden
from twinplane.kubeclient.resources import NODES, PODS

PATH = "/api/v1/namespaces/default/pods/web"
EXEC = f"{PATH}/exec?stdout=true&stderr=true"
V5 = ("v5.channel.k8s.io",)
BEARER = {"Authorization": f"Bearer {TOKEN}"}


class World:
    def __init__(self, api: Api, streams: FakeStreams, server: HttpServer, session: aiohttp.ClientSession) -> None:
        self.api = api
        self.streams = streams
        self.server = server
        self.session = session

    def socket(self, target: str, protocols: tuple[str, ...] = V5, **headers: str) -> Any:
        return self.session.ws_connect(target, protocols=protocols, headers=headers or BEARER)

    async def refused(self, target: str, **headers: str) -> tuple[int, dict[str, Any]]:
        """What a WebSocket client is told instead of a 101."""
        upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
        upgrade |= {"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", **(headers or BEARER)}
        async with self.session.get(target, headers=upgrade) as answer:
            text = await answer.text()
            return answer.status, json.loads(text) if text.startswith("{") else {"message": text}


@asynccontextmanager
async def world(*, log: list[bytes] | None = None, **changes: Any) -> AsyncIterator[World]:
    async with kubelet() as (streams, port), api_server(kubelet=Dialer(port, log), **changes) as api:
        await api.client.create(NODES, {"metadata": {"name": "n1"}})
        await api.client.create(PODS, pod("web", node="n1", containers=("main",)), "default")
        server = await serve(api.server, "127.0.0.1", 0)
        async with aiohttp.ClientSession(f"http://127.0.0.1:{server.port}") as session:
            try:
                yield World(api, streams, server, session)
            finally:
                await server.close(0.05)


async def received(socket: aiohttp.ClientWebSocketResponse) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    async for message in socket:
        found[message.data[0]] = found.get(message.data[0], b"") + message.data[1:]
    return found


async def test_exec() -> None:
    async with world() as there, there.socket(f"{EXEC}&stdin=true&command=cat") as socket:
        assert socket.protocol == V5[0]
        await socket.send_bytes(b"\0hello")
        await socket.send_bytes(b"\xff\0")
        found = await received(socket)
        assert found[1] == b"hello"
        assert json.loads(found[3])["status"] == "Success"


async def test_repeated_commands_and_exit_codes() -> None:
    async with world() as there, there.socket(f"{EXEC}&command=exit&command=5") as socket:
        assert json.loads((await received(socket))[3])["details"]["causes"][0]["message"] == "5"


async def test_attach() -> None:
    async with world() as there, there.socket(f"{PATH}/attach?stdout=1") as socket:
        assert (await received(socket))[1] == b"attached\n"


async def test_much_in_both_directions() -> None:
    sent = bytes(range(256)) * 256

    async with world() as there, there.socket(f"{EXEC}&stdin=true&command=cat") as socket:

        async def send() -> None:
            for _ in range(64):
                await socket.send_bytes(b"\0" + sent)
            await socket.send_bytes(b"\xff\0")

        sending = asyncio.create_task(send())
        size = 0
        async for message in socket:
            size += len(message.data) - 1 if message.data[0] == 1 else 0
        await sending
        assert size == 64 * len(sent)


async def test_a_slow_client_slows_the_kubelet_down() -> None:
    async with world() as there, there.socket(f"{EXEC}&command=flood&command=4000") as socket:
        before = -1
        while before != there.streams.flooded or before <= 0:
            before = there.streams.flooded
            await asyncio.sleep(0.05)
        assert 0 < there.streams.flooded < 4000
        size = 0
        async for message in socket:
            size += len(message.data) - 1 if message.data[0] == 1 else 0
        assert size == 4000 * 32 * 1024


async def test_a_client_that_goes_ends_its_command() -> None:
    async with world() as there:
        async with there.socket(f"{EXEC}&command=hang") as socket:
            await there.streams.hanging.wait()
            assert there.server.connection_count == 1
            socket._response.close()
        await asyncio.wait_for(there.streams.cancelled.wait(), 60)


async def test_a_server_that_stops_ends_its_streams() -> None:
    async with world() as there, there.socket(f"{EXEC}&command=hang") as socket:
        await there.streams.hanging.wait()
        assert await socket.receive_bytes() == b"\1"
        await there.server.close(0.05)
        assert (await socket.receive(60)).type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR)
        await asyncio.wait_for(there.streams.cancelled.wait(), 60)


async def test_spdy_passes_too() -> None:
    async with world() as there:
        target = f"{EXEC}&stdin=true&command=cat"
        reader, writer = await asyncio.open_connection("127.0.0.1", there.server.port)
        head = [f"POST {target} HTTP/1.1", "Host: x", f"Authorization: Bearer {TOKEN}", "Connection: Upgrade"]
        head += ["Upgrade: SPDY/3.1", "X-Stream-Protocol-Version: v9", "X-Stream-Protocol-Version: v4.channel.k8s.io"]
        writer.write("\r\n".join([*head, "Content-Length: 0", "", ""]).encode())
        answer = await reader.readuntil(b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
        assert b"x-stream-protocol-version: v4.channel.k8s.io\r\n" in answer
        client = SpdyClient(reader, writer)
        error, stdin, stdout, _ = (client.open(streamType=name) for name in ("error", "stdin", "stdout", "stderr"))
        client.write(stdin, b"abc", last=True)
        found = await client.rest()
        assert found[stdout] == b"abc"
        assert b"Success" in found[error]
        client.close()


@pytest.mark.parametrize(
    ("target", "code", "message"),
    [
        (f"{EXEC}&container=none", 400, "container none is not valid for pod web"),
        (f"{EXEC.replace('web', 'gone')}", 404, 'pods "gone" not found'),
        (f"{EXEC.replace('web', 'lost')}", 400, "pod lost does not have a host assigned"),
        (f"{EXEC.replace('web', 'stray')}", 404, 'nodes "n2" not found'),
        (f"{PATH}/exec?command=ls", 400, "you must specify at least 1 of stdin, stdout, stderr\n"),
        (f"{PATH}/portforward?ports=0", 422, 'PodPortForwardOptions "web" is invalid'),
    ],
)
async def test_refusals(target: str, code: int, message: str) -> None:
    async with world() as there:
        await there.api.client.create(PODS, pod("lost"), "default")
        await there.api.client.create(PODS, pod("stray", node="n2"), "default")
        status, body = await there.refused(target)
        assert status == code
        assert body["message"].startswith(message)


async def test_a_kubelet_that_is_down() -> None:
    async with api_server(kubelet=Dialer(1)) as api:
        await api.client.create(NODES, {"metadata": {"name": "n1"}})
        await api.client.create(PODS, pod("web", node="n1"), "default")
        upgrade = {"upgrade": "SPDY/3.1", "connection": "Upgrade"}
        found = await api.refused("POST", EXEC, headers=upgrade)
        assert found == (500, "", "error dialing backend: dial tcp 127.0.0.1:1: connect: connection refused")


@pytest.mark.parametrize(("minor", "expected"), [("36", 403), ("34", 101)])
async def test_a_get_needs_the_right_to_create(minor: str, expected: int) -> None:
    """AuthorizePodWebsocketUpgradeCreatePermission."""
    authorizer = PolicyAuthorizer(lambda attributes: attributes.verb == "get" or attributes.user.name != "admin")
    async with world() as there:
        object.__setattr__(there.api.runtime, "authorizer", authorizer)
        object.__setattr__(there.api.runtime, "version", {"minor": minor})
        if expected == 101:
            async with there.socket(f"{EXEC}&command=both") as socket:
                assert (await received(socket))[1] == b"out\n"
        else:
            status, body = await there.refused(f"{EXEC}&command=both")
            assert (status, body["reason"]) == (403, "Forbidden")
            assert 'pods "web" is forbidden: User "admin" cannot create resource "pods/exec"' in body["message"]


async def test_a_token_among_the_protocols() -> None:
    """What browsers do; the kubelet never sees it."""
    token = base64.urlsafe_b64encode(TOKEN.encode()).decode().rstrip("=")
    protocols = (f"base64url.bearer.authorization.k8s.io.{token}", *V5)
    async with world() as there:
        async with there.socket(f"{EXEC}&command=both", protocols, Accept="*/*") as socket:
            assert (await received(socket))[1] == b"out\n"
        wrong = "base64url.bearer.authorization.k8s.io.AAAA, v5.channel.k8s.io"
        assert (await there.refused(EXEC, **{"Sec-WebSocket-Protocol": wrong}))[0] == 401


class NoExec:
    """Implements `AdmissionPlugin`: nobody may run `hang`."""

    name = "NoExec"

    def __init__(self) -> None:
        self.seen: list[AdmissionRequest] = []

    def handles(self, request: AdmissionRequest) -> bool:
        return request.operation == "CONNECT"

    async def admit(self, request: AdmissionRequest) -> None:
        self.seen.append(request)

    async def validate(self, request: AdmissionRequest) -> None:
        if request.object is not None and request.object.get("command") == ["hang"]:
            raise forbidden("", "pods", request.name, "no hanging")


async def test_admission_sees_what_is_asked_for() -> None:
    plugin = NoExec()
    async with world(admission=(plugin,)) as there:
        status, body = await there.refused(f"{EXEC}&command=hang")
        assert (status, body["message"]) == (403, 'pods "web" is forbidden: no hanging')
    seen = plugin.seen[0]
    assert (seen.subresource, seen.namespace, seen.name) == ("exec", "default", "web")
    expected = {"kind": "PodExecOptions", "apiVersion": "v1", "stdout": True, "stderr": True, "command": ["hang"]}
    assert seen.object == expected


async def test_an_upgrade_where_there_is_none() -> None:
    """Answered like any request, and the connection closed: what follows may be anything."""
    async with world() as there:
        reader, writer = await asyncio.open_connection("127.0.0.1", there.server.port)
        head = f"GET /api HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n"
        writer.write(f"{head}Connection: Upgrade\r\nUpgrade: h2c\r\n\r\nPRI * HTTP/2.0".encode())
        answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 200 OK")
        assert b"connection: close" in answer
        writer.close()


@pytest.mark.parametrize(
    ("protocol", "expected"),
    [("binary.k8s.io", [b"one\n", b"x" * 70_000]), ("", [b"one\n", b"x" * 70_000]), ("base64.binary.k8s.io", None)],
)
async def test_logs_over_websocket(protocol: str, expected: list[bytes] | None) -> None:
    lines = [b"one\n", b"x" * 70_000]
    async with world(log=lines) as there:
        async with there.socket(f"{PATH}/log?follow=true", (protocol,) if protocol else ()) as socket:
            assert (socket.protocol or "") == protocol
            await socket.ping(b"still there?")
            found = [message.data async for message in socket]
            assert socket.close_code == 1000
        assert found == (expected if expected is not None else [base64.b64encode(line).decode() for line in lines])


async def test_logs_over_websocket_that_are_refused() -> None:
    async with world() as there:
        assert (await there.refused(f"{PATH}/log"))[0] == 503
        code, answer = await there.refused(f"{PATH}/log?container=nope")
        assert (code, answer["message"]) == (400, "container nope is not valid for pod web")
