"""A SPDY connection with its streams, over anything that carries bytes both ways.

The client opens all streams. A stream that is not read holds up the whole connection, as with moby/spdystream; one that
is no longer wanted is discarded by its reader.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from twinplane.dataplane.streaming import spdy
from twinplane.dataplane.streaming.spdy import Frame, SpdyError

STREAM_PIECES = 16
"""Data frames that may wait in a stream."""
STREAMS_MAX = 1000
DATA_BYTES = 32 * 1024

Read = Callable[[], Awaitable[bytes]]
"""Empty at the end."""
Write = Callable[[bytes], Awaitable[None]]


class SpdyStream:
    """One of the client's streams; `headers` have names in lower case."""

    def __init__(self, session: SpdySession, number: int, headers: Mapping[str, str]) -> None:
        self.number = number
        self.headers = headers
        self._session = session
        self._pieces: asyncio.Queue[bytes] = asyncio.Queue(STREAM_PIECES)
        self._read_to_end = False
        self._discarded = False
        self._finished = False
        self._aborted = asyncio.Event()

    async def read(self) -> bytes:
        """Some of what the client sent; empty when it has sent everything."""
        if self._read_to_end:
            return b""
        data = await self._pieces.get()
        self._read_to_end = not data
        return data

    async def write(self, data: bytes) -> None:
        """Nothing after `finish`."""
        for start in range(0, len(data), DATA_BYTES):
            if self._finished:
                return
            await self._session.send(Frame(spdy.DATA, self.number, data=data[start : start + DATA_BYTES]))

    async def finish(self) -> None:
        """No more from us. Idempotent."""
        if not self._finished:
            self._finished = True
            await self._session.send(Frame(spdy.DATA, self.number, spdy.FIN))

    def discard(self) -> None:
        """What else the client sends is of no interest."""
        self._discarded = True
        while not self._pieces.empty():
            self._pieces.get_nowait()

    async def deliver(self, data: bytes) -> None:
        """From the session; empty for the end."""
        if not self._discarded:
            await self._pieces.put(data)

    def abort(self) -> None:
        """The client has reset the stream: nothing more in either direction."""
        self._finished = True
        self._aborted.set()
        self.discard()
        self._pieces.put_nowait(b"")

    async def aborted(self) -> None:
        """Returns when the client has reset the stream."""
        await self._aborted.wait()


class SpdySession:
    def __init__(self, read: Read, write: Write) -> None:
        self._read = read
        self._write = write
        self._encoder = spdy.Encoder()
        self._decoder = spdy.Decoder()
        self._writing = asyncio.Lock()
        self._streams: dict[int, SpdyStream] = {}
        self._last = 0

    async def run(self, opened: Callable[[SpdyStream], None]) -> None:
        """Until the client goes; `opened` is told each stream after it was accepted. Raises SpdyError."""
        while data := await self._read():
            for frame in self._decoder.feed(data):
                if frame.type == spdy.GOAWAY:
                    return
                await self._handle(frame, opened)

    async def send(self, frame: Frame) -> None:
        async with self._writing:
            await self._write(self._encoder.encode(frame))

    async def close(self) -> None:
        """Say goodbye; the connection is the caller's to close."""
        await self.send(spdy.goaway(self._last))

    def forget(self, stream: SpdyStream) -> None:
        """Both sides are done with it."""
        stream.discard()
        self._streams.pop(stream.number, None)

    async def _handle(self, frame: Frame, opened: Callable[[SpdyStream], None]) -> None:
        if frame.type == spdy.SYN_STREAM:
            await self._open(frame, opened)
        elif frame.type == spdy.PING:
            await self.send(frame)
        elif frame.type in (spdy.DATA, spdy.RST_STREAM):
            stream = self._streams.get(frame.number)
            if stream is None:
                return
            if frame.type == spdy.RST_STREAM:
                self._streams.pop(frame.number)
                stream.abort()
                return
            if frame.data:
                await stream.deliver(frame.data)
            if frame.is_last:
                await stream.deliver(b"")

    async def _open(self, frame: Frame, opened: Callable[[SpdyStream], None]) -> None:
        if frame.number <= self._last or frame.number % 2 == 0:
            raise SpdyError(f"stream {frame.number} after {self._last}")
        self._last = frame.number
        if len(self._streams) >= STREAMS_MAX:
            await self.send(spdy.reset(frame.number, spdy.REFUSED_STREAM))
            return
        stream = self._streams[frame.number] = SpdyStream(self, frame.number, frame.headers)
        await self.send(Frame(spdy.SYN_REPLY, frame.number))
        if frame.is_last:
            await stream.deliver(b"")
        opened(stream)
