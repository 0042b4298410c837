"""How large a value of a schema may be: what the schema says, or else the largest request.

Sizes count elements of lists and maps and characters of texts; other values have none. Source: apiserver
`pkg/cel/common/schemas.go`.
"""

from __future__ import annotations

from twinplane.controlplane.api.extensions.customresources.values import Raw

REQUEST_BYTES = 3 * 1024 * 1024
_CODE_POINT = 4
"""Bytes of one at most: `maxLength` counts code points, requests count bytes."""
_MIN_SIZES = {"string": 2, "boolean": 4, "integer": 1, "number": 1}
_MIN_FORMATS = {"date": 12, "date-time": 21, "duration": 3}
_MAX_FORMATS = {"date": 12, "date-time": 32, "duration": 32}


def most_of(schema: Raw) -> int:
    """Elements or characters at most."""
    additional, items = schema.get("additionalProperties"), schema.get("items")
    if schema.get("x-kubernetes-int-or-string"):
        return _text(schema, _CODE_POINT)
    if schema.get("type") == "array" and isinstance(items, dict):
        return _told(schema, "maxItems", (REQUEST_BYTES - 2) // (smallest(items) + 1))
    if isinstance(additional, dict):
        return _told(schema, "maxProperties", (REQUEST_BYTES - 2) // (smallest(additional) + 6))
    if schema.get("type") != "string":
        return 0
    form = schema.get("format", "")
    if form in _MAX_FORMATS:
        return _MAX_FORMATS[form]
    return _text(schema, 1 if form == "byte" else _CODE_POINT)


def _text(schema: Raw, width: int) -> int:
    if schema.get("maxLength") is not None:
        return max(int(schema["maxLength"]), 0) * width
    if schema.get("enum") and width > 1:
        return max((len(value.encode()) for value in schema["enum"] if isinstance(value, str)), default=0)
    return REQUEST_BYTES - 2


def _told(schema: Raw, limit: str, otherwise: int) -> int:
    most = schema.get(limit)
    return otherwise if most is None else max(int(most), 0)


def smallest(schema: Raw) -> int:
    """Bytes of the shortest JSON that fits."""
    kind = schema.get("type")
    if kind == "array":
        return 2
    if kind == "object":
        properties = schema.get("properties") or {}
        wanted = [name for name in schema.get("required") or () if name in properties]
        return 2 + sum(
            len(name) + smallest(properties[name]) + 4 for name in wanted if "default" not in properties[name]
        )
    if kind == "string":
        return _MIN_FORMATS.get(schema.get("format", ""), 2)
    return _MIN_SIZES.get(str(kind), 1)
