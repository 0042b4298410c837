"""Volumes, claims and storage classes as `kubectl get` shows them."""

from __future__ import annotations

from typing import Any

from twinplane.controlplane.api.types.printing.column import (
    UNSET,
    Printer,
    age,
    name,
    printer,
    spec,
    status,
)
from twinplane.kubeclient.contract import Object

_MODES = {"ReadWriteOnce": "RWO", "ReadOnlyMany": "ROX", "ReadWriteMany": "RWX", "ReadWriteOncePod": "RWOP"}
_BETA_CLASS = "volume.beta.kubernetes.io/storage-class"
_DEFAULT_CLASS = (
    "storageclass.kubernetes.io/is-default-class",
    "storageclass.beta.kubernetes.io/is-default-class",
)


def _modes(modes: list[str] | None) -> str:
    return ",".join(short for mode, short in _MODES.items() if mode in (modes or ()))


def _class(body: Object) -> str:
    annotations = body["metadata"].get("annotations") or {}
    return str(annotations.get(_BETA_CLASS) or spec(body).get("storageClassName", ""))


def _phase(body: Object) -> str:
    return "Terminating" if body["metadata"].get("deletionTimestamp") else str(status(body).get("phase", ""))


def volume(body: Object, now: float) -> list[Any]:
    wanted = spec(body)
    claim = wanted.get("claimRef") or {}
    return [
        name(body),
        (wanted.get("capacity") or {}).get("storage", ""),
        _modes(wanted.get("accessModes")),
        wanted.get("persistentVolumeReclaimPolicy", ""),
        _phase(body),
        f"{claim.get('namespace', '')}/{claim.get('name', '')}" if claim else "",
        _class(body),
        wanted.get("volumeAttributesClassName") or UNSET,
        status(body).get("reason", ""),
        age(body, now),
        wanted.get("volumeMode", UNSET),
    ]


def claim(body: Object, now: float) -> list[Any]:
    wanted, current = spec(body), status(body)
    bound = bool(wanted.get("volumeName"))
    return [
        name(body),
        _phase(body),
        wanted.get("volumeName", ""),
        (current.get("capacity") or {}).get("storage", "") if bound else "",
        _modes(current.get("accessModes")) if bound else "",
        _class(body),
        wanted.get("volumeAttributesClassName") or UNSET,
        age(body, now),
        wanted.get("volumeMode", UNSET),
    ]


def storage_class(body: Object, now: float) -> list[Any]:
    annotations = body["metadata"].get("annotations") or {}
    is_default = any(annotations.get(key) == "true" for key in _DEFAULT_CLASS)
    return [
        name(body) + (" (default)" if is_default else ""),
        body.get("provisioner", ""),
        body.get("reclaimPolicy", "Delete"),
        body.get("volumeBindingMode", "Immediate"),
        str(bool(body.get("allowVolumeExpansion"))).lower(),
        age(body, now),
    ]


def attachment(body: Object, now: float) -> list[Any]:
    wanted = spec(body)
    return [
        name(body),
        wanted.get("attacher", ""),
        (wanted.get("source") or {}).get("persistentVolumeName", ""),
        wanted.get("nodeName", ""),
        bool(status(body).get("attached")),
        age(body, now),
    ]


def csi_driver(body: Object, now: float) -> list[Any]:
    wanted = spec(body)
    audiences = ",".join(entry.get("audience", "") for entry in wanted.get("tokenRequests") or ())
    return [
        name(body),
        bool(wanted.get("attachRequired", True)),
        bool(wanted.get("podInfoOnMount", False)),
        bool(wanted.get("storageCapacity", False)),
        audiences or UNSET,
        bool(wanted.get("requiresRepublish", False)),
        ",".join(wanted.get("volumeLifecycleModes") or ()) or "<none>",
        age(body, now),
    ]


def csi_node(body: Object, now: float) -> list[Any]:
    return [name(body), len(spec(body).get("drivers") or ()), age(body, now)]


def capacity(body: Object, now: float) -> list[Any]:
    return [name(body), body.get("storageClassName", ""), body.get("capacity", UNSET)]


def attributes_class(body: Object, now: float) -> list[Any]:
    return [name(body), body.get("driverName", ""), age(body, now)]


_STORAGE = "storage.k8s.io"

PRINTERS: dict[tuple[str, str], Printer] = {
    ("", "PersistentVolume"): printer(
        "Name,Capacity,Access Modes,Reclaim Policy,Status,Claim,StorageClass,VolumeAttributesClass,Reason,Age",
        volume,
        "VolumeMode",
    ),
    ("", "PersistentVolumeClaim"): printer(
        "Name,Status,Volume,Capacity,Access Modes,StorageClass,VolumeAttributesClass,Age", claim, "VolumeMode"
    ),
    (_STORAGE, "CSIDriver"): printer(
        "Name,AttachRequired:boolean,PodInfoOnMount:boolean,StorageCapacity:boolean,TokenRequests,"
        "RequiresRepublish:boolean,Modes,Age",
        csi_driver,
    ),
    (_STORAGE, "CSINode"): printer("Name,Drivers:integer,Age", csi_node),
    (_STORAGE, "CSIStorageCapacity"): printer("Name,StorageClassName,Capacity", capacity),
    (_STORAGE, "StorageClass"): printer(
        "Name,Provisioner,ReclaimPolicy,VolumeBindingMode,AllowVolumeExpansion,Age", storage_class
    ),
    (_STORAGE, "VolumeAttachment"): printer("Name,Attacher:string/name,PV,Node,Attached:boolean,Age", attachment),
    (_STORAGE, "VolumeAttributesClass"): printer("Name,DriverName,Age", attributes_class),
}
