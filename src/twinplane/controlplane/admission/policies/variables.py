"""What a policy's expressions may name: params, the namespace, and the policy's own variables, evaluated when needed.

A variable is evaluated at most once for a request and parameter, and only when an expression that is evaluated names it
(or another variable that does). One that fails is left out: the expression fails only if it gets there, as upstream's
lazily evaluated ones.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from twinplane.controlplane.admission.webhooks.expressions import Compiler
from twinplane.controlplane.cel import CelError, EvaluationError, Program

_NAMED = re.compile(r"\bvariables\s*\.\s*([A-Za-z_]\w*)")
_MISSING = re.compile(r'No value with name "variables\.(\w+)" found in Activation')


def names_of(spec: Mapping[str, Any]) -> dict[str, str]:
    """Variables that a policy has beyond those of webhooks, and their types."""
    params = {"params": "dyn"} if spec.get("paramKind") else {}
    return {**params, "namespaceObject": "dyn"}


@dataclass(frozen=True, slots=True)
class Expression:
    """A program and the policy variables that it names, the ones they name included, in order of need."""

    text: str
    program: Program
    needs: tuple[str, ...]


class Variables:
    """`spec.variables`: each may name those before it. Raises CelError for one that does not compile."""

    def __init__(self, variables: Sequence[Mapping[str, Any]], compiler: Compiler, names: Mapping[str, str]) -> None:
        self._compiler = compiler
        self._types = dict(names)
        self._expressions: dict[str, Expression] = {}
        for each in variables:
            self.add(each["name"], each["expression"])

    def add(self, name: str, text: str) -> None:
        """Raises CelError."""
        made = self._expressions[name] = self.compile(text)
        self._types[f"variables.{name}"] = made.program.result_type

    def compile(self, text: str) -> Expression:
        """An expression that may name the variables so far. Raises CelError."""
        known = self._expressions
        named = [name for name in _NAMED.findall(text) if name in known]
        needs = dict.fromkeys(each for name in named for each in (*known[name].needs, name))
        return Expression(text, self._compiler.compile(text, self._types), tuple(needs))

    def scope(self, values: Mapping[str, Any]) -> Scope:
        return Scope(self._expressions, values)


class Scope:
    """The variables of one request and parameter, filled as expressions need them."""

    def __init__(self, expressions: Mapping[str, Expression], values: Mapping[str, Any]) -> None:
        self._expressions = expressions
        self._values = dict(values)
        self._failed: dict[str, str] = {}

    def evaluate(self, asked: Expression) -> Any:
        """Raises EvaluationError, worded as upstream's."""
        for name in asked.needs:
            self._fill(name)
        try:
            return asked.program.evaluate(self._values)
        except CelError as error:
            raise EvaluationError(f"expression '{asked.text}' resulted in error: {self._words(error)}") from None

    def _fill(self, name: str) -> None:
        key = f"variables.{name}"
        if key in self._values or name in self._failed or name not in self._expressions:
            return
        try:
            self._values[key] = self._expressions[name].program.evaluate(self._values)
        except CelError as error:
            self._failed[name] = f'composited variable "{name}" fails to evaluate: {self._words(error)}'

    def _words(self, error: CelError) -> str:
        missing = _MISSING.search(str(error))
        return self._failed.get(missing[1], str(error)) if missing else str(error)
