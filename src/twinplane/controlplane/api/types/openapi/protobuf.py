"""The version 2 document in protobuf, the only form in which client-go reads it.

`kubectl explain --output=plaintext-openapiv2` and client-side validation of older clients ask for it. The messages are
those of github.com/google/gnostic-models `openapiv2/OpenAPIv2.proto`; only definitions are carried, since nothing looks
at paths here. Field numbers are below; encoding them takes less code than generated classes would.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import orjson

from twinplane.controlplane.api.types.schema import Definitions

MEDIA_TYPE = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
"""client-go asks for it with `@v1.0` in place of `.v1.0`; both mean this."""

_LENGTH_DELIMITED, _VARINT = 2, 0
_DOCUMENT = {"swagger": 1, "info": 2, "paths": 8, "definitions": 9}
_INFO = {"title": 1, "version": 2}
_NAME, _VALUE = 1, 2
_YAML = 2
"""Field of gnostic's Any that holds the value as text."""
_VENDOR_EXTENSION = 31


def encode(title: str, version: str, definitions: Definitions) -> bytes:
    info = _text(_INFO["title"], title) + _text(_INFO["version"], version)
    return (
        _text(_DOCUMENT["swagger"], "2.0")
        + _message(_DOCUMENT["info"], info)
        + _message(_DOCUMENT["paths"], b"")
        + more(definitions)
    )


def more(definitions: Definitions) -> bytes:
    """Put behind a document, these are definitions of it, too: that is how protobuf merges."""
    schemas = b"".join(_message(1, _named(name, _schema(schema))) for name, schema in definitions.items())
    return _message(_DOCUMENT["definitions"], schemas)


def _varint(number: int) -> bytes:
    result = bytearray()
    while number > 0x7F:
        result.append(number & 0x7F | 0x80)
        number >>= 7
    result.append(number)
    return bytes(result)


def _message(field: int, body: bytes) -> bytes:
    return _varint(field << 3 | _LENGTH_DELIMITED) + _varint(len(body)) + body


def _text(field: int, text: str) -> bytes:
    return _message(field, text.encode())


def _named(name: str, body: bytes) -> bytes:
    return _text(_NAME, name) + _message(_VALUE, body)


def _any(value: Any) -> bytes:
    """JSON is YAML."""
    return _text(_YAML, orjson.dumps(value).decode())


def _schema(schema: Mapping[str, Any]) -> bytes:
    parts = []
    for key, value in schema.items():
        encoder = _FIELDS.get(key)
        if encoder is not None:
            parts.append(encoder(value))
        elif key.startswith("x-"):
            parts.append(_message(_VENDOR_EXTENSION, _named(key, _any(value))))
    return b"".join(parts)


def _properties(value: Mapping[str, Any]) -> bytes:
    return _message(25, b"".join(_message(1, _named(name, _schema(schema))) for name, schema in value.items()))


def _additional(value: Any) -> bytes:
    if isinstance(value, bool):
        return _message(21, _varint(2 << 3 | _VARINT) + _varint(int(value)))
    return _message(21, _message(1, _schema(value)))


_FIELDS: dict[str, Callable[[Any], bytes]] = {
    "$ref": lambda value: _text(1, value),
    "format": lambda value: _text(2, value),
    "title": lambda value: _text(3, value),
    "description": lambda value: _text(4, value),
    "default": lambda value: _message(5, _any(value)),
    "required": lambda value: b"".join(_text(19, name) for name in value),
    "enum": lambda value: b"".join(_message(20, _any(choice)) for choice in value),
    "additionalProperties": _additional,
    "type": lambda value: _message(22, _text(1, value)),
    "items": lambda value: _message(23, _message(1, _schema(value))),
    "properties": _properties,
}
