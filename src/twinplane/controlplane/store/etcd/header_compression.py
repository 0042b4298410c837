"""HTTP/2 header blocks (HPACK, RFC 7541) as a client needs them that keeps no dynamic table.

`http2` announces a dynamic table of size zero, so a block means the same wherever it comes and can be remembered. What
is sent are literals without compression: the same few bytes for every call of a method.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache

Header = tuple[bytes, bytes]

# Appendix A, in order; a name without a value has none.
_STATIC = (
    ":authority|:method GET|:method POST|:path /|:path /index.html|:scheme http|:scheme https|:status 200|:status 204|"
    ":status 206|:status 304|:status 400|:status 404|:status 500|accept-charset|accept-encoding gzip, deflate|"
    "accept-language|accept-ranges|accept|access-control-allow-origin|age|allow|authorization|cache-control|"
    "content-disposition|content-encoding|content-language|content-length|content-location|content-range|content-type|"
    "cookie|date|etag|expect|expires|from|host|if-match|if-modified-since|if-none-match|if-range|if-unmodified-since|"
    "last-modified|link|location|max-forwards|proxy-authenticate|proxy-authorization|range|referer|refresh|retry-after|"
    "server|set-cookie|strict-transport-security|transfer-encoding|user-agent|vary|via|www-authenticate"
)
STATIC_TABLE: tuple[Header, ...] = tuple(
    (name.encode(), value.encode()) for name, _, value in (entry.partition(" ") for entry in _STATIC.split("|"))
)


def _symbols(ranges: str) -> tuple[int, ...]:
    """`48-50 97` -> 48, 49, 50, 97."""
    bounds = [(first, last or first) for first, _, last in (part.partition("-") for part in ranges.split())]
    return tuple(symbol for first, last in bounds for symbol in range(int(first), int(last) + 1))


# Appendix B: the code is canonical, so the length of each symbol's code says everything. Groups of (length, symbols).
_CODE_LENGTHS: tuple[tuple[int, tuple[int, ...]], ...] = (
    (5, _symbols("48-50 97 99 101 105 111 115-116")),
    (6, _symbols("32 37 45-47 51-57 61 65 95 98 100 102-104 108-110 112 114 117")),
    (7, _symbols("58 66-87 89 106-107 113 118-122")),
    (8, _symbols("38 42 44 59 88 90")),
    (10, _symbols("33-34 40-41 63")),
    (11, _symbols("39 43 124")),
    (12, _symbols("35 62")),
    (13, _symbols("0 36 64 91 93 126")),
    (14, _symbols("94 125")),
    (15, _symbols("60 96 123")),
    (19, _symbols("92 195 208")),
    (20, _symbols("128 130-131 162 184 194 224 226")),
    (21, _symbols("153 161 167 172 176-177 179 209 216-217 227 229-230")),
    (22, _symbols("129 132-134 136 146 154 156 160 163-164 169-170 173 178 181 185-187 189-190 196 198 228 232-233")),
    (23, _symbols("1 135 137-141 143 147 149-152 155 157-158 165-166 168 174-175 180 182-183 188 191 197 231 239")),
    (24, _symbols("9 142 144-145 148 159 171 206 215 225 236-237")),
    (25, _symbols("199 207 234-235")),
    (26, _symbols("192-193 200-202 205 210 213 218-219 238 240 242-243 255")),
    (27, _symbols("203-204 211-212 214 221-223 241 244-248 250-254")),
    (28, _symbols("2-8 11-12 14-21 23-31 127 220 249")),
    (30, _symbols("10 13 22 256")),
)
END_OF_STRING = 256
_REMEMBERED = 256
_LARGEST_BLOCK = 1 << 16


class BadHeaderBlock(ValueError):
    """What came is not HPACK, or uses what was not offered."""


def _codes() -> dict[tuple[int, int], int]:
    """(length, code) -> symbol."""
    codes: dict[tuple[int, int], int] = {}
    code = length = 0
    for next_length, symbols in _CODE_LENGTHS:
        code <<= next_length - length
        length = next_length
        for symbol in symbols:
            codes[length, code] = symbol
            code += 1
    return codes


_CODES = _codes()


def huffman_decode(data: bytes) -> bytes:
    """Raises `BadHeaderBlock` for padding that is not a prefix of the end-of-string code."""
    text = bytearray()
    code = length = 0
    for byte in data:
        for shift in range(7, -1, -1):
            code = code << 1 | byte >> shift & 1
            length += 1
            symbol = _CODES.get((length, code))
            if symbol == END_OF_STRING:
                raise BadHeaderBlock("end of string inside a string")
            if symbol is not None:
                text.append(symbol)
                code = length = 0
    if length > 7 or code != (1 << length) - 1:
        raise BadHeaderBlock("wrong padding of a string")
    return bytes(text)


def encode(headers: Iterable[Header]) -> bytes:
    """Literals without indexing."""
    block = bytearray()
    for name, value in headers:
        block += b"\x00" + _length(len(name)) + name + _length(len(value)) + value
    return bytes(block)


def _length(number: int) -> bytes:
    if number < 127:
        return bytes((number,))
    rest = bytearray((127,))
    number -= 127
    while number > 127:
        rest.append(number & 127 | 128)
        number >>= 7
    rest.append(number)
    return bytes(rest)


@lru_cache(_REMEMBERED)
def decode(block: bytes) -> tuple[Header, ...]:
    """Raises `BadHeaderBlock`."""
    if len(block) > _LARGEST_BLOCK:
        raise BadHeaderBlock("header block is too large")
    try:
        return tuple(_decode(block))
    except IndexError:
        raise BadHeaderBlock("header block ends too early") from None


def _decode(block: bytes) -> Iterator[Header]:
    at = 0
    while at < len(block):
        first = block[at]
        if first & 0x80:
            index, at = _integer(block, at, 7)
            yield _static(index)
        elif first & 0xE0 == 0x20:
            size, at = _integer(block, at, 5)
            if size:
                raise BadHeaderBlock("a dynamic table was not offered")
        else:
            index, at = _integer(block, at, 6 if first & 0x40 else 4)
            name = _static(index)[0] if index else b""
            if not index:
                name, at = _string(block, at)
            value, at = _string(block, at)
            yield name, value


def _static(index: int) -> Header:
    if not 0 < index <= len(STATIC_TABLE):
        raise BadHeaderBlock(f"no header {index} in the table")
    return STATIC_TABLE[index - 1]


def _integer(block: bytes, at: int, bits: int) -> tuple[int, int]:
    limit = (1 << bits) - 1
    value = block[at] & limit
    at += 1
    if value < limit:
        return value, at
    shift = 0
    while True:
        byte = block[at]
        at += 1
        value += (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, at
        if shift > 28:
            raise BadHeaderBlock("integer is too large")


def _string(block: bytes, at: int) -> tuple[bytes, int]:
    coded = block[at] & 0x80
    length, at = _integer(block, at, 7)
    if at + length > len(block):
        raise BadHeaderBlock("string ends too early")
    data = block[at : at + length]
    return (huffman_decode(data) if coded else data), at + length
