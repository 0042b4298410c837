"""Strict reading of a configuration file: every mistake is found, and told with the path of its field.

The reader of KubeSchedulerConfiguration (`configuration`) uses it. Unknown fields, wrong types and values out of range
are collected, so that one run shows them all, worded as upstream's validation does it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from twinplane.clock import seconds_of

Value = TypeVar("Value")


class BadSchedulerConfiguration(ValueError):
    """What is wrong with the file, one sentence a line."""


class Fields:
    """The fields of one object. Whatever was not asked for when `end` is called is unknown."""

    def __init__(self, body: Any, path: str, problems: list[str]) -> None:
        self.path = path
        self._problems = problems
        self._asked: set[str] = set()
        self._body: Mapping[str, Any] = {}
        if isinstance(body, Mapping):
            self._body = body
        elif body is not None:
            self.wrong("", f"must be an object, not {_name(body)}")

    def __contains__(self, name: str) -> bool:
        return self._body.get(name) is not None

    def wrong(self, name: str, problem: str) -> None:
        self._problems.append(f"{self._at(name) or 'the file'}: {problem}")

    def text(self, name: str, default: str = "", *, among: Sequence[str] = ()) -> str:
        value = self._typed(name, str, "a string", default)
        if among and value not in among:
            supported = ", ".join(f'"{each}"' for each in sorted(among))
            self.wrong(name, f'Unsupported value: "{value}": supported values: {supported}')
            return default
        return value

    def number(self, name: str, default: int, *, low: int = 0, high: int | None = None) -> int:
        value = self._typed(name, int, "an integer", default)
        if value < low or (high is not None and value > high):
            self.wrong(name, f"Invalid value: {value}: {_range(low, high)}")
            return default
        return value

    def duration(self, name: str, default: float) -> float:
        """Seconds; written as Go writes durations."""
        text = self._typed(name, str, "a string", "")
        if name not in self:
            return default
        try:
            return seconds_of(text)
        except ValueError as error:
            self.wrong(name, str(error))
            return default

    def switch(self, name: str, default: bool) -> bool:
        return self._typed(name, bool, "true or false", default)

    def texts(self, name: str) -> list[str]:
        found: list[Any] = self._typed(name, list, "a list", [])
        for number, item in enumerate(found):
            if not isinstance(item, str):
                self.wrong(f"{name}[{number}]", f"must be a string, not {_name(item)}")
        return [item for item in found if isinstance(item, str)]

    def each(self, name: str) -> list[Fields]:
        found: list[Any] = self._typed(name, list, "a list", [])
        return [Fields(item, f"{self._at(name)}[{number}]", self._problems) for number, item in enumerate(found)]

    def inner(self, name: str) -> Fields:
        self._asked.add(name)
        return Fields(self._body.get(name), self._at(name), self._problems)

    def raw(self, name: str) -> Any:
        """A value that somebody else judges."""
        self._asked.add(name)
        return self._body.get(name)

    def end(self) -> None:
        for name in self._body:
            if name not in self._asked:
                self._problems.append(f'unknown field "{self._at(name)}"')

    def _typed(self, name: str, kind: type[Value], wanted: str, default: Value) -> Value:
        value = self.raw(name)
        if value is None:
            return default
        # True is an int to Python, not to anyone else.
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            self.wrong(name, f"must be {wanted}, not {_name(value)}")
            return default
        return value

    def _at(self, name: str) -> str:
        return f"{self.path}.{name}" if self.path and name else self.path or name


def _range(low: int, high: int | None) -> str:
    if high is not None:
        return f"not in valid range [{low}, {high}]"
    return f"must be greater than {low - 1}" if low else "not in valid range [0, inf)"


def _name(value: Any) -> str:
    names = {str: "a string", bool: "a boolean", int: "a number", float: "a number", list: "a list", dict: "an object"}
    return names.get(type(value), "null" if value is None else type(value).__name__)
