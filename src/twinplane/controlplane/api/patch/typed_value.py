"""Objects as server-side apply sees them: what is one field, what a map, what a list with identities.

The schema decides: atomic lists and maps and scalars are one field; other maps are their keys; keyed lists and sets are
their items. Where there is no schema, maps are granular and lists atomic (structured-merge-diff's "deduced" type).
Everything here is pure.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import orjson

from twinplane.controlplane.api.patch.field_set import FIELD, KEYS, SELF, VALUE, FieldSet, is_member, node_of
from twinplane.controlplane.api.types.schema import Schema

LEAF, MAP, LIST = "leaf", "map", "list"
ELEMENTS = 1024
CONTAINERS = (dict, list)
"""For `isinstance`, which takes three times as long for a union."""


class _Missing:
    """Not there, as opposed to null."""


MISSING = _Missing()

VALUE_STRUCTS = frozenset({"metadata", "spec", "status", "template", "strategy", "updateStrategy"})
"""Fields that upstream's Go types hold by value: they exist, empty, in every object, so nobody creates them."""


def shape(value: Any, schema: Schema | None) -> str:
    if isinstance(value, dict):
        if schema is None:
            return MAP
        if schema.map_type == "atomic":
            return LEAF
        untyped = not schema.type and not schema.property_names and schema.additional is None
        return LEAF if untyped and not schema.preserves_unknown_fields else MAP
    if isinstance(value, list) and schema is not None and schema.list_type in ("map", "set"):
        return LIST
    return LEAF


def property_of(schema: Schema | None, name: str) -> Schema | None:
    return schema.property(name) if schema is not None else None


def is_named(schema: Schema | None, name: str) -> bool:
    return schema is not None and name in schema.property_names


def element_of(item: Any, schema: Schema) -> str:
    """The path element of a list item. Items without a key that has no default get null for it."""
    if schema.list_type == "set" or not isinstance(item, dict):
        return VALUE + orjson.dumps(item, option=orjson.OPT_SORT_KEYS).decode()
    keys = schema.list_map_keys
    values = tuple([item[key] if key in item else default_of(schema.items, key) for key in keys])
    if all(type(value) is str for value in values):
        return _element_of_keys(keys, values)
    return _keys_text(keys, values)


def _keys_text(keys: tuple[str, ...], values: tuple[Any, ...]) -> str:
    return KEYS + orjson.dumps(dict(zip(keys, values, strict=True)), option=orjson.OPT_SORT_KEYS).decode()


_element_of_keys = lru_cache(maxsize=ELEMENTS)(_keys_text)
"""The same few names and types come again and again. Of texts only: others may be equal and not the same."""


def default_of(schema: Schema | None, key: str) -> Any:
    field = property_of(schema, key)
    return field.raw.get("default") if field is not None else None


def items_by_element(items: list[Any], schema: Schema) -> dict[str, Any]:
    """Items that share an identity (upstream lets old objects have such) are found together, as a list."""
    found: dict[str, Any] = {}
    for item in items:
        element = element_of(item, schema)
        if element not in found:
            found[element] = item
        elif isinstance(found[element], Duplicates):
            found[element].append(item)
        else:
            found[element] = Duplicates([found[element], item])
    return found


class Duplicates(list[Any]):
    """Compared and kept as one field."""


def fields_of(value: Any, schema: Schema | None) -> FieldSet:
    """What an applied configuration claims: leaves, list items, and entries of maps that have no fixed fields."""
    kind = shape(value, schema)
    if kind == MAP:
        return _map_fields(value, schema)
    if kind == LIST and schema is not None:
        found: FieldSet = {}
        for element, item in items_by_element(value, schema).items():
            children = {} if isinstance(item, Duplicates) else fields_of(item, schema.items)
            found[element] = {SELF: {}, **children} if children else {}
        return found
    return {}


def _map_fields(value: dict[str, Any], schema: Schema | None) -> FieldSet:
    found: FieldSet = {}
    for name, entry in value.items():
        field = property_of(schema, name)
        children = fields_of(entry, field)
        claimed = shape(entry, field) == LEAF or entry in (None, {}) or not is_named(schema, name)
        node = node_of(children, member=claimed)
        if node is not None:
            found[FIELD + name] = node
    return found


@lru_cache(maxsize=ELEMENTS)
def _leaves(names: tuple[str, ...]) -> FieldSet:
    """The node of a map of scalars; the conditions of all pods have the same fields."""
    return {SELF: {}, **{FIELD + name: {} for name in names}} if names else {}


