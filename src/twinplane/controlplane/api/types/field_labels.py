"""The values that field selectors may name, e.g. `spec.nodeName` of pods.

The API server asks once per write and indexes by the answer. A missing value is the empty string, except booleans and
counts, which Go prints as `false` and `0`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from twinplane.controlplane.api.types.contract import FieldLabels, ResourceType
from twinplane.kubeclient.contract import Object

_ZERO = {
    "spec.unschedulable": "false",
    "spec.hostNetwork": "false",
    "status.replicas": "0",
    "status.successful": "0",
}
_NOTHING: Object = {}
_ALIASES = {("Job", "status.successful"): ("status", "succeeded")}


def reader(type: ResourceType) -> FieldLabels:
    """What extracts the selectable fields of a type."""
    return _reader(type.resource.kind, type.selectable_fields)


@lru_cache(maxsize=512)
def _reader(kind: str, fields: tuple[str, ...]) -> FieldLabels:
    special = tuple((field, make) for field in fields if (make := _SPECIAL.get((kind, field))) is not None)
    # Most fields lie two levels deep, and those of one parent are read together.
    parents: dict[tuple[str, ...], list[tuple[str, str, str]]] = {}
    for field in fields:
        if (kind, field) not in _SPECIAL:
            *parent, key = _ALIASES.get((kind, field), tuple(field.split(".")))
            parents.setdefault(tuple(parent), []).append((field, key, _ZERO.get(field, "")))
    plan = tuple((parent, tuple(leaves)) for parent, leaves in parents.items())

    def read(body: Object) -> dict[str, str]:
        found: dict[str, str] = {}
        for parent, leaves in plan:
            part: Any = body
            for key in parent:
                part = part.get(key) if isinstance(part, dict) else None
            known = part if isinstance(part, dict) else _NOTHING
            for field, key, zero in leaves:
                value = known.get(key)
                found[field] = value if type(value) is str else zero if value is None else _text(value)
        for field, make in special:
            found[field] = make(body)
        return found

    return read


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else str(value)


def _event_source(body: Object) -> str:
    """Falls back to the reporting controller, as upstream does for events of the newer API."""
    source = (body.get("source") or body.get("deprecatedSource") or {}).get("component", "")
    return source or _reporting_component(body)


def _reporting_component(body: Object) -> str:
    return str(body.get("reportingComponent") or body.get("reportingController") or "")


def _pod_addresses(body: Object) -> str:
    addresses = (body.get("status") or {}).get("podIPs") or ()
    return ",".join(entry.get("ip", "") for entry in addresses)


_SPECIAL: dict[tuple[str, str], Callable[[Object], str]] = {
    ("Event", "source"): _event_source,
    ("Event", "reportingComponent"): _reporting_component,
    ("Pod", "status.podIPs"): _pod_addresses,
}
