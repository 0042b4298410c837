"""One HTTP/2 connection as a client of gRPC servers needs it (RFC 9113): many calls at once over one socket.

`grpc` opens it and gives it streams. All that the calls of one turn of the event loop send leaves in one write, which
is what makes it several times cheaper than a general library. No server push, no priorities, no dynamic header table.
"""

from __future__ import annotations

import asyncio
import struct
from collections import deque
from collections.abc import Callable
from typing import Protocol, cast

from twinplane.controlplane.store.etcd import frames
from twinplane.controlplane.store.etcd.header_compression import BadHeaderBlock, Header, decode

STREAM_WINDOW = 4 << 20
"""Bytes of one stream that its reader has not taken yet."""
CONNECTION_WINDOW = 64 << 20
DEFAULT_WINDOW = 65_535
STREAMS_UNTIL_TOLD = 100
"""What the specification recommends as a minimum; used until the server's settings are there."""
PING_AFTER_SECONDS = 5.0
"""Of silence while calls wait. etcd's servers refuse clients that ask more often."""
PING_ANSWER_SECONDS = 2.0


class ConnectionLost(ConnectionError):
    """The call has no answer. `sent`: whether the server may have acted on it."""

    def __init__(self, why: str, *, sent: bool) -> None:
        super().__init__(why)
        self.sent = sent


class Receiver(Protocol):
    """One call: told what arrives for it, on the event loop."""

    def on_headers(self, headers: tuple[Header, ...]) -> None: ...

    def on_data(self, data: bytes) -> None:
        """It must be given back with `Connection.consumed` for more to come."""
        ...

    def on_end(self) -> None: ...

    def on_lost(self, error: ConnectionLost) -> None: ...


class _Stream:
    __slots__ = ("receiver", "unreturned", "window")

    def __init__(self, receiver: Receiver, window: int) -> None:
        self.receiver = receiver
        self.window = window
        self.unreturned = 0


