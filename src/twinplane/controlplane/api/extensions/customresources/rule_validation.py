"""Validation of the `x-kubernetes-validations` of one version of a CustomResourceDefinition.

`definition_validation` asks, for schemas that are structural. Rules must compile, refer to what there is, and not be
sure to take too long.
"""

from __future__ import annotations

from typing import Any

from twinplane.controlplane.api.extensions.customresources import cost
from twinplane.controlplane.api.extensions.customresources.structural import (
    Errors,
    forbidden,
    invalid,
    required,
    unsupported,
)
from twinplane.controlplane.api.extensions.customresources.values import Raw

_REASONS = ("FieldValueRequired", "FieldValueForbidden", "FieldValueInvalid", "FieldValueDuplicate")
_CONTRIBUTED = "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema"
_TOTAL = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema"


def check_rules(schema: Raw, path: str, errors: Errors) -> None:
    """`schema` is that of whole objects."""
    checks = _Checks(errors)
    checks.visit(schema, path, 1, root=True, correlates=True)
    if checks.total.total > cost.DEFINITION_LIMIT:
        errors += [forbidden(each, _CONTRIBUTED) for each in checks.total.highest()]
        errors.append(forbidden(path, cost.excess(_TOTAL, checks.total.total, cost.DEFINITION_LIMIT)))


class _Checks:
    def __init__(self, errors: Errors) -> None:
        self._errors = errors
        self.total = cost.Total()

    def visit(self, schema: Raw, path: str, above: int | None, *, root: bool, correlates: bool) -> None:
        """`above`: how many values of this schema an object may have, None where nothing limits them."""
        for index, rule in enumerate(schema.get("x-kubernetes-validations") or ()):
            at = f"{path}.x-kubernetes-validations[{index}]"
            self._rule(rule, schema, at, cost.cardinality(above, schema), root=root)
            if not correlates and not rule.get("optionalOldSelf"):
                self._correlates(rule, path, at)
        for name, child in (schema.get("properties") or {}).items():
            self.visit(child, f"{path}.properties[{name}]", above, root=False, correlates=correlates)
        additional, items = schema.get("additionalProperties"), schema.get("items")
        if isinstance(additional, dict):
            values = cost.below(above, schema, "maxProperties")
            self.visit(additional, f"{path}.additionalProperties", values, root=False, correlates=correlates)
        if isinstance(items, dict):
            paired = correlates and schema.get("x-kubernetes-list-type") == "map"
            self.visit(items, f"{path}.items", cost.below(above, schema, "maxItems"), root=False, correlates=paired)

    def _correlates(self, rule: Raw, where: str, path: str) -> None:
        from twinplane.controlplane.api.extensions.customresources.rules import uses_old_self

        if uses_old_self(rule.get("rule", "")):
            detail = f"oldSelf cannot be used on the uncorrelatable portion of the schema within {where}"
            self._errors.append(invalid(f"{path}.rule", rule["rule"], detail))

    def _rule(self, rule: Raw, schema: Raw, path: str, times: int, *, root: bool) -> None:
        from twinplane.controlplane.api.extensions.customresources import rules
        from twinplane.controlplane.cel import CompileError

        errors = self._errors
        text = str(rule.get("rule", "")).strip()
        if not text:
            errors.append(required(f"{path}.rule", "rule is not specified"))
            return
        _check_words(rule, text, schema, path, errors)
        try:
            rules.compile_rule({**rule, "messageExpression": ""}, schema, root=root)
        except CompileError as error:
            errors.append(invalid(f"{path}.rule", rule, str(error)))
            return
        self._cost(f"{path}.rule", "estimated rule cost", times * rules.steps_of(rule, "rule", schema, root=root))
        if rule.get("messageExpression"):
            try:
                rules.compile_message(rule, schema, root=root)
            except CompileError as error:
                errors.append(invalid(f"{path}.messageExpression", rule, f"messageExpression {error}"))
                return
            steps = rules.steps_of(rule, "messageExpression", schema, root=root)
            self._cost(f"{path}.messageExpression", "estimated messageExpression cost", steps)

    def _cost(self, path: str, name: str, steps: int) -> None:
        if steps > cost.EXPRESSION_LIMIT:
            self._errors.append(forbidden(path, cost.excess(name, steps, cost.EXPRESSION_LIMIT)))
        self.total.add(path, steps)


def _check_words(rule: Raw, text: str, schema: Raw, path: str, errors: Errors) -> None:
    """What goes with a rule."""
    message = rule.get("message")
    if message is not None and message != "" and not message.strip():
        errors.append(invalid(f"{path}.message", message, "message must be non-empty if specified"))
    elif message and "\n" in message.strip():
        errors.append(invalid(f"{path}.message", message, "message must not contain line breaks"))
    elif "\n" in text and not message:
        errors.append(required(f"{path}.message", "message must be specified if rule contains line breaks"))
    reason = rule.get("reason")
    if reason is not None and reason not in _REASONS:
        errors.append(unsupported(f"{path}.reason", reason, _REASONS))
    field = rule.get("fieldPath")
    if field and not _refers(field, schema):
        detail = "fieldPath must be a valid path: does not refer to a valid field"
        errors.append(invalid(f"{path}.fieldPath", field, detail))


def _refers(field: str, schema: Raw) -> bool:
    node: Any = schema
    for name in field.lstrip(".").replace("['", ".").replace("']", "").split("."):
        if not isinstance(node, dict):
            return False
        if isinstance(node.get("additionalProperties"), dict):
            node = node["additionalProperties"]
        else:
            node = (node.get("properties") or {}).get(name)
    return isinstance(node, dict)
