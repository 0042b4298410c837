"""Volumes of a pod: one source each, and what some sources must say."""

from __future__ import annotations

from typing import Any

from twinplane.controlplane.api.types.validation.containers import validate_local_path
from twinplane.controlplane.api.types.validation.context import Context, Visitor
from twinplane.controlplane.api.types.validation.fields import forbidden, invalid, required
from twinplane.kubeclient import quantity

_PROJECTIONS = ("secret", "configMap", "downwardAPI", "serviceAccountToken", "clusterTrustBundle", "podCertificate")


def volume(value: dict[str, Any], path: str, context: Context) -> None:
    sources = sorted(value.keys() - {"name"})
    if not sources:
        context.errors.append(required(path, "must specify a volume type"))
    for source in sources[1:]:
        context.errors.append(forbidden(f"{path}.{source}", "may not specify more than 1 volume type"))
    secret = value.get("secret")
    if secret is not None:
        context.errors.need(f"{path}.secret.secretName", secret.get("secretName"))
    configuration = value.get("configMap")
    if configuration is not None:
        context.errors.need(f"{path}.configMap.name", configuration.get("name"))


def key_to_path(value: dict[str, Any], path: str, context: Context) -> None:
    if value.get("path"):
        validate_local_path(value["path"], f"{path}.path", context.errors)


def host_path(value: dict[str, Any], path: str, context: Context) -> None:
    text = value.get("path", "")
    if ".." in text.split("/"):
        context.errors.append(invalid(f"{path}.path", text, "must not contain '..'"))


def empty_dir(value: dict[str, Any], path: str, context: Context) -> None:
    limit = value.get("sizeLimit")
    if limit is not None and quantity.parse(limit) < 0:
        context.errors.append(forbidden(f"{path}.sizeLimit", "SizeLimit field must be a valid resource quantity"))


def projected(value: dict[str, Any], path: str, context: Context) -> None:
    for index, source in enumerate(value.get("sources") or ()):
        at = f"{path}.sources[{index}]"
        given = [name for name in _PROJECTIONS if name in source]
        for name in given[1:]:
            context.errors.append(forbidden(f"{at}.{name}", "may not specify more than 1 volume type per source"))
        if not given:
            context.errors.append(required(at, "must specify at least one projection"))
        for name in ("secret", "configMap"):
            if name in source:
                context.errors.need(f"{at}.{name}.name", source[name].get("name"))


def token_projection(value: dict[str, Any], path: str, context: Context) -> None:
    seconds = value.get("expirationSeconds", 3600)
    if seconds < 600:
        detail = "may not specify a duration less than 10 minutes"
        context.errors.append(invalid(f"{path}.expirationSeconds", seconds, detail))
    elif seconds > 1 << 32:
        detail = "may not specify a duration larger than 2^32 seconds"
        context.errors.append(invalid(f"{path}.expirationSeconds", seconds, detail))


def downward_file(value: dict[str, Any], path: str, context: Context) -> None:
    errors = context.errors
    if value.get("path"):
        validate_local_path(value["path"], f"{path}.path", errors)
    if "fieldRef" in value and "resourceFieldRef" in value:
        errors.append(invalid(path, "resource", "fieldRef and resourceFieldRef can not be specified simultaneously"))
    elif "fieldRef" not in value and "resourceFieldRef" not in value:
        errors.append(required(path, "one of fieldRef and resourceFieldRef is required"))


VALIDATORS: dict[str, Visitor] = {
    "core.v1.Volume": volume,
    "core.v1.KeyToPath": key_to_path,
    "core.v1.HostPathVolumeSource": host_path,
    "core.v1.EmptyDirVolumeSource": empty_dir,
    "core.v1.ProjectedVolumeSource": projected,
    "core.v1.ServiceAccountTokenProjection": token_projection,
    "core.v1.DownwardAPIVolumeFile": downward_file,
}
