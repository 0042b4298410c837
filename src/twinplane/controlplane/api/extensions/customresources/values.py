"""Comparison of JSON values: unlike Python's, `true` is not 1 here."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import orjson

MISSING: Any = object()
"""Stands for the old value where there is none to compare with."""
Raw = dict[str, Any]
"""A node of a structural schema as JSON."""


def canonical(value: Any) -> bytes:
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except TypeError:
        # An integer of more than 64 bits, which only YAML bodies can bring.
        return json.dumps(value, sort_keys=True).encode()


def equal(one: Any, other: Any) -> bool:
    return bool(one == other) and canonical(one) == canonical(other)


def correlation(schema: Raw) -> Callable[[list[Any], Any], list[Any]]:
    """How the items of a new list are paired with those of the old one: by keys for list maps, else not at all."""
    keys = tuple(schema.get("x-kubernetes-list-map-keys") or ())
    if schema.get("x-kubernetes-list-type") != "map" or not keys:
        return lambda new, old: [MISSING] * len(new)
    defaults = {
        key: child["default"]
        for key, child in ((schema.get("items") or {}).get("properties") or {}).items()
        if key in keys and "default" in child
    }

    def identity(item: Any) -> bytes | None:
        return canonical([item.get(key, defaults.get(key)) for key in keys]) if isinstance(item, dict) else None

    def pair(new: list[Any], old: Any) -> list[Any]:
        if not isinstance(old, list):
            return [MISSING] * len(new)
        known = {identity(item): item for item in old}
        known.pop(None, None)
        return [known.get(identity(item), MISSING) for item in new]

    return pair
