"""The client's side of a remote command over SPDY/3.1, as the runtime's streaming server wants it.

CRI's Exec and Attach answer with a URL of a server on loopback. Its WebSocket form cannot end standard input, so SPDY
is what is spoken, whatever the kubelet's own client speaks.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any
from urllib.parse import urlsplit

from twinplane.dataplane.streaming import spdy
from twinplane.dataplane.streaming.contract import ContainerIO, StreamError
from twinplane.dataplane.streaming.remote_command import ERROR, RESIZE, STDERR, STDIN, STDOUT, STREAM_TYPES
from twinplane.dataplane.streaming.spdy import Decoder, Encoder, Frame, SpdyError

PROTOCOL = "v4.channel.k8s.io"
CONNECT_SECONDS = 30.0
READ_BYTES = 64 * 1024
DATA_BYTES = 32 * 1024


async def remote_command(url: str, io: ContainerIO, channels: list[int]) -> dict[str, Any]:
    """Until the command ends: its metav1.Status. `channels` are those of the request to the runtime.

    Raises StreamError when the server refuses or goes away.
    """
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            reader, writer = await _upgraded(url)
    except OSError as error:
        raise StreamError(f"error dialing the container runtime: {error}") from error
    session = _Session(reader, writer, io, channels)
    try:
        return await session.run()
    except (ConnectionError, SpdyError) as error:
        raise StreamError(f"lost connection to the container runtime: {error}") from error
    finally:
        writer.close()


async def _upgraded(url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        writer.write(
            f"POST {target} HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n"
            f"X-Stream-Protocol-Version: {PROTOCOL}\r\nContent-Length: 0\r\n\r\n".encode()
        )
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        if head.split(" ", 2)[1:2] != ["101"]:
            text = (await reader.read(4096)).decode(errors="replace").strip()
            raise StreamError(text or head.partition("\r\n")[0])
    except asyncio.IncompleteReadError as error:
        writer.close()
        raise StreamError("the container runtime closed the connection") from error
    except BaseException:
        writer.close()
        raise
    return reader, writer


class _Session:
    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, io: ContainerIO, channels: list[int]
    ) -> None:
        self._reader, self._writer, self._io = reader, writer, io
        self._encoder, self._decoder = Encoder(), Decoder()
        # The error stream comes first, as the executors of client-go open them.
        order = sorted(channels, key=lambda channel: (channel != ERROR, channel))
        self._numbers = {channel: 2 * index + 1 for index, channel in enumerate(order)}
        self._channels = {number: channel for channel, number in self._numbers.items()}
        self._status = b""

    async def run(self) -> dict[str, Any]:
        opening = (
            Frame(spdy.SYN_STREAM, number, headers={"streamtype": STREAM_TYPES[channel]})
            for channel, number in self._numbers.items()
        )
        self._writer.write(b"".join(map(self._encoder.encode, opening)))
        feeding = [asyncio.create_task(self._resize())] if RESIZE in self._numbers else []
        if STDIN in self._numbers:
            feeding.append(asyncio.create_task(self._input()))
        try:
            return await self._output()
        finally:
            for task in feeding:
                task.cancel()
            await asyncio.gather(*feeding, return_exceptions=True)

    async def _output(self) -> dict[str, Any]:
        """The status is the last that is said: output was written to the same connection before it."""
        while data := await self._reader.read(READ_BYTES):
            for frame in self._decoder.feed(data):
                if frame.type == spdy.PING:
                    self._writer.write(self._encoder.encode(frame))
                elif frame.type == spdy.DATA and frame.data:
                    status = await self._received(self._channels.get(frame.number), frame.data)
                    if status is not None:
                        return status
        # Attach ends without a status when the container does.
        return {"status": "Success"}

    async def _received(self, channel: int | None, data: bytes) -> dict[str, Any] | None:
        if channel in (STDOUT, STDERR):
            await self._io.write(data, error=channel == STDERR)
        elif channel == ERROR:
            self._status += data
            try:
                status = json.loads(self._status)
            except ValueError:
                return None
            return status if isinstance(status, dict) else None
        return None

    async def _input(self) -> None:
        number = self._numbers[STDIN]
        while data := await self._io.read():
            for start in range(0, len(data), DATA_BYTES):
                await self._send(Frame(spdy.DATA, number, data=data[start : start + DATA_BYTES]))
        await self._send(Frame(spdy.DATA, number, spdy.FIN))

    async def _resize(self) -> None:
        while True:
            size = await self._io.resized()
            text = json.dumps({"Width": size.width, "Height": size.height}).encode()
            await self._send(Frame(spdy.DATA, self._numbers[RESIZE], data=text))

    async def _send(self, frame: Frame) -> None:
        self._writer.write(self._encoder.encode(frame))
        await self._writer.drain()
