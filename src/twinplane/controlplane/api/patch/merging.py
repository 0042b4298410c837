"""Merging an applied configuration into an object, pruning it again, and refusing what cannot be merged.

The walkers of server-side apply that produce objects; those that produce sets of fields are in `typed_value`. They
change nothing in place and share what stays the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from twinplane.controlplane.api.patch.field_set import FIELD, FieldSet, is_member, path_text
from twinplane.controlplane.api.patch.typed_value import (
    LEAF,
    LIST,
    MAP,
    MISSING,
    Duplicates,
    default_of,
    element_of,
    is_named,
    items_by_element,
    property_of,
    shape,
)
from twinplane.controlplane.api.types.schema import Schema

_KEYED = "associative list with keys"


def merge(live: Any, applied: Any, schema: Schema | None) -> Any:
    """`applied` over `live`; null in `applied` takes a field away, as decoding into upstream's types would."""
    kind = shape(applied, schema)
    if kind != shape(live, schema) or kind == LEAF:
        return _without_nulls(applied, schema) if kind == MAP else applied
    if kind == MAP:
        return _merge_maps(live, applied, schema)
    return _merge_lists(live, applied, schema) if schema is not None else applied


def _without_nulls(value: dict[str, Any], schema: Schema | None) -> dict[str, Any]:
    return _merge_maps({}, value, schema)


def _merge_maps(live: dict[str, Any], applied: dict[str, Any], schema: Schema | None) -> dict[str, Any]:
    merged = dict(live)
    for name, value in applied.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge(merged.get(name), value, property_of(schema, name))
    return merged


def _merge_lists(live: list[Any], applied: list[Any], schema: Schema) -> list[Any]:
    """Shared items come in the order of `applied`, each with the live-only items that stood before it."""
    before, after = items_by_element(live, schema), items_by_element(applied, schema)
    merged: list[Any] = []
    order = iter(after)
    placed: set[str] = set()
    for element in (element_of(item, schema) for item in live):
        if element in placed:
            continue
        if element not in after:
            placed.add(element)
            merged.extend(_items(before[element]))
            continue
        for next_element in order:
            placed.add(next_element)
            merged.append(_merge_item(before.get(next_element), after[next_element], schema))
            if next_element == element:
                break
    merged.extend(_merge_item(before.get(element), after[element], schema) for element in order)
    return merged


def _items(item: Any) -> list[Any]:
    return list(item) if isinstance(item, Duplicates) else [item]


def _merge_item(live: Any, applied: Any, schema: Schema) -> Any:
    return applied if isinstance(live, Duplicates) else merge(live, applied, schema.items)


def without(value: Any, fields: FieldSet, schema: Schema | None) -> Any:
    """`value` without the fields in the set; containers that end up empty go as well (`MISSING`)."""
    kind = shape(value, schema)
    if kind == MAP:
        rest = dict(_kept_entries(value, fields, schema))
        return rest if rest or not value else MISSING
    if kind == LIST and schema is not None:
        kept = list(_kept_items(value, fields, schema))
        return kept if kept or not value else MISSING
    return value


def _kept_entries(value: dict[str, Any], fields: FieldSet, schema: Schema | None) -> Iterator[tuple[str, Any]]:
    for name, entry in value.items():
        node = fields.get(FIELD + name)
        if node is None:
            yield name, entry
        elif not is_member(node):
            rest = without(entry, node, property_of(schema, name))
            if rest is not MISSING:
                yield name, rest


def _kept_items(value: list[Any], fields: FieldSet, schema: Schema) -> Iterator[Any]:
    for item in value:
        node = fields.get(element_of(item, schema))
        if node is None:
            yield item
        elif not is_member(node):
            rest = without(item, node, schema.items)
            if rest is not MISSING:
                yield rest


def problems(value: Any, schema: Schema | None, path: str = "") -> Iterator[str]:
    """Why a configuration cannot be applied, in structured-merge-diff's words."""
    kind = shape(value, schema)
    if kind == MAP:
        for name, entry in value.items():
            if _is_undeclared(name, schema):
                yield f"{path}.{name}: field not declared in schema"
            else:
                yield from problems(entry, property_of(schema, name), f"{path}.{name}")
    elif kind == LIST and schema is not None:
        yield from _list_problems(value, schema, path)


def _is_undeclared(name: str, schema: Schema | None) -> bool:
    fixed = schema is not None and schema.property_names and schema.additional is None
    return bool(fixed) and schema is not None and not schema.preserves_unknown_fields and not is_named(schema, name)


def _list_problems(items: list[Any], schema: Schema, path: str) -> Iterator[str]:
    seen: set[str] = set()
    for index, item in enumerate(items):
        problem = _item_problem(item, schema)
        if problem:
            yield f"{path}: element {index}: {problem}"
            continue
        element = element_of(item, schema)
        if element in seen:
            yield f"{path}: duplicate entries for key {path_text(element)}"
        seen.add(element)
        yield from problems(item, schema.items, path + path_text(element))


def _item_problem(item: Any, schema: Schema) -> str:
    if schema.list_type == "set":
        return "" if not isinstance(item, dict | list | None) else "not supported: associative list with such elements"
    if item is None:
        return f"{_KEYED} may not have a null element"
    if not isinstance(item, dict):
        return f"{_KEYED} may not have non-map elements"
    for key in schema.list_map_keys:
        if key not in item and default_of(schema.items, key) is None:
            return f'{_KEYED} has an element that omits key field "{key}" (and doesn\'t have default value)'
    return ""
