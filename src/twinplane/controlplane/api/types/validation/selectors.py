"""Label selectors, node selectors and resource lists, wherever they occur."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twinplane.controlplane.api.types.validation import names
from twinplane.controlplane.api.types.validation.context import Context, Visitor
from twinplane.controlplane.api.types.validation.fields import Errors, forbidden, invalid, required
from twinplane.controlplane.api.types.validation.metadata import validate_labels

_WITH_VALUES = ("In", "NotIn")
_WITHOUT_VALUES = ("Exists", "DoesNotExist")
_NODE_OPERATORS = (*_WITH_VALUES, *_WITHOUT_VALUES, "Gt", "Lt")


def label_selector(value: dict[str, Any], path: str, context: Context) -> None:
    errors = context.errors
    if "matchLabels" in value:
        validate_labels(value["matchLabels"], f"{path}.matchLabels", errors)
    for index, term in enumerate(value.get("matchExpressions") or ()):
        at = f"{path}.matchExpressions[{index}]"
        operator = term.get("operator", "")
        if operator in _WITH_VALUES:
            if not term.get("values"):
                errors.append(required(f"{at}.values", "must be specified when `operator` is 'In' or 'NotIn'"))
        elif operator in _WITHOUT_VALUES:
            if term.get("values"):
                detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
                errors.append(forbidden(f"{at}.values", detail))
        else:
            errors.append(invalid(f"{at}.operator", operator, "not a valid selector operator"))
        errors.texts(f"{at}.key", term.get("key", ""), names.qualified_name(term.get("key", "")))
        for position, entry in enumerate(term.get("values") or ()):
            errors.texts(f"{at}.values[{position}]", entry, names.label_value(entry))


def node_requirement(value: dict[str, Any], path: str, context: Context) -> None:
    _node_requirement(value, path, context.errors)


def _node_requirement(value: dict[str, Any], path: str, errors: Errors) -> None:
    """A term of a node selector; `matchFields` knows metadata.name alone."""
    operator, values = value.get("operator", ""), value.get("values") or ()
    if operator in _WITH_VALUES and not values:
        errors.append(required(f"{path}.values", "must be specified when `operator` is 'In' or 'NotIn'"))
    elif operator in _WITHOUT_VALUES and values:
        detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
        errors.append(forbidden(f"{path}.values", detail))
    elif operator in ("Gt", "Lt") and len(values) != 1:
        detail = "must be specified single value when `operator` is 'Lt' or 'Gt'"
        errors.append(required(f"{path}.values", detail))
    elif operator not in _NODE_OPERATORS:
        errors.append(invalid(f"{path}.operator", operator, "not a valid selector operator"))
    if ".matchFields[" not in path:
        errors.texts(f"{path}.key", value.get("key", ""), names.qualified_name(value.get("key", "")))


def node_selector(value: dict[str, Any], path: str, context: Context) -> None:
    if not value.get("nodeSelectorTerms"):
        detail = "must have at least one node selector term"
        context.errors.append(required(f"{path}.nodeSelectorTerms", detail))


def whole_node_selector(value: dict[str, Any], path: str, errors: Errors) -> None:
    """Where no walk by definition comes by: in a status."""
    if not value.get("nodeSelectorTerms"):
        errors.append(required(f"{path}.nodeSelectorTerms", "must have at least one node selector term"))
    for index, term in enumerate(value.get("nodeSelectorTerms") or ()):
        for field in ("matchExpressions", "matchFields"):
            for position, entry in enumerate(term.get(field) or ()):
                _node_requirement(entry, f"{path}.nodeSelectorTerms[{index}].{field}[{position}]", errors)


def matches(selector: dict[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether a metav1.LabelSelector selects labels; an empty selector selects everything."""
    for key, value in (selector.get("matchLabels") or {}).items():
        if labels.get(key) != value:
            return False
    return all(_term_matches(term, labels) for term in selector.get("matchExpressions") or ())


def _term_matches(term: dict[str, Any], labels: Mapping[str, str]) -> bool:
    key, operator = term.get("key", ""), term.get("operator", "")
    if operator == "In":
        return labels.get(key) in (term.get("values") or ())
    if operator == "NotIn":
        return labels.get(key) not in (term.get("values") or ())
    return bool((key in labels) == (operator == "Exists"))


def is_empty(selector: dict[str, Any] | None) -> bool:
    return not selector or not (selector.get("matchLabels") or selector.get("matchExpressions"))


def validate_key(path: str, key: str, errors: Errors) -> None:
    errors.texts(path, key, names.qualified_name(key))


VALIDATORS: dict[str, Visitor] = {
    "meta.v1.LabelSelector": label_selector,
    "core.v1.NodeSelector": node_selector,
    "core.v1.NodeSelectorRequirement": node_requirement,
}
