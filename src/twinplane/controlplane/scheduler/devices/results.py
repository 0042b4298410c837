"""What is written of devices that were found: a claim's `status.allocation`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import NAMESPACE_OID, uuid5

from twinplane.controlplane.scheduler.devices.facts import Device, DeviceClaim, Json

RESULTS_MAX = 32
"""Devices of one claim."""


@dataclass(frozen=True, slots=True, eq=False)
class Request:
    """A request, or one alternative of a request."""

    claim: DeviceClaim
    name: str
    """`REQUEST`, or `REQUEST/SUBREQUEST` of an alternative."""
    parent: str
    body: Json
    class_spec: Json

    @property
    def admin(self) -> bool:
        return bool(self.body.get("adminAccess"))

    @property
    def all(self) -> bool:
        return bool(self.body.get("allocationMode") == "All")

    @property
    def count(self) -> int:
        return self.body.get("count") or 1

    @property
    def capacity(self) -> Mapping[str, Any]:
        return (self.body.get("capacity") or {}).get("requests") or {}

    def is_among(self, names: Collection[str]) -> bool:
        """No names mean all requests."""
        return not names or self.name in names or self.parent in names


class Chosen(NamedTuple):
    request: Request
    device: Device
    taken: Mapping[str, str]
    """Of the device's capacity."""
    counted_in: int | None
    """Position of the pool whose counters it consumes."""


def allocation_of(claim: DeviceClaim, own: Sequence[Chosen], node: str) -> dict[str, Any]:
    """`own`: what was chosen for the claim, for a pod on `node`."""
    devices: dict[str, Any] = {"results": [_result(entry, number) for number, entry in enumerate(own)]}
    config = [*_class_config(own), *_claim_config(claim, own)]
    if config:
        devices["config"] = config
    selector = _node_selector([entry.device for entry in own], node)
    return {"devices": devices, **({"nodeSelector": selector} if selector else {})}


def _result(entry: Chosen, number: int) -> dict[str, Any]:
    request, (driver, pool, name) = entry.request, entry.device.id
    found: dict[str, Any] = {"request": request.name, "driver": driver, "pool": pool, "device": name}
    found |= {key: request.body[key] for key in ("adminAccess", "tolerations") if request.body.get(key)}
    if entry.device.shared:
        # Of the claim and the place in it: the same decision always comes to the same.
        found["shareID"] = str(uuid5(NAMESPACE_OID, f"{request.claim.uid}/{driver}/{pool}/{name}/{number}"))
        if entry.taken:
            found["consumedCapacity"] = dict(entry.taken)
    return {**found, **entry.device.binding}


def _class_config(own: Sequence[Chosen]) -> list[dict[str, Any]]:
    requests: dict[str, dict[str, Json]] = {}
    for entry in own:
        requests.setdefault(entry.request.body["deviceClassName"], {})[entry.request.name] = entry.request.class_spec
    return [
        {"source": "FromClass", "requests": list(named), **config}
        for named in requests.values()
        for config in next(iter(named.values())).get("config") or ()
    ]


def _claim_config(claim: DeviceClaim, own: Sequence[Chosen]) -> list[dict[str, Any]]:
    names = {name for entry in own for name in (entry.request.name, entry.request.parent)}
    return [
        {"source": "FromClaim", **config}
        for config in claim.spec.get("config") or ()
        if not config.get("requests") or names & set(config["requests"])
    ]


def _node_selector(devices: Sequence[Device], node: str) -> dict[str, Any] | None:
    """Nodes from which all of them can be used; None is all nodes."""
    term: dict[str, list[Json]] = {"matchFields": [], "matchExpressions": []}
    for device in devices:
        if device.reach.node or device.binds_to_node:
            only = {"key": "metadata.name", "operator": "In", "values": [node]}
            return {"nodeSelectorTerms": [{"matchFields": [only]}]}
        for found in (device.reach.selector or {}).get("nodeSelectorTerms") or ():
            for kind, known in term.items():
                known += [entry for entry in found.get(kind) or () if entry not in known]
    term = {kind: entries for kind, entries in term.items() if entries}
    return {"nodeSelectorTerms": [term]} if term else None
