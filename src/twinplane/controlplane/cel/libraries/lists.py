"""`isSorted`, `sum`, `min`, `max` of lists of comparable values.

Lists' own `indexOf` and `lastIndexOf` are missing: the binding has those names for strings and takes no more overloads.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from twinplane.controlplane.cel.functions import method


def _is_sorted(values: list[Any]) -> bool:
    return all(before <= after for before, after in pairwise(values))


def _extreme(choose: Any, name: str) -> Any:
    def call(values: list[Any]) -> Any:
        if not values:
            raise ValueError(f"{name} called on empty list")
        return choose(values)

    return call


FUNCTIONS = (
    method("isSorted", "list(dyn)", "bool", _is_sorted),
    method("sum", "list(dyn)", "dyn", sum),
    method("min", "list(dyn)", "dyn", _extreme(min, "min")),
    method("max", "list(dyn)", "dyn", _extreme(max, "max")),
)
