"""What one wire value is in JSON, and the other way: scalars, and the messages whose Go types write JSON of their own.

`CONVERSIONS` is keyed by the type names of `messages.txt`. A result of None is Go's `null`: a zero time, a RawExtension
with nothing inside. Sources: MarshalJSON of metav1.Time, MicroTime, FieldsV1, resource.Quantity, intstr.IntOrString,
runtime.RawExtension and apiextensions JSON, and their Unmarshal.
"""

from __future__ import annotations

import math
import struct
from base64 import b64decode, b64encode
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import orjson

from twinplane.controlplane.api.protobuf import wire

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_GO_ZERO_TIME = datetime(1, 1, 1, tzinfo=UTC)


class Conversion(NamedTuple):
    wire_type: int
    to_json: Callable[[Any], Any]
    to_wire: Callable[[Any], bytes]
    """What stands behind the tag, without the length. Raises ValueError and TypeError for JSON of another type."""
    zero_may_be_left_out: bool = False
    """Whether `omitempty` has an effect: in Go it has none on structs."""


def text(raw: bytes) -> str:
    """Go does not check the encoding when it reads, and writes U+FFFD for what is not UTF-8."""
    return raw.decode(errors="replace")


def signed(bits: int) -> Callable[[int], int]:
    half, mask = 1 << bits - 1, (1 << bits) - 1

    def convert(raw: int) -> int:
        return ((raw & mask) ^ half) - half

    return convert


_int32, _int64 = signed(32), signed(64)


def _double(raw: bytes) -> int | float:
    """Go writes a whole number without a point, which JSON readers take for an integer."""
    number: float = struct.unpack("<d", raw)[0]
    if not math.isfinite(number):
        raise ValueError(f"json: unsupported value: {number}")
    return int(number) if number.is_integer() and abs(number) < 1e21 else number


def _base64(raw: bytes) -> str:
    return b64encode(raw).decode()


def _parts(raw: bytes, *tags: int) -> list[Any]:
    """The last value of each tag, None where there is none."""
    found = dict(wire.fields(raw))
    return [found.get(tag) for tag in tags]


_FIRST_NUMBER, _SECOND_NUMBER = wire.tag_of(1, wire.VARINT), wire.tag_of(2, wire.VARINT)
_FIRST_BYTES, _THIRD_BYTES = wire.tag_of(1, wire.BYTES), wire.tag_of(3, wire.BYTES)


def _moment(raw: bytes, *, with_fraction: bool) -> datetime | None:
    if not raw:
        return None
    seconds, nanoseconds = _parts(raw, _FIRST_NUMBER, _SECOND_NUMBER)
    fraction = _int32(nanoseconds or 0) // 1000 if with_fraction else 0
    try:
        found = _EPOCH + timedelta(seconds=_int64(seconds or 0), microseconds=fraction)
    except OverflowError:
        raise ValueError("json: time is outside of the years 1 to 9999") from None
    return None if found == _GO_ZERO_TIME else found


def _time(raw: bytes) -> str | None:
    found = _moment(raw, with_fraction=False)
    return None if found is None else found.isoformat().replace("+00:00", "Z")


def _micro_time(raw: bytes) -> str | None:
    found = _moment(raw, with_fraction=True)
    return None if found is None else found.isoformat(timespec="microseconds").replace("+00:00", "Z")


def _quantity(raw: bytes) -> str:
    (written,) = _parts(raw, _FIRST_BYTES)
    return "0" if written is None else text(written)


def _int_or_string(raw: bytes) -> int | str:
    kind, number, string = _parts(raw, _FIRST_NUMBER, _SECOND_NUMBER, _THIRD_BYTES)
    if kind not in (None, 0, 1):
        raise ValueError("impossible IntOrString.Type")
    return text(string or b"") if kind else _int32(number or 0)


def _inner_json(raw: bytes) -> Any:
    (inner,) = _parts(raw, _FIRST_BYTES)
    return orjson.loads(inner) if inner else None


def _strings(raw: bytes) -> list[str]:
    """A named list of strings, which protobuf can only have as a message around it."""
    return [text(value) for tag, value in wire.fields(raw) if tag == _FIRST_BYTES]


_TAGS = [wire.varint(tag) for tag in (_FIRST_NUMBER, _SECOND_NUMBER, _FIRST_BYTES, _THIRD_BYTES)]
_ONE, _TWO, _ONE_BYTES, _THREE_BYTES = _TAGS


def _from_moment(value: str) -> bytes:
    moment = datetime.fromisoformat(value)
    whole = (moment.replace(microsecond=0) - _EPOCH) // timedelta(seconds=1)
    return _ONE + wire.varint(whole) + _TWO + wire.varint(moment.microsecond * 1000)


def _from_int_or_string(value: int | str) -> bytes:
    kind, number, string = (1, 0, value) if isinstance(value, str) else (0, value, "")
    return (
        _ONE
        + wire.varint(kind)
        + _TWO
        + wire.varint(number)
        + wire.chunk(_THREE_BYTES, string.encode(errors="replace"))
    )


def _from_text(value: str) -> bytes:
    return value.encode(errors="replace")


def _from_double(value: float) -> bytes:
    return struct.pack("<d", value)


def _from_quantity(value: Any) -> bytes:
    return wire.chunk(_ONE_BYTES, str(value).encode())


def _from_inner_json(value: Any) -> bytes:
    return wire.chunk(_ONE_BYTES, orjson.dumps(value))


def _from_strings(value: list[str]) -> bytes:
    return b"".join(wire.chunk(_ONE_BYTES, _from_text(each)) for each in value)


CONVERSIONS = {
    "string": Conversion(wire.BYTES, text, _from_text, True),
    "bool": Conversion(wire.VARINT, bool, wire.varint, True),
    "int32": Conversion(wire.VARINT, _int32, wire.varint, True),
    "int64": Conversion(wire.VARINT, _int64, wire.varint, True),
    "double": Conversion(wire.FIXED64, _double, _from_double, True),
    "bytes": Conversion(wire.BYTES, _base64, b64decode, True),
    "time": Conversion(wire.BYTES, _time, _from_moment),
    "microtime": Conversion(wire.BYTES, _micro_time, _from_moment),
    "quantity": Conversion(wire.BYTES, _quantity, _from_quantity),
    "intstr": Conversion(wire.BYTES, _int_or_string, _from_int_or_string),
    "json": Conversion(wire.BYTES, _inner_json, _from_inner_json),
    "strings": Conversion(wire.BYTES, _strings, _from_strings),
}
