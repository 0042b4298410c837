"""The form in which functions are added to the language: one row for each overload.

Types are written as CEL writes them: `int`, `list(string)`, `map(string, dyn)`. Kubernetes' own types
(`kubernetes.Quantity`, ...) exist for the checker; when evaluated they are maps that name what they hold, so equality
is that of their contents.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Implementation = Callable[..., Any]
"""Python values in, one Python value out. Raises ValueError with the message of the evaluation error."""


@dataclass(frozen=True, slots=True)
class Function:
    """`member` functions are called on their first parameter. `dyn` parameters take values of any type."""

    name: str
    parameters: tuple[str, ...]
    result: str
    implementation: Implementation
    member: bool = False


def function(name: str, parameters: str, result: str, implementation: Implementation) -> Function:
    """`parameters` separated by commas; types with commas in them need `Function` itself."""
    return Function(name, _split(parameters), result, implementation)


def method(name: str, parameters: str, result: str, implementation: Implementation) -> Function:
    return Function(name, _split(parameters), result, implementation, member=True)


def _split(parameters: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in parameters.split(",") if part.strip())


def opaque(**contents: Any) -> dict[str, Any]:
    """A value of one of Kubernetes' own types."""
    return contents
