"""Protocol buffers on the wire, as far as etcd's messages go: varints and length-delimited fields."""

from __future__ import annotations

from collections.abc import Iterator

Value = int | bytes


class BadMessage(ValueError):
    """What came is not such a message."""


def varint(number: int) -> bytes:
    if number < 128:
        return bytes((number,))
    encoded = bytearray()
    while number > 127:
        encoded.append(number & 127 | 128)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def integer(field: int, value: int) -> bytes:
    """Empty for zero, which is what absence means in proto3."""
    return varint(field << 3) + varint(value) if value else b""


def data(field: int, value: bytes) -> bytes:
    """Strings, bytes and messages."""
    return varint(field << 3 | 2) + varint(len(value)) + value


def fields(message: bytes) -> Iterator[tuple[int, Value]]:
    """(field number, value) in order; fixed-width fields, of which etcd has none that matter, are skipped."""
    at, end = 0, len(message)
    try:
        while at < end:
            key = message[at]
            at += 1
            if key > 127:
                key, at = _long_varint(message, at - 1)
            kind = key & 7
            value = message[at] if kind in (0, 2) else 0
            at += 1
            if value > 127:
                value, at = _long_varint(message, at - 1)
            if kind == 2:
                if at + value > end:
                    raise BadMessage("a field ends after its message")
                yield key >> 3, message[at : at + value]
                at += value
            elif kind == 0:
                yield key >> 3, value
            elif kind in (1, 5):
                at += 7 if kind == 1 else 3
            else:
                raise BadMessage(f"wire type {kind}")
    except IndexError:
        raise BadMessage("a message ends too early") from None


def _long_varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
        if shift > 63:
            raise BadMessage("a varint is too long")
