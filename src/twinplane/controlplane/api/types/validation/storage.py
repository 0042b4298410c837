"""Persistent volumes and claims, storage classes, CSI drivers and nodes."""

from __future__ import annotations

from typing import Any

from twinplane.controlplane.api.types.validation import names
from twinplane.controlplane.api.types.validation.context import Context, Visitor
from twinplane.controlplane.api.types.validation.fields import Errors, forbidden, invalid, required
from twinplane.kubeclient import quantity
from twinplane.kubeclient.contract import Object

Spec = dict[str, Any]
_ACCESS_MODES = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
_VOLUME_FIELDS = frozenset(
    {
        *("accessModes", "capacity", "claimRef", "mountOptions", "nodeAffinity", "persistentVolumeReclaimPolicy"),
        *("storageClassName", "volumeAttributesClassName", "volumeMode"),
    }
)


def claim_spec(spec: Spec, path: str, context: Context) -> None:
    errors = context.errors
    _validate_access_modes(spec, path, errors)
    requests = (spec.get("resources") or {}).get("requests") or {}
    if "storage" not in requests:
        errors.append(required(f"{path}.resources[storage]"))
    elif quantity.parse(requests["storage"]) <= 0:
        at = f"{path}.resources.requests[storage]"
        errors.append(invalid(at, requests["storage"], "must be greater than zero"))
    name = spec.get("storageClassName")
    if name:
        errors.texts(f"{path}.storageClassName", name, names.dns_subdomain(name))


def _validate_access_modes(spec: Spec, path: str, errors: Errors) -> None:
    modes = spec.get("accessModes") or ()
    if not modes:
        errors.append(required(f"{path}.accessModes", "at least 1 access mode is required"))
    for mode in modes:
        errors.choose(f"{path}.accessModes", mode, _ACCESS_MODES)
    if "ReadWriteOncePod" in modes and len(modes) > 1:
        detail = "may not use ReadWriteOncePod with other access modes"
        errors.append(forbidden(f"{path}.accessModes", detail))


def volume_spec(spec: Spec, path: str, context: Context) -> None:
    errors = context.errors
    _validate_access_modes(spec, path, errors)
    capacity = spec.get("capacity") or {}
    if not capacity:
        errors.append(required(f"{path}.capacity"))
    elif "storage" not in capacity:
        detail = 'supported values: "storage"'
        errors.append(invalid(f"{path}.capacity", capacity, detail))
    elif quantity.parse(capacity["storage"]) <= 0:
        errors.append(invalid(f"{path}.capacity[storage]", capacity["storage"], "must be greater than zero"))
    sources = sorted(spec.keys() - _VOLUME_FIELDS)
    if not sources:
        errors.append(required(path, "must specify a volume type"))
    for source in sources[1:]:
        errors.append(forbidden(f"{path}.{source}", "may not specify more than 1 volume type"))
    if "local" in spec and not (spec.get("nodeAffinity") or {}).get("required"):
        errors.append(required(f"{path}.nodeAffinity", "Local volume requires node affinity"))
    if spec.get("hostPath", {}).get("path") == "/" and spec.get("persistentVolumeReclaimPolicy") == "Recycle":
        detail = "may not be 'recycle' for a hostPath mount of '/'"
        errors.append(forbidden(f"{path}.persistentVolumeReclaimPolicy", detail))


def storage_class(body: Object, path: str, context: Context) -> None:
    errors = context.errors
    provisioner = body.get("provisioner", "")
    if provisioner:
        errors.texts("provisioner", provisioner, names.qualified_name(provisioner.lower()))
    parameters = body.get("parameters") or {}
    if len(parameters) > 512:
        error = forbidden("parameters", "")
        error.type, error.detail = "FieldValueTooLong", "may not be more than 512 bytes"
        errors.append(error)
    for key in parameters:
        if not key:
            errors.append(invalid("parameters", key, "field can not be empty."))


def csi_driver_spec(spec: Spec, path: str, context: Context) -> None:
    for index, mode in enumerate(spec.get("volumeLifecycleModes") or ()):
        context.errors.choose(f"{path}.volumeLifecycleModes[{index}]", mode, ("Ephemeral", "Persistent"))


VALIDATORS: dict[str, Visitor] = {
    "core.v1.PersistentVolumeClaimSpec": claim_spec,
    "core.v1.PersistentVolumeSpec": volume_spec,
    "storage.v1.CSIDriverSpec": csi_driver_spec,
    "storage.v1.StorageClass": storage_class,
}
