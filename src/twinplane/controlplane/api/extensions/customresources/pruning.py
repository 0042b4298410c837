"""Fields that a structural schema does not specify: found for warnings, dropped before anything is stored.

A schema becomes one closure; parts without anything to drop cost nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twinplane.controlplane.api.extensions.customresources.values import Raw

Visit = Callable[[Any, str, list[str] | None], None]
"""(value, its path, where unknown paths are noted). With None for the latter, unknown fields are dropped in place."""

_SCALARS = ("string", "integer", "number", "boolean")
ENVELOPE = frozenset({"apiVersion", "kind", "metadata"})


def compile_pruning(schema: Raw, *, root: bool = False) -> Visit | None:
    """None where nothing can be unknown."""
    if schema.get("x-kubernetes-int-or-string") or schema.get("type") in _SCALARS:
        # What is no scalar there is refused by validation.
        return None
    items = schema.get("items")
    below_items = compile_pruning(items) if isinstance(items, dict) else None
    fields = _fields(schema, root=root)
    if fields is None:
        return None if below_items is None else _lists(below_items)
    if below_items is None:
        return fields
    lists = _lists(below_items)

    def visit(value: Any, path: str, unknown: list[str] | None) -> None:
        fields(value, path, unknown)
        lists(value, path, unknown)

    return visit


def _lists(below: Visit) -> Visit:
    def visit(value: Any, path: str, unknown: list[str] | None) -> None:
        if type(value) is list:
            for index, item in enumerate(value):
                below(item, f"{path}[{index}]" if unknown is not None else "", unknown)

    return visit


def _fields(schema: Raw, *, root: bool) -> Visit | None:
    properties: Raw = schema.get("properties") or {}
    additional = schema.get("additionalProperties")
    below = {name: each for name, child in properties.items() if (each := compile_pruning(child))}
    others = compile_pruning(additional) if isinstance(additional, dict) else None
    keeps = bool(additional) or bool(schema.get("x-kubernetes-preserve-unknown-fields"))
    known = frozenset(properties)
    if root or schema.get("x-kubernetes-embedded-resource"):
        known |= ENVELOPE
        below = {name: each for name, each in below.items() if name not in ENVELOPE}
    if keeps and not below and others is None:
        return None

    def visit(value: Any, path: str, unknown: list[str] | None) -> None:
        if type(value) is not dict:
            return
        for key, deeper in below.items():
            if key in value:
                deeper(value[key], f"{path}.{key}" if path else key, unknown)
        rest = value.keys() - known
        if not rest:
            return
        if keeps:
            if others is not None:
                for key in rest:
                    others(value[key], f"{path}.{key}" if path else key, unknown)
        elif unknown is not None:
            unknown += [f"{path}.{key}" if path else key for key in value if key in rest]
        else:
            for key in rest:
                del value[key]

    return visit
