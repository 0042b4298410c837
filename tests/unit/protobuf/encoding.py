"""The other direction, for tests: JSON objects to the protobuf that Go would write, from the same table of messages."""

from __future__ import annotations

import struct
from base64 import b64decode
from collections.abc import Callable
from datetime import datetime
from typing import Any

import orjson

from twinplane.controlplane.api.protobuf import wire
from twinplane.controlplane.api.protobuf.decoding import MAGIC
from twinplane.controlplane.api.protobuf.messages import Field, Message, Shape, message, name_of_kind
from twinplane.controlplane.api.protobuf.values import CONVERSIONS
from twinplane.kubeclient.contract import Object

ZEROS: dict[str, Any] = {"string": "", "bool": False, "int32": 0, "int64": 0, "double": 0.0, "bytes": ""}
_KINDS = {id(conversion): kind for kind, conversion in CONVERSIONS.items()}


def kind_of(field: Field) -> str:
    """The type's name in the table; empty for messages."""
    return "" if field.conversion is None else _KINDS[id(field.conversion)]


def varint(number: int) -> bytes:
    number &= (1 << 64) - 1
    found = bytearray()
    while number >= 0x80:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*found, number))


def number(field: int, value: int) -> bytes:
    return varint(wire.tag_of(field, wire.VARINT)) + varint(value)


def chunk(field: int, value: bytes) -> bytes:
    return varint(wire.tag_of(field, wire.BYTES)) + varint(len(value)) + value


def envelope(api_version: str, kind: str, raw: bytes) -> bytes:
    type_meta = chunk(1, api_version.encode()) + chunk(2, kind.encode())
    return MAGIC + chunk(1, type_meta) + chunk(2, raw) + chunk(3, b"") + chunk(4, b"")


def encode(body: Object) -> bytes:
    """As Go's generated code: fields that are no pointers are written even when they are zero."""
    api_version, kind = body["apiVersion"], body["kind"]
    return envelope(api_version, kind, _message(body, message(name_of_kind(api_version, kind))))


def _message(body: Object, type: Message) -> bytes:
    return b"".join(_field(body, field) for field in type.fields)


def _field(body: Object, field: Field) -> bytes:
    if not field.name:
        return _one(field, body)
    if field.name not in body:
        left_out = field.shape is Shape.ONE and not field.zero_is_told and not field.message
        return _one(field, ZEROS[kind_of(field)]) if left_out else b""
    value = body[field.name]
    if field.shape is Shape.LIST:
        return b"".join(_one(field, entry) for entry in value)
    if field.shape is Shape.MAP:
        entries = (chunk(1, key.encode()) + chunk(2, _content(field, entry)) for key, entry in value.items())
        return b"".join(chunk(field.number, entry) for entry in entries)
    return _one(field, value)


def _one(field: Field, value: Any) -> bytes:
    content = _content(field, value)
    if field.wire_type == wire.BYTES:
        return chunk(field.number, content)
    return varint(field.tag) + content


def _content(field: Field, value: Any) -> bytes:
    if field.conversion is not None:
        return _ENCODERS[kind_of(field)](value)
    return _message(_union(field.message, value), message(field.message))


def _union(name: str, value: Any) -> Object:
    if "JSONSchemaPropsOr" not in name:
        found: Object = value
        return found
    if isinstance(value, bool):
        return {"allows": value}
    return {"list": value} if isinstance(value, list) else {"schema": value}


def _time(value: str | None) -> bytes:
    if value is None:
        return b""
    moment = datetime.fromisoformat(value)
    return number(1, int(moment.replace(microsecond=0).timestamp())) + number(2, moment.microsecond * 1000)


def _int_or_string(value: int | str) -> bytes:
    kind, whole, string = (1, 0, value) if isinstance(value, str) else (0, value, "")
    return number(1, kind) + number(2, whole) + chunk(3, string.encode())


_ENCODERS: dict[str, Callable[[Any], bytes]] = {
    "string": str.encode,
    "bool": varint,
    "int32": varint,
    "int64": varint,
    "double": lambda value: struct.pack("<d", value),
    "bytes": b64decode,
    "time": _time,
    "microtime": _time,
    "quantity": lambda value: chunk(1, value.encode()),
    "intstr": _int_or_string,
    "json": lambda value: b"" if value is None else chunk(1, orjson.dumps(value)),
    "strings": lambda value: b"".join(chunk(1, entry.encode()) for entry in value),
}
