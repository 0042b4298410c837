"""`x-kubernetes-validations`: rules in CEL, compiled once for each version of a definition.

Rules see a value as `self` and what it was as `oldSelf`. Rules about transitions run only where there is an old value;
others do not run again for a value that has not changed (ratcheting).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from twinplane.controlplane.api.extensions.customresources import cel_types
from twinplane.controlplane.api.extensions.customresources.estimate import expression_cost
from twinplane.controlplane.api.extensions.customresources.values import MISSING, Raw, correlation, equal
from twinplane.controlplane.cel import CompileError, EvaluationError, Optional, Program, compile_expression
from twinplane.controlplane.cel.program import checked_expression
from twinplane.kubeclient.errors import FieldError

Visit = Callable[[Any, Any, str, list[FieldError]], None]
"""(value, old value or MISSING, path, errors)."""

_OLD_SELF = re.compile(r"(?<![\w.])oldSelf\b")
_LONGEST_MESSAGE = 5 * 1024
CANCELLED = "operation cancelled: actual cost limit exceeded"
_NO_MORE = "no further validation rules will be run due to call cost exceeds limit"
_REASONS = ("FieldValueRequired", "FieldValueForbidden", "FieldValueDuplicate")


@dataclass(frozen=True, slots=True)
class Rule:
    raw: Raw
    program: Program
    message: Program | None
    compares: bool
    optional_old: bool

    @property
    def shown(self) -> str:
        return str(self.raw.get("message") or self.raw.get("rule", "")).strip()


def stopped(errors: list[FieldError]) -> bool:
    """Whether a rule ran for too long: then none after it does."""
    return bool(errors) and errors[-1].detail.startswith(f"'{CANCELLED}'")


def uses_old_self(text: str) -> bool:
    return _OLD_SELF.search(text) is not None


def compile_rule(raw: Raw, schema: Raw, *, root: bool = False) -> Rule:
    """Raises CompileError, whose text is the detail of upstream's field error."""
    text, expression = raw.get("rule", ""), raw.get("messageExpression", "")
    optional = bool(raw.get("optionalOldSelf"))
    program = _compile(text, schema, root=root, optional=optional)
    if program.result_type not in ("bool", "dyn"):
        raise CompileError("cel expression must evaluate to a bool")
    message = _compile(expression, schema, root=root, optional=optional) if expression else None
    return Rule(raw, program, message, uses_old_self(text), optional)


def compile_message(raw: Raw, schema: Raw, *, root: bool = False) -> None:
    """Check a messageExpression alone. Raises CompileError."""
    program = _compile(raw["messageExpression"], schema, root=root, optional=bool(raw.get("optionalOldSelf")))
    if program.result_type not in ("string", "dyn"):
        raise CompileError("messageExpression must evaluate to a string")


def steps_of(raw: Raw, field: str, schema: Raw, *, root: bool = False) -> int:
    """What the rule or messageExpression, which compiles, may cost at most each time it runs."""
    kind = cel_types.type_of(schema, root=root)
    optional = ("oldSelf",) if raw.get("optionalOldSelf") and uses_old_self(raw[field]) else ()
    checked = checked_expression(raw[field], {"self": kind, "oldSelf": kind}, optional=optional)
    return expression_cost(checked, schema, root=root)


def _compile(text: str, schema: Raw, *, root: bool, optional: bool) -> Program:
    kind = cel_types.type_of(schema, root=root)
    try:
        program = compile_expression(
            text, {"self": kind, "oldSelf": kind}, optional=("oldSelf",) if optional and uses_old_self(text) else ()
        )
    except CompileError as error:
        raise CompileError(f"compilation failed: {error}") from None
    undefined = cel_types.undefined_field(text, schema, root=root)
    if undefined:
        raise CompileError(f"compilation failed: {undefined}")
    return program


def compile_rules(schema: Raw, *, root: bool = False) -> Visit | None:
    """None for a schema without rules. Rules were compiled when the definition was written, so none fails here."""
    own = _own_rules(schema, root=root)
    below = [each for make in (_fields, _map, _list) if (each := make(schema)) is not None]
    if own is None and not below:
        return None

    def visit(value: Any, old: Any, path: str, errors: list[FieldError]) -> None:
        if value is None:
            return
        if own is not None:
            own(value, old, path, errors)
        for each in below:
            each(value, old, path, errors)

    return visit


