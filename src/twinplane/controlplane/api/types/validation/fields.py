"""Field errors as `field.ErrorList` builds them (k8s.io/apimachinery pkg/util/validation/field), and common checks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from twinplane.controlplane.api.types.strategy.equality import same
from twinplane.kubeclient.errors import FieldError

IMMUTABLE = "field is immutable"


def required(path: str, detail: str = "") -> FieldError:
    return FieldError("FieldValueRequired", path, detail)


def invalid(path: str, value: Any, detail: str) -> FieldError:
    return FieldError("FieldValueInvalid", path, detail, value)


def forbidden(path: str, detail: str) -> FieldError:
    return FieldError("FieldValueForbidden", path, detail)


def duplicate(path: str, value: Any) -> FieldError:
    return FieldError("FieldValueDuplicate", path, "", value)


def not_found(path: str, value: Any) -> FieldError:
    return FieldError("FieldValueNotFound", path, "", value)


def too_long(path: str, limit: int) -> FieldError:
    return FieldError("FieldValueTooLong", path, f"may not be more than {limit} bytes")


def too_many(path: str, count: int, limit: int) -> FieldError:
    return FieldError("FieldValueTooMany", path, f"{count}: must have at most {limit} items")


def unsupported(path: str, value: Any, choices: Iterable[str]) -> FieldError:
    shown = ", ".join(f'"{choice}"' for choice in sorted(choices))
    return FieldError("FieldValueNotSupported", path, f"supported values: {shown}", value)


class Errors(list[FieldError]):
    """A list that knows the checks every validator repeats."""

    def need(self, path: str, value: Any, detail: str = "") -> bool:
        """Required value unless `value` is there; True when it is."""
        if value in (None, "", [], {}):
            self.append(required(path, detail))
            return False
        return True

    def choose(self, path: str, value: Any, choices: Iterable[str], *, optional: bool = False) -> None:
        """One of `choices`; a missing value is an error unless `optional`."""
        if value in (None, ""):
            if not optional:
                self.append(required(path))
        elif value not in choices:
            self.append(unsupported(path, value, choices))

    def texts(self, path: str, value: Any, problems: Iterable[str]) -> None:
        """One Invalid for each problem that a name check found."""
        for problem in problems:
            self.append(invalid(path, value, problem))

    def at_least(self, path: str, value: int | None, least: int = 0) -> None:
        if value is not None and value < least:
            detail = "must be greater than or equal to 0" if least == 0 else f"must be greater than or equal to {least}"
            self.append(invalid(path, value, detail))

    def within(self, path: str, value: int, low: int, high: int) -> None:
        if not low <= value <= high:
            self.append(invalid(path, value, f"must be between {low} and {high}, inclusive"))

    def port(self, path: str, value: int) -> None:
        self.within(path, value, 1, 65535)

    def unchanged(self, path: str, value: Any, before: Any) -> None:
        if not same(value, before):
            self.append(invalid(path, value, IMMUTABLE))
