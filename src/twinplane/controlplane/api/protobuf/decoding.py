"""Protobuf request bodies: bytes to the JSON object that the same Go client would have sent as JSON.

Called for bodies of `MEDIA_TYPE`, which kubectl's typed commands and Go clients send for built-in types; everything
after it is the same code as for JSON. A body is `MAGIC` and a runtime.Unknown, which names the kind and has the object
in its second field. Go writes fields that are no pointers even when they are empty, so the bytes alone do not tell what
was set: the table of `messages` says for each field whether Go's JSON would have its zero. Absent from the result is
also what JSON has as `null`, where it is a field of an object.
"""

from __future__ import annotations

from typing import Any

from twinplane.controlplane.api.protobuf import wire
from twinplane.controlplane.api.protobuf.messages import Field, Message, Shape, message, name_of_kind
from twinplane.controlplane.api.protobuf.values import text
from twinplane.kubeclient.contract import Object

MEDIA_TYPE = "application/vnd.kubernetes.protobuf"
MAGIC = b"k8s\0"
MAX_DEPTH = 100
"""Of messages inside messages. A deep schema of a CustomResourceDefinition has about 40."""
_FIRST, _SECOND = wire.tag_of(1, wire.BYTES), wire.tag_of(2, wire.BYTES)
UNIONS: dict[str, Any] = {
    "apiextensions.k8s.io/v1.JSONSchemaPropsOrArray": None,
    "apiextensions.k8s.io/v1.JSONSchemaPropsOrBool": False,
    "apiextensions.k8s.io/v1.JSONSchemaPropsOrStringArray": None,
}
"""Messages whose JSON is one of their fields; the value is what an empty one is."""


def decode(data: bytes, default: tuple[str, str] = ("", "")) -> Object:
    """The object with its apiVersion and kind; those of `default` stand in where the envelope leaves them empty.

    Raises ValueError for whatever is no such object, also for kinds that have no message.
    """
    if not data.startswith(MAGIC):
        prefix = " ".join(map(str, MAGIC))
        raise ValueError(f"provided data does not appear to be a protobuf message, expected prefix [{prefix}]")
    envelope = dict(wire.fields(data[len(MAGIC) :]))
    type_meta = dict(wire.fields(envelope.get(_FIRST, b"")))
    api_version = text(type_meta.get(_FIRST, b"")) or default[0]
    kind = text(type_meta.get(_SECOND, b"")) or default[1]
    found: Object = {"apiVersion": api_version, "kind": kind}
    _read(envelope.get(_SECOND, b""), message(name_of_kind(api_version, kind)), found, 0)
    return found


def _read(data: bytes, type: Message, into: Object, depth: int) -> None:
    """Adds the fields in `data`; a message that comes twice is merged, as protobuf has it."""
    if depth > MAX_DEPTH:
        raise ValueError(f"proto: {type.name}: nested deeper than {MAX_DEPTH} messages")
    for tag, raw in wire.fields(data):
        field = type.by_tag.get(tag)
        if field is None:
            _read_odd(tag, raw, type, into)
        elif field.shape is Shape.LIST:
            into.setdefault(field.name, []).append(_value(field, raw, depth))
        elif field.shape is Shape.MAP:
            key, value = _entry(field, raw, depth)
            into.setdefault(field.name, {})[key] = value
        elif field.message and field.message not in UNIONS:
            inner = into.setdefault(field.name, {}) if field.name else into
            _read(raw, message(field.message), inner, depth + 1)
        else:
            _set(field, _value(field, raw, depth), into)


def _set(field: Field, value: Any, into: Object) -> None:
    if value is None or not (value or field.zero_is_told or field.message):
        into.pop(field.name, None)
    else:
        into[field.name] = value


def _read_odd(tag: int, raw: Any, type: Message, into: Object) -> None:
    """Packed lists, fields that are unknown (skipped), and known ones of the wrong wire type (refused)."""
    field = type.packed.get(tag)
    if field is not None and field.conversion is not None:
        elements = [field.conversion.to_json(number) for number in wire.varints(raw)]
        if elements:
            into.setdefault(field.name, []).extend(elements)
    elif field := type.by_number.get(tag >> 3):
        raise ValueError(f"proto: wrong wireType = {tag & 7} for field {field.name or field.message}")


def _value(field: Field, raw: Any, depth: int) -> Any:
    if field.conversion is not None:
        return field.conversion.to_json(raw)
    inner: Object = {}
    _read(raw, message(field.message), inner, depth + 1)
    return _chosen(inner, UNIONS[field.message]) if field.message in UNIONS else inner


def _chosen(union: Object, empty: Any) -> Any:
    return next((union[name] for name in ("list", "schema", "allows") if name in union), empty)


def _entry(field: Field, raw: bytes, depth: int) -> tuple[str, Any]:
    """A map's entry is a message of key and value. All values in the table are length-delimited."""
    key = value = b""
    for tag, part in wire.fields(raw):
        if tag == _FIRST:
            key = part
        elif tag == _SECOND:
            value = part
        elif tag >> 3 in (1, 2):
            raise ValueError(f"proto: wrong wireType = {tag & 7} for field {field.name}")
    return text(key), _value(field, value, depth)
