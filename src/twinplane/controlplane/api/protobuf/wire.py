"""The protobuf wire format: bytes to (tag, value) pairs and back, and nothing of what they mean.

Called by `decoding` and `encoding` for each message. A value is an int for varints and the bytes themselves for
everything else, so that the pair is told apart by its tag alone. Errors are `ValueError` in the words of
upstream's generated code.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

VARINT, FIXED64, BYTES, START_GROUP, END_GROUP, FIXED32 = range(6)
_FIXED_SIZES = {FIXED64: 8, FIXED32: 4}
_LONGEST_VARINT = 70
_MASK = (1 << 64) - 1
_FIRST_TAG, _LAST_TAG = 1 << 3, (1 << 32) - 1
_TRUNCATED = "unexpected EOF"
_SMALL = [bytes((number,)) for number in range(0x80)]


def tag_of(number: int, wire_type: int) -> int:
    return number << 3 | wire_type


def varint(number: int) -> bytes:
    """Negative numbers are those of 64 bits."""
    number &= _MASK
    if number < 0x80:
        return _SMALL[number]
    found = bytearray()
    while number >= 0x80:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    found.append(number)
    return bytes(found)


def chunk(tag: bytes, content: bytes) -> bytes:
    """A length-delimited field; `tag` as it is written."""
    return tag + varint(len(content)) + content


def fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """Each field of one message in order; groups, which Kubernetes never writes, are skipped."""
    position, end = 0, len(data)
    while position < end:
        tag, position = _varint(data, position)
        if not _FIRST_TAG <= tag <= _LAST_TAG:
            raise ValueError(f"proto: illegal tag {tag >> 3} (wire type {tag & 7})")
        wire_type = tag & 7
        if wire_type == BYTES:
            length, start = _varint(data, position)
            position = start + length
            if position > end:
                raise ValueError(_TRUNCATED)
            yield tag, data[start:position]
        elif wire_type == VARINT:
            number, position = _varint(data, position)
            yield tag, number
        elif wire_type in _FIXED_SIZES:
            start, position = position, _after(data, position, wire_type)
            yield tag, data[start:position]
        else:
            position = _after(data, position, wire_type)


def varints(data: bytes) -> Iterator[int]:
    """The elements of a packed list."""
    position, end = 0, len(data)
    while position < end:
        number, position = _varint(data, position)
        yield number


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """The unsigned 64 bits that start here and the position after them."""
    value = shift = 0
    end = len(data)
    while position < end:
        byte = data[position]
        position += 1
        if byte < 0x80:
            return (value | byte << shift) & _MASK, position
        value |= (byte & 0x7F) << shift
        shift += 7
        if shift >= _LONGEST_VARINT:
            raise ValueError("proto: integer overflow")
    raise ValueError(_TRUNCATED)


def _after(data: bytes, position: int, wire_type: int) -> int:
    """The position after a value that starts here, a whole group included."""
    open_groups = 0
    while True:
        if wire_type in _FIXED_SIZES:
            position += _FIXED_SIZES[wire_type]
        elif wire_type == VARINT:
            _, position = _varint(data, position)
        elif wire_type == BYTES:
            length, position = _varint(data, position)
            position += length
        elif wire_type == START_GROUP:
            open_groups += 1
        elif wire_type == END_GROUP and open_groups:
            open_groups -= 1
        else:
            raise ValueError(f"proto: illegal wireType {wire_type}")
        if position > len(data):
            raise ValueError(_TRUNCATED)
        if not open_groups:
            return position
        tag, position = _varint(data, position)
        wire_type = tag & 7
