"""Upstream's defaults (`pkg/apis/*/v1/defaults.go`), by definition name, so that they hold wherever one occurs.

`UpstreamRules.default` runs them on every write. `constants` are plain values; the other modules are functions for what
depends on neighbouring fields. Constants of a definition come after its functions, which may look at what was given.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from twinplane.controlplane.api.types.defaulting import core, extending, pods, workloads
from twinplane.controlplane.api.types.defaulting.constants import CONSTANTS
from twinplane.controlplane.api.types.walking import Walker

Setter = Callable[[dict[str, Any]], None]
FUNCTIONS: tuple[Mapping[str, Setter], ...] = (core.SETTERS, pods.SETTERS, workloads.SETTERS, extending.SETTERS)


def defaulter() -> Walker:
    """The walk that sets every default; idempotent."""
    table: dict[str, list[Callable[[Any, str, None], None]]] = {}
    for setters in FUNCTIONS:
        for name, setter in setters.items():
            table.setdefault(name, []).append(_from_setter(setter))
    for name, values in CONSTANTS.items():
        table.setdefault(name, []).append(_from_constants(values))
    return Walker(table, quick=True)


def _from_setter(setter: Setter) -> Callable[[Any, str, None], None]:
    def visit(value: Any, path: str, context: None) -> None:
        setter(value)

    return visit


def _from_constants(values: Mapping[str, Any]) -> Callable[[Any, str, None], None]:
    plain = tuple((key, value) for key, value in values.items() if not isinstance(value, dict | list))
    fresh = tuple((key, type(value), value) for key, value in values.items() if isinstance(value, dict | list))

    def visit(value: Any, path: str, context: None) -> None:
        for key, default in plain:
            if key not in value:
                value[key] = default
        for key, make, default in fresh:
            if key not in value:
                value[key] = make(default)

    return visit
