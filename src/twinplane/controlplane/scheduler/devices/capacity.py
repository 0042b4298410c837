"""How much of a device's capacity a request takes: what it asks for, rounded as the capacity's `requestPolicy` says.

Every device is measured so; only those that several claims share (`allowMultipleAllocations`) write it down.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any, NamedTuple

from twinplane.kubeclient import quantity

Amounts = dict[str, Fraction]
"""Name of a capacity -> how much of it."""


class Capacity(NamedTuple):
    """Quantities as they are written; empty for what is not given."""

    value: str
    default: str = ""
    """What is taken when a request does not name the capacity."""
    least: str = ""
    most: str = ""
    step: str = ""
    choices: tuple[str, ...] = ()
    ranged: bool = False

    def taken(self, asked: str | None) -> str | None:
        """None: the policy does not allow it."""
        amount = (self.default or self.value) if asked is None else self._rounded(asked)
        if self.default and quantity.parse(amount) == quantity.parse(self.default):
            return amount
        if self.ranged:
            return amount if self._in_range(amount) else None
        if self.choices:
            return amount if any(quantity.parse(amount) == quantity.parse(choice) for choice in self.choices) else None
        return amount

    def _rounded(self, asked: str) -> str:
        number = quantity.parse(asked)
        if self.least:
            if number < quantity.parse(self.least):
                return self.least
            if not self.step:
                return asked
            least, step = quantity.whole(self.least), quantity.whole(self.step)
            steps = -(-(quantity.whole(asked) - least) // step)
            return quantity.render(least + steps * step, "BinarySI")
        return next((choice for choice in self.choices if number <= quantity.parse(choice)), asked)

    def _in_range(self, amount: str) -> bool:
        if self.most and quantity.parse(amount) > quantity.parse(self.most):
            return False
        if not self.step:
            return True
        return (quantity.whole(amount) - quantity.whole(self.least or "0")) % quantity.whole(self.step) == 0


def capacity_of(body: Mapping[str, Any]) -> Capacity:
    policy = body.get("requestPolicy") or {}
    limits = policy.get("validRange")
    bounds = limits or {}
    return Capacity(
        str(body.get("value") or "0"),
        _text(policy.get("default")),
        _text(bounds.get("min")),
        _text(bounds.get("max")),
        _text(bounds.get("step")),
        tuple(str(choice) for choice in policy.get("validValues") or ()),
        ranged=limits is not None,
    )


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def taken_of(capacities: Mapping[str, Capacity], asked: Mapping[str, Any]) -> dict[str, str] | None:
    """Of every capacity of a device; None when it has not what is asked for, or does not give it in such portions."""
    if not asked.keys() <= capacities.keys():
        return None
    found: dict[str, str] = {}
    for name, capacity in capacities.items():
        amount = capacity.taken(str(asked[name]) if name in asked else None)
        if amount is None:
            return None
        found[name] = amount
    return found


def fits(capacities: Mapping[str, Capacity], taken: Mapping[str, str], before: Mapping[str, Fraction]) -> bool:
    """Beside what has been taken `before`."""
    return all(
        quantity.parse(amount) + before.get(name, 0) <= quantity.parse(capacities[name].value)
        for name, amount in taken.items()
    )


def count(amounts: Amounts, taken: Mapping[str, Any], sign: int) -> None:
    for name, amount in taken.items():
        amounts[name] = amounts.get(name, Fraction(0)) + sign * Fraction(quantity.parse(str(amount)))
