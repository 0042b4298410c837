"""What a rule may cost at most, estimated when its definition is written: upstream refuses what is sure to be too slow.

Estimated are the steps of an expression times the sizes of the lists and maps it walks through, which the schema bounds
(`maxItems`, `maxProperties`) or the largest request does. Upstream's estimate has the lengths of texts in it, too;
without them this one is never above it, so nothing is refused here that upstream takes. The checked expression comes
from the binding in protobuf (`cel.expr.CheckedExpr`). Sources: cel-go `checker/cost.go`, apiserver
`pkg/cel/common/schemas.go`, apiextensions-apiserver `validation.go`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from twinplane.controlplane.api.extensions.customresources.cel_types import escaped
from twinplane.controlplane.api.extensions.customresources.values import Raw
from twinplane.controlplane.api.protobuf.wire import fields

EXPRESSION_LIMIT = 10_000_000
DEFINITION_LIMIT = 100_000_000
_REQUEST_BYTES = 3 * 1024 * 1024
_HIGHEST = (1 << 64) - 1
_CONST, _IDENT, _SELECT, _CALL, _LIST, _STRUCT, _COMPREHENSION = 3, 4, 5, 6, 7, 8, 9
_LIST_BASE, _MAP_BASE = 10, 30
_MIN_SIZES = {"string": 2, "boolean": 4, "integer": 1, "number": 1}
_MIN_FORMATS = {"date": 12, "date-time": 21, "duration": 3}
_FREE = ("_&&_", "_||_", "@not_strictly_false")

Message = dict[int, list[Any]]
Scope = Mapping[str, "Node"]


class Node(NamedTuple):
    """What is known of a value: its schema, or at least how many elements it has."""

    schema: Raw | None = None
    size: int = 1


class Found(NamedTuple):
    cost: int
    node: Node


def expression_cost(checked: bytes, schema: Raw) -> int:
    """Steps of one evaluation at most. `checked` is what the binding serializes."""
    expression = _message(_message(_only(_message(checked), 2)).get(4, [b""])[0])
    names = ("self", "oldSelf", "held_oldSelf")
    return min(_cost(expression, {name: Node(schema, size_of(schema)) for name in names}).cost, _HIGHEST)


def cardinality(above: int | None, schema: Raw) -> int:
    """How often a rule of `schema` runs at most, where the lists and maps above it allow `above` values, or any."""
    return above if above is not None else _REQUEST_BYTES // (_smallest(schema) + 1)


def below(above: int | None, schema: Raw, limit: str) -> int | None:
    """`above` for the elements of a list (`maxItems`) or a map (`maxProperties`)."""
    most = schema.get(limit)
    return None if above is None or most is None else above * max(int(most), 0)


def excess(name: str, cost: int, limit: int) -> str:
    """Upstream's words for a cost above its limit."""
    factor = cost / limit
    shown = "more than 100x" if factor > 100 else f"{factor:f}x" if factor < 1.5 else f"{factor:.1f}x"
    return (
        f"{name} exceeds budget by factor of {shown} (try simplifying the rule, or adding maxItems, maxProperties, and "
        "maxLength where arrays, maps, and strings are declared)"
    )


def size_of(schema: Raw | None) -> int:
    """Elements of a list or map at most; 1 for what has none."""
    if schema is None:
        return 1
    additional, items = schema.get("additionalProperties"), schema.get("items")
    if schema.get("type") == "array":
        most = schema.get("maxItems")
        smallest = _smallest(items) if isinstance(items, dict) else 1
        return int(most) if most is not None else (_REQUEST_BYTES - 2) // (smallest + 1)
    if isinstance(additional, dict):
        most = schema.get("maxProperties")
        return int(most) if most is not None else (_REQUEST_BYTES - 2) // (_smallest(additional) + 6)
    return 1


def _smallest(schema: Raw) -> int:
    """Bytes of the shortest JSON that fits."""
    kind = schema.get("type")
    if kind == "array":
        return 2
    if kind == "object":
        properties = schema.get("properties") or {}
        wanted = [name for name in schema.get("required") or () if name in properties]
        return 2 + sum(
            len(name) + _smallest(properties[name]) + 4 for name in wanted if "default" not in properties[name]
        )
    if kind == "string":
        return _MIN_FORMATS.get(schema.get("format", ""), 2)
    return _MIN_SIZES.get(str(kind), 1)


def _message(data: bytes) -> Message:
    found: Message = {}
    for tag, value in fields(data):
        found.setdefault(tag >> 3, []).append(value)
    return found


def _only(message: Message, number: int) -> Any:
    return message.get(number, [b""])[0]


def _text(message: Message, number: int) -> str:
    return str(bytes(_only(message, number)), "utf-8")


