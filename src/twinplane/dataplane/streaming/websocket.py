"""exec and attach over a WebSocket: channels numbered by the first byte of each message.

Protocols (kubelet's `remotecommand/websocket.go` and KEP-4006): v5 and v4 end with a status on channel 3; v5 can end
standard input by a message on channel 255; the base64 forms send text. Before v4 channel 3 carries plain text.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any

from aiohttp import WSMsgType, web

from twinplane.dataplane.streaming.contract import StreamError, Streams
from twinplane.dataplane.streaming.remote_command import (
    ERROR,
    STDERR,
    STDOUT,
    ClientIO,
    RemoteCommand,
    internal_error,
    run,
    until_client_goes,
)

V5 = "v5.channel.k8s.io"
V4 = "v4.channel.k8s.io"
V4_BASE64 = "v4.base64.channel.k8s.io"
PROTOCOLS = (V5, V4, V4_BASE64, "channel.k8s.io", "base64.channel.k8s.io")
CLOSE_SIGNAL = 255
MESSAGE_BYTES_MAX = 16 << 20
CLOSE_SECONDS = 2.0
"""For the client's half of the closing handshake."""


class Channels:
    """A WebSocket as numbered channels of bytes."""

    def __init__(self, socket: web.WebSocketResponse, protocol: str) -> None:
        self._socket = socket
        self._is_text = "base64" in protocol

    async def send(self, channel: int, data: bytes) -> None:
        """A client that has gone is noticed by the reading side."""
        if self._socket.closed:
            return
        try:
            if self._is_text:
                await self._socket.send_str(f"{channel}{base64.b64encode(data).decode()}")
            else:
                await self._socket.send_bytes(bytes((channel,)) + data)
        except ConnectionError:
            return

    async def receive(self) -> tuple[int, bytes] | None:
        """The next message; None when the client has closed. Messages without a channel are skipped."""
        while True:
            message = await self._socket.receive()
            if message.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
                return None
            data = message.data.encode() if message.type is WSMsgType.TEXT else message.data
            if not data:
                continue
            if not self._is_text:
                return data[0], data[1:]
            try:
                return data[0] - ord("0"), base64.b64decode(data[1:])
            except binascii.Error:
                continue


def new_socket(protocols: tuple[str, ...]) -> web.WebSocketResponse:
    return web.WebSocketResponse(
        protocols=protocols, compress=False, max_msg_size=MESSAGE_BYTES_MAX, timeout=CLOSE_SECONDS
    )


async def serve_remote_command(request: web.Request, command: RemoteCommand, streams: Streams) -> web.StreamResponse:
    """Until the command or the client ends. Raises StreamError before the upgrade, but not to v5, which is told."""
    refusal = _refusal(command, streams)
    socket = new_socket(PROTOCOLS)
    if refusal is not None and V5 not in request.headers.get("Sec-WebSocket-Protocol", ""):
        raise refusal
    await socket.prepare(request)
    protocol = socket.ws_protocol or ""
    channels = Channels(socket, protocol)
    io = ClientIO(command, channels.send)
    if refusal is not None:
        status: dict[str, Any] | None = internal_error(f"unable to upgrade connection: {refusal}")
    else:
        # The client learns from an empty message that it is connected.
        await channels.send(next((each for each in command.channels if each in (STDOUT, STDERR)), ERROR), b"")
        status = await until_client_goes(run(command, streams, io), _feed(io, channels, protocol))
    if status is not None:
        final = status_bytes(status, protocol)
        if final:
            await channels.send(ERROR, final)
    await socket.close()
    return socket


def _refusal(command: RemoteCommand, streams: Streams) -> StreamError | None:
    try:
        streams.check(command.target)
    except StreamError as error:
        return error
    return None


async def _feed(io: ClientIO, channels: Channels, protocol: str) -> None:
    while (message := await channels.receive()) is not None:
        channel, data = message
        if channel == CLOSE_SIGNAL and protocol == V5:
            if data[:1] == b"\0":
                await io.feed_end()
        else:
            await io.feed(channel, data)


def status_bytes(status: dict[str, Any], protocol: str) -> bytes:
    """How the end is told: a Status since v4, before that a text in case of failure."""
    if protocol.startswith(("v4.", "v5.")):
        return json.dumps(status, separators=(",", ":")).encode()
    return b"" if status["status"] == "Success" else str(status["message"]).encode()
