"""Objects to protobuf, for clients that take nothing else; the other direction of `decoding`, by the same table.

Written is what the JSON has and nothing more. Go writes the zeros of fields that are no pointers as well, which its
reader has anyway.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import cache, partial
from typing import Any

from twinplane.controlplane.api.protobuf import wire
from twinplane.controlplane.api.protobuf.decoding import MAGIC, UNIONS
from twinplane.controlplane.api.protobuf.messages import Field, Shape, message, name_of_kind
from twinplane.kubeclient.contract import Object

Content = Callable[[Any], bytes]
"""A value of JSON to what stands behind its tag and length."""
_FIRST, _SECOND, _THIRD, _FOURTH = (wire.varint(wire.tag_of(number, wire.BYTES)) for number in (1, 2, 3, 4))


def encode(body: Object) -> bytes:
    """An object with apiVersion and kind. Raises ValueError for kinds that have no message, and for odd values."""
    return b"".join(enveloped(body, list(pieces(body))))


def pieces(body: Object) -> Iterator[bytes]:
    """The object's own bytes; a list comes item by item, so that its reader can let others have a turn."""
    name = name_of_kind(str(body.get("apiVersion", "")), str(body.get("kind", "")))
    items = next((field for field in message(name).fields if field.name == "items"), None)
    if items is None:
        yield content(name)(body)
        return
    yield content(name)({key: value for key, value in body.items() if key != "items"})
    tag, one = wire.varint(items.tag), _content(items)
    for item in body.get("items") or ():
        yield wire.chunk(tag, one(item))


def enveloped(body: Object, found: list[bytes]) -> list[bytes]:
    """The `pieces` of `body` in the envelope that names its kind."""
    type_meta = wire.chunk(_FIRST, body["apiVersion"].encode()) + wire.chunk(_SECOND, body["kind"].encode())
    head = MAGIC + wire.chunk(_FIRST, type_meta) + _SECOND + wire.varint(sum(map(len, found)))
    # Last are contentEncoding and contentType, which are empty.
    return [head, *found, _THIRD + b"\0" + _FOURTH + b"\0"]


@cache
def content(name: str) -> Content:
    """Of the message with that full name."""
    puts = [(field.name, _put(field)) for field in message(name).fields]

    def write(body: Object) -> bytes:
        out: list[bytes] = []
        for key, put in puts:
            value = body.get(key) if key else body
            if value is not None:
                put(value, out)
        return b"".join(out)

    return write


def _put(field: Field) -> Callable[[Any, list[bytes]], None]:
    tag, one = wire.varint(field.tag), _content(field)
    if field.shape is Shape.MAP:
        return _map(tag, one)
    delimited = field.wire_type == wire.BYTES

    def put(value: Any, out: list[bytes]) -> None:
        found = one(value)
        out.append(wire.chunk(tag, found) if delimited else tag + found)

    def put_embedded(value: Any, out: list[bytes]) -> None:
        if found := one(value):
            out.append(wire.chunk(tag, found))

    def put_all(values: Iterable[Any], out: list[bytes]) -> None:
        for value in values:
            put(value, out)

    return put_all if field.shape is Shape.LIST else put if field.name else put_embedded


def _map(tag: bytes, one: Content) -> Callable[[Any, list[bytes]], None]:
    def put(values: Object, out: list[bytes]) -> None:
        for key, value in sorted(values.items()):
            entry = wire.chunk(_FIRST, key.encode(errors="replace"))
            if value is not None:
                entry += wire.chunk(_SECOND, one(value))
            out.append(wire.chunk(tag, entry))

    return put


def _content(field: Field) -> Content:
    if field.conversion is not None:
        return field.conversion.to_wire
    name = field.message
    if name in UNIONS:
        return lambda value: content(name)(_taken_apart(value))
    return partial(_of_message, name)


def _of_message(name: str, value: Any) -> bytes:
    """Messages may hold themselves, so the inner one is not looked up before there is one."""
    return content(name)(value)


def _taken_apart(value: Any) -> Object:
    if isinstance(value, bool):
        return {"allows": value}
    return {"list": value} if isinstance(value, list) else {"schema": value, "allows": True}