def _cost(expression: Message, scope: Scope) -> Found:
    for number, estimate in _ESTIMATES.items():
        if number in expression:
            return estimate(_message(_only(expression, number)), scope)
    return Found(0, Node())


def _below(message: Message, number: int, scope: Scope) -> Found:
    return _cost(_message(_only(message, number)), scope)


def _ident(message: Message, scope: Scope) -> Found:
    return Found(1, scope.get(_text(message, 1).removeprefix("."), Node()))


def _select(message: Message, scope: Scope) -> Found:
    operand = _below(message, 1, scope)
    field = _text(message, 2)
    return Found(operand.cost + 1, _node(_property(operand.node.schema, field)))


def _call(message: Message, scope: Scope) -> Found:
    function = _text(message, 2)
    operands = [_cost(_message(each), scope) for each in (*message.get(1, ()), *message.get(3, ()))]
    if function == "_?_:_" and len(operands) == 3:
        condition, one, other = operands
        return Found(condition.cost + max(one.cost, other.cost), max(one, other, key=lambda each: each.node.size).node)
    cost = sum(each.cost for each in operands) + (0 if function in _FREE else 1)
    if function == "@in" and len(operands) == 2 and (operands[1].node.schema or {}).get("type") == "array":
        cost += operands[1].node.size
    if function in ("_[_]", "_[?_]", "_?._") and operands:
        return Found(cost, _node(_element(operands[0].node.schema)))
    if function == "_+_" and len(operands) == 2:
        return Found(cost, Node(operands[0].node.schema, operands[0].node.size + operands[1].node.size))
    return Found(cost, Node())


def _list(message: Message, scope: Scope) -> Found:
    elements = message.get(1, [])
    cost = _LIST_BASE + sum(_cost(_message(each), scope).cost for each in elements)
    return Found(cost, Node(None, len(elements)))


def _struct(message: Message, scope: Scope) -> Found:
    entries = [_message(each) for each in message.get(2, ())]
    parts = [_below(entry, number, scope).cost for entry in entries for number in (3, 4) if number in entry]
    return Found(_MAP_BASE + sum(parts), Node(None, len(entries)))


def _comprehension(message: Message, scope: Scope) -> Found:
    ranged, start = _below(message, 2, scope), _below(message, 4, scope)
    accumulator = _text(message, 3)
    schema = ranged.node.schema
    is_map = schema is not None and schema.get("type") == "object"
    first, second = _text(message, 1), _text(message, 8)
    element = _node(_element(schema))
    inner = {**scope, first: Node() if is_map or second else element, accumulator: start.node}
    if second:
        inner[second] = element
    times = ranged.node.size
    step = _below(message, 5, inner).cost + _below(message, 6, inner).cost
    # What is gathered on the way has at most as many elements as what is walked through; a `bind` walks through none.
    gathered = Node(schema, times) if _gathers(message) else start.node
    result = _below(message, 7, {**scope, accumulator: gathered})
    return Found(ranged.cost + start.cost + times * step + result.cost, result.node)


def _gathers(message: Message) -> bool:
    """Whether the accumulator begins as a list: `filter` and `map`."""
    return _LIST in _message(_only(message, 4)) and _text(message, 3) in ("@result", "__result__")


def _node(schema: Raw | None) -> Node:
    return Node(schema, size_of(schema))


def _property(schema: Raw | None, field: str) -> Raw | None:
    properties = (schema or {}).get("properties") or {}
    if field in properties:
        return _raw(properties[field])
    found = next((child for name, child in properties.items() if escaped(name) == field), None)
    return _raw(found) if found is not None else _raw((schema or {}).get("additionalProperties"))


def _element(schema: Raw | None) -> Raw | None:
    return _raw((schema or {}).get("items")) or _raw((schema or {}).get("additionalProperties"))


def _raw(found: Any) -> Raw | None:
    return found if isinstance(found, dict) else None


_ESTIMATES: dict[int, Callable[[Message, Scope], Found]] = {
    _IDENT: _ident,
    _SELECT: _select,
    _CALL: _call,
    _LIST: _list,
    _STRUCT: _struct,
    _COMPREHENSION: _comprehension,
}


class Total:
    """What all rules of one version cost together, and which of them the most."""

    def __init__(self) -> None:
        self.total = 0
        self._rules: list[tuple[int, str]] = []

    def add(self, path: str, cost: int) -> None:
        self.total = min(self.total + cost, _HIGHEST)
        # Upstream does not name what is below a hundredth of the limit.
        if cost >= DEFINITION_LIMIT // 100:
            self._rules.append((cost, path))

    def highest(self) -> Iterator[str]:
        """The paths of the four most expensive rules."""
        for _, path in sorted(self._rules, key=lambda rule: -rule[0])[:4]:
            yield path
