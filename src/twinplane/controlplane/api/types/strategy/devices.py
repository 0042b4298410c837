"""ResourceClaims: what drivers say of devices goes with the devices."""

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


def _identity(entry: Mapping[str, Any]) -> Hashable:
    return tuple(entry.get(field) for field in ("driver", "pool", "device", "shareID"))
