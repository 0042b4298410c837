"""Selectors at the server's edge: the `labelSelector` and `fieldSelector` of a request.

Label selectors are parsed by `kubeclient.selectors`; this adds upstream's checks of keys and values, and every refusal
is a BadRequest. Field selectors exist nowhere else. Sources: k8s.io/apimachinery pkg/labels and pkg/fields.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from twinplane.controlplane.api.types.validation.names import label_value, qualified_name
from twinplane.kubeclient.errors import FieldError, bad_request
from twinplane.kubeclient.selectors import (
    LabelSelector,
    Requirement,
    SelectorError,
    go_int64,
    selector_of,
)
from twinplane.kubeclient.selectors import (
    parse_label_selector as parse_unchecked,
)

_NO_VALUES = "for 'in', 'notin' operators, values set can't be empty"
_NO_INTEGER = "for 'Gt', 'Lt' operators, the value must be an integer"
_VALUES_NOT_EMPTY = "values set must be empty for exists and does not exist"


def _problems(requirement: Requirement, key_path: str) -> list[FieldError]:
    key, operator, values = requirement
    found: list[FieldError] = []
    if problems := qualified_name(key):
        found.append(FieldError("FieldValueInvalid", key_path, "; ".join(problems), key))
    if operator in ("in", "notin") and not values:
        found.append(FieldError("FieldValueInvalid", "values", _NO_VALUES, []))
    if operator in ("exists", "!") and values:
        found.append(FieldError("FieldValueInvalid", "values", _VALUES_NOT_EMPTY, list(values)))
    for index, value in enumerate(values):
        if operator in ("gt", "lt") and go_int64(value) is None:
            found.append(FieldError("FieldValueInvalid", f"values[{index}]", _NO_INTEGER, value))
        if problems := label_value(value):
            found.append(FieldError("FieldValueInvalid", f"values[{index}][{key}]", "; ".join(problems), value))
    return found


def _check(requirement: Requirement, key_path: str = "<nil>") -> None:
    """`<nil>` is how upstream's parser prints the path that it does not have."""
    texts = [problem.text() for problem in _problems(requirement, key_path)]
    if texts:
        raise SelectorError(texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]")


@lru_cache(maxsize=4096)
def parse_label_selector(text: str) -> LabelSelector:
    """Raises `ApiError` BadRequest with upstream's words."""
    try:
        return parse_unchecked(text, _check)
    except SelectorError as error:
        raise bad_request(str(error)) from None


def label_selector_from_object(selector: Mapping[str, Any] | None) -> LabelSelector:
    """From a metav1.LabelSelector whose JSON types are right. Raises `ApiError` BadRequest."""
    try:
        parsed = selector_of(selector)
        for requirement in parsed.requirements:
            _check(requirement, "key")
    except SelectorError as error:
        raise bad_request(str(error)) from None
    return parsed


class FieldRequirement(NamedTuple):
    """`operator` is `=` or `!=`."""

    field: str
    operator: str
    value: str

    def matches(self, values: Mapping[str, str]) -> bool:
        """A field that the object does not have counts as empty."""
        return (values.get(self.field, "") == self.value) == (self.operator == "=")


class FieldSelector:
    """Every requirement must hold; which fields a type knows is checked by the caller. Immutable."""

    __slots__ = ("exact", "requirements")

    def __init__(self, requirements: tuple[FieldRequirement, ...]) -> None:
        self.requirements = requirements
        self.exact = {field: value for field, operator, value in requirements if operator == "="}
        """Equalities for index use (`metadata.name`, `spec.nodeName`); contradictions are left to `matches`."""

    def matches(self, values: Mapping[str, str]) -> bool:
        return all(requirement.matches(values) for requirement in self.requirements)


@lru_cache(maxsize=4096)
def parse_field_selector(text: str) -> FieldSelector:
    """`metadata.name=a,status.phase!=Running`; commas, equal signs and backslashes in values are escaped by `\\`.

    Raises `ApiError` BadRequest with upstream's words.
    """
    terms = sorted(filter(None, _split_terms(text)))
    return FieldSelector(tuple(_field_requirement(text, term) for term in terms))


def _split_terms(text: str) -> list[str]:
    terms, start, escaped = [], 0, False
    for index, character in enumerate(text):
        if escaped or character == "\\":
            escaped = not escaped
        elif character == ",":
            terms.append(text[start:index])
            start = index + 1
    terms.append(text[start:])
    return terms


def _field_requirement(text: str, term: str) -> FieldRequirement:
    found = term.find("=")
    if found < 0:
        raise bad_request(f"invalid selector: '{text}'; can't understand '{term}'")
    if term[found - 1 : found] == "!":
        return FieldRequirement(term[: found - 1], "!=", _unescape(term[found + 1 :]))
    skipped = 2 if term.startswith("==", found) else 1
    return FieldRequirement(term[:found], "=", _unescape(term[found + skipped :]))


def _unescape(value: str) -> str:
    plain, escaped = [], False
    for character in value:
        if escaped:
            if character not in "\\,=":
                raise bad_request(f"invalid field selector: invalid escape sequence: \\{character}")
            plain.append(character)
            escaped = False
        elif character == "\\":
            escaped = True
        elif character in ",=":
            # Upstream prints the character's number, too.
            raise bad_request(f"invalid field selector: unescaped character in value: {ord(character)}")
        else:
            plain.append(character)
    if escaped:
        raise bad_request("invalid field selector: invalid escape sequence: \\")
    return "".join(plain)
