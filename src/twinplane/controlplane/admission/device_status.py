"""Who may write what into the status of a ResourceClaim: schedulers the allocation, drivers what they say of devices.

Upstream's DRAResourceClaimGranularStatusAuthorization, on since 1.36: beside the right to write `status` it takes one
on the made-up subresources `resourceclaims/binding` and `resourceclaims/driver` (by the driver's name).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

from twinplane.controlplane.admission.contract import AdmissionRequest
from twinplane.controlplane.admission.plugin import Plugin, body_of, concerns, shown_name
from twinplane.controlplane.auth.authorization import denial
from twinplane.controlplane.auth.contract import Attributes, Authorizer
from twinplane.kubeclient.errors import FieldError, invalid
from twinplane.kubeclient.resources import RESOURCE_CLAIMS

VERBS = ("update", "patch")
"""Admission does not tell one from the other: who may do either may do it."""
NODE_NAME = "authentication.kubernetes.io/node-name"
SERVICE_ACCOUNT = "system:serviceaccount:"
Status = dict[str, Any]


class DeviceStatus(Plugin):
    name = "DeviceStatus"
    by_type = True

    def __init__(self, authorizer: Authorizer) -> None:
        self._authorizer = authorizer

    def handles(self, request: AdmissionRequest) -> bool:
        return concerns(request, RESOURCE_CLAIMS, "UPDATE", subresource="status")

    async def validate(self, request: AdmissionRequest) -> None:
        new, old = body_of(request).get("status") or {}, (request.old or {}).get("status") or {}
        resource, errors = request.resource, list[FieldError]()
        asked = Attributes(request.user, "", resource.group, resource.version, resource.plural)
        if any((new.get(field) or None) != (old.get(field) or None) for field in ("allocation", "reservedFor")):
            why = self._denied(asked._replace(subresource="binding"), ("",))
            what = "changing status.allocation or status.reservedFor requires"
            if why:
                detail = f'{what} resource="resourceclaims/binding", verb="{VERBS[0]}" permission: {why}'
                errors.append(FieldError("FieldValueForbidden", "status.allocation", detail))
        if new.get("allocation") is not None:
            prefixes = _prefixes(request, new)
            shown = " ".join(f"{prefix}{VERBS[0]}" for prefix in prefixes)
            what = f'changing status.devices requires resource="resourceclaims/driver", verb="[{shown}]" permission'
            for driver in sorted(_drivers(new, old)):
                own = asked._replace(subresource="driver", namespace=request.namespace, name=driver)
                why = self._denied(own, prefixes)
                if why:
                    errors.append(FieldError("FieldValueForbidden", "status.devices", f"{what}: {why}"))
        if errors:
            raise invalid(resource.group, resource.kind, shown_name(request), errors)

    def _denied(self, asked: Attributes, prefixes: Sequence[str]) -> str:
        """Empty when one of the verbs is allowed."""
        verbs = [f"{prefix}{verb}" for prefix in prefixes for verb in VERBS]
        if any(self._authorizer.authorize(asked._replace(verb=verb)).allowed for verb in verbs):
            return ""
        name = f' "{asked.name}"' if asked.name else ""
        return f"{asked.resource}.{asked.group}{name} is forbidden: {denial(asked._replace(verb=verbs[0]))}"


def _prefixes(request: AdmissionRequest, status: Status) -> tuple[str, ...]:
    """A driver that runs on the node of the claim may have the right for that alone."""
    nodes = request.user.extra.get(NODE_NAME, ())
    here = request.user.name.startswith(SERVICE_ACCOUNT) and len(nodes) == 1 and nodes[0] == _node_of(status)
    return ("associated-node:", "arbitrary-node:") if here else ("arbitrary-node:",)


def _node_of(status: Status) -> str:
    """The one node that an allocation is for; empty when it is for several."""
    terms = ((status.get("allocation") or {}).get("nodeSelector") or {}).get("nodeSelectorTerms") or []
    fields = terms[0].get("matchFields") or [] if len(terms) == 1 and not terms[0].get("matchExpressions") else []
    if len(fields) != 1 or (fields[0].get("key"), fields[0].get("operator")) != ("metadata.name", "In"):
        return ""
    values = fields[0].get("values") or []
    return str(values[0]) if len(values) == 1 else ""


def _drivers(new: Status, old: Status) -> set[str]:
    """Whose entries came, went or changed."""
    before = {_identity(entry): entry for entry in old.get("devices") or ()}
    after = {_identity(entry): entry for entry in new.get("devices") or ()}
    changed = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
    return {(after.get(key) or before[key]).get("driver", "") for key in changed}


def _identity(entry: Status) -> Hashable:
    return tuple(entry.get(field) for field in ("driver", "pool", "device", "shareID"))
