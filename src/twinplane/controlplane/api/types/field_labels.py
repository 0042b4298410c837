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
_ALIASES = {("Job", "status.successful"): ("status", "succeeded")}


def reader(type: ResourceType) -> FieldLabels:
    """What extracts the selectable fields of a type."""
    return _reader(type.resource.kind, type.selectable_fields)


@lru_cache(maxsize=512)
def _reader(kind: str, fields: tuple[str, ...]) -> FieldLabels:
    readers = tuple((field, _value(kind, field)) for field in fields)

    def read(body: Object) -> dict[str, str]:
        return {field: value(body) for field, value in readers}

    return read


def _value(kind: str, field: str) -> Callable[[Object], str]:
    if kind == "Event" and field == "source":
        return _event_source
    if kind == "Event" and field == "reportingComponent":
        return _reporting_component
    if kind == "Pod" and field == "status.podIPs":
        return _pod_addresses
    path = _ALIASES.get((kind, field), tuple(field.split(".")))
    zero = _ZERO.get(field, "")

    def read(body: Object) -> str:
        value: Any = body
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
            if value is None:
                return zero
        return _text(value)

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
