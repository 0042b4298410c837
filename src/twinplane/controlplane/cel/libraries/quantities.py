"""`quantity`: Kubernetes' amounts (`500m`, `1Gi`), compared and added exactly."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

from twinplane.controlplane.cel.functions import Function, function, method, opaque
from twinplane.kubeclient import quantity

_QUANTITY = "kubernetes.Quantity"
_LIMIT = 1 << 63
Amount = dict[str, Any]


def parsed(text: str) -> Amount:
    return opaque(quantity=quantity.render(quantity.parse(text)))


def _is_quantity(text: str) -> bool:
    try:
        quantity.parse(text)
    except ValueError:
        return False
    return True


def _value(amount: Amount | int) -> Fraction:
    return Fraction(amount if isinstance(amount, int) else quantity.parse(amount["quantity"]))


def _is_integer(amount: Amount) -> bool:
    value = _value(amount)
    return value.denominator == 1 and -_LIMIT <= value < _LIMIT


def _as_integer(amount: Amount) -> int:
    if not _is_integer(amount):
        raise ValueError("cannot convert value to integer")
    return int(_value(amount))


def _sum(sign: int) -> Callable[[Amount, Amount | int], Amount]:
    def call(left: Amount, right: Amount | int) -> Amount:
        return opaque(quantity=quantity.render(_value(left) + sign * _value(right)))

    return call


def _sign(value: Fraction) -> int:
    return (value > 0) - (value < 0)


FUNCTIONS: tuple[Function, ...] = (
    function("quantity", "string", _QUANTITY, parsed),
    function("isQuantity", "string", "bool", _is_quantity),
    method("sign", _QUANTITY, "int", lambda amount: _sign(_value(amount))),
    method("isInteger", _QUANTITY, "bool", _is_integer),
    method("asInteger", _QUANTITY, "int", _as_integer),
    method("asApproximateFloat", _QUANTITY, "double", lambda amount: float(_value(amount))),
    method("add", f"{_QUANTITY}, {_QUANTITY}", _QUANTITY, _sum(1)),
    method("add", f"{_QUANTITY}, int", _QUANTITY, _sum(1)),
    method("sub", f"{_QUANTITY}, {_QUANTITY}", _QUANTITY, _sum(-1)),
    method("sub", f"{_QUANTITY}, int", _QUANTITY, _sum(-1)),
)


def compare(left: Amount, right: Amount) -> int:
    """-1, 0 or 1."""
    return _sign(_value(left) - _value(right))
