"""Reading a document that a user wrote: every field checked, every mistake a sentence that names its place."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from math import isfinite
from typing import Any, TypeVar

T = TypeVar("T")

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_LABEL = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_DOMAIN = re.compile(r"(?=.{1,253}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


class InvalidFleet(ValueError):
    """A sentence about what is wrong, with the path of the field."""


class Fields:
    """A mapping whose fields are taken out one by one; `done` refuses what nobody took."""

    def __init__(self, value: object, place: str) -> None:
        if not isinstance(value, Mapping):
            raise InvalidFleet(f"{place}: must be a mapping")
        self._left: dict[str, Any] = dict(value)
        self.place = place

    def take(self, name: str, read: Callable[[object, str], T]) -> T:
        """Raises `InvalidFleet` for a field that is missing or that `read` refuses."""
        found = self.optional(name, read)
        if found is None:
            raise InvalidFleet(f"{self.place}.{name}: is required")
        return found

    def optional(self, name: str, read: Callable[[object, str], T]) -> T | None:
        value = self._left.pop(name, None)
        return None if value is None else read(value, f"{self.place}.{name}")

    def given(self, name: str, read: Callable[[object, str], T], default: T) -> T:
        found = self.optional(name, read)
        return default if found is None else found

    def done(self, refusal: str = "unknown field") -> None:
        if self._left:
            raise InvalidFleet(f"{self.place}: {refusal} {', '.join(sorted(map(str, self._left)))}")


def text(value: object, place: str) -> str:
    if not isinstance(value, str):
        raise InvalidFleet(f"{place}: must be text, got {value!r}")
    return value


def name(value: object, place: str) -> str:
    """A DNS label, since nodes are named after it."""
    found = text(value, place)
    if len(found) > 40 or not _NAME.fullmatch(found):
        raise InvalidFleet(f"{place}: {found!r} must be at most 40 lower-case letters, digits and dashes")
    return found


def number(value: object, place: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise InvalidFleet(f"{place}: must be a number, got {value!r}")
    return float(value)


def share(value: object, place: str) -> float:
    found = number(value, place)
    if not 0 <= found <= 1:
        raise InvalidFleet(f"{place}: must be between 0 and 1, got {value!r}")
    return found


def count(value: object, place: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise InvalidFleet(f"{place}: must be a whole number, 0 or more, got {value!r}")
    return value


def boolean(value: object, place: str) -> bool:
    if not isinstance(value, bool):
        raise InvalidFleet(f"{place}: must be true or false, got {value!r}")
    return value


def texts(value: object, place: str) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise InvalidFleet(f"{place}: must be a list")
    return tuple(text(item, f"{place}[{index}]") for index, item in enumerate(value))


def node_labels(value: object, place: str) -> dict[str, str]:
    """As `labels`, of objects that are made from them: what the API server would refuse is refused."""
    found = labels(value, place)
    for key, item in found.items():
        label_key(key, place)
        label_value(item, f"{place}.{key}")
    return found


def node_annotations(value: object, place: str) -> dict[str, str]:
    """As `labels`, with keys that the API server takes."""
    return {label_key(key, place): item for key, item in labels(value, place).items()}


def label_key(value: object, place: str) -> str:
    found = text(value, place)
    prefix, _, short = found.rpartition("/")
    if not _LABEL.fullmatch(short) or ("/" in found and not _DOMAIN.fullmatch(prefix)):
        raise InvalidFleet(f"{place}: {found!r} is no key such as team or example.com/team")
    return found


def label_value(value: object, place: str) -> str:
    found = text(value, place)
    if found and not _LABEL.fullmatch(found):
        raise InvalidFleet(f"{place}: {found!r} must be at most 63 letters, digits, dashes, dots and underscores")
    return found


def labels(value: object, place: str) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise InvalidFleet(f"{place}: must be a mapping")
    return {text(key, place): text(item, f"{place}.{key}") for key, item in value.items()}


def each(read: Callable[[object, str], T]) -> Callable[[object, str], tuple[T, ...]]:
    def of_list(value: object, place: str) -> tuple[T, ...]:
        if not isinstance(value, list):
            raise InvalidFleet(f"{place}: must be a list")
        return tuple(read(item, f"{place}[{index}]") for index, item in enumerate(value))

    return of_list


def one_of(*allowed: str) -> Callable[[object, str], str]:
    def read(value: object, place: str) -> str:
        if value not in allowed:
            raise InvalidFleet(f"{place}: must be one of {', '.join(allowed)}, got {value!r}")
        return str(value)

    return read


def duration(value: object, place: str) -> float:
    """Seconds: a number, or text as Go writes durations (`90s`, `1h30m`)."""
    if not isinstance(value, str):
        found = number(value, place)
        if found < 0:
            raise InvalidFleet(f"{place}: must not be negative")
        return found
    parts = _DURATION_PART.findall(value)
    if not parts or "".join(amount + unit for amount, unit in parts) != value:
        raise InvalidFleet(f"{place}: {value!r} is no duration such as 90s, 5m or 1h30m")
    return sum(float(amount) * _SECONDS[unit] for amount, unit in parts)
