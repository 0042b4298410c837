"""What the API server's verbs ask of a custom type: unknown fields, pruning, defaults and validation by its schema.

One for each version of a definition, in `ResourceType.extra["behaviour"]`. Everything is compiled when it is first
asked for and lives as long as the version's schema.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

from twinplane.controlplane.api.extensions.customresources import checks, defaulting, objects, pruning
from twinplane.controlplane.api.extensions.customresources.values import MISSING, Raw
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.errors import FieldError

_BLOCKING = frozenset({"FieldValueRequired", "FieldValueTooLong", "FieldValueTooMany", "FieldValueTypeInvalid"})
_NOT_CHECKED = (
    "some validation rules were not checked because the object was invalid; correct the existing errors to complete "
    "validation"
)
_LARGEST_REPLICAS = (1 << 31) - 1


class SchemaBehaviour:
    """`scale` is the version's scale subresource, whose replicas have limits of their own."""

    def __init__(self, schema: Raw, scale: Raw | None = None) -> None:
        self._schema = schema
        self._scale_path = str((scale or {}).get("specReplicasPath", ""))

    @cached_property
    def _pruning(self) -> pruning.Visit | None:
        return pruning.compile_pruning(self._schema, root=True)

    @cached_property
    def _defaulting(self) -> defaulting.Default | None:
        return defaulting.compile_defaulting(self._schema, root=True)

    @cached_property
    def _checks(self) -> checks.Check:
        return checks.compile_checks(self._schema, root=True)

    @cached_property
    def _list_types(self) -> objects.Check | None:
        return objects.compile_list_types(self._schema)

    @cached_property
    def _rules(self) -> Any:
        if not has_rules(self._schema):
            return None
        from twinplane.controlplane.api.extensions.customresources import rules

        return rules.compile_rules(self._schema, root=True)

    def unknown_fields(self, body: Object) -> list[str]:
        """Their paths."""
        found: list[str] = []
        if self._pruning is not None:
            self._pruning(body, "", found)
        return found

    def prune(self, body: Object) -> None:
        if self._pruning is not None:
            self._pruning(body, "", None)

    def default(self, body: Object) -> bool:
        """In place; True when something changed."""
        return self._defaulting is not None and self._defaulting(body)

    def validate(self, body: Object, old: Object | None) -> list[FieldError]:
        errors: list[FieldError] = []
        before = MISSING if old is None else old
        self._checks(body, before, "", errors)
        if self._scale_path:
            _check_replicas(body, self._scale_path, errors)
        if self._list_types is not None:
            self._list_types(body, before, "", errors)
        if self._rules is not None:
            if any(error.type in _BLOCKING for error in errors):
                errors.append(FieldError("FieldValueInvalid", "<nil>", _NOT_CHECKED, None))
            else:
                self._rules(body, before, "", errors)
        return errors


def _check_replicas(body: Object, path: str, errors: list[FieldError]) -> None:
    value: Any = body
    for name in path.strip(".").split("."):
        value = value.get(name) if isinstance(value, dict) else None
    if type(value) is not int:
        return
    if value < 0:
        errors.append(FieldError("FieldValueInvalid", path, "should be a non-negative integer", value))
    elif value > _LARGEST_REPLICAS:
        detail = f"should be less than or equal to {_LARGEST_REPLICAS}"
        errors.append(FieldError("FieldValueInvalid", path, detail, value))


def has_rules(schema: Any) -> bool:
    if isinstance(schema, list):
        return any(map(has_rules, schema))
    if not isinstance(schema, dict):
        return False
    if schema.get("x-kubernetes-validations"):
        return True
    return any(has_rules(child) for key, child in schema.items() if key != "default" and isinstance(child, dict | list))
