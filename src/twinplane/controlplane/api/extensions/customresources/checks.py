"""Validation against a structural schema, in the words of kube-openapi's validator and apiextensions' field errors.

`compile_checks` makes one closure of a schema. A value that equals its old self is not looked at again (ratcheting):
objects that were valid under an earlier schema can still be updated.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from twinplane.controlplane.api.extensions.customresources import objects
from twinplane.controlplane.api.extensions.customresources.formats import FORMATS
from twinplane.controlplane.api.extensions.customresources.values import MISSING, Raw, canonical, equal
from twinplane.controlplane.cel.regular_expressions import compile_pattern
from twinplane.kubeclient.errors import FieldError, go_value

Check = Callable[[Any, Any, str, list[FieldError]], None]
"""(value, old value or MISSING, path, errors)."""
Part = Callable[[Any, str, list[FieldError]], None]
"""Looks at one value alone."""

ROOT = "<nil>"
"""How upstream prints the path of an error about the whole object."""
_JSON_TYPES: dict[type, str] = {
    str: "string",
    bool: "boolean",
    int: "integer",
    float: "number",
    list: "array",
    dict: "object",
    type(None): "null",
}
_PARTS: tuple[Callable[[Raw], Part | None], ...]


def compile_checks(schema: Raw, *, root: bool = False) -> Check:
    parts = [part for make in _PARTS if (part := make(schema)) is not None]
    below = objects.compile_below(schema, compile_checks, root=root)
    types = _types(schema)
    takes_null = bool(schema.get("nullable")) or not types
    # Most fields have a type and nothing else to check: these are done before anything is compared.
    plain = (
        frozenset(kind for kind, name in _JSON_TYPES.items() if name in types) if not below and len(parts) == 1 else ()
    )

    def check(value: Any, old: Any, path: str, errors: list[FieldError]) -> None:
        if type(value) in plain:
            return
        if old is not MISSING and equal(old, value):
            return
        if value is None and takes_null:
            return
        for part in parts:
            part(value, path, errors)
        if below is not None:
            below(value, old, path, errors)

    return check


def invalid(path: str, value: Any, detail: str) -> FieldError:
    return FieldError("FieldValueInvalid", path or ROOT, detail, value)


def in_body(path: str) -> str:
    return f"{path} in body"


def _types(schema: Raw) -> tuple[str, ...]:
    if schema.get("x-kubernetes-int-or-string"):
        return ("integer", "string")
    kind = schema.get("type")
    return (kind,) if kind else ()


def _type(schema: Raw) -> Part | None:
    types = _types(schema)
    if not types:
        return None
    accepted = frozenset(types) | ({"integer"} if "number" in types else frozenset())
    named = ",".join(types)

    def check(value: Any, path: str, errors: list[FieldError]) -> None:
        found = _JSON_TYPES[type(value)]
        if found in accepted or (found == "number" and "integer" in accepted and value.is_integer()):
            return
        detail = f"{in_body(path)} must be of type {named}: {go_value(found)}"
        errors.append(FieldError("FieldValueTypeInvalid", path or ROOT, detail, found))

    return check


def _enum(schema: Raw) -> Part | None:
    choices = schema.get("enum")
    if not choices:
        return None
    allowed = {canonical(choice) for choice in choices}
    shown = ", ".join(f'"{choice if isinstance(choice, str) else canonical(choice).decode()}"' for choice in choices)

    def check(value: Any, path: str, errors: list[FieldError]) -> None:
        if canonical(value) not in allowed:
            detail = f"supported values: {shown}"
            errors.append(FieldError("FieldValueNotSupported", path or ROOT, detail, value))

    return check


def _text(schema: Raw) -> Part | None:
    longest, shortest, pattern = schema.get("maxLength"), schema.get("minLength"), schema.get("pattern")
    form = FORMATS.get(str(schema.get("format", "")).replace("-", "")) or FORMATS.get(str(schema.get("format", "")))
    if longest is None and shortest is None and not pattern and form is None:
        return None
    search = compile_pattern(pattern).search if pattern else None

    def check(value: Any, path: str, errors: list[FieldError]) -> None:
        if type(value) is not str:
            return
        if longest is not None and len(value) > longest:
            errors.append(FieldError("FieldValueTooLong", path or ROOT, f"may not be more than {longest} bytes", value))
        if shortest is not None and len(value) < shortest:
            errors.append(invalid(path, value, f"{in_body(path)} should be at least {shortest} chars long"))
        if search is not None and search(value) is None:
            errors.append(invalid(path, value, f"{in_body(path)} should match '{pattern}'"))
        if form is not None and not form(value):
            detail = f"{in_body(path)} must be of type {schema['format']}: {go_value(value)}"
            errors.append(FieldError("FieldValueTypeInvalid", path or ROOT, detail, value))

    return check


def _number(schema: Raw) -> Part | None:
    highest, lowest, step = schema.get("maximum"), schema.get("minimum"), schema.get("multipleOf")
    if highest is None and lowest is None and step is None:
        return None
    below, above = bool(schema.get("exclusiveMaximum")), bool(schema.get("exclusiveMinimum"))

    def check(value: Any, path: str, errors: list[FieldError]) -> None:
        if type(value) is not int and type(value) is not float:
            return
        if step is not None and not _is_multiple(value, step):
            errors.append(invalid(path, value, f"{in_body(path)} should be a multiple of {_shown(step)}"))
        if highest is not None and (value >= highest if below else value > highest):
            words = "less than" if below else "less than or equal to"
            errors.append(invalid(path, value, f"{in_body(path)} should be {words} {_shown(highest)}"))
        if lowest is not None and (value <= lowest if above else value < lowest):
            words = "greater than" if above else "greater than or equal to"
            errors.append(invalid(path, value, f"{in_body(path)} should be {words} {_shown(lowest)}"))

    return check


def _is_multiple(value: float, step: float) -> bool:
    return step > 0 and math.isclose(value / step, round(value / step), rel_tol=1e-12)


def _shown(number: float) -> str:
    return str(int(number)) if float(number).is_integer() else repr(number)


def _list(schema: Raw) -> Part | None:
    most, least, unique = schema.get("maxItems"), schema.get("minItems"), bool(schema.get("uniqueItems"))
    if most is None and least is None and not unique:
        return None

    def check(value: Any, path: str, errors: list[FieldError]) -> None:
        if type(value) is not list:
            return
        if most is not None and len(value) > most:
            errors.append(_too_many(path, len(value), most))
        if least is not None and len(value) < least:
            errors.append(invalid(path, len(value), f"{in_body(path)} should have at least {least} items"))
        if unique and len({canonical(item) for item in value}) < len(value):
            errors.append(invalid(path, value, f"{in_body(path)} shouldn't contain duplicates"))

    return check


def _too_many(path: str, count: int, most: int) -> FieldError:
    return FieldError("FieldValueTooMany", path or ROOT, f"{count}: must have at most {most} items", count)


def _object(schema: Raw) -> Part | None:
    most, least = schema.get("maxProperties"), schema.get("minProperties")
    required = tuple(schema.get("required") or ())
    if most is None and least is None and not required:
        return None

    def check(value: Any, path: str, errors: list[FieldError]) -> None:
        if type(value) is not dict:
            return
        if most is not None and len(value) > most:
            errors.append(_too_many(path, len(value), most))
        if least is not None and len(value) < least:
            errors.append(invalid(path, len(value), f"{in_body(path)} should have at least {least} properties"))
        prefix = f"{path}." if path else ""
        errors += [FieldError("FieldValueRequired", prefix + name) for name in required if name not in value]

    return check


def _embedded(schema: Raw) -> Part | None:
    """An object within an object says what it is."""
    if not schema.get("x-kubernetes-embedded-resource"):
        return None

    def check(value: Any, path: str, errors: list[FieldError]) -> None:
        if type(value) is not dict:
            return
        for name in ("apiVersion", "kind"):
            given, at = value.get(name), f"{path}.{name}"
            if given is not None and type(given) is not str:
                errors.append(
                    FieldError(
                        "FieldValueTypeInvalid", at, f"must be a string, but is {_JSON_TYPES[type(given)]}", given
                    )
                )
            elif not given:
                errors.append(FieldError("FieldValueRequired", at, "must not be empty"))

    return check


def _junctors(schema: Raw) -> Part | None:
    """allOf, anyOf, oneOf and not. Their parts see values alone: nothing is ratcheted inside."""
    every, some, one = (
        [compile_checks(part) for part in schema.get(name) or ()] for name in ("allOf", "anyOf", "oneOf")
    )
    none = compile_checks(schema["not"]) if isinstance(schema.get("not"), dict) else None
    if schema.get("x-kubernetes-int-or-string") and _is_int_or_string(schema.get("anyOf")):
        some = []
    if not every and not some and not one and none is None:
        return None

    def check(value: Any, path: str, errors: list[FieldError]) -> None:
        if some:
            _any(some, value, path, errors)
        if one:
            _one(one, value, path, errors)
        if every:
            _all(every, value, path, errors)
        if none is not None and not _failures(none, value, path):
            errors.append(invalid("", "", f"{go_value(path)} must not validate the schema (not)"))

    return check


def _is_int_or_string(parts: Any) -> bool:
    return bool(parts == [{"type": "integer"}, {"type": "string"}])


def _failures(check: Check, value: Any, path: str) -> list[FieldError]:
    found: list[FieldError] = []
    check(value, MISSING, path, found)
    return found


def _any(checks: list[Check], value: Any, path: str, errors: list[FieldError]) -> None:
    best: list[FieldError] | None = None
    for check in checks:
        found = _failures(check, value, path)
        if not found:
            return
        best = found if best is None or len(found) < len(best) else best
    errors.append(invalid("", "", f"{go_value(path)} must validate at least one schema (anyOf)"))
    errors += best or []


def _one(checks: list[Check], value: Any, path: str, errors: list[FieldError]) -> None:
    results = [_failures(check, value, path) for check in checks]
    best = min(results, key=len)
    valid = sum(not found for found in results)
    if valid == 1:
        return
    found = "Found none valid" if not valid else f"Found {valid} valid alternatives"
    errors.append(invalid("", "", f"{go_value(path)} must validate one and only one schema (oneOf). {found}"))
    if not valid:
        errors += best


def _all(checks: list[Check], value: Any, path: str, errors: list[FieldError]) -> None:
    results = [_failures(check, value, path) for check in checks]
    failed = [found for found in results if found]
    if not failed:
        return
    for found in failed:
        errors += found
    none = ". None validated" if len(failed) == len(checks) else ""
    errors.append(invalid("", "", f"{go_value(path)} must validate all the schemas (allOf){none}"))


_PARTS = (_type, _junctors, _text, _number, _list, _enum, _object, _embedded)
"""In the order in which upstream's validator runs them."""
