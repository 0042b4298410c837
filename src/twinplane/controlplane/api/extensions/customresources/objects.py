"""Inside objects and lists while they are validated: which old value belongs to which new one, and list types."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twinplane.controlplane.api.extensions.customresources.pruning import ENVELOPE
from twinplane.controlplane.api.extensions.customresources.values import MISSING, Raw, canonical, correlation
from twinplane.kubeclient.errors import FieldError

Check = Callable[[Any, Any, str, list[FieldError]], None]
Compile = Callable[[Raw], Check]


def compile_below(schema: Raw, compile: Compile, *, root: bool) -> Check | None:
    """None where there is nothing below to look at."""
    properties: Raw = schema.get("properties") or {}
    if root:
        # Metadata has rules of its own; a schema restricts its names only.
        properties = {name: child for name, child in properties.items() if name not in ENVELOPE or name == "metadata"}
    additional, items = schema.get("additionalProperties"), schema.get("items")
    fields = _fields({name: compile(child) for name, child in properties.items()}) if properties else None
    others = _map(compile(additional), frozenset(properties)) if isinstance(additional, dict) else None
    lists = _list(schema, compile(items)) if isinstance(items, dict) else None
    found = [each for each in (fields, others, lists) if each is not None]
    if len(found) < 2:
        return found[0] if found else None

    def check(value: Any, old: Any, path: str, errors: list[FieldError]) -> None:
        for each in found:
            each(value, old, path, errors)

    return check


def _fields(below: dict[str, Check]) -> Check:
    def check(value: Any, old: Any, path: str, errors: list[FieldError]) -> None:
        if type(value) is not dict:
            return
        before = old if type(old) is dict else {}
        prefix = f"{path}." if path else ""
        for name, item in value.items():
            deeper = below.get(name)
            if deeper is not None:
                deeper(item, before.get(name, MISSING), prefix + name, errors)

    return check


def _map(below: Check, known: frozenset[str]) -> Check:
    def check(value: Any, old: Any, path: str, errors: list[FieldError]) -> None:
        if type(value) is not dict:
            return
        before = old if type(old) is dict else {}
        for name, item in value.items():
            if name not in known:
                below(item, before.get(name, MISSING), f"{path}.{name}" if path else name, errors)

    return check


def _list(schema: Raw, below: Check) -> Check:
    pair = correlation(schema)

    def check(value: Any, old: Any, path: str, errors: list[FieldError]) -> None:
        if type(value) is list:
            for index, (item, before) in enumerate(zip(value, pair(value, old), strict=True)):
                below(item, before, f"{path}[{index}]", errors)

    return check


def compile_list_types(schema: Raw) -> Check | None:
    """Duplicates in lists of type `set` and `map` (listtype.ValidateListSetsAndMaps); None where there are none."""
    own = _duplicates(schema)
    properties = {
        name: visit for name, child in (schema.get("properties") or {}).items() if (visit := compile_list_types(child))
    }
    additional, items = schema.get("additionalProperties"), schema.get("items")
    others = compile_list_types(additional) if isinstance(additional, dict) else None
    entries = compile_list_types(items) if isinstance(items, dict) else None
    fields = _fields(properties) if properties else None
    found = [
        each
        for each in (own, fields, others and _map(others, frozenset(properties)), entries and _list(schema, entries))
        if each
    ]
    if not found:
        return None

    def check(value: Any, old: Any, path: str, errors: list[FieldError]) -> None:
        for each in found:
            each(value, old, path, errors)

    return check


def _duplicates(schema: Raw) -> Check | None:
    kind, keys = schema.get("x-kubernetes-list-type"), tuple(schema.get("x-kubernetes-list-map-keys") or ())
    if kind not in ("set", "map"):
        return None

    def identity(item: Any) -> Any:
        if kind == "set" or not isinstance(item, dict):
            return item
        return {key: item[key] for key in keys if key in item}

    def check(value: Any, old: Any, path: str, errors: list[FieldError]) -> None:
        if type(value) is not list or (type(old) is list and old == value):
            return
        seen: set[bytes] = set()
        for index, item in enumerate(value):
            found = identity(item)
            key = canonical(found)
            if key in seen:
                errors.append(FieldError("FieldValueDuplicate", f"{path}[{index}]", "", found))
            seen.add(key)

    return check
