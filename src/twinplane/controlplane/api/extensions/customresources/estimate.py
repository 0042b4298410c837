"""The most that one evaluation of an expression may cost, estimated as upstream does from its checked form.

The binding gives that in protobuf (`cel.expr.CheckedExpr`). Each value is followed to its schema, which bounds its size
(`maxItems`, `maxProperties`, `maxLength`), or else the largest request does; what is walked through costs its size.
Source: cel-go `checker/cost.go`, apiextensions-apiserver `pkg/apiserver/schema/cel/compilation.go`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from twinplane.controlplane.api.extensions.customresources.call_costs import (
    HIGHEST,
    Asked,
    Node,
    charge,
    plus,
    times,
)
from twinplane.controlplane.api.extensions.customresources.cel_types import escaped
from twinplane.controlplane.api.extensions.customresources.sizes import most_of
from twinplane.controlplane.api.extensions.customresources.values import Raw
from twinplane.controlplane.api.protobuf.wire import fields

_CONST, _IDENT, _SELECT, _CALL, _LIST, _STRUCT, _COMPREHENSION = 3, 4, 5, 6, 7, 8, 9
_LIST_BASE, _MAP_BASE = 10, 30
_RESULTS = ("@result", "__result__")
_TEXT: Raw = {"type": "string"}
_ENVELOPE: Raw = {
    "apiVersion": _TEXT,
    "kind": _TEXT,
    "metadata": {"type": "object", "properties": {"name": _TEXT, "generateName": _TEXT}},
}
_SCALARS = frozenset({1, 2, 3, 4})
"""bool, int, uint and double among the primitive types."""

Message = dict[int, list[Any]]
Scope = Mapping[str, Node]


class Found(NamedTuple):
    cost: int
    node: Node


def expression_cost(checked: bytes, schema: Raw, *, root: bool = False) -> int:
    """`checked` is what the binding serializes; `schema` is that of `self`, `root` the one of whole objects."""
    outer = _message(_only(_message(checked), 2))
    estimate = _Estimate(outer)
    whole = node_of(_with_envelope(schema) if root else schema)
    held = Node(None, 1, 0, whole)
    expression = _message(_only(outer, 4))
    scope = {"self": whole, "oldSelf": whole, "held_oldSelf": held}
    # An optional old value travels in a map, which is nothing that the rule's author has written.
    bound = _message(_only(expression, _COMPREHENSION))
    if _text(bound, 3) == "oldSelf":
        expression = _message(_only(bound, 7))
    return estimate.of(expression, scope).cost


def node_of(schema: Raw | None) -> Node:
    if schema is None:
        return Node()
    if schema.get("x-kubernetes-embedded-resource"):
        schema = _with_envelope(schema)
    inner = _element_schema(schema)
    return Node(schema, most_of(schema), 0, None if inner is None else Node(inner, most_of(inner)))


def _with_envelope(schema: Raw) -> Raw:
    """Rules always see the kind and the name of an object."""
    own: Raw = schema.get("properties") or {}
    metadata = own.get("metadata") or {}
    named = {**_ENVELOPE["metadata"]["properties"], **(metadata.get("properties") or {})}
    properties = {**_ENVELOPE, **own, "metadata": {**_ENVELOPE["metadata"], "properties": named}}
    return {**schema, "properties": properties}


class _Estimate:
    def __init__(self, checked: Message) -> None:
        self._overloads: dict[int, tuple[str, ...]] = {}
        self._scalars: set[int] = set()
        for entry in map(_message, checked.get(2, ())):
            names = _message(_only(entry, 2)).get(3, ())
            self._overloads[_only(entry, 1) or 0] = tuple(bytes(name).decode() for name in names)
        for entry in map(_message, checked.get(3, ())):
            if _is_scalar(_message(_only(entry, 2))):
                self._scalars.add(_only(entry, 1) or 0)

    def of(self, expression: Message, scope: Scope) -> Found:
        for number, estimate in _ESTIMATES.items():
            if number in expression:
                return estimate(self, expression, _message(_only(expression, number)), scope)
        return Found(0, Node())

    def _part(self, message: Message, number: int, scope: Scope) -> Found:
        return self.of(_message(_only(message, number)), scope)

    def _unknown(self, expression: Message) -> Node:
        """Of a value that no schema tells about."""
        return Node(None, 1, 1) if _only(expression, 2) in self._scalars else Node()

    def const(self, expression: Message, message: Message, scope: Scope) -> Found:
        """A text is in field 5, bytes in 6, an integer in 3."""
        if 6 in message or 5 in message:
            raw = bytes(_only(message, 5 if 5 in message else 6))
            size = len(raw.decode()) if 5 in message else len(raw)
            return Found(0, Node(_TEXT, size, size))
        number = message.get(3)
        return Found(0, Node(None, 1, 1, None, number[0] if number else None))

    def ident(self, expression: Message, message: Message, scope: Scope) -> Found:
        return Found(1, scope.get(_text(message, 1).removeprefix("."), self._unknown(expression)))

    def select(self, expression: Message, message: Message, scope: Scope) -> Found:
        operand = self._part(message, 1, scope)
        if _only(message, 3):
            return Found(operand.cost, Node(None, 1, 1))
        found = _property(operand.node.schema, _text(message, 2))
        if found is not None:
            return Found(plus(operand.cost, 1), node_of(found))
        # Upstream follows the values of a map where they are indexed, and only by their type where they are fields.
        value = _raw((operand.node.schema or {}).get("additionalProperties")) or {}
        is_scalar = value.get("type") in ("boolean", "integer", "number")
        return Found(plus(operand.cost, 1), Node(None, 1, 1) if is_scalar else self._unknown(expression))

    def call(self, expression: Message, message: Message, scope: Scope) -> Found:
        function = _text(message, 2)
        operands = [self.of(_message(each), scope) for each in (*message.get(1, ()), *message.get(3, ()))]
        if function == "_?_:_" and len(operands) == 3:
            condition, one, other = operands
            larger = max(one.node, other.node, key=lambda node: node.size)
            entries = [node.entry for node in (one.node, other.node) if node.entry is not None]
            entry = max(entries, key=lambda node: node.size, default=None)
            return Found(plus(condition.cost, max(one.cost, other.cost)), larger._replace(entry=entry))
        cost = plus(*(each.cost for each in operands))
        if function == "dyn" and operands:
            return Found(plus(cost, 1), operands[0].node)
        nodes = [each.node for each in operands]
        overloads = self._overloads.get(_only(expression, 2) or 0, ())
        found = charge(Asked(function, overloads, nodes, 1 in message))
        result = found.result or self._result(function, nodes, expression)
        return Found(plus(cost, found.cost), result)

    def _result(self, function: str, nodes: list[Node], expression: Message) -> Node:
        if function in ("_[_]", "_[?_]") and nodes:
            inner = _element_schema(nodes[0].schema)
            return node_of(inner) if inner is not None else nodes[0].entry or self._unknown(expression)
        if function in ("value", "orValue", "or") and nodes:
            return nodes[0]
        return self._unknown(expression)

    def list(self, expression: Message, message: Message, scope: Scope) -> Found:
        elements = [self.of(_message(each), scope) for each in message.get(1, ())]
        size = max((each.node.size for each in elements), default=0)
        cost = plus(_LIST_BASE, *(each.cost for each in elements))
        return Found(cost, Node(None, len(elements), len(elements), Node(None, size)))

    def struct(self, expression: Message, message: Message, scope: Scope) -> Found:
        entries = [_message(each) for each in message.get(2, ())]
        parts = [self._part(entry, number, scope) for entry in entries for number in (3, 4) if number in entry]
        size = max((part.node.size for part in parts), default=0)
        cost = plus(_MAP_BASE, *(part.cost for part in parts))
        return Found(cost, Node(None, len(entries), len(entries), Node(None, size)))

    def comprehension(self, expression: Message, message: Message, scope: Scope) -> Found:
        ranged, start = self._part(message, 2, scope), self._part(message, 4, scope)
        accumulator = _text(message, 3)
        if accumulator not in _RESULTS and _LIST in _message(_only(message, 2)) and ranged.node.size == 0:
            # A `bind`, which walks through nothing.
            result = self._part(message, 7, {**scope, accumulator: start.node})
            return Found(plus(ranged.cost, start.cost, result.cost), result.node)
        inner = {**scope, **_iterated(message, ranged.node), accumulator: start.node}
        condition, step = self._part(message, 5, inner), self._part(message, 6, inner)
        once = plus(condition.cost, step.cost)
        gathers = {_LIST, _STRUCT} & _message(_only(message, 4)).keys()
        gathered = Node(None, ranged.node.size, 0, step.node.entry) if gathers else start.node
        result = self._part(message, 7, {**scope, accumulator: gathered})
        cost = plus(ranged.cost, start.cost, result.cost, times(ranged.node.size, once))
        return Found(cost, gathered if gathers else result.node)


def _iterated(message: Message, ranged: Node) -> dict[str, Node]:
    """The variables of one turn: elements of a list, keys of a map, or both with two names."""
    first, second = _text(message, 1), _text(message, 8)
    inner = _element_schema(ranged.schema)
    element = node_of(inner) if inner is not None else ranged.entry or Node()
    is_map = ranged.kind == "object"
    key = Node(_TEXT if is_map else None, 0 if is_map else 1)
    if second:
        return {first: key, second: element}
    return {first: key if is_map else element}


def _is_scalar(type: Message) -> bool:
    """A number, a boolean, a moment or a length of time."""
    return _only(type, 3) in _SCALARS or _only(type, 5) in (2, 3)


def _message(data: bytes) -> Message:
    found: Message = {}
    for tag, value in fields(data or b""):
        found.setdefault(tag >> 3, []).append(value)
    return found


def _only(message: Message, number: int) -> Any:
    return message.get(number, [b""])[0]


def _text(message: Message, number: int) -> str:
    return str(bytes(_only(message, number)), "utf-8")


def _property(schema: Raw | None, field: str) -> Raw | None:
    properties = (schema or {}).get("properties") or {}
    if field in properties:
        return _raw(properties[field])
    found = next((child for name, child in properties.items() if escaped(name) == field), None)
    return _raw(found)


def _element_schema(schema: Raw | None) -> Raw | None:
    return _raw((schema or {}).get("items")) or _raw((schema or {}).get("additionalProperties"))


def _raw(found: Any) -> Raw | None:
    return found if isinstance(found, dict) else None


_ESTIMATES: dict[int, Callable[[_Estimate, Message, Message, Scope], Found]] = {
    _CONST: _Estimate.const,
    _IDENT: _Estimate.ident,
    _SELECT: _Estimate.select,
    _CALL: _Estimate.call,
    _LIST: _Estimate.list,
    _STRUCT: _Estimate.struct,
    _COMPREHENSION: _Estimate.comprehension,
}
__all__ = ["HIGHEST", "expression_cost"]
