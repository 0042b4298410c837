"""Answers that come piece by piece, over a WebSocket: how browsers follow a pod's log.

An answer's stream becomes the messages of a tunnel (RFC 6455); of what the client sends only a close and pings matter.
As upstream's wsstream.Reader.
"""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from hashlib import sha1
from struct import pack

from twinplane.controlplane.api.contract import Response
from twinplane.kubeclient.errors import bad_request

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
_MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
LOG_PROTOCOLS: Mapping[str, tuple[int, bool]] = {
    "": (BINARY, False),
    "binary.k8s.io": (BINARY, False),
    "base64.binary.k8s.io": (TEXT, True),
}
"""Subprotocol -> the opcode of its messages, and whether they are written in base64."""
_CONTROL_MAX = 1 << 12
"""Bytes of the client's that may wait for the rest of their frame: a client has nothing long to say."""


def is_upgrade(headers: Mapping[str, str]) -> bool:
    return headers.get("upgrade", "").lower() == "websocket"


def framed(headers: Mapping[str, str], answer: Response, protocols: Mapping[str, tuple[int, bool]]) -> Response:
    """`answer` over the WebSocket that `headers` ask for; what is no success stays as it is. Raises BadRequest."""
    if answer.status != 200:
        return answer
    key = headers.get("sec-websocket-key", "")
    if not key:
        raise bad_request("missing Sec-WebSocket-Key header")
    asked = [name.strip() for name in headers.get("sec-websocket-protocol", "").split(",") if name.strip()] or [""]
    chosen = next((name for name in asked if name in protocols), None)
    if chosen is None and "" not in protocols:
        raise bad_request(f"requested protocol(s) are not supported: {asked}; supports {sorted(protocols)}")
    accept = b64encode(sha1(key.encode() + _MAGIC, usedforsecurity=False).digest()).decode()
    agreed = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Accept": accept}
    if chosen:
        agreed["Sec-WebSocket-Protocol"] = chosen
    opcode, encoded = protocols[chosen or ""]
    tunnel = _Messages(answer.stream or _one(answer.whole()), opcode, encoded=encoded)
    return replace(Response(101), headers=agreed, tunnel=tunnel)


async def _one(body: bytes) -> AsyncIterator[bytes]:
    if body:
        yield body


def frame(opcode: int, payload: bytes) -> bytes:
    """One unmasked, final frame, as servers send them."""
    size = len(payload)
    head = 0x80 | opcode
    if size < 126:
        return pack("!BB", head, size) + payload
    return (pack("!BBH", head, 126, size) if size < 1 << 16 else pack("!BBQ", head, 127, size)) + payload


class _Messages:
    """Implements `Tunnel`."""

    def __init__(self, pieces: AsyncIterator[bytes], opcode: int, *, encoded: bool) -> None:
        self._pieces = pieces
        self._opcode = opcode
        self._encoded = encoded
        self._client: asyncio.Transport | None = None
        self._received = b""
        self._takes = asyncio.Event()
        self._takes.set()
        self._sender: asyncio.Task[None] | None = None

    async def join(self, client: asyncio.Transport) -> None:
        self._client = client
        self._sender = asyncio.create_task(self._send(client), name="WebSocket")
        # Cancelled by `close` when the client leaves first.
        await asyncio.wait([self._sender])

    async def _send(self, client: asyncio.Transport) -> None:
        try:
            async for piece in self._pieces:
                await self._takes.wait()
                client.write(frame(self._opcode, b64encode(piece) if self._encoded else piece))
            client.write(frame(CLOSE, pack("!H", 1000)))
        finally:
            close = getattr(self._pieces, "aclose", None)
            if close is not None:
                await close()

    def write(self, data: bytes) -> None:
        self._received += data
        while (found := _client_frame(self._received)) is not None:
            opcode, payload, self._received = found
            if opcode == CLOSE:
                self.close()
            elif opcode == PING and self._client is not None:
                self._client.write(frame(PONG, payload))
        if len(self._received) > _CONTROL_MAX:
            self.close()

    def pause(self) -> None:
        self._takes.clear()

    def resume(self) -> None:
        self._takes.set()

    def close(self) -> None:
        if self._sender is not None:
            self._sender.cancel()


def _client_frame(data: bytes) -> tuple[int, bytes, bytes] | None:
    """(opcode, payload, what follows) of the first frame; None while it is not complete."""
    if len(data) < 2:
        return None
    opcode, size, at = data[0] & 0x0F, data[1] & 0x7F, 2
    if size >= 126:
        width = 2 if size == 126 else 8
        if len(data) < at + width:
            return None
        size, at = int.from_bytes(data[at : at + width], "big"), at + width
    masked = bool(data[1] & 0x80)
    mask = data[at : at + 4] if masked else b"\0\0\0\0"
    at += 4 if masked else 0
    if len(data) < at + size:
        return None
    payload = bytes(byte ^ mask[place % 4] for place, byte in enumerate(data[at : at + size]))
    return opcode, payload, data[at + size :]
