"""What is written on ResourceClaims (`resource.k8s.io`), for whoever makes, allocates or ends them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.meta import name_of, uid_of

FINALIZER = "resource.kubernetes.io/delete-protection"
"""Of claims that have devices."""
EXTENDED_CLAIM = "resource.kubernetes.io/extended-resource-claim"
"""Annotation, `true` on the claim that the scheduler makes for a pod's extended resources."""
IMPLICIT_RESOURCE = "deviceclass.resource.kubernetes.io/"
"""Before the name of a DeviceClass: the extended resource that every class is."""

Result = Mapping[str, Any]
"""One device of an allocation."""
DeviceId = tuple[str, str, str]
"""Driver, pool, device."""


def results_of(claim: Object | None) -> list[dict[str, Any]]:
    """The devices that a claim has."""
    allocation = ((claim or {}).get("status") or {}).get("allocation") or {}
    return (allocation.get("devices") or {}).get("results") or []


def device_of(result: Result) -> DeviceId:
    return result["driver"], result["pool"], result["device"]


def consumers_of(claim: Object | None) -> Iterator[tuple[str, str]]:
    """Names and uids of the pods that a claim is reserved for."""
    for entry in ((claim or {}).get("status") or {}).get("reservedFor") or ():
        if not entry.get("apiGroup") and entry["resource"] == "pods":
            yield entry["name"], entry["uid"]


def consumer(pod: Object) -> dict[str, str]:
    """What reserves a claim for a pod."""
    return {"resource": "pods", "name": name_of(pod), "uid": uid_of(pod)}
