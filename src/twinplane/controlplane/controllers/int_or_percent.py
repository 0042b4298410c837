"""Scaled values of `IntOrString` fields (maxSurge, maxUnavailable, minAvailable). Pure."""

from __future__ import annotations


def scaled(value: int | str | None, total: int, *, round_up: bool) -> int:
    """`3` is 3; `"25%"` is that part of `total`. Absent is 0, as is text that validation should have refused."""
    if value is None:
        return 0
    if isinstance(value, int):
        return value
    number = value.removesuffix("%")
    if number == value or not number.isdigit():
        return 0
    product = int(number) * total
    return -(-product // 100) if round_up else product // 100