def _fields(schema: Raw) -> Visit | None:
    below = {name: visit for name, child in (schema.get("properties") or {}).items() if (visit := compile_rules(child))}
    correlates = schema.get("x-kubernetes-map-type") != "atomic"
    if not below:
        return None

    def check(value: Any, old: Any, path: str, errors: list[FieldError]) -> None:
        if type(value) is not dict:
            return
        before = old if correlates and type(old) is dict else {}
        for name, deeper in below.items():
            if name in value:
                deeper(value[name], before.get(name, MISSING), f"{path}.{name}" if path else name, errors)

    return check


def _map(schema: Raw) -> Visit | None:
    additional = schema.get("additionalProperties")
    below = compile_rules(additional) if isinstance(additional, dict) else None
    correlates = schema.get("x-kubernetes-map-type") != "atomic"
    if below is None:
        return None

    def visit(value: Any, old: Any, path: str, errors: list[FieldError]) -> None:
        if type(value) is dict:
            before = old if correlates and type(old) is dict else {}
            for name, item in value.items():
                below(item, before.get(name, MISSING), f"{path}[{name}]", errors)

    return visit


def _list(schema: Raw) -> Visit | None:
    items = schema.get("items")
    below = compile_rules(items) if isinstance(items, dict) else None
    if below is None:
        return None
    pair = correlation(schema)

    def visit(value: Any, old: Any, path: str, errors: list[FieldError]) -> None:
        if type(value) is list:
            # Without keys there is nothing to compare by, unless nothing has changed.
            old_items = value if old is not MISSING and equal(old, value) else pair(value, old)
            for index, (item, before) in enumerate(zip(value, old_items, strict=True)):
                below(item, before, f"{path}[{index}]", errors)

    return visit


def _own_rules(schema: Raw, *, root: bool) -> Visit | None:
    rules = [compile_rule(raw, schema, root=root) for raw in schema.get("x-kubernetes-validations") or ()]
    if not rules:
        return None
    convert = cel_types.conversion(schema, root=root) or (lambda value: value)
    kind = str(schema.get("type", ""))
    compares = any(rule.compares for rule in rules)

    def visit(value: Any, old: Any, path: str, errors: list[FieldError]) -> None:
        unchanged = old is not MISSING and equal(old, value)
        if unchanged and not compares:
            return
        before = None if old is MISSING or old is None or not compares else convert(old)
        variables: dict[str, Any] = {"self": convert(value), "oldSelf": before}
        optional = {**variables, "oldSelf": Optional() if before is None else Optional(True, before)}
        for rule in rules:
            if stopped(errors):
                return
            if rule.compares and before is None and not rule.optional_old:
                continue
            if unchanged and not rule.compares:
                continue
            error = _broken(rule, optional if rule.optional_old and rule.compares else variables, path, kind)
            if error is not None:
                errors.append(error)

    return visit


def _broken(rule: Rule, variables: dict[str, Any], path: str, kind: str) -> FieldError | None:
    try:
        if rule.program.evaluate(variables) is True:
            return None
    except EvaluationError as error:
        detail = f"{error} evaluating rule: {rule.shown}"
        if str(error).startswith(CANCELLED):
            detail = f"'{error}': {_NO_MORE} for rule: {rule.shown}"
        if str(error).startswith("no such overload"):
            words = "call arguments did not match a supported operator, function or macro signature for rule"
            detail = f"'{error}': {words}: {rule.shown}"
        return _field_error("", path, kind, detail)
    message = _message(rule, variables) or str(rule.raw.get("message") or "").strip()
    field = str(rule.raw.get("fieldPath") or "").removeprefix(".")
    at = f"{path}.{field}" if path and field else path or field
    return _field_error(str(rule.raw.get("reason") or ""), at, kind, message or f"failed rule: {rule.shown}")


def _field_error(reason: str, path: str, kind: str, detail: str) -> FieldError:
    path = path or "<nil>"
    if reason == "FieldValueDuplicate":
        return FieldError(reason, path, "", kind)
    return FieldError(reason if reason in _REASONS else "FieldValueInvalid", path, detail, kind)


def _message(rule: Rule, variables: dict[str, Any]) -> str:
    """What the messageExpression says; empty when it fails or says nothing that can be shown."""
    if rule.message is None:
        return ""
    try:
        found = rule.message.evaluate(variables)
    except EvaluationError:
        return ""
    text = found.strip() if isinstance(found, str) else ""
    return "" if "\n" in text or len(text.encode()) > _LONGEST_MESSAGE else text
