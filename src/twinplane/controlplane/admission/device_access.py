"""Devices: when a taint was added, and who may have admin access. Upstream has it in defaults and strategies.

It stands here because it needs the time and the namespace's labels, which the rules of types do not have.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from twinplane.clock import Clock, rfc3339
from twinplane.controlplane.admission.contract import AdmissionRequest, ObjectReader
from twinplane.controlplane.admission.plugin import Plugin, body_of, entries, part, shown_name
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.device_claims import results_of
from twinplane.kubeclient.errors import FieldError, invalid
from twinplane.kubeclient.resources import (
    DEVICE_TAINT_RULES,
    NAMESPACES,
    RESOURCE_CLAIM_TEMPLATES,
    RESOURCE_CLAIMS,
    RESOURCE_SLICES,
)

ADMIN_LABEL = "resource.kubernetes.io/admin-access"
_TAINTED = (RESOURCE_SLICES.plural, DEVICE_TAINT_RULES.plural)
_ASKING = (RESOURCE_CLAIMS.plural, RESOURCE_CLAIM_TEMPLATES.plural)


class DeviceAccess(Plugin):
    name = "DeviceAccess"
    by_type = True

    def __init__(self, reader: ObjectReader, clock: Clock) -> None:
        self._reader = reader
        self._clock = clock

    def handles(self, request: AdmissionRequest) -> bool:
        if request.resource.group != RESOURCE_CLAIMS.group or request.operation not in ("CREATE", "UPDATE"):
            return False
        plural = request.resource.plural
        if request.subresource:
            return (plural, request.subresource) == (RESOURCE_CLAIMS.plural, "status")
        return plural in _TAINTED or plural in _ASKING

    async def admit(self, request: AdmissionRequest) -> None:
        if request.resource.plural in _TAINTED:
            now = rfc3339(self._clock.now())
            for taint in _taints(request):
                if not taint.get("timeAdded"):
                    taint["timeAdded"] = now
            if request.resource.plural == DEVICE_TAINT_RULES.plural and request.old is not None:
                _restart(body_of(request), request.old, now)

    async def validate(self, request: AdmissionRequest) -> None:
        if request.resource.plural not in _ASKING:
            return
        path = _status_path(request) if request.subresource else _path(request)
        if path and not self._is_granted(request.namespace):
            detail = f"admin access to devices requires the `{ADMIN_LABEL}: true` label on the containing namespace"
            kind = request.resource.kind
            error = FieldError("FieldValueForbidden", path, detail)
            raise invalid(request.resource.group, kind, shown_name(request), [error])

    def _is_granted(self, name: str) -> bool:
        namespace = self._reader.get(NAMESPACES, name) or {}
        return ((namespace.get("metadata") or {}).get("labels") or {}).get(ADMIN_LABEL) == "true"


def _taints(request: AdmissionRequest) -> Iterable[dict[str, Any]]:
    spec = part(body_of(request), "spec")
    if request.resource.plural == DEVICE_TAINT_RULES.plural:
        return [part(spec, "taint")]
    return [taint for device in entries(spec, "devices") for taint in entries(device, "taints")]


def _restart(rule: Object, old: Object, now: str) -> None:
    """A rule whose effect changes starts anew, unless its author says when."""
    taint, before = rule["spec"]["taint"], (old.get("spec") or {}).get("taint") or {}
    if taint.get("effect") != before.get("effect") and taint["timeAdded"] == before.get("timeAdded"):
        taint["timeAdded"] = now


def _path(request: AdmissionRequest) -> str:
    """Of the first request for admin access in a new claim or template; a spec never changes."""
    if request.operation != "CREATE":
        return ""
    spec = body_of(request).get("spec") or {}
    spec = spec.get("spec") or {} if request.resource.plural == RESOURCE_CLAIM_TEMPLATES.plural else spec
    for number, asked in enumerate((spec.get("devices") or {}).get("requests") or ()):
        if (asked.get("exactly") or {}).get("adminAccess"):
            return f"spec.devices.requests[{number}].adminAccess"
    return ""


def _status_path(request: AdmissionRequest) -> str:
    """Of the first device with admin access in an allocation that is new."""
    if any(result.get("adminAccess") for result in results_of(request.old)):
        return ""
    for number, result in enumerate(results_of(body_of(request))):
        if result.get("adminAccess"):
            return f"status.allocation.devices.results[{number}].adminAccess"
    return ""
