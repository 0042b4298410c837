"""A compiled expression. Compile once for each rule; evaluation is a few microseconds beside copying the variables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from twinplane.controlplane.cel.environment import (
    CompileError,
    Environments,
    EvaluationError,
    environments,
    message_of,
)
from twinplane.controlplane.cel.functions import Function
from twinplane.controlplane.cel.rewriting import rewritten


@dataclass(frozen=True, slots=True)
class Optional:
    """CEL's optional value, in results and for variables that are declared optional."""

    present: bool = False
    value: Any = None


class Program:
    """`result_type` as CEL writes it (`bool`, `list(string)`, `dyn`), lower case."""

    def __init__(self, text: str, environments: Environments, result_type: str, optionals: tuple[str, ...]) -> None:
        self.text = text
        self.result_type = result_type
        self._environments = environments
        self._optionals = optionals
        self._expression = self._compile(text)
        self._unwrapping: Any = None

    def _compile(self, text: str) -> Any:
        return self._environments.evaluating.compile(_binding(text, self._optionals))

    def evaluate(self, variables: Mapping[str, Any]) -> Any:
        """The Python value: JSON's types, bytes, datetime, timedelta, or `Optional`. Raises EvaluationError.

        Values of optional variables are `Optional`, or absent.
        """
        if self._optionals:
            variables = _held(variables, self._optionals)
        try:
            found = self._expression.eval(data=variables)
        except RuntimeError as error:
            raise EvaluationError(message_of(error)) from None
        try:
            value = found.plain_value()
        except TypeError:
            return self._unwrapped(variables)
        if type(value) is str and found.type().name() == "ERROR":
            raise EvaluationError(message_of(value))
        return bytes(value) if type(value) is bytearray else value

    def _unwrapped(self, variables: Mapping[str, Any]) -> Optional:
        """The binding hands no optionals to Python: ask for a list of none or one instead."""
        if self._unwrapping is None:
            self._unwrapping = self._compile(
                f"cel.bind(found, (\n{self.text}\n), found.hasValue() ? [found.value()] : [])"
            )
        values = self._unwrapping.eval(data=variables).plain_value()
        return Optional(True, values[0]) if values else Optional()


def compile_expression(
    text: str,
    variables: Iterable[str] | Mapping[str, str] = (),
    *,
    optional: Iterable[str] = (),
    functions: Iterable[Function] = (),
) -> Program:
    """Compile and check. Raises CompileError with all problems that were found.

    `variables` names them, or gives each its type (`dyn`, `int`, `list(string)`, `map(string, dyn)`, ...). Names may
    have dots (`variables.replicas`). Those in `optional` hold optionals of any type. `functions` come on top of
    Kubernetes' own.
    """
    optionals = tuple(sorted(optional))
    found = _environments(variables, optionals, functions)
    text = rewritten(text)
    try:
        checked = found.checking.compile(_binding(text, optionals))
        return Program(text, found, _type_name(checked.return_type()), optionals)
    except RuntimeError as error:
        message = message_of(error)
        raise CompileError(message.replace("<input>:2:", "<input>:1:") if optionals else message) from None


def checked_expression(text: str, variables: Mapping[str, str], *, optional: Iterable[str] = ()) -> bytes:
    """An expression that compiles as the checker has taken it apart: a `google.protobuf.Any` with a CheckedExpr."""
    optionals = tuple(sorted(optional))
    found = _environments(variables, optionals, ())
    return bytes(found.checking.compile(_binding(rewritten(text), optionals)).serialize())


def _environments(
    variables: Iterable[str] | Mapping[str, str], optionals: tuple[str, ...], functions: Iterable[Function]
) -> Environments:
    types = dict(variables) if isinstance(variables, Mapping) else dict.fromkeys(variables, "dyn")
    for name in optionals:
        types.pop(name, None)
        types[_holder(name)] = "map(string, dyn)"
    return environments(tuple(sorted(types.items())), tuple(functions))


def _binding(text: str, optionals: tuple[str, ...]) -> str:
    """Optionals travel in maps, since the binding takes none from Python; the text keeps its columns."""
    for name in optionals:
        text = f'cel.bind({name}, {_holder(name)}[?"value"],\n{text}\n)'
    return text


def _held(variables: Mapping[str, Any], optionals: tuple[str, ...]) -> dict[str, Any]:
    data = {name: value for name, value in variables.items() if name not in optionals}
    for name in optionals:
        value = variables.get(name)
        data[_holder(name)] = {"value": value.value} if isinstance(value, Optional) and value.present else {}
    return data


def _holder(name: str) -> str:
    return f"held_{name}"


def _type_name(type: Any) -> str:
    return str(type.name()).lower().replace("<", "(").replace(">", ")")