def _everything(value: Any, schema: Schema | None) -> FieldSet:
    """The node of something that was not there before: it and all below it."""
    kind = shape(value, schema)
    children: FieldSet = {}
    if kind == MAP:
        # Most values are scalars, which need no look at the schema.
        leaves = _leaves(tuple(value))
        nested = [name for name, entry in value.items() if isinstance(entry, CONTAINERS)]
        if not nested:
            return leaves
        below = {FIELD + name: _everything(value[name], property_of(schema, name)) for name in nested}
        return {**leaves, **below}
    if kind == LIST and schema is not None:
        for element, item in items_by_element(value, schema).items():
            children[element] = {} if isinstance(item, Duplicates) else _everything(item, schema.items)
    return {SELF: {}, **children} if children else children


Changes = tuple[FieldSet | None, FieldSet | None]
"""Node of what was added or modified, node of what was removed; None for nothing."""


def compare(old: dict[str, Any], new: dict[str, Any], schema: Schema | None) -> tuple[FieldSet, FieldSet]:
    """The fields that were added or modified, and those that were removed."""
    changed, removed = _compare_maps(old, new, schema)
    return changed or {}, removed or {}


def _compare(old: Any, new: Any, schema: Schema | None) -> Changes:
    if old is MISSING:
        return _everything(new, schema), None
    if new is MISSING:
        return None, _everything(old, schema)
    if old == new:
        return None, None
    kind = shape(old, schema)
    if kind == LEAF or kind != shape(new, schema):
        return {}, None
    if kind == MAP:
        return _compare_maps(old, new, schema)
    assert schema is not None
    return _compare_lists(old, new, schema)


def _compare_maps(old: dict[str, Any], new: dict[str, Any], schema: Schema | None) -> Changes:
    changed: FieldSet = {}
    removed: FieldSet = {}
    for name, after in new.items():
        before = old.get(name, MISSING)
        if before is after or before == after:
            continue
        if isinstance(after, CONTAINERS) or isinstance(before, CONTAINERS):
            _compare_field(name, (before, after), schema, changed, removed)
        else:
            changed[FIELD + name] = {}
    for name, before in old.items():
        if name not in new:
            _compare_field(name, (before, MISSING), schema, changed, removed)
    return changed or None, removed or None


def _compare_field(
    name: str, values: tuple[Any, Any], schema: Schema | None, changed: FieldSet, removed: FieldSet
) -> None:
    before, after = values
    if before is MISSING:
        before = _shown_beside(after, name, schema)
    elif after is MISSING:
        after = _shown_beside(before, name, schema)
    more, less = _compare(before, after, property_of(schema, name))
    if more is not None:
        changed[FIELD + name] = more
    if less is not None:
        removed[FIELD + name] = less


def _shown_beside(other: Any, name: str, schema: Schema | None) -> Any:
    """What upstream's Go types show for a field that is missing where there is `other`: some containers, empty."""
    if schema is None or not schema.reference or not isinstance(other, CONTAINERS) or not is_named(schema, name):
        return MISSING
    return type(other)() if name in VALUE_STRUCTS or name in schema.required else MISSING


def _compare_lists(old: list[Any], new: list[Any], schema: Schema) -> Changes:
    before, after = items_by_element(old, schema), items_by_element(new, schema)
    changed: FieldSet = {}
    removed: FieldSet = {}
    for element in before.keys() | after.keys():
        left, right = before.get(element, MISSING), after.get(element, MISSING)
        if left == right:
            continue
        if isinstance(left, Duplicates) or isinstance(right, Duplicates):
            one_field: Changes = (None, {}) if right is MISSING else ({}, None)
            more, less = one_field
        else:
            more, less = _compare(left, right, schema.items)
        if more is not None:
            changed[element] = more
        if less is not None:
            removed[element] = less
    return changed or None, removed or None


def with_named_fields(fields: FieldSet, schema: Schema | None) -> FieldSet:
    """The set, and every fixed field of a type that has members below it."""
    found: FieldSet = {}
    for element, node in fields.items():
        if element == SELF:
            continue
        if element.startswith(FIELD):
            name = element[2:]
            children = with_named_fields(node, property_of(schema, name))
            member = is_member(node) or is_named(schema, name)
        else:
            children = with_named_fields(node, schema.items if schema is not None else None)
            member = is_member(node)
        found[element] = node_of(children, member=member) or children
    return found