class Connection(asyncio.Protocol):
    """Made by the event loop's `create_connection`. `usable` tells whether it takes another stream."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._reader = frames.FrameReader()
        self._output: list[bytes] = []
        self._streams: dict[int, _Stream] = {}
        self._next_id = 1
        self._window = DEFAULT_WINDOW
        self._initial_window = DEFAULT_WINDOW
        self._frame_size = frames.FRAME_SIZE
        self._unreturned = 0
        self._blocked: deque[tuple[int, bytes, bool]] = deque()
        self._headers: tuple[int, int, bytes] | None = None
        self._room: deque[asyncio.Future[None]] = deque()
        self._gone: asyncio.Future[None] = self._loop.create_future()
        self._last_heard = self._loop.time()
        self._keepalive: asyncio.TimerHandle | None = None
        self._pinged = False
        self._going_away = False
        self.max_streams = STREAMS_UNTIL_TOLD
        self.closed = False

    # What the channel above does.

    @property
    def usable(self) -> bool:
        return not (self.closed or self._going_away) and self._next_id < frames.LAST_STREAM_ID

    @property
    def open_streams(self) -> int:
        return len(self._streams)

    async def until_room(self) -> None:
        """Until the server allows another stream. Raises `ConnectionLost`."""
        while self.usable and len(self._streams) >= self.max_streams:
            waiter: asyncio.Future[None] = self._loop.create_future()
            self._room.append(waiter)
            await waiter
        if not self.usable:
            raise ConnectionLost("the connection is closing", sent=False)

    def open(self, receiver: Receiver, headers: bytes) -> int:
        """A new stream with its encoded request headers; call after `until_room`, without an await between."""
        stream_id, self._next_id = self._next_id, self._next_id + 2
        self._streams[stream_id] = _Stream(receiver, self._initial_window)
        self._write(frames.frame(frames.HEADERS, frames.END_HEADERS, stream_id, headers))
        if self._keepalive is None:
            self._watch_over()
        return stream_id

    def send(self, stream_id: int, data: bytes, *, end: bool) -> None:
        self._blocked.append((stream_id, data, end))
        self._pump()

    def consumed(self, stream_id: int, size: int) -> None:
        stream = self._streams.get(stream_id)
        if stream is not None:
            stream.unreturned += size
            if stream.unreturned >= STREAM_WINDOW // 2:
                self._write(frames.frame(frames.WINDOW_UPDATE, 0, stream_id, frames.WORD.pack(stream.unreturned)))
                stream.unreturned = 0

    def cancel(self, stream_id: int) -> None:
        """The caller has lost interest; nothing more arrives for it."""
        if stream_id in self._streams:
            self._write(frames.frame(frames.RST_STREAM, 0, stream_id, frames.WORD.pack(frames.CANCEL)))
            self._forget(stream_id)

    def retire(self) -> None:
        """Take no more streams, and close when the open ones have ended."""
        self._going_away = True
        self._wake()
        if not self._streams:
            self.abort("retired")

    def abort(self, why: str) -> None:
        if not self.closed:
            self._lose(why)
            if self._transport is not None:
                self._transport.abort()

    async def wait_closed(self) -> None:
        await asyncio.wait([self._gone])

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports share no class with asyncio's.
        self._transport = cast(asyncio.Transport, transport)
        ours = ((frames.HEADER_TABLE_SIZE, 0), (frames.ENABLE_PUSH, 0), (frames.INITIAL_WINDOW_SIZE, STREAM_WINDOW))
        self._write(
            frames.PREFACE
            + frames.frame(frames.SETTINGS, 0, 0, b"".join(frames.SETTING.pack(*setting) for setting in ours))
        )
        self._write(frames.frame(frames.WINDOW_UPDATE, 0, 0, frames.WORD.pack(CONNECTION_WINDOW - DEFAULT_WINDOW)))

    def connection_lost(self, exc: Exception | None) -> None:
        self._lose(str(exc or "the server closed the connection"))
        if not self._gone.done():
            self._gone.set_result(None)

    def data_received(self, data: bytes) -> None:
        self._last_heard = self._loop.time()
        self._pinged = False
        try:
            for kind, flags, stream_id, payload in self._reader.feed(data):
                handler = _HANDLERS.get(kind)
                if handler is not None:
                    handler(self, flags, stream_id, payload)
        except (frames.ProtocolError, BadHeaderBlock, struct.error) as error:
            self.abort(f"the server does not speak HTTP/2: {error}")

    def _on_data(self, flags: int, stream_id: int, payload: bytes) -> None:
        self._unreturned += len(payload)
        if self._unreturned >= CONNECTION_WINDOW // 2:
            self._write(frames.frame(frames.WINDOW_UPDATE, 0, 0, frames.WORD.pack(self._unreturned)))
            self._unreturned = 0
        stream = self._streams.get(stream_id)
        if stream is None:
            return
        data = frames.without_padding(flags, payload)
        stream.unreturned += len(payload) - len(data)
        if data:
            stream.receiver.on_data(data)
        if flags & frames.END_STREAM:
            self._end(stream_id)

    def _on_headers(self, flags: int, stream_id: int, payload: bytes) -> None:
        block = frames.without_padding(flags, payload)
        self._headers = stream_id, flags, block[5:] if flags & frames.PRIORITY else block
        if flags & frames.END_HEADERS:
            self._headers_done()

    def _on_continuation(self, flags: int, stream_id: int, payload: bytes) -> None:
        if self._headers is None or self._headers[0] != stream_id:
            raise frames.ProtocolError("a continuation of nothing")
        first = self._headers
        self._headers = first[0], first[1], first[2] + payload
        if flags & frames.END_HEADERS:
            self._headers_done()

    def _headers_done(self) -> None:
        assert self._headers is not None
        (stream_id, flags, block), self._headers = self._headers, None
        stream = self._streams.get(stream_id)
        if stream is not None:
            stream.receiver.on_headers(decode(block))
            if flags & frames.END_STREAM:
                self._end(stream_id)

    def _on_reset(self, flags: int, stream_id: int, payload: bytes) -> None:
        (code,) = frames.WORD.unpack(payload)
        stream = self._streams.get(stream_id)
        if stream is not None:
            self._forget(stream_id)
            # With REFUSED_STREAM the server promises that it did nothing.
            stream.receiver.on_lost(
                ConnectionLost(f"the server reset the call (code {code})", sent=code != frames.REFUSED_STREAM)
            )

    def _on_settings(self, flags: int, stream_id: int, payload: bytes) -> None:
        if flags & frames.ACK:
            return
        for at in range(0, len(payload), frames.SETTING.size):
            name, value = frames.SETTING.unpack_from(payload, at)
            if name == frames.MAX_CONCURRENT_STREAMS:
                self.max_streams = value
            elif name == frames.MAX_FRAME_SIZE:
                self._frame_size = value
            elif name == frames.INITIAL_WINDOW_SIZE:
                for stream in self._streams.values():
                    stream.window += value - self._initial_window
                self._initial_window = value
        self._write(frames.frame(frames.SETTINGS, frames.ACK, 0))
        self._pump()
        self._wake()

    def _on_ping(self, flags: int, stream_id: int, payload: bytes) -> None:
        if not flags & frames.ACK:
            self._write(frames.frame(frames.PING, frames.ACK, 0, payload))

    def _on_goaway(self, flags: int, stream_id: int, payload: bytes) -> None:
        (last,) = frames.WORD.unpack_from(payload)
        self._going_away = True
        for number in [number for number in self._streams if number > last]:
            stream = self._streams[number]
            self._forget(number)
            stream.receiver.on_lost(ConnectionLost("the server is going away", sent=False))
        self.retire()

    def _on_window_update(self, flags: int, stream_id: int, payload: bytes) -> None:
        (increment,) = frames.WORD.unpack(payload)
        stream = self._streams.get(stream_id)
        if stream_id == 0:
            self._window += increment
        elif stream is not None:
            stream.window += increment
        self._pump()

    def _on_push(self, flags: int, stream_id: int, payload: bytes) -> None:
        raise frames.ProtocolError("a push that was not asked for")

    def _pump(self) -> None:
        """Send what the windows allow, in order within each stream."""
        held: set[int] = set()
        for _ in range(len(self._blocked)):
            stream_id, data, end = self._blocked.popleft()
            stream = self._streams.get(stream_id)
            if stream is None:
                continue
            rest = data if stream_id in held else self._send_some(stream, stream_id, data, end)
            if rest is not None:
                held.add(stream_id)
                self._blocked.append((stream_id, rest, end))

    def _send_some(self, stream: _Stream, stream_id: int, data: bytes, end: bool) -> bytes | None:
        """What is left, None when all was sent."""
        while True:
            size = min(len(data), self._frame_size, stream.window, self._window)
            if size <= 0 < len(data):
                return data
            part, data = data[:size], data[size:]
            stream.window -= size
            self._window -= size
            self._write(frames.frame(frames.DATA, frames.END_STREAM if end and not data else 0, stream_id, part))
            if not data:
                return None

    def _write(self, data: bytes) -> None:
        if not self._output:
            self._loop.call_soon(self._flush)
        self._output.append(data)

    def _flush(self) -> None:
        output, self._output = self._output, []
        if output and self._transport is not None and not self.closed:
            self._transport.write(b"".join(output))

    def _end(self, stream_id: int) -> None:
        stream = self._streams[stream_id]
        self._forget(stream_id)
        stream.receiver.on_end()

    def _forget(self, stream_id: int) -> None:
        del self._streams[stream_id]
        self._wake()
        if self._going_away and not self._streams:
            self._loop.call_soon(self.abort, "retired")

    def _wake(self) -> None:
        """Those who wait for room, as many as there is room for; all when there will be none."""
        free = self.max_streams - len(self._streams) if self.usable else len(self._room)
        while self._room and free > 0:
            waiter = self._room.popleft()
            if not waiter.done():
                waiter.set_result(None)
                free -= 1

    def _lose(self, why: str) -> None:
        if self.closed:
            return
        self.closed = True
        if self._keepalive is not None:
            self._keepalive.cancel()
        streams, self._streams = self._streams, {}
        self._blocked.clear()
        for stream in streams.values():
            stream.receiver.on_lost(ConnectionLost(why, sent=True))
        self._wake()

    def _watch_over(self) -> None:
        """A server that is stopped or cut off says nothing; while calls wait, silence is questioned."""
        self._keepalive = None
        if self.closed or not self._streams:
            return
        silence = self._loop.time() - self._last_heard
        if self._pinged:
            self.abort(f"no answer to a ping for {PING_ANSWER_SECONDS} s")
        elif silence >= PING_AFTER_SECONDS:
            self._pinged = True
            self._write(frames.frame(frames.PING, 0, 0, b"twinplan"))
            self._keepalive = self._loop.call_later(PING_ANSWER_SECONDS, self._watch_over)
        else:
            self._keepalive = self._loop.call_later(PING_AFTER_SECONDS, self._watch_over)


_HANDLERS: dict[int, Callable[[Connection, int, int, bytes], None]] = {
    frames.DATA: Connection._on_data,
    frames.HEADERS: Connection._on_headers,
    frames.RST_STREAM: Connection._on_reset,
    frames.SETTINGS: Connection._on_settings,
    frames.PUSH_PROMISE: Connection._on_push,
    frames.PING: Connection._on_ping,
    frames.GOAWAY: Connection._on_goaway,
    frames.WINDOW_UPDATE: Connection._on_window_update,
    frames.CONTINUATION: Connection._on_continuation,
}
