"""Label and node selectors, compiled once for a pod shape and matched against many label sets.

Label selectors (`metav1.LabelSelector`) and node selector terms share this form; node selectors add Gt and Lt. A
selector is a tuple of requirements that must all hold. Bad values never raise here: the API server refuses them first,
and whatever slips through matches nothing, as upstream.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

Labels = Mapping[str, str]


class Requirement(NamedTuple):
    key: str
    operator: str
    values: frozenset[str] = frozenset()

    def holds(self, labels: Labels) -> bool:
        return _OPERATORS[self.operator](labels.get(self.key), self.values)


Selector = tuple[Requirement, ...]


def _in(value: str | None, values: frozenset[str]) -> bool:
    return value in values


def _not_in(value: str | None, values: frozenset[str]) -> bool:
    return value not in values


def _exists(value: str | None, _: frozenset[str]) -> bool:
    return value is not None


def _absent(value: str | None, _: frozenset[str]) -> bool:
    return value is None


def _greater(value: str | None, values: frozenset[str]) -> bool:
    pair = _integers(value, values)
    return pair is not None and pair[0] > pair[1]


def _less(value: str | None, values: frozenset[str]) -> bool:
    pair = _integers(value, values)
    return pair is not None and pair[0] < pair[1]


def _integers(value: str | None, values: frozenset[str]) -> tuple[int, int] | None:
    if value is None or len(values) != 1:
        return None
    try:
        return int(value), int(next(iter(values)))
    except ValueError:
        return None


_OPERATORS: dict[str, Callable[[str | None, frozenset[str]], bool]] = {
    "In": _in,
    "NotIn": _not_in,
    "Exists": _exists,
    "DoesNotExist": _absent,
    "Gt": _greater,
    "Lt": _less,
}


def requirements(expressions: list[dict[str, Any]] | None) -> Selector:
    return tuple(
        Requirement(item["key"], item["operator"], frozenset(item.get("values") or ()))
        for item in expressions or ()
        if item.get("operator") in _OPERATORS
    )


def equalities(labels: Labels | None) -> Selector:
    """`{app: web}` as requirements: how Services, ReplicationControllers and `nodeSelector` select."""
    return tuple(Requirement(key, "In", frozenset((value,))) for key, value in (labels or {}).items())


def label_selector(selector: dict[str, Any] | None) -> Selector | None:
    """None selects nothing, an empty selector everything, as for pods."""
    if selector is None:
        return None
    return equalities(selector.get("matchLabels")) + requirements(selector.get("matchExpressions"))


def matches(selector: Selector | None, labels: Labels) -> bool:
    if selector is None:
        return False
    return all(_OPERATORS[operator](labels.get(key), values) for key, operator, values in selector)


class NodeTerm(NamedTuple):
    """One of the ORed terms of a node selector; an empty term matches no node."""

    labels: Selector
    fields: Selector

    def holds(self, labels: Labels, name: str) -> bool:
        if not self.labels and not self.fields:
            return False
        return matches(self.labels, labels) and matches(self.fields, {"metadata.name": name})


def node_term(term: dict[str, Any]) -> NodeTerm:
    return NodeTerm(requirements(term.get("matchExpressions")), requirements(term.get("matchFields")))
