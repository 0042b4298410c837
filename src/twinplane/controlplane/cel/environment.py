"""Environments: which variables and functions an expression may use. Made once for each set of variables.

There are two for each set. One checks, with Kubernetes' own types as types of their own, so that mistakes are found
when a rule is written; the other evaluates, with those types as maps, since the binding passes only CEL's own values
between Python and C++.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from importlib import import_module
from itertools import product
from typing import Any

from twinplane.controlplane.cel.functions import Function, Implementation

EXTENSIONS = (
    *("optional", "bindings", "strings", "math", "encoders", "sets", "lists", "two-var-comprehensions", "regex"),
)
_ANY = ("bool", "int", "uint", "double", "string", "bytes", "list", "map", "null", "timestamp", "duration")
_KINDS = {name: name.upper() for name in (*_ANY, "dyn")}
"""The binding finds no overload of `dyn` parameters while evaluating: each kind has one of its own."""
_COMPOSITE = re.compile(r"(list|map)\((.*)\)").fullmatch
_STATUS = re.compile(r"^[A-Z_]+: |\s*\[[A-Z_]+\]\s*$")


def binding() -> Any:
    """The C++ implementation, which brings no types that a checker could read."""
    return import_module("cel_expr_python.cel")


class CelError(Exception):
    """Of an expression, in cel-go's words as far as the binding says the same."""


class CompileError(CelError):
    """The text is not an expression, or its types do not fit."""


class EvaluationError(CelError):
    """The expression has no value for these variables."""


class Environments:
    """The checking and the evaluating environment for one set of variables."""

    def __init__(self, variables: Iterable[tuple[str, str]], functions: Iterable[Function]) -> None:
        cel = binding()

        names = "".join(f"- name: {name}\n" for name in EXTENSIONS)
        self._config = cel.NewEnvConfigFromYaml(f"name: kubernetes\nextensions:\n{names}")
        self._variables = tuple(variables)
        self._functions = tuple(functions)
        self.checking = self._make(checked=True)
        self.evaluating = self._make(checked=False)

    def _make(self, *, checked: bool) -> Any:
        cel = binding()

        return cel.NewEnv(
            config=self._config,
            variables={name: cel_type(text, checked=checked) for name, text in self._variables},
            functions=[
                cel.FunctionDecl(name, overloads)
                for name, overloads in _overloads(self._functions, checked=checked).items()
            ],
        )


@lru_cache(maxsize=256)
def environments(variables: tuple[tuple[str, str], ...], functions: tuple[Function, ...]) -> Environments:
    """`functions` beside Kubernetes' own. Raises ValueError for a type that does not exist."""
    from twinplane.controlplane.cel.libraries import FUNCTIONS

    return Environments(variables, (*FUNCTIONS, *functions))


def _overloads(functions: Iterable[Function], *, checked: bool) -> dict[str, list[Any]]:
    cel = binding()

    table: dict[str, list[Any]] = {}
    seen: set[tuple[str, bool, tuple[str, ...]]] = set()
    for function in functions:
        for parameters in _expanded(function.parameters, checked=checked):
            key = function.name, function.member, tuple(_kind(text, checked=checked) for text in parameters)
            if key in seen:
                continue
            seen.add(key)
            identifier = "_".join((function.name, "member" if function.member else "global", *key[2]))
            table.setdefault(function.name, []).append(
                cel.Overload(
                    identifier,
                    cel_type(function.result, checked=checked),
                    [cel_type(text, checked=checked) for text in parameters],
                    function.member,
                    _guarded(function.implementation),
                )
            )
    return table


def _kind(text: str, *, checked: bool) -> str:
    return text if checked else "map" if text.startswith("kubernetes.") else text.partition("(")[0]


def _expanded(parameters: tuple[str, ...], *, checked: bool) -> Iterable[tuple[str, ...]]:
    if checked:
        return (parameters,)
    return product(*(_ANY if text == "dyn" else (text,) for text in parameters))


def _guarded(implementation: Implementation) -> Implementation:
    """Python's own errors about types are the caller's mistake: no overload takes such values."""

    def call(*arguments: Any) -> Any:
        try:
            return implementation(*arguments)
        except (KeyError, TypeError, AttributeError):
            raise ValueError("no such overload") from None

    return call


def cel_type(text: str, *, checked: bool = True) -> Any:
    """The binding's type. Raises ValueError."""
    cel = binding()

    if text.startswith("kubernetes."):
        return cel.Type.AbstractType(text) if checked else cel.Type.MAP
    composite = _COMPOSITE(text)
    if composite is None:
        if text not in _KINDS:
            raise ValueError(f"no such type: {text}")
        return getattr(cel.Type, _KINDS[text])
    if composite[1] == "list":
        return cel.Type.List(cel_type(composite[2], checked=checked))
    key, _, value = composite[2].partition(",")
    return cel.Type.Map(cel_type(key.strip(), checked=checked), cel_type(value.strip(), checked=checked))


_WORDS = (
    (re.compile(r'Key not found in map : "?(.*?)"?$', re.DOTALL), r"no such key: \1"),
    (re.compile(r"Index error: index=(-?\d+) size=\d+"), r"index out of bounds: \1"),
    (re.compile(r"divide by zero"), "division by zero"),
    (re.compile(r"^Iteration budget exceeded"), "operation cancelled: actual cost limit exceeded"),
    (re.compile(r"No matching overloads found : .*", re.DOTALL), "no such overload"),
    (re.compile(r"Applying SELECT to non-message type"), "no such overload"),
)


def message_of(error: object) -> str:
    """Without the binding's status codes, in cel-go's words."""
    text = _STATUS.sub("", str(error)).strip()
    for pattern, words in _WORDS:
        text = pattern.sub(words, text)
    return text
