"""How values of a structural schema look in CEL: the type that a rule sees, and the conversion of a value to it.

Objects are dynamic: the binding has no types with fields, so fields that a rule names are checked by `undefined_field`.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from twinplane.controlplane.api.extensions.customresources.values import Raw

Convert = Callable[[Any], Any]

_RESERVED = frozenset(
    {
        *("true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if", "import"),
        *("let", "loop", "package", "namespace", "return", "var", "void", "while"),
    }
)
_ESCAPES = (("__", "__underscores__"), (".", "__dot__"), ("-", "__dash__"), ("/", "__slash__"))
_SCALARS = {"integer": "int", "number": "double", "boolean": "bool", "string": "string"}
_FORMATS = {"byte": "bytes", "date": "timestamp", "date-time": "timestamp", "duration": "duration"}
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*").fullmatch
_CHAIN = re.compile(
    r"""(?P<text>[rR]?"(?:\\.|[^"\\])*"|[rR]?'(?:\\.|[^'\\])*')|(?<![\w.])(?P<root>self|oldSelf)(?P<path>(?:\.[A-Za-z_]\w*)+)(?P<call>\s*\()?"""
)
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")


def escaped(name: str) -> str | None:
    """The identifier by which CEL reaches a property; None for names that it cannot."""
    if name in _RESERVED:
        return f"__{name}__"
    text = name
    for mark, words in _ESCAPES:
        text = text.replace(mark, words) if mark == "__" else text
    for mark, words in _ESCAPES[1:]:
        text = text.replace(mark, words)
    return text if _IDENTIFIER(text) else None


def type_of(schema: Raw, *, root: bool = False) -> str:
    """As CEL writes it."""
    if root or schema.get("nullable") or schema.get("x-kubernetes-int-or-string"):
        return "dyn"
    kind = schema.get("type")
    if kind == "array" and isinstance(schema.get("items"), dict):
        return f"list({type_of(schema['items'])})"
    additional = schema.get("additionalProperties")
    if kind == "object" and isinstance(additional, dict):
        return f"map(string, {type_of(additional)})"
    if kind == "string":
        return _FORMATS.get(schema.get("format", ""), "string")
    return _SCALARS.get(str(kind), "dyn")


def conversion(schema: Raw, *, root: bool = False) -> Convert | None:
    """None where values are used as they are."""
    kind, form = schema.get("type"), schema.get("format", "")
    if schema.get("x-kubernetes-int-or-string"):
        return None
    if kind == "number":
        return lambda value: float(value) if type(value) is int else value
    if kind == "string":
        return _TEXTS.get(form)
    if kind == "array" and isinstance(schema.get("items"), dict):
        item = conversion(schema["items"])
        return item and (lambda value: [item(each) for each in value] if type(value) is list else value)
    additional = schema.get("additionalProperties")
    if isinstance(additional, dict):
        entry = conversion(additional)
        return entry and (
            lambda value: {key: entry(each) for key, each in value.items()} if type(value) is dict else value
        )
    return _object(schema, root=root or bool(schema.get("x-kubernetes-embedded-resource")))


def _object(schema: Raw, *, root: bool) -> Convert | None:
    properties = schema.get("properties") or {}
    below = {name: deeper for name, child in properties.items() if (deeper := conversion(child))}
    renamed = {name: new for name in properties if (new := escaped(name)) is not None and new != name}
    if not below and not renamed and not root:
        return None

    def convert(value: Any) -> Any:
        if type(value) is not dict:
            return value
        result = dict(value)
        for name, deeper in below.items():
            if name in result:
                result[name] = deeper(result[name])
        for name, new in renamed.items():
            if name in result:
                result[new] = result.pop(name)
        metadata = value.get("metadata")
        if root and type(metadata) is dict:
            # As upstream: a rule sees nothing else of the metadata.
            result["metadata"] = {name: metadata[name] for name in ("name", "generateName") if name in metadata}
        return result

    return convert


def _timestamp(value: Any) -> Any:
    if type(value) is not str:
        return value
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        return value
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _duration(value: Any) -> Any:
    if type(value) is not str:
        return value
    parts = _DURATION_PART.findall(value)
    seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
    return timedelta(seconds=-seconds if value.startswith("-") else seconds)


def _bytes(value: Any) -> Any:
    return base64.b64decode(value) if type(value) is str else value


_TEXTS: dict[str, Convert] = {
    "byte": _bytes,
    "date": _timestamp,
    "date-time": _timestamp,
    "duration": _duration,
}


def undefined_field(text: str, schema: Raw, *, root: bool) -> str:
    """cel-go's message about the first field that a rule names and the schema does not have; empty when all are."""
    for match in _CHAIN.finditer(text):
        if match["root"] is None:
            continue
        names = match["path"][1:].split(".")
        if match["call"]:
            names.pop()
        at = match.start("path")
        node: Raw | None = schema
        for depth, name in enumerate(names):
            node, known = _field(node, name, root=root and depth == 0)
            if not known:
                line = text.count("\n", 0, at) + 1
                column = at - (text.rfind("\n", 0, at) + 1)
                shown = text.splitlines()[line - 1]
                return f"ERROR: <input>:{line}:{column + 1}: undefined field '{name}'\n | {shown}\n | {'.' * column}^"
            if node is None:
                break
            at += len(name) + 1
    return ""


def _field(schema: Raw | None, name: str, *, root: bool) -> tuple[Raw | None, bool]:
    """(the schema below, None where anything goes; whether there is such a field)."""
    if schema is None or schema.get("type") != "object" or isinstance(schema.get("additionalProperties"), dict):
        return None, True
    has_envelope = root or schema.get("x-kubernetes-embedded-resource")
    if has_envelope and name in ("apiVersion", "kind", "metadata"):
        return None, True
    for key, child in (schema.get("properties") or {}).items():
        if escaped(key) == name:
            return child, True
    return None, False
