"""Defaults of a structural schema, as k8s.io/apiextensions-apiserver pkg/apiserver/schema/defaulting sets them.

Nulls where the schema takes none are dropped first, so that a default may take their place.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twinplane.controlplane.api.extensions.customresources.pruning import ENVELOPE
from twinplane.controlplane.api.extensions.customresources.values import Raw
from twinplane.kubeclient.meta import copied

Default = Callable[[Any], bool]
"""Changes a value in place; True when it did."""


def compile_defaulting(schema: Raw, *, root: bool = False) -> Default | None:
    """None where the schema has neither fields nor defaults."""
    if schema.get("properties"):
        return _fields(schema, root=root)
    additional = schema.get("additionalProperties")
    if isinstance(additional, dict):
        return _map(additional)
    items = schema.get("items")
    return _list(items) if isinstance(items, dict) else None


def _takes_null(schema: Raw) -> bool:
    unspecified = not schema.get("type") and not schema.get("x-kubernetes-int-or-string")
    return bool(schema.get("nullable")) or unspecified


def _fields(schema: Raw, *, root: bool) -> Default:
    properties = {name: child for name, child in schema["properties"].items() if not (root and name in ENVELOPE)}
    defaults = [(name, child["default"]) for name, child in properties.items() if child.get("default") is not None]
    below = {name: each for name, child in properties.items() if (each := compile_defaulting(child))}
    not_null = frozenset(name for name, child in properties.items() if not _takes_null(child))

    def visit(value: Any) -> bool:
        if type(value) is not dict:
            return False
        changed = False
        for name in [name for name, item in value.items() if item is None and name in not_null]:
            del value[name]
            changed = True
        for name, default in defaults:
            if name not in value:
                value[name] = copied(default) if isinstance(default, dict | list) else default
                changed = True
        for name, item in value.items():
            deeper = below.get(name)
            if deeper is not None and deeper(item):
                changed = True
        return changed

    return visit


def _map(child: Raw) -> Default:
    below, null = compile_defaulting(child), not _takes_null(child)
    default = child.get("default")

    def visit(value: Any) -> bool:
        if type(value) is not dict:
            return False
        changed = False
        for name in [name for name, item in value.items() if item is None and null]:
            changed = True
            if default is None:
                del value[name]
            else:
                value[name] = copied(default)
        if below is not None:
            for item in value.values():
                changed = below(item) or changed
        return changed

    return visit


def _list(child: Raw) -> Default | None:
    below, default = compile_defaulting(child), child.get("default")
    fills = default is not None and not _takes_null(child)
    if below is None and not fills:
        return None

    def visit(value: Any) -> bool:
        if type(value) is not list:
            return False
        changed = False
        for index, item in enumerate(value):
            if item is None and fills:
                value[index] = copied(default)
                changed = True
            if below is not None:
                changed = below(value[index]) or changed
        return changed

    return visit
