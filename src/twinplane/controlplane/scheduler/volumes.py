"""What a pod says about its volumes, as far as scheduling goes: claims, and disks named in the pod itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class ClaimUse(NamedTuple):
    """A claim that a pod mounts; ephemeral ones are made for the pod and must belong to it."""

    name: str
    ephemeral: bool = False


class Disk(NamedTuple):
    """An in-line volume that one pod of a node may use at a time, unless all read only."""

    source: str
    """Field of the volume, e.g. awsElasticBlockStore."""
    identity: tuple[str, ...]
    hosts: frozenset[str] = frozenset()
    """Ceph monitors: disks are the same only when they share one."""
    shared: bool = False
    """Mounted read only by this pod, which such sources allow to several."""

    def conflicts(self, other: Disk) -> bool:
        if (self.source, self.identity) != (other.source, other.identity):
            return False
        if self.hosts and not self.hosts & other.hosts:
            return False
        return not (self.shared and other.shared)


class DeviceUse(NamedTuple):
    """A ResourceClaim that a pod uses; its name is empty while one made from a template is not there yet."""

    name: str
    generated: bool = False


def device_uses(spec: Mapping[str, Any], status: Mapping[str, Any]) -> tuple[DeviceUse, ...]:
    made = {entry["name"]: entry.get("resourceClaimName") for entry in status.get("resourceClaimStatuses") or ()}
    found = []
    for entry in spec.get("resourceClaims") or ():
        if entry.get("resourceClaimName"):
            found.append(DeviceUse(entry["resourceClaimName"]))
        elif entry["name"] not in made or made[entry["name"]]:
            # The controller may say that no claim is needed.
            found.append(DeviceUse(made.get(entry["name"]) or "", generated=True))
    return tuple(found)


def claim_uses(spec: Mapping[str, Any], pod_name: str) -> tuple[ClaimUse, ...]:
    found: dict[ClaimUse, None] = {}
    for volume in spec.get("volumes") or ():
        if "persistentVolumeClaim" in volume:
            found[ClaimUse((volume["persistentVolumeClaim"] or {}).get("claimName") or "")] = None
        elif "ephemeral" in volume:
            found[ClaimUse(f"{pod_name}-{volume['name']}", ephemeral=True)] = None
    return tuple(found)


def image_volumes(spec: Mapping[str, Any]) -> list[str]:
    """References of the images that are mounted as volumes."""
    return [(volume["image"] or {}).get("reference") or "" for volume in spec.get("volumes") or () if "image" in volume]


def disks(spec: Mapping[str, Any]) -> tuple[Disk, ...]:
    found = []
    for volume in spec.get("volumes") or ():
        for source, fields in _IDENTITY.items():
            body = volume.get(source)
            if body:
                read_only = bool(body.get("readOnly")) and source != "awsElasticBlockStore"
                identity = tuple(str(body.get(field) or default) for field, default in fields)
                found.append(Disk(source, identity, frozenset(body.get("monitors") or ()), read_only))
    return tuple(found)


_IDENTITY = {
    "awsElasticBlockStore": (("volumeID", ""),),
    "gcePersistentDisk": (("pdName", ""),),
    "iscsi": (("iqn", ""),),
    "rbd": (("pool", "rbd"), ("image", "")),
}
"""What makes two in-line volumes the same disk, with the API's defaults."""
