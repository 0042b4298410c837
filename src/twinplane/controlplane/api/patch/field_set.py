"""Sets of fields: who manages what, as server-side apply writes it down (`FieldsV1`).

A set is kept in the very JSON form it is stored in, so that reading an object's managers costs nothing: a tree of
dictionaries whose keys are path elements (`f:NAME` a field or map key, `k:{...}` an item of a keyed list, `v:...` an
item of a set, `i:N` an index). A node is a member when it is empty or holds `.`; a node with children and no `.` is
only on the way to members. The root is never a member: an empty root is the empty set.

All operations return new sets that share what did not change; nothing here changes an argument.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

FieldSet = dict[str, Any]

SELF = "."
FIELD, KEYS, VALUE = "f:", "k:", "v:"


def is_member(node: FieldSet) -> bool:
    return not node or SELF in node


def node_of(children: FieldSet, *, member: bool) -> FieldSet | None:
    """A node from its children (which may be extended): None when it is no member and has no members below."""
    if not children:
        return children if member else None
    if member:
        return {SELF: {}, **children}
    return children


def union(left: FieldSet, right: FieldSet) -> FieldSet:
    joined = {element: node for element, node in left.items() if element != SELF}
    for element, node in right.items():
        if element != SELF:
            joined[element] = _union_node(joined[element], node) if element in joined else node
    return joined


def _union_node(left: FieldSet, right: FieldSet) -> FieldSet:
    if left is right:
        return left
    children = union(left, right)
    return node_of(children, member=is_member(left) or is_member(right)) or children


def difference(left: FieldSet, right: FieldSet) -> FieldSet:
    """Members of `left` that are no members of `right`; a parent does not stand for its children, nor they for it."""
    rest: FieldSet = {}
    for element, node in left.items():
        if element == SELF:
            continue
        other = right.get(element)
        kept = node if other is None else _difference_node(node, other)
        if kept is not None:
            rest[element] = kept
    return rest


def _difference_node(left: FieldSet, right: FieldSet) -> FieldSet | None:
    return node_of(difference(left, right), member=is_member(left) and not is_member(right))


def intersection(left: FieldSet, right: FieldSet) -> FieldSet:
    common: FieldSet = {}
    for element, node in left.items():
        other = right.get(element)
        if other is None or element == SELF:
            continue
        kept = node_of(intersection(node, other), member=is_member(node) and is_member(other))
        if kept is not None:
            common[element] = kept
    return common


def ordered(node: FieldSet) -> FieldSet:
    """The form that is stored: elements sorted, `.` first."""
    try:
        found: FieldSet = orjson.loads(orjson.dumps(node, option=orjson.OPT_SORT_KEYS))
    except TypeError:
        # Deeper than 254 levels.
        return _ordered(node)
    return found


def _ordered(node: FieldSet) -> FieldSet:
    if len(node) < 2:
        return {element: _ordered(child) for element, child in node.items()}
    return {element: _ordered(node[element]) for element in sorted(node)}


def paths(fields: FieldSet, prefix: str = "") -> Iterator[str]:
    """The members as conflict messages print them, e.g. `.spec.containers[name="web"].image`."""
    for element in sorted(fields):
        if element != SELF and is_member(fields[element]):
            yield prefix + path_text(element)
    for element in sorted(fields):
        if element != SELF and fields[element]:
            yield from paths(fields[element], prefix + path_text(element))


def path_text(element: str) -> str:
    kind, text = element[:2], element[2:]
    if kind == FIELD:
        return f".{text}"
    if kind == KEYS:
        keys = orjson.loads(text)
        return "[" + ",".join(f"{name}={_value_text(keys[name])}" for name in sorted(keys)) + "]"
    return f"[={text}]" if kind == VALUE else f"[{text}]"


def _value_text(value: Any) -> str:
    return orjson.dumps(value).decode()
