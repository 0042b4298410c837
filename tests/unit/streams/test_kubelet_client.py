"""The API server's way to kubelets over TLS: connections for streams, and through a node to what is behind it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from tests.unit.api.tls import server_context
from tests.unit.streams.kubelet import FakeStreams
from twinplane.controlplane.api.kubelet import ENDPOINT_ANNOTATION, KubeletClient
from twinplane.dataplane.simulation.kubelet_api import is_api_server
from twinplane.dataplane.streaming.server import accepting
from twinplane.kubeclient.contract import Object

UPGRADE = (("Host", "n1"), ("Connection", "Upgrade"), ("Upgrade", "tcp"))


@asynccontextmanager
async def serving(folder: Path, *, masters: bool) -> AsyncIterator[tuple[FakeStreams, KubeletClient, Object]]:
    """Streams behind TLS, the client, and the node to ask for."""
    serving_side = server_context(folder)
    serving_side.verify_mode = ssl.CERT_REQUIRED
    trust = ssl.create_default_context(cafile=str(folder / "server.crt"))
    trust.load_cert_chain(folder / "server.crt", folder / "server.key")
    streams = FakeStreams()
    allowed = (lambda _: True) if masters else is_api_server
    async with accepting(web.Application(), streams, allowed) as protocol:
        server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0, ssl=serving_side)
        endpoint = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield (
                streams,
                KubeletClient(trust),
                {"metadata": {"name": "n1", "annotations": {ENDPOINT_ANNOTATION: endpoint}}},
            )
        finally:
            server.close()


async def test_through_a_node_to_what_is_behind_it(tmp_path: Path) -> None:
    async with serving(tmp_path, masters=True) as (streams, client, node):
        streams.answers.append(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
        upstream = await client.reach(node, "10.0.0.7", 8080)
        head = await upstream.ask("GET", "/a", (("Host", "x"),))
        assert (head.status, head.get("content-length")) == (200, "2")
        assert b"".join([piece async for piece in upstream.body()]) == b"hi"
        assert streams.dialled == [("10.0.0.7", 8080)]
        with pytest.raises(OSError, match="connection refused"):
            await client.reach(node, "10.0.0.7", 81)


async def test_a_node_with_its_own_address_is_not_asked() -> None:
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    client = KubeletClient(ssl.create_default_context())
    upstream = await client.reach({"metadata": {"name": "n1"}}, "127.0.0.1", port)
    upstream.close()
    server.close()


async def test_a_certificate_of_anybody_is_not_enough(tmp_path: Path) -> None:
    async with serving(tmp_path, masters=False) as (_, client, node):
        upstream = await client.connect(node)
        assert (await upstream.ask("GET", "/dial?host=a&port=80", UPGRADE)).status == 403
        upstream.close()
