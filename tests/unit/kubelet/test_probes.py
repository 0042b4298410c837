"""What probes say of real servers on loopback, and of commands."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from twinplane.clock import SystemClock
from twinplane.dataplane.kubelet.probes.actions import Prober, Target
from twinplane.testing.memory_runtime import MemoryRuntime

MAIN: dict[str, Any] = {"name": "main", "ports": [{"name": "web", "containerPort": 0}]}
TARGET = Target(MAIN, "c1", "127.0.0.1")


@pytest.fixture
async def prober() -> AsyncIterator[Prober]:
    made = Prober(MemoryRuntime(SystemClock()), "1.36")
    yield made
    await made.close()


@pytest.fixture
async def port() -> AsyncIterator[int]:
    """An HTTP server: its path is the status that it answers with; /slow never does."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            path = head.split(b" ")[1].decode()
            if path == "/slow":
                await reader.read()
            elif path.startswith("/to/"):
                writer.write(f"HTTP/1.1 302 Found\r\nLocation: /{path[4:]}\r\nContent-Length: 0\r\n\r\n".encode())
            else:
                agent = b"yes" if b"kube-probe/1.36" in head else b"no"
                writer.write(f"HTTP/1.1 {path[1:]} X\r\nContent-Length: {len(agent)}\r\n\r\n".encode() + agent)
        except asyncio.IncompleteReadError:
            # Whoever only looks whether the port is open.
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()


@pytest.mark.parametrize(
    ("path", "verdict", "output"),
    [
        ("/200", "success", "yes"),
        ("/399", "success", "yes"),
        ("/to/200", "success", "yes"),
        ("/to/500", "failure", "HTTP probe failed with statuscode: 500"),
        ("/404", "failure", "HTTP probe failed with statuscode: 404"),
    ],
)
async def test_http(prober: Prober, port: int, path: str, verdict: str, output: str) -> None:
    assert await prober.ask({"httpGet": {"port": port, "path": path}}, TARGET, 60) == (verdict, output)


async def test_http_that_does_not_answer(prober: Prober, port: int) -> None:
    answer = await prober.ask({"httpGet": {"port": port, "path": "/slow"}}, TARGET, 0.05)
    assert answer.verdict == "failure"
    assert "context deadline exceeded (Client.Timeout exceeded while awaiting headers)" in answer.output


async def test_tcp(prober: Prober, port: int) -> None:
    assert (await prober.ask({"tcpSocket": {"port": port}}, TARGET, 60)).verdict == "success"
    answer = await prober.ask({"tcpSocket": {"port": 1}}, TARGET, 60)
    assert answer == ("failure", "dial tcp 127.0.0.1:1: connect: connection refused")
    answer = await prober.ask({"httpGet": {"port": 1, "path": "/x"}}, TARGET, 60)
    assert answer.output == 'Get "http://127.0.0.1:1/x": dial tcp 127.0.0.1:1: connect: connection refused'
    with pytest.raises(ValueError, match="couldn't find port"):
        await prober.ask({"tcpSocket": {"port": "none"}}, TARGET, 60)


async def test_grpc(prober: Prober) -> None:
    import grpc.aio

    states = {b"": b"\x08\x01", b"\x0a\x02db": b"\x08\x02"}

    async def check(request: bytes, _: object) -> bytes:
        return states[request]

    server = grpc.aio.server()
    handler: Any = grpc.unary_unary_rpc_method_handler(check)
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": handler}),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        assert (await prober.ask({"grpc": {"port": port}}, TARGET, 60)).verdict == "success"
        answer = await prober.ask({"grpc": {"port": port, "service": "db"}}, TARGET, 60)
        assert answer == ("failure", 'service unhealthy (responded with "NOT_SERVING")')
    finally:
        await server.stop(None)
