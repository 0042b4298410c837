"""SPDY/3.1 frames, as far as Kubernetes uses them: kubectl's port-forward and the executors of older clients.

Pure: bytes in, frames out, and back. Facts: the SPDY Protocol draft 3.1. Clients (moby/spdystream) neither send nor
heed WINDOW_UPDATE, so flow control is that of the connection below.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

VERSION = 3
SYN_STREAM, SYN_REPLY, RST_STREAM, SETTINGS, PING, GOAWAY, HEADERS, WINDOW_UPDATE = 1, 2, 3, 4, 6, 7, 8, 9
DATA = 0
"""Our own number: on the wire, data frames are those without the control bit."""
FIN = 1
PROTOCOL_ERROR, INVALID_STREAM, REFUSED_STREAM, UNSUPPORTED_VERSION, CANCEL = 1, 2, 3, 4, 5
FRAME_BYTES_MAX = 1 << 20
HEADER_BYTES_MAX = 1 << 16
_CONTROL = 0x8000
_NAMES = (
    "options head post put delete trace accept accept-charset accept-encoding accept-language accept-ranges age allow "
    "authorization cache-control connection content-base content-encoding content-language content-length "
    "content-location content-md5 content-range content-type date etag expect expires from host if-match "
    "if-modified-since if-none-match if-range if-unmodified-since last-modified location max-forwards pragma "
    "proxy-authenticate proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade "
    "user-agent vary via warning www-authenticate method get status"
)
_MORE_NAMES = ("200 OK", "version", "HTTP/1.1", "url", "public", "set-cookie", "keep-alive", "origin")
_TEXT = (
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505"
    "203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden"
    "404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable"
    "Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT"
    "chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,text/javascript,"
    "publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0."
)


def _sized(text: str) -> bytes:
    data = text.encode()
    return struct.pack(">I", len(data)) + data


DICTIONARY = b"".join(map(_sized, (*_NAMES.split(), *_MORE_NAMES))) + _TEXT.encode()
"""What header blocks are compressed with (draft, section 2.6.10.1)."""


class SpdyError(Exception):
    """The peer does not speak SPDY/3.1: the connection cannot go on."""


@dataclass(frozen=True, slots=True)
class Frame:
    """`number` is the stream, or the id of a ping, or the last good stream of a GOAWAY."""

    type: int
    number: int
    flags: int = 0
    data: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_last(self) -> bool:
        return bool(self.flags & FIN)


class Decoder:
    """One direction of a connection: header compression goes on from frame to frame."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._inflate = zlib.decompressobj(zdict=DICTIONARY)

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Frames that are complete. Raises SpdyError."""
        self._buffer += data
        while len(self._buffer) >= 8:
            first, second = struct.unpack_from(">II", self._buffer)
            flags, length = second >> 24, second & 0xFFFFFF
            if length > FRAME_BYTES_MAX:
                raise SpdyError(f"frame of {length} bytes")
            if len(self._buffer) < 8 + length:
                return
            payload = bytes(self._buffer[8 : 8 + length])
            del self._buffer[: 8 + length]
            if first >> 31 == 0:
                yield Frame(DATA, first, flags, payload)
            else:
                frame = self._control(first, flags, payload)
                if frame is not None:
                    yield frame

    def _control(self, first: int, flags: int, payload: bytes) -> Frame | None:
        """None for types that nobody needs."""
        if (first >> 16) & 0x7FFF != VERSION:
            raise SpdyError(f"SPDY version {(first >> 16) & 0x7FFF}")
        kind = first & 0xFFFF
        skipped = _BEFORE_HEADERS.get(kind)
        if skipped is None and kind not in (RST_STREAM, PING, GOAWAY):
            return None
        if len(payload) < (skipped or 4):
            raise SpdyError(f"frame of type {kind} with {len(payload)} bytes")
        number = int.from_bytes(payload[:4], "big") & 0x7FFFFFFF
        if skipped is None:
            # Pings count up to 32 bits.
            return Frame(kind, int.from_bytes(payload[:4], "big") if kind == PING else number, flags, payload[4:])
        return Frame(kind, number, flags, headers=self._headers(payload[skipped:]))

    def _headers(self, block: bytes) -> dict[str, str]:
        try:
            plain = self._inflate.decompress(block, HEADER_BYTES_MAX)
            if self._inflate.unconsumed_tail:
                raise SpdyError("header block too large")
            return dict(_pairs(plain))
        except (zlib.error, struct.error, UnicodeDecodeError) as error:
            raise SpdyError(f"header block: {error}") from error


_BEFORE_HEADERS = {SYN_STREAM: 10, SYN_REPLY: 4, HEADERS: 4}
"""Bytes in front of the header block."""


def _pairs(block: bytes) -> Iterator[tuple[str, str]]:
    (count,) = struct.unpack_from(">I", block)
    at = 4
    for _ in range(count):
        texts = []
        for _ in range(2):
            (length,) = struct.unpack_from(">I", block, at)
            if at + 4 + length > len(block):
                raise SpdyError("header block ends early")
            texts.append(block[at + 4 : at + 4 + length].decode())
            at += 4 + length
        yield texts[0].lower(), texts[1]


class Encoder:
    """The other direction."""

    def __init__(self) -> None:
        self._deflate = zlib.compressobj(zdict=DICTIONARY)

    def encode(self, frame: Frame) -> bytes:
        """Header blocks must be sent in the order in which they were encoded."""
        if frame.type == DATA:
            return struct.pack(">II", frame.number, frame.flags << 24 | len(frame.data)) + frame.data
        payload = struct.pack(">I", frame.number)
        if frame.type == SYN_STREAM:
            payload += bytes(6) + self._block(frame.headers)
        elif frame.type in _BEFORE_HEADERS:
            payload += self._block(frame.headers)
        else:
            payload += frame.data
        head = (_CONTROL | VERSION) << 16 | frame.type
        return struct.pack(">II", head, frame.flags << 24 | len(payload)) + payload

    def _block(self, headers: Mapping[str, str]) -> bytes:
        plain = struct.pack(">I", len(headers)) + b"".join(
            _sized(name.lower()) + _sized(value) for name, value in headers.items()
        )
        return self._deflate.compress(plain) + self._deflate.flush(zlib.Z_SYNC_FLUSH)


def reset(stream: int, status: int) -> Frame:
    return Frame(RST_STREAM, stream, data=struct.pack(">I", status))


def goaway(last_stream: int) -> Frame:
    return Frame(GOAWAY, last_stream, data=struct.pack(">I", 0))
