"""exec and attach over SPDY: one stream for each of the standard streams, as older clients' executors speak it."""

from __future__ import annotations

import asyncio

from twinplane.dataplane.streaming.contract import StreamError, Streams
from twinplane.dataplane.streaming.remote_command import (
    ERROR,
    RESIZE,
    STDERR,
    STDIN,
    STDOUT,
    STREAM_TYPES,
    ClientIO,
    RemoteCommand,
    run,
    until_client_goes,
)
from twinplane.dataplane.streaming.spdy_session import SpdySession, SpdyStream
from twinplane.dataplane.streaming.websocket import status_bytes

PROTOCOLS = ("v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io")
STREAMS_SECONDS = 30.0
"""For the client to open all streams that it asked for."""


class SpdyCommand:
    """`serve` one request until the command or the client ends."""

    def __init__(self, session: SpdySession, command: RemoteCommand, protocol: str) -> None:
        self._session = session
        self._command = command
        self._protocol = protocol
        # Terminal sizes came with v3.
        channels = [each for each in command.channels if each != RESIZE or protocol[:3] in ("v3.", "v4.")]
        self._expected = set(channels)
        self._streams: dict[int, SpdyStream] = {}
        self._complete = asyncio.Event()

    async def serve(self, streams: Streams) -> None:
        await until_client_goes(self._work(streams), self._session.run(self._opened))

    def _opened(self, stream: SpdyStream) -> None:
        name = stream.headers.get("streamtype", "")
        channel = STREAM_TYPES.index(name) if name in STREAM_TYPES else -1
        if channel not in self._expected or channel in self._streams:
            self._session.forget(stream)
            return
        self._streams[channel] = stream
        if self._expected <= set(self._streams):
            self._complete.set()

    async def _work(self, streams: Streams) -> None:
        async with asyncio.timeout(STREAMS_SECONDS):
            await self._complete.wait()
        io = ClientIO(self._command, self._send)
        feeding = [
            asyncio.create_task(self._feed(io, channel)) for channel in (STDIN, RESIZE) if channel in self._streams
        ]
        try:
            status = await run(self._command, streams, io)
        finally:
            for task in feeding:
                task.cancel()
            await asyncio.gather(*feeding, return_exceptions=True)
        await self._streams[ERROR].write(status_bytes(status, self._protocol))
        for channel in (STDOUT, STDERR, ERROR, STDIN, RESIZE):
            if channel in self._streams:
                await self._streams[channel].finish()
        await self._session.close()

    async def _send(self, channel: int, data: bytes) -> None:
        await self._streams[channel].write(data)

    async def _feed(self, io: ClientIO, channel: int) -> None:
        while data := await self._streams[channel].read():
            await io.feed(channel, data)
        if channel == STDIN:
            await io.feed_end()


def agreed(offered: list[str]) -> str:
    """The first protocol of the client's that is spoken here; one that says nothing means the oldest."""
    if not offered:
        return PROTOCOLS[-1]
    for name in offered:
        if name in PROTOCOLS:
            return name
    message = f"unable to upgrade: unable to negotiate protocol: client supports [{' '.join(offered)}]"
    raise StreamError(f"{message}, server accepts [{' '.join(PROTOCOLS)}]", 403)
