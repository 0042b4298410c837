"""Decoding as Go's json package does it: types checked, unknown fields and nulls dropped, scalars in canonical form.

`UpstreamRules.decode` and `unknown_fields` call it on every write. Each definition is compiled once into a closure, so
a pod costs some tens of microseconds. Errors carry Go's words; the path is gathered only while an error unwinds.
Empty optional lists and maps are dropped, which is what `omitempty` and a trip through protobuf do upstream.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from twinplane.controlplane.api.types.schema import Schema
from twinplane.kubeclient import quantity
from twinplane.kubeclient.contract import Object

Decoder = Callable[..., Any]
"""Value -> the value to keep (the same one, or its canonical form). Raises `Mismatch` or ValueError.

Decoders of structs, and finders of unknown fields in them, may be handed a second object, which has been decoded
already: what the first one shares with it, being the very same Python object, is passed over. So a patch is looked at
where it changed something.
"""
NOTHING: Object = {}
SECONDS = 1024

_KINDS = {str: "string", int: "number", float: "number", bool: "bool", list: "array", dict: "object"}
_LIMITS = {"int32": 1 << 31, "int64": 1 << 63}
_GO_SCALARS = {"boolean": "bool", "number": "float64", "": "interface {}"}
_SECOND = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z").fullmatch
_MOMENT = re.compile(r"(\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2})([.,]\d+)?(Z|[+-]\d{2}:\d{2})").fullmatch
_NOT_BASE64 = re.compile(r"[^A-Za-z0-9+/=\r\n]")


class Mismatch(Exception):
    """`json.UnmarshalTypeError`: collects the struct and the field path on its way up."""

    def __init__(self, value: Any, go_type: str, *, show: bool = False, bare: bool = False) -> None:
        super().__init__()
        self.value = _KINDS[type(value)] + (f" {value}" if show else "")
        self.go_type = go_type
        self.struct = ""
        self.fields: list[str] = []
        self.bare = bare
        """Raised by a type that decodes itself: Go knows no field there."""

    def at(self, struct: str, field: str) -> None:
        self.struct = self.struct or struct
        self.fields.append(field)

    def __str__(self) -> str:
        if self.bare or not self.struct:
            return f"json: cannot unmarshal {self.value} into Go value of type {self.go_type}"
        path = ".".join(reversed(self.fields))
        return f"json: cannot unmarshal {self.value} into Go struct field {self.struct}.{path} of type {self.go_type}"


class Decoders(dict[str, Decoder]):
    """Compiled decoders by definition. `unknown`: the fields that they met and dropped; whoever decodes empties it."""

    def __init__(self) -> None:
        super().__init__()
        self.unknown: list[str] = []


def compile_decoder(schema: Schema, cache: Decoders) -> Decoder:
    """The decoder of a schema node; definitions are compiled once into `cache`."""
    name = schema.reference
    if not name:
        return _compile(schema, cache)
    found = cache.get(name)
    if found is None:

        def not_yet(*values: Any) -> Any:
            return cache[name](*values)

        cache[name] = not_yet
        found = cache[name] = _compile(schema, cache)
    return found


def _compile(schema: Schema, cache: Decoders) -> Decoder:
    if schema.is_quantity:
        return _quantity
    if schema.is_int_or_string:
        return _int_or_string
    if schema.property_names:
        return _struct(schema, cache)
    if schema.type == "array" and schema.items is not None:
        return _array(schema, compile_decoder(schema.items, cache))
    if schema.additional is not None:
        return _map(schema, compile_decoder(schema.additional, cache))
    return _scalar(schema)


def _scalar(schema: Schema) -> Decoder:
    kind, form = schema.type, schema.format
    if kind == "string":
        if form == "byte":
            return _base64
        if form == "date-time":
            return _micro_time if schema.reference.endswith("MicroTime") else _time
        return _string
    if kind == "integer":
        return _integer(form or "int64")
    if kind == "boolean":
        return _boolean
    if kind == "number":
        return _number
    if kind == "object":
        return _any_object
    return _anything


def _struct(schema: Schema, cache: Decoders) -> Decoder:
    fields = {name: compile_decoder(child, cache) for name in schema.property_names if (child := schema.property(name))}
    optional = {
        name
        for name in schema.property_names
        if name not in schema.required and (child := schema.property(name)) and _collapses(child)
    }
    structs = {name for name in fields if (child := schema.property(name)) and _is_struct(child)}
    go_type, struct = go_name(schema), schema.reference.rsplit(".", 1)[-1]
    known, unknown = fields.get, cache.unknown

    def decode(value: Any, base: Object = NOTHING) -> Any:
        if type(value) is not dict:
            raise Mismatch(value, go_type)
        drop: list[str] = []
        for key, item in value.items():
            before = base.get(key) if base else None
            if item is before and item is not None:
                continue
            decoder = known(key)
            if decoder is None or item is None:
                drop.append(key)
                if decoder is None:
                    unknown.append(key)
                continue
            try:
                decoded = decoder(item, before) if type(before) is dict and key in structs else decoder(item)
            except Mismatch as mismatch:
                mismatch.at(struct, key)
                raise
            if decoded is not item:
                value[key] = decoded
            if not decoded and key in optional:
                drop.append(key)
        for key in drop:
            del value[key]
        return value

    return decode


def _is_struct(schema: Schema) -> bool:
    return bool(schema.property_names) and not schema.is_quantity and not schema.is_int_or_string


def _collapses(schema: Schema) -> bool:
    return schema.type == "array" or schema.additional is not None


def _array(schema: Schema, item: Decoder) -> Decoder:
    go_type = go_name(schema)
    zero = _zero(schema.items)

    def decode(value: Any) -> Any:
        if type(value) is not list:
            raise Mismatch(value, go_type)
        for index, entry in enumerate(value):
            decoded = item(zero() if entry is None else entry)
            if decoded is not entry:
                value[index] = decoded
        return value

    return decode


def _map(schema: Schema, item: Decoder) -> Decoder:
    go_type = go_name(schema)
    zero = _zero(schema.additional)

    def decode(value: Any) -> Any:
        if type(value) is not dict:
            raise Mismatch(value, go_type)
        for key, entry in value.items():
            decoded = item(zero() if entry is None else entry)
            if decoded is not entry:
                value[key] = decoded
        return value

    return decode


def _zero(schema: Schema | None) -> Callable[[], Any]:
    """What Go puts in a list or map for a null."""
    if schema is None:
        return lambda: None
    if schema.is_quantity:
        return lambda: "0"
    if schema.is_int_or_string:
        return int
    by_type: dict[str, Callable[[], Any]] = {
        "string": str,
        "integer": int,
        "boolean": bool,
        "number": int,
        "array": list,
        "object": dict,
    }
    return by_type.get(schema.type, lambda: None)


def go_name(schema: Schema) -> str:
    """The Go type an error names: `int32`, `[]v1.EnvVar`, `map[string]string`."""
    if schema.is_quantity:
        return "resource.Quantity"
    if schema.is_int_or_string:
        return "intstr.IntOrString"
    if schema.reference:
        return ".".join(schema.reference.rsplit(".", 2)[-2:])
    if schema.type == "array" and schema.items is not None:
        return "[]" + go_name(schema.items)
    if schema.additional is not None:
        return "map[string]" + go_name(schema.additional)
    if schema.type == "integer":
        return schema.format or "int64"
    if schema.format == "byte":
        return "[]uint8"
    return _GO_SCALARS.get(schema.type, schema.type)


def _string(value: Any) -> Any:
    if type(value) is not str:
        raise Mismatch(value, "string")
    return value


def _boolean(value: Any) -> Any:
    if type(value) is not bool:
        raise Mismatch(value, "bool")
    return value


def _integer(go_type: str) -> Decoder:
    limit = _LIMITS[go_type]

    def decode(value: Any) -> Any:
        if type(value) is int and -limit <= value < limit:
            return value
        if type(value) is float and value.is_integer() and -limit <= value < limit:
            return int(value)
        raise Mismatch(value, go_type, show=type(value) in (int, float))

    return decode


def _number(value: Any) -> Any:
    if type(value) is not int and type(value) is not float:
        raise Mismatch(value, "float64")
    return value


def _anything(value: Any) -> Any:
    return value


def _any_object(value: Any) -> Any:
    if type(value) is not dict:
        raise Mismatch(value, "map[string]interface {}")
    return value


def _quantity(value: Any) -> Any:
    if type(value) not in (str, int, float):
        raise ValueError(quantity.FORMAT_ERROR)
    return quantity.canonical(value.strip() if type(value) is str else value)


def _int_or_string(value: Any) -> Any:
    if type(value) is str or (type(value) is int and -(1 << 31) <= value < 1 << 31):
        return value
    raise Mismatch(value, "int32", show=type(value) in (int, float), bare=True)


def _base64(value: Any) -> Any:
    if type(value) is not str:
        raise Mismatch(value, "[]uint8")
    if "\n" in value or "\r" in value:
        value = value.replace("\r", "").replace("\n", "")
    try:
        binascii.a2b_base64(value, strict_mode=True)
    except (binascii.Error, ValueError) as error:
        wrong = _NOT_BASE64.search(value)
        raise ValueError(f"illegal base64 data at input byte {wrong.start() if wrong else len(value)}") from error
    return value


def _time(value: Any) -> Any:
    if type(value) is str and _SECOND(value):
        _check_second(value)
        return value
    return _instant(value).replace(tzinfo=None).isoformat(timespec="seconds") + "Z"


@lru_cache(maxsize=SECONDS)
def _check_second(value: str) -> None:
    """Many objects are written in the same second. Raises ValueError."""
    _instant(value)


def _micro_time(value: Any) -> Any:
    return _instant(value).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def _instant(value: Any) -> datetime:
    if type(value) is not str:
        raise Mismatch(value, "string", bare=True)
    shape = _MOMENT(value)
    layout = '"2006-01-02T15:04:05Z07:00"'
    if shape is None:
        raise ValueError(f'parsing time "{value}" as {layout}: cannot parse "{value}" as "2006"')
    fraction = (shape[2] or ".")[1:7].ljust(6, "0")
    zone = "+00:00" if shape[3] == "Z" else shape[3]
    try:
        return datetime.fromisoformat(f"{shape[1]}.{fraction}{zone}").astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ValueError(f'parsing time "{value}": {str(error).split(" must")[0]} out of range') from error


Finder = Callable[..., None]
"""(value, path, found): adds the paths of fields that the schema does not know."""


def compile_unknown(schema: Schema, cache: dict[str, Finder | None]) -> Finder | None:
    """None where nothing below can be unknown (scalars, free-form objects)."""
    name = schema.reference
    if not name:
        return _finder(schema, cache)
    if name not in cache:

        def not_yet(*arguments: Any) -> None:
            finder = cache[name]
            if finder is not None:
                finder(*arguments)

        cache[name] = not_yet
        cache[name] = _finder(schema, cache)
    return cache[name]


def _finder(schema: Schema, cache: dict[str, Finder | None]) -> Finder | None:
    if schema.property_names:
        return _struct_finder(schema, cache)
    if schema.type == "array" and schema.items is not None:
        below = compile_unknown(schema.items, cache)
        return _array_finder(below) if below else None
    if schema.additional is not None:
        below = compile_unknown(schema.additional, cache)
        return _map_finder(below) if below else None
    return None


def _struct_finder(schema: Schema, cache: dict[str, Finder | None]) -> Finder:
    known = schema.property_names
    below = {
        name: finder
        for name in sorted(known)
        if (child := schema.property(name)) and (finder := compile_unknown(child, cache))
    }

    structs = {name for name in below if (child := schema.property(name)) and _is_struct(child)}

    def find(value: Any, path: str, found: list[str], base: Object = NOTHING) -> None:
        if type(value) is not dict:
            return
        for key, item in value.items():
            before = base.get(key) if base else None
            if item is before and item is not None:
                continue
            finder = below.get(key)
            if finder is not None and type(before) is dict and key in structs:
                finder(item, f"{path}.{key}" if path else key, found, before)
            elif finder is not None:
                finder(item, f"{path}.{key}" if path else key, found)
            elif key not in known:
                found.append(f"{path}.{key}" if path else key)

    return find


def _array_finder(below: Finder) -> Finder:
    def find(value: Any, path: str, found: list[str]) -> None:
        if type(value) is list:
            for index, item in enumerate(value):
                below(item, f"{path}[{index}]", found)

    return find


def _map_finder(below: Finder) -> Finder:
    def find(value: Any, path: str, found: list[str]) -> None:
        if type(value) is dict:
            for key, item in value.items():
                below(item, f"{path}.{key}", found)

    return find


def prune(schema: Schema, value: Object) -> None:
    """Drop what a structural schema does not specify (custom resources); types are left to validation."""
    for key in [key for key in value if schema.property(key) is None]:
        if not schema.preserves_unknown_fields and (schema.property_names or schema.type == "object"):
            del value[key]
    for key, item in value.items():
        child = schema.property(key)
        if child is not None:
            _prune_below(child, item)


def _prune_below(schema: Schema, value: Any) -> None:
    if isinstance(value, dict) and not schema.is_int_or_string and (schema.property_names or schema.additional):
        prune(schema, value)
    elif isinstance(value, list) and schema.items is not None:
        for item in value:
            _prune_below(schema.items, item)
