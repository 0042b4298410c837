"""What calling a function costs at most, by the sizes of what it is given, and how large its result may be.

Read by `estimate`, which adds the cost of the arguments themselves. A size counts elements of lists and maps,
characters of texts. Sources: cel-go `checker/cost.go`, apiserver `pkg/cel/library/cost.go`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from twinplane.controlplane.api.extensions.customresources.values import Raw

HIGHEST = (1 << 64) - 1
"""Also the size of what nothing is known of."""
_TRAVERSAL, _REGEX = 0.1, 0.25
_AUTHORIZATION = 350_000
_FORMAT_REGEX = 128
_ADDRESS_BYTES = 16


class Node(NamedTuple):
    """What is known of a value. `entry` are its elements where no schema tells of them."""

    schema: Raw | None = None
    size: int = HIGHEST
    least: int = 0
    entry: Node | None = None
    number: int | None = None
    """The number itself, of a literal."""

    @property
    def kind(self) -> str:
        return str((self.schema or {}).get("type", ""))


class Asked(NamedTuple):
    """One call: `values` are its target, where it has one, and its arguments."""

    function: str
    overloads: tuple[str, ...]
    values: Sequence[Node]
    is_method: bool


class Charge(NamedTuple):
    cost: int
    result: Node | None = None


Rule = Callable[[Asked], Charge]


def times(one: int, other: int) -> int:
    return min(one * other, HIGHEST)


def plus(*parts: int) -> int:
    return min(sum(parts), HIGHEST)


def share(size: int, factor: float) -> int:
    return HIGHEST if size >= HIGHEST else math.ceil(size * factor)


def charge(asked: Asked) -> Charge:
    """One step for all that is not known to walk through what it is given."""
    rule = _RULES.get(asked.function)
    return rule(asked) if rule is not None and asked.values else Charge(1)


def _size(asked: Asked, index: int) -> int:
    return asked.values[index].size if index < len(asked.values) else 0


def _walks(index: int, factor: float = _TRAVERSAL, *, keeps: bool = False) -> Rule:
    """Through one of the values; `keeps`: the result is no longer than it."""

    def rule(asked: Asked) -> Charge:
        size = _size(asked, index)
        return Charge(share(size, factor), Node(None, size) if keeps else None)

    return rule


def _fixed(cost: int) -> Rule:
    return lambda asked: Charge(cost)


def _equals(asked: Asked) -> Charge:
    return Charge(share(min(_size(asked, 0), _size(asked, 1)), _TRAVERSAL))


def _compares(asked: Asked) -> Charge:
    of_texts = not asked.overloads or any("string" in name or "bytes" in name for name in asked.overloads)
    if len(asked.overloads) > 1:
        of_texts = any(node.kind == "string" for node in asked.values)
    return _equals(asked) if of_texts else Charge(1)


def _add(asked: Asked) -> Charge:
    one, other = asked.values[0], asked.values[1]
    size = plus(one.size, other.size)
    entry = max((each for each in (element(one), element(other)) if each), key=lambda node: node.size, default=None)
    overloads = asked.overloads
    if len(overloads) > 1:
        # Types that only the schema knows.
        kinds = {one.kind, other.kind}
        overloads = ("add_list",) if "array" in kinds else ("add_string",) if "string" in kinds else ()
    if "add_list" in overloads:
        return Charge(1, Node(None, size, plus(one.least, other.least), entry))
    if "add_string" in overloads or "add_bytes" in overloads:
        return Charge(share(size, _TRAVERSAL), Node(None, size, plus(one.least, other.least)))
    return Charge(1)


def element(node: Node) -> Node | None:
    return node.entry


def _within(asked: Asked) -> Charge:
    is_list = asked.values[1].kind == "array" if len(asked.overloads) > 1 else "in_list" in asked.overloads
    return Charge(_size(asked, 1) if is_list else 1)


def _contains(asked: Asked) -> Charge:
    return Charge(times(share(_size(asked, 0), _TRAVERSAL), share(_size(asked, 1), _TRAVERSAL)))


def _matches(asked: Asked) -> Charge:
    text = share(plus(_size(asked, 0), 1), _TRAVERSAL)
    return Charge(times(text, share(_size(asked, 1), _REGEX)))


def _finds(asked: Asked) -> Charge:
    return Charge(_matches(asked).cost, Node(None, _size(asked, 0)))


def _compared_elements(asked: Asked) -> Charge:
    """Of a list; a text has `indexOf` and `lastIndexOf`, too."""
    node = asked.values[0]
    inner = node.entry
    items = (node.schema or {}).get("items")
    if inner is None and not isinstance(items, dict):
        return Charge(share(node.size, _TRAVERSAL))
    is_text = isinstance(items, dict) and items.get("type") == "string"
    walked = share(inner.size, _TRAVERSAL) if is_text and inner is not None else 0
    return Charge(times(node.size, plus(1, walked)))


def _replaces(asked: Asked) -> Charge:
    text, before, after = asked.values[0], asked.values[1], asked.values[2]
    if before.least == 0:
        size = plus(times(plus(text.size, 1), after.size), text.size)
    elif after.size <= before.least:
        size = text.size
    else:
        size = times(math.ceil(text.size / before.least), after.size)
    return Charge(share(text.size, 2 * _TRAVERSAL), Node(None, size))


def _splits(asked: Asked) -> Charge:
    size = _size(asked, 0)
    limit = asked.values[2].number if len(asked.values) > 2 else None
    most = size if limit is None else limit % (1 << 64)
    return Charge(share(size, 2 * _TRAVERSAL), Node(None, most))


def _joins(asked: Asked) -> Charge:
    node = asked.values[0]
    size = times(node.size, node.entry.size) if node.entry is not None else 0
    size = plus(size, times(_size(asked, 1), max(node.size - 1, 0)))
    return Charge(share(size, _TRAVERSAL), Node(None, size))


def _parses_address(asked: Asked) -> Charge:
    """`ip()` of a CIDR is one step, `ip(text)` a walk."""
    return Charge(1) if asked.is_method else Charge(share(_size(asked, 0), _TRAVERSAL))


def _contains_address(asked: Asked) -> Charge:
    compared = share(2 * _ADDRESS_BYTES, _TRAVERSAL)
    if asked.function == "containsCIDR":
        compared += share(_ADDRESS_BYTES, _TRAVERSAL) + 1
    parsed = any("string" in name for name in asked.overloads)
    return Charge(plus(compared, share(_size(asked, 1), _TRAVERSAL) if parsed else 0))


def _validates(asked: Asked) -> Charge:
    return Charge(share(share(_size(asked, 1), _TRAVERSAL), _FORMAT_REGEX * _REGEX))


def _bytes(asked: Asked) -> Charge:
    size = _size(asked, 0)
    return Charge(share(size, _TRAVERSAL), Node(None, times(size, 4)))


def _quotes(asked: Asked) -> Charge:
    size = _size(asked, 0)
    return Charge(share(size, _TRAVERSAL), Node(None, plus(times(size, 2), 2)))


def _texts(asked: Asked) -> Charge:
    """Of bytes it is a walk, of numbers a step."""
    if "bytes_to_string" in asked.overloads:
        return Charge(share(_size(asked, 0), _TRAVERSAL), Node(None, _size(asked, 0)))
    return Charge(1)


_RULES: dict[str, Rule] = {
    "_==_": _equals,
    "_!=_": _equals,
    **dict.fromkeys(("_<_", "_<=_", "_>_", "_>=_"), _compares),
    "_+_": _add,
    "@in": _within,
    "_&&_": _fixed(0),
    "_||_": _fixed(0),
    "contains": _contains,
    "startsWith": _walks(1),
    "endsWith": _walks(1),
    "matches": _matches,
    "find": _finds,
    "findAll": _finds,
    "format": _walks(0),
    "bytes": _bytes,
    "string": _texts,
    "strings.quote": _quotes,
    **dict.fromkeys(("isSorted", "sum", "max", "min", "indexOf", "lastIndexOf"), _compared_elements),
    **dict.fromkeys(("lowerAscii", "upperAscii", "substring", "trim", "url"), _walks(0, keeps=True)),
    "jsonpatch.escapeKey": _walks(0, keeps=True),
    "replace": _replaces,
    "split": _splits,
    "join": _joins,
    **dict.fromkeys(("cidr", "isIP", "isCIDR", "quantity", "isQuantity", "semver", "isSemver"), _walks(0)),
    "ip": _parses_address,
    "ip.isCanonical": _walks(0, 2 * _TRAVERSAL),
    "containsIP": _contains_address,
    "containsCIDR": _contains_address,
    "validate": _validates,
    "check": _fixed(_AUTHORIZATION),
}
