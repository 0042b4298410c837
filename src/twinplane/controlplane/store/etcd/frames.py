"""HTTP/2 frames as bytes (RFC 9113, sections 4 and 6): kinds, flags, settings. `http2` gives them their meaning."""

from __future__ import annotations

import struct
from collections.abc import Iterator

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, _, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM = ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
PRIORITY = 0x20
HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE = 1, 2, 3, 4, 5
REFUSED_STREAM, CANCEL = 7, 8
FRAME_SIZE = 16_384
"""The most that a frame carries unless both sides agree on more; we do not ask for more."""

LAST_STREAM_ID = 2**31 - 1

FRAME = struct.Struct(">HBBBI")
SETTING = struct.Struct(">HI")
WORD = struct.Struct(">I")


class ProtocolError(Exception):
    """What came is not HTTP/2."""


class FrameReader:
    """Gathers what arrives until frames are whole."""

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
        """(kind, flags, stream, payload) of each frame that `data` completes; iterate to the end."""
        held, at = self._held, 0
        held += data
        while len(held) - at >= FRAME.size:
            high, low, kind, flags, stream_id = FRAME.unpack_from(held, at)
            size = high << 8 | low
            if size > FRAME_SIZE:
                raise ProtocolError(f"a frame of {size} bytes")
            end = at + FRAME.size + size
            if len(held) < end:
                break
            payload = bytes(held[at + FRAME.size : end])
            at = end
            yield kind, flags, stream_id & LAST_STREAM_ID, payload
        del held[:at]


def frame(type: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    size = len(payload)
    return FRAME.pack(size >> 8, size & 255, type, flags, stream_id) + payload


def without_padding(flags: int, payload: bytes) -> bytes:
    return payload[1 : len(payload) - payload[0]] if flags & PADDED else payload
