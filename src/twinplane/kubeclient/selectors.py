"""Label selectors: what selects objects in lists, watches, Services, controllers and affinity terms.

Evaluation and the text form (`app in (a, b), !canary`). The API server's edge adds the checks of names and values that
upstream makes (`controlplane.api.selectors`); here a selector is taken to be one that the API server has accepted, so
building one is cheap enough to do for every look. Grammar and errors: k8s.io/apimachinery pkg/labels.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

EQUALITIES = ("=", "==")
_SET_OPERATORS = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "!"}
"""metav1.LabelSelectorOperator -> the operator of a requirement."""


class SelectorError(ValueError):
    """A text or object that is no selector; the message is upstream's."""


class Requirement(NamedTuple):
    """`operator` is one of =, ==, !=, in, notin, gt, lt, exists, ! (must not exist), as upstream's selection.Operator.

    `values` are sorted and distinct.
    """

    key: str
    operator: str
    values: tuple[str, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        value = labels.get(self.key)
        match self.operator:
            case "=" | "==" | "in":
                return value is not None and value in self.values
            case "!=" | "notin":
                return value is None or value not in self.values
            case "exists":
                return value is not None
            case "!":
                return value is None
            case _:
                return self._compares(value)

    def _compares(self, value: str | None) -> bool:
        number, bound = go_int64(value), go_int64(self.values[0])
        if number is None or bound is None:
            return False
        return number > bound if self.operator == "gt" else number < bound

    def __str__(self) -> str:
        match self.operator:
            case "exists":
                return self.key
            case "!":
                return f"!{self.key}"
            case "in" | "notin":
                return f"{self.key} {self.operator} ({','.join(self.values)})"
            case _:
                sign = {"gt": ">", "lt": "<"}.get(self.operator, self.operator)
                return f"{self.key}{sign}{self.values[0]}"


class LabelSelector:
    """Every requirement must hold; without any it selects everything. Immutable."""

    __slots__ = ("_others", "exact", "requirements")

    def __init__(self, requirements: tuple[Requirement, ...], *, nothing: bool = False) -> None:
        self.requirements = requirements
        self.exact: dict[str, str] = {}
        """Labels that a selected object must carry: what an index can be asked for."""
        others: list[Requirement] = []
        for entry in requirements:
            single = entry.operator in EQUALITIES or (entry.operator == "in" and len(entry.values) == 1)
            if single and self.exact.setdefault(entry.key, entry.values[0]) == entry.values[0]:
                continue
            others.append(entry)
        self._others: tuple[Requirement, ...] | None = None if nothing else tuple(others)

    def matches(self, labels: Mapping[str, str] | None) -> bool:
        if self._others is None:
            return False
        labels = labels or {}
        for key, value in self.exact.items():
            if labels.get(key) != value:
                return False
        return all(entry.matches(labels) for entry in self._others)

    @property
    def selects_everything(self) -> bool:
        return self._others is not None and not self.requirements

    def __str__(self) -> str:
        """The text form, sorted by key, as upstream writes it (`status.selector` of a Scale)."""
        return ",".join(str(entry) for entry in sorted(self.requirements, key=lambda entry: entry.key))


EVERYTHING = LabelSelector(())
NOTHING = LabelSelector((), nothing=True)


def go_int64(text: str | None) -> int | None:
    """Go's strconv.ParseInt(text, 10, 64), None where it fails."""
    if text is None or not re.fullmatch(r"[+-]?[0-9]{1,20}", text):
        return None
    number = int(text)
    return number if -(2**63) <= number < 2**63 else None


def selector_of(selector: Mapping[str, Any] | None) -> LabelSelector:
    """From a metav1.LabelSelector object; None selects nothing, an empty one everything. Raises `SelectorError`."""
    if selector is None:
        return NOTHING
    requirements = [Requirement(key, "=", (value,)) for key, value in (selector.get("matchLabels") or {}).items()]
    for expression in selector.get("matchExpressions") or ():
        operator = _SET_OPERATORS.get(expression.get("operator", ""))
        if operator is None:
            raise SelectorError(f'"{expression.get("operator", "")}" is not a valid label selector operator')
        values = tuple(sorted(set(expression.get("values") or ())))
        requirements.append(Requirement(expression["key"], operator, values))
    return LabelSelector(tuple(requirements)) if requirements else EVERYTHING


def selector_of_labels(labels: Mapping[str, str] | None) -> LabelSelector:
    """From a plain map, as Services and ReplicationControllers have it; empty selects everything."""
    return selector_of({"matchLabels": labels or {}})


Check = Callable[[Requirement], None]
"""Called for each requirement, first with its key alone (`exists`); raises to refuse it."""

_TOKEN = re.compile(r"[ \t\r\n]*(==|!=|[=!(),<>]|[^ \t\r\n=!(),<>]+)?")
_SYMBOLS = frozenset({"==", "!=", "=", "!", "(", ")", ",", "<", ">"})
_OPERATORS = {"in": "in", "notin": "notin", "=": "=", "==": "==", "!=": "!=", ">": "gt", "<": "lt"}
_EXPECTED_OPERATORS = "in, notin, =, ==, !=, gt, lt"


def parse_label_selector(text: str, check: Check | None = None) -> LabelSelector:
    """Raises `SelectorError` with upstream's message, or what `check` raises."""
    return LabelSelector(tuple(_Parser(text, check).requirements())) if text else EVERYTHING


class _Parser:
    """Recursive descent; `in` and `notin` are names where no operator is expected. The end is the empty token."""

    def __init__(self, text: str, check: Check | None) -> None:
        # Go's lexer takes a NUL for the end of the text.
        self._tokens = [match[1] for match in _TOKEN.finditer(text.partition("\0")[0]) if match[1]]
        self._tokens.append("")
        self._at = 0
        self._check = check

    def _next(self) -> str:
        return self._tokens[min(self._at, len(self._tokens) - 1)]

    def _take(self) -> str:
        token = self._next()
        self._at += 1
        return token

    def requirements(self) -> Iterator[Requirement]:
        while token := self._next():
            if token in _SYMBOLS and token != "!":
                raise SelectorError(f"found '{token}', expected: !, identifier, or 'end of string'")
            try:
                yield self._requirement()
            except SelectorError as error:
                raise SelectorError(f"unable to parse requirement: {error}") from None
            separator = self._take()
            if not separator:
                return
            if separator != ",":
                raise SelectorError(f"found '{separator}', expected: ',' or 'end of string'")
            after = self._next()
            if not after or (after in _SYMBOLS and after != "!"):
                raise SelectorError(f"found '{after}', expected: identifier after ','")

    def _requirement(self) -> Requirement:
        token = self._take()
        negated = token == "!"
        key = self._take() if negated else token
        if not key or key in _SYMBOLS:
            raise SelectorError(f"found '{key}', expected: identifier")
        if self._check is not None:
            self._check(Requirement(key, "exists"))
        if negated or self._next() in ("", ","):
            return Requirement(key, "!" if negated else "exists")
        token = self._take()
        operator = _OPERATORS.get(token)
        if operator is None:
            raise SelectorError(f"found '{token}', expected: {_EXPECTED_OPERATORS}")
        values = self._values() if operator in ("in", "notin") else {self._value()}
        requirement = Requirement(key, operator, tuple(sorted(values)))
        if self._check is not None:
            self._check(requirement)
        return requirement

    def _value(self) -> str:
        if self._next() in ("", ","):
            return ""
        token = self._take()
        if token in _SYMBOLS:
            raise SelectorError(f"found '{token}', expected: identifier")
        return token

    def _values(self) -> set[str]:
        token = self._take()
        if token != "(":
            raise SelectorError(f"found '{token}' expected: '('")
        first = self._next()
        if first == ")":
            self._take()
            return set()
        if not first or (first in _SYMBOLS and first != ","):
            raise SelectorError(f"found '{first}', expected: ',', ')' or identifier")
        return self._value_list()

    def _value_list(self) -> set[str]:
        """Up to the closing parenthesis; nothing between two separators is the empty value."""
        values: set[str] = set()
        named = False
        while True:
            token = self._take()
            if token == ")":
                return values if named else values | {""}
            if token == ",":
                if not named:
                    values.add("")
                named = False
            elif named:
                raise SelectorError(f"found '{token}', expected: ',' or ')'")
            elif not token or token in _SYMBOLS:
                raise SelectorError(f"found '{token}', expected: ',', or identifier")
            else:
                values.add(token)
                named = True
