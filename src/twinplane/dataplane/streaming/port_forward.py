"""port-forward: connections to ports of a pod, multiplexed as pairs of SPDY streams or of WebSocket channels.

kubectl opens a pair of SPDY streams (data and error, with the port in their headers) for each local connection, in a
SPDY connection of its own or inside a WebSocket (`SPDY/3.1+portforward.k8s.io`). The channel form, which the Python and
JavaScript clients use, has one pair of channels for each port named in the request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from aiohttp import WSMsgType, web

from twinplane.dataplane.streaming.contract import ContainerRef, StreamError, Streams
from twinplane.dataplane.streaming.remote_command import until_client_goes
from twinplane.dataplane.streaming.spdy import SpdyError
from twinplane.dataplane.streaming.spdy_session import SpdySession, SpdyStream
from twinplane.dataplane.streaming.websocket import V4, V4_BASE64, Channels, new_socket

PORT_FORWARD = "portforward.k8s.io"
TUNNEL = f"SPDY/3.1+{PORT_FORWARD}"
PIECES = 16
"""Messages for one port that may wait for its pod."""
READ_BYTES = 32 * 1024

Read = Callable[[], Awaitable[bytes]]
Write = Callable[[bytes], Awaitable[None]]


async def forward(streams: Streams, target: ContainerRef, port: int, read: Read, write: Write) -> str:
    """One connection, until the pod ends it. What went wrong, or nothing."""
    try:
        duplex = await streams.port_forward(target, port)
    except OSError as error:
        return f"error forwarding port {port} to pod {target.pod}, uid : {error}"
    sending = asyncio.create_task(_send(read, duplex.writer))
    try:
        while data := await duplex.reader.read(READ_BYTES):
            await write(data)
    except ConnectionError as error:
        return f"error forwarding port {port} to pod {target.pod}, uid : {error}"
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        duplex.writer.close()
    return ""


async def _send(read: Read, writer: asyncio.StreamWriter) -> None:
    while data := await read():
        writer.write(data)
        await writer.drain()
    writer.write_eof()


class SpdyForwarding:
    """Pairs streams by their request ID; each pair is a connection of its own."""

    def __init__(self, session: SpdySession, streams: Streams, target: ContainerRef) -> None:
        self._session = session
        self._streams = streams
        self._target = target
        self._halves: dict[str, SpdyStream] = {}
        self._connections: set[asyncio.Task[None]] = set()

    async def serve(self) -> None:
        """Until the client goes. Raises SpdyError."""
        try:
            await self._session.run(self._opened)
        finally:
            for task in self._connections:
                task.cancel()
            await asyncio.gather(*self._connections, return_exceptions=True)

    def _opened(self, stream: SpdyStream) -> None:
        kind, port = stream.headers.get("streamtype"), port_number(stream.headers.get("port", ""))
        if kind not in ("error", "data") or port is None:
            self._session.forget(stream)
            return
        # Old clients number nothing, but open the error stream right before its data stream.
        request = stream.headers.get("requestid") or str(stream.number if kind == "error" else stream.number - 2)
        other = self._halves.pop(request, None)
        if other is None:
            self._halves[request] = stream
            return
        data, error = (stream, other) if kind == "data" else (other, stream)
        task = asyncio.create_task(self._connect(port, data, error))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _connect(self, port: int, data: SpdyStream, error: SpdyStream) -> None:
        # A client that resets the stream wants nothing more, whatever the pod still has to say.
        passing = forward(self._streams, self._target, port, data.read, data.write)
        problem = await until_client_goes(passing, data.aborted())
        if problem:
            await error.write(problem.encode())
        for stream in (data, error):
            await stream.finish()
            self._session.forget(stream)


async def serve_websocket(
    request: web.Request, streams: Streams, target: ContainerRef, ports: Sequence[int]
) -> web.StreamResponse:
    """Both forms. Raises StreamError before the upgrade."""
    streams.check(target)
    socket = new_socket((TUNNEL, V4, V4_BASE64))
    if TUNNEL not in request.headers.get("Sec-WebSocket-Protocol", "") and not ports:
        raise StreamError('query parameter "port" is required', 400)
    await socket.prepare(request)
    if socket.ws_protocol == TUNNEL:
        try:
            session = SpdySession(lambda: _message(socket), socket.send_bytes)
            await SpdyForwarding(session, streams, target).serve()
        except (SpdyError, ConnectionError):
            # There is nobody left to tell, or nothing that it would understand.
            pass
    else:
        await ChannelForwarding(Channels(socket, socket.ws_protocol or ""), streams, target, ports).serve()
    await socket.close()
    return socket


async def _message(socket: web.WebSocketResponse) -> bytes:
    while True:
        message = await socket.receive()
        if message.type is not WSMsgType.BINARY:
            return b""
        if message.data:
            return bytes(message.data)


class ChannelForwarding:
    """Port N of the request has channel 2N for its data and 2N+1 for its errors; both begin with the port's number."""

    def __init__(self, channels: Channels, streams: Streams, target: ContainerRef, ports: Sequence[int]) -> None:
        self._channels = channels
        self._streams = streams
        self._target = target
        self._ports = ports
        self._inward: list[asyncio.Queue[bytes]] = [asyncio.Queue(PIECES) for _ in ports]
        self._ended = [False] * len(ports)

    async def serve(self) -> None:
        """Until the client goes or the pod has ended all connections."""
        for index, port in enumerate(self._ports):
            for channel in (2 * index, 2 * index + 1):
                await self._channels.send(channel, port.to_bytes(2, "little"))
        await until_client_goes(self._forward(), self._read())

    async def _forward(self) -> None:
        async with asyncio.TaskGroup() as group:
            for index in range(len(self._ports)):
                group.create_task(self._connect(index))

    async def _connect(self, index: int) -> None:
        async def write(data: bytes) -> None:
            await self._channels.send(2 * index, data)

        problem = await forward(self._streams, self._target, self._ports[index], self._inward[index].get, write)
        self._ended[index] = True
        while not self._inward[index].empty():
            self._inward[index].get_nowait()
        if problem:
            await self._channels.send(2 * index + 1, problem.encode())

    async def _read(self) -> None:
        while (message := await self._channels.receive()) is not None:
            channel, data = message
            index = channel // 2
            if channel % 2 == 0 and index < len(self._ports) and data and not self._ended[index]:
                await self._inward[index].put(data)


def port_number(text: str) -> int | None:
    return int(text) if text.isdecimal() and 0 < int(text) < 65536 else None
