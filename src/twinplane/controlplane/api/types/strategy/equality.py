"""Equality as Go sees two decoded objects: a missing field is its zero value.

Generations and immutability rules compare with it, so that a client that writes `hostNetwork: false` out changes
nothing.
"""

from __future__ import annotations

from typing import Any

_ABSENT = (None, "", 0, False)


def same(one: Any, other: Any) -> bool:
    if one is other or (type(one) is type(other) and one == other):
        return True
    if isinstance(one, dict) and isinstance(other, dict):
        return all(same(one.get(key), other.get(key)) for key in one.keys() | other.keys())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return _empty(one) and _empty(other)


def _empty(value: Any) -> bool:
    if isinstance(value, dict):
        return all(_empty(item) for item in value.values())
    if isinstance(value, list):
        return not value
    return value in _ABSENT
