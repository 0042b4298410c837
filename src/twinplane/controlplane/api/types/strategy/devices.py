"""ResourceClaims: what drivers say goes with the devices. ResourceSlices: fields of features that are off go."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.device_claims import results_of


def update_claim_status(claim: Object, old: Object) -> None:
    """`status.devices` is for what is allocated: entries of devices that were given back are dropped."""
    described = (claim.get("status") or {}).get("devices")
    if not described:
        return
    gone = {_identity(result) for result in results_of(old)} - {_identity(result) for result in results_of(claim)}
    kept = [entry for entry in described if _identity(entry) not in gone]
    if kept:
        claim["status"]["devices"] = kept
    else:
        del claim["status"]["devices"]


_LISTS = ("bools", "ints", "strings", "versions")
"""Of attributes: DRAListTypeAttributes is off."""
_MAPPINGS = "nodeAllocatableResourceMappings"
"""Of devices: DRANodeAllocatableResources is off."""


def create_slice(body: Object) -> None:
    update_slice(body, {})


def update_slice(body: Object, old: Object) -> None:
    """What is in use already stays, also when it is changed."""
    devices, before = _devices_of(body), _devices_of(old)
    if not any(kind in value for device in before for value in _attributes_of(device) for kind in _LISTS):
        for device in devices:
            for value in _attributes_of(device):
                for kind in _LISTS:
                    value.pop(kind, None)
    if not any(_MAPPINGS in device for device in before):
        for device in devices:
            device.pop(_MAPPINGS, None)


def _devices_of(body: Object) -> list[dict[str, Any]]:
    return (body.get("spec") or {}).get("devices") or []


def _attributes_of(device: dict[str, Any]) -> list[dict[str, Any]]:
    return [value for value in (device.get("attributes") or {}).values() if value]


def _identity(entry: Mapping[str, Any]) -> Hashable:
    return tuple(entry.get(field) for field in ("driver", "pool", "device", "shareID"))
