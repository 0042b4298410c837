"""matchConditions: CEL expressions that must all be true before a webhook is called or a policy is asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from twinplane.controlplane.admission.webhooks.expressions import Compiler
from twinplane.controlplane.cel import CelError


class ConditionFailed(Exception):
    """Conditions could not be evaluated, and the failure policy is Fail."""


class MatchConditions:
    """Raises CelError for an expression that does not compile."""

    def __init__(
        self,
        conditions: Sequence[Mapping[str, Any]],
        compiler: Compiler,
        *,
        fails_open: bool,
        more: Mapping[str, str] | None = None,
    ) -> None:
        """`more`: variables beside those that every expression has (`params`)."""
        self._programs = [compiler.compile(each["expression"], more) for each in conditions]
        self._fails_open = fails_open

    def __bool__(self) -> bool:
        return bool(self._programs)

    def hold(self, variables: Mapping[str, Any]) -> bool:
        """One false is a no, whatever else fails. Raises `ConditionFailed`."""
        errors: list[str] = []
        for program in self._programs:
            try:
                if program.evaluate(variables) is not True:
                    return False
            except CelError as error:
                errors.append(f"expression '{program.text}' resulted in error: {error}")
        if errors and not self._fails_open:
            raise ConditionFailed(errors[0] if len(errors) == 1 else "[" + ", ".join(errors) + "]")
        return not errors
