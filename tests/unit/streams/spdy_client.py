"""An executor of an older client, as small as it can be: SPDY on a raw connection."""

from __future__ import annotations

import asyncio

from twinplane.dataplane.streaming import spdy
from twinplane.dataplane.streaming.spdy import Decoder, Encoder, Frame


class SpdyClient:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._encoder = Encoder()
        self._decoder = Decoder()
        self._pending: list[Frame] = []
        self._next = 1

    @classmethod
    async def connect(cls, port: int, target: str, protocols: str) -> tuple[SpdyClient, str]:
        """The client and the head of the answer."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        lines = [f"POST {target} HTTP/1.1", "Host: x", "Connection: Upgrade", "Upgrade: SPDY/3.1"]
        lines += [f"X-Stream-Protocol-Version: {name}" for name in protocols.split()]
        writer.write("\r\n".join([*lines, "Content-Length: 0", "", ""]).encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        if " 101 " not in head:
            head += (await reader.read()).decode()
        return cls(reader, writer), head

    def open(self, **headers: str) -> int:
        number, self._next = self._next, self._next + 2
        self.send(Frame(spdy.SYN_STREAM, number, headers=headers))
        return number

    def send(self, frame: Frame) -> None:
        self._writer.write(self._encoder.encode(frame))

    def write(self, stream: int, data: bytes, *, last: bool = False) -> None:
        self.send(Frame(spdy.DATA, stream, spdy.FIN if last else 0, data))

    async def frame(self) -> Frame | None:
        """The next one; None at the end."""
        while not self._pending:
            data = await self._reader.read(65536)
            if not data:
                return None
            self._pending = list(self._decoder.feed(data))
        return self._pending.pop(0)

    async def rest(self) -> dict[int, bytes]:
        """The data of each stream, until the server closes or all streams have ended."""
        found: dict[int, bytes] = {}
        ended: set[int] = set()
        while len(ended) < self._next // 2 and (frame := await self.frame()) is not None:
            if frame.type == spdy.DATA:
                found[frame.number] = found.get(frame.number, b"") + frame.data
                if frame.is_last:
                    ended.add(frame.number)
        return found

    def close(self) -> None:
        self._writer.close()
