"""The streaming endpoints of a kubelet: its paths, on WebSockets and on SPDY.

/exec/NAMESPACE/POD/CONTAINER?command=...&input=1&output=1&error=1&tty=1
/attach/NAMESPACE/POD/CONTAINER?...
/portForward/NAMESPACE/POD?port=80,443
/dial?host=10.0.1.2&port=80       (`Upgrade: tcp`) bytes to an address behind this node, for the proxy subresources
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager

from aiohttp import web

from twinplane.dataplane.streaming import port_forward, spdy_command, websocket
from twinplane.dataplane.streaming.contract import ContainerRef, StreamError, Streams
from twinplane.dataplane.streaming.port_forward import PORT_FORWARD, SpdyForwarding, port_number
from twinplane.dataplane.streaming.remote_command import remote_command, until_client_goes
from twinplane.dataplane.streaming.spdy_session import SpdySession
from twinplane.dataplane.streaming.upgrades import Admit, RawConnection, UpgradeRequest, Upgrades, admit_all

SHUTDOWN_SECONDS = 1.0
SPDY = "spdy/3.1"
TCP = "tcp"


@asynccontextmanager
async def accepting(
    application: web.Application,
    streams: Streams,
    allowed: Callable[[asyncio.BaseTransport], bool],
    admit: Admit = admit_all,
) -> AsyncIterator[Upgrades]:
    """The protocol factory of a kubelet's listeners: the application's own routes, and streams.

    `allowed` is asked once for each connection, with its transport; others get 403. `admit` is asked for each request
    that is none for the application, whose own requests are its middleware's business.
    """
    streaming = StreamingServer(streams)
    application.add_routes(streaming.routes())
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=SHUTDOWN_SECONDS)
    await runner.setup()
    assert runner.server is not None
    upgrades = Upgrades(runner.server, streaming.serve, allowed, admit)
    try:
        yield upgrades
    finally:
        await upgrades.close()
        await runner.cleanup()


class StreamingServer:
    """`routes` for the kubelet's HTTP server, `serve` for `Upgrades`."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams

    # -- WebSocket -------------------------------------------------------------------------------------------------

    def routes(self) -> Iterable[web.RouteDef]:
        command, forward = self._websocket_command, self._websocket_forward
        return [
            web.get("/{kind:exec|attach}/{namespace}/{pod}/{container}", command),
            web.get("/portForward/{namespace}/{pod}", forward),
        ]

    async def _websocket_command(self, request: web.Request) -> web.StreamResponse:
        named = request.match_info
        target = ContainerRef(named["namespace"], named["pod"], named["container"])
        try:
            _require_websocket(request)
            command = remote_command(named["kind"], target, _query(request))
            return await websocket.serve_remote_command(request, command, self._streams)
        except StreamError as error:
            return web.Response(status=error.code, text=f"{error}\n")

    async def _websocket_forward(self, request: web.Request) -> web.StreamResponse:
        target = ContainerRef(request.match_info["namespace"], request.match_info["pod"], "")
        try:
            _require_websocket(request)
            ports = _ports(_query(request).get("port", ()))
            return await port_forward.serve_websocket(request, self._streams, target, ports)
        except StreamError as error:
            return web.Response(status=error.code, text=f"{error}\n")

    # -- SPDY, and raw bytes ---------------------------------------------------------------------------------------

    async def serve(self, request: UpgradeRequest, connection: RawConnection) -> None:
        """Raises StreamError before the connection was accepted, SpdyError and OSError when it fails later."""
        match request.path:
            case ["exec" | "attach" as kind, namespace, pod, container] if request.upgrade == SPDY:
                await self._spdy_command(kind, ContainerRef(namespace, pod, container), request, connection)
            case ["portForward", namespace, pod] if request.upgrade == SPDY:
                await self._spdy_forward(ContainerRef(namespace, pod, ""), request, connection)
            case ["dial"] if request.upgrade == TCP:
                await self._dial(request, connection)
            case _:
                raise StreamError("404 page not found", 404)

    async def _spdy_command(
        self, kind: str, target: ContainerRef, request: UpgradeRequest, connection: RawConnection
    ) -> None:
        command = remote_command(kind, target, request.query)
        self._streams.check(target)
        protocol = spdy_command.agreed(_offered(request))
        await connection.accept("SPDY/3.1", X_Stream_Protocol_Version=protocol)
        session = SpdySession(connection.read, connection.write)
        await spdy_command.SpdyCommand(session, command, protocol).serve(self._streams)

    async def _spdy_forward(self, target: ContainerRef, request: UpgradeRequest, connection: RawConnection) -> None:
        self._streams.check(target)
        offered = _offered(request)
        if offered and PORT_FORWARD not in offered:
            message = f"unable to upgrade: unable to negotiate protocol: client supports [{' '.join(offered)}]"
            raise StreamError(f"{message}, server accepts [{PORT_FORWARD}]", 403)
        await connection.accept("SPDY/3.1", X_Stream_Protocol_Version=PORT_FORWARD)
        session = SpdySession(connection.read, connection.write)
        await SpdyForwarding(session, self._streams, target).serve()

    async def _dial(self, request: UpgradeRequest, connection: RawConnection) -> None:
        host, port = request.query.get("host", [""])[0], port_number(request.query.get("port", [""])[0])
        if not host or port is None:
            raise StreamError('query parameters "host" and "port" are required', 400)
        try:
            far = await self._streams.dial(host, port)
        except OSError as error:
            raise StreamError(str(error), 502) from error
        try:
            await connection.accept(TCP)
            # Over TLS nobody closes just one half, so the end of either is the end of both.
            await until_client_goes(_copy(far.reader, connection.writer), _copy(connection.reader, far.writer))
        finally:
            far.writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(64 * 1024):
        writer.write(data)
        await writer.drain()


def _require_websocket(request: web.Request) -> None:
    if request.headers.get("Upgrade", "").lower() != "websocket":
        raise StreamError("Upgrade request required", 400)


def _query(request: web.Request) -> Mapping[str, Sequence[str]]:
    return {name: request.query.getall(name) for name in request.query}


def _ports(texts: Sequence[str]) -> list[int]:
    ports = []
    for text in ",".join(texts).split(",") if texts else ():
        port = port_number(text)
        if port is None:
            raise StreamError(f'invalid port "{text}"', 400)
        ports.append(port)
    return ports


def _offered(request: UpgradeRequest) -> list[str]:
    text = request.headers.get("x-stream-protocol-version", "")
    return [name.strip() for name in text.split(",") if name.strip()]
