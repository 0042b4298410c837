"""Metadata of every object, and of templates: names, namespaces, labels, annotations, owners, finalizers.

Upstream: k8s.io/apimachinery pkg/api/validation/objectmeta.go. `NAME_RULES` says which syntax a kind's name has.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from typing import Any

from twinplane.controlplane.api.types.contract import ResourceType
from twinplane.controlplane.api.types.strategy.equality import same
from twinplane.controlplane.api.types.validation import names
from twinplane.controlplane.api.types.validation.fields import IMMUTABLE, Errors, forbidden, invalid, required, too_long
from twinplane.kubeclient.contract import Object

ANNOTATIONS_LIMIT = 256 * 1024
NameRule = Callable[[str], tuple[str, ...]]
RBAC = "rbac.authorization.k8s.io"


def _canonical_address(text: str) -> tuple[str, ...]:
    try:
        canonical = str(ipaddress.ip_address(text))
    except ValueError:
        return names.ip_address(text)
    return () if canonical == text else (f"must be in canonical form ({canonical})",)


def _cron_job(text: str) -> tuple[str, ...]:
    problems = names.dns_subdomain(text)
    return (*problems, "must be no more than 52 characters") if len(text) > 52 else problems


def _anything(text: str) -> tuple[str, ...]:
    return ()


NAME_RULES: dict[tuple[str, str], NameRule] = {
    ("", "Namespace"): names.dns_label,
    ("", "Service"): names.dns_1035_label,
    ("", "ComponentStatus"): _anything,
    ("apps", "StatefulSet"): names.dns_label,
    ("batch", "CronJob"): _cron_job,
    ("certificates.k8s.io", "CertificateSigningRequest"): names.path_segment,
    ("certificates.k8s.io", "ClusterTrustBundle"): _anything,
    ("apiregistration.k8s.io", "APIService"): names.path_segment,
    ("networking.k8s.io", "IPAddress"): _canonical_address,
    (RBAC, "ClusterRole"): names.path_segment,
    (RBAC, "ClusterRoleBinding"): names.path_segment,
    (RBAC, "Role"): names.path_segment,
    (RBAC, "RoleBinding"): names.path_segment,
}
"""All other kinds: a DNS subdomain."""


_COMMON = ("labels", "annotations", "ownerReferences", "finalizers")


def validate_create(type: ResourceType, body: Object, errors: Errors) -> None:
    metadata = body.get("metadata") or {}
    _validate_name(type, metadata, errors)
    _validate_namespace(type, metadata, errors)
    _validate_common(metadata, errors)


def validate_update(type: ResourceType, body: Object, old: Object, errors: Errors) -> None:
    metadata, before = body.get("metadata") or {}, old.get("metadata") or {}
    for field in ("name", "namespace", "uid"):
        if not same(metadata.get(field), before.get(field)):
            errors.append(invalid(f"metadata.{field}", metadata.get(field, ""), IMMUTABLE))
    if before.get("deletionTimestamp"):
        added = sorted(set(metadata.get("finalizers") or ()) - set(before.get("finalizers") or ()))
        if added:
            shown = ", ".join(f'"{name}"' for name in added)
            detail = "no new finalizers can be added if the object is being deleted, found new finalizers "
            errors.append(forbidden("metadata.finalizers", f"{detail}[]string{{{shown}}}"))
    # What the new object shares with the stored one was sound before.
    changed = {field: metadata.get(field) for field in _COMMON if metadata.get(field) is not before.get(field)}
    if changed:
        _validate_common(changed, errors)


def _validate_name(type: ResourceType, metadata: dict[str, Any], errors: Errors) -> None:
    rule = NAME_RULES.get((type.resource.group, type.resource.kind), names.dns_subdomain)
    prefix, name = metadata.get("generateName"), metadata.get("name")
    if prefix:
        # Whatever is appended starts with a letter or digit, so a trailing dash or dot is fine.
        errors.texts("metadata.generateName", prefix, rule(prefix[:-1] + "a" if prefix[-1] in "-." else prefix))
    if name:
        errors.texts("metadata.name", name, rule(name))
    elif not prefix:
        errors.append(required("metadata.name", "name or generateName is required"))


def _validate_namespace(type: ResourceType, metadata: dict[str, Any], errors: Errors) -> None:
    namespace = metadata.get("namespace")
    if type.resource.namespaced:
        if errors.need("metadata.namespace", namespace):
            errors.texts("metadata.namespace", namespace, names.dns_label(str(namespace)))
    elif namespace:
        errors.append(forbidden("metadata.namespace", "not allowed on this type"))


def _validate_common(metadata: dict[str, Any], errors: Errors) -> None:
    validate_labels(metadata.get("labels"), "metadata.labels", errors)
    validate_annotations(metadata.get("annotations"), "metadata.annotations", errors)
    if metadata.get("ownerReferences"):
        _validate_owners(metadata["ownerReferences"], errors)
    for index, finalizer in enumerate(metadata.get("finalizers") or ()):
        errors.texts(f"metadata.finalizers[{index}]", finalizer, names.qualified_name(finalizer))


def validate_template(metadata: dict[str, Any], path: str, errors: Errors) -> None:
    """The metadata of a pod template: only what will be copied to pods."""
    validate_labels(metadata.get("labels"), f"{path}.labels", errors)
    validate_annotations(metadata.get("annotations"), f"{path}.annotations", errors)


def validate_labels(labels: dict[str, str] | None, path: str, errors: Errors) -> None:
    for key, value in (labels or {}).items():
        if problems := names.qualified_name(key):
            errors.texts(path, key, problems)
        if problems := names.label_value(value):
            errors.texts(path, value, problems)


def validate_annotations(annotations: dict[str, str] | None, path: str, errors: Errors) -> None:
    if not annotations:
        return
    size = 0
    for key, value in annotations.items():
        if problems := names.qualified_name(key.lower()):
            errors.texts(path, key, problems)
        size += len(key) + len(value)
    if size > ANNOTATIONS_LIMIT // 4 and _encoded_size(annotations) > ANNOTATIONS_LIMIT:
        errors.append(too_long(path, ANNOTATIONS_LIMIT))


def _encoded_size(annotations: dict[str, str]) -> int:
    return sum(len(key.encode()) + len(value.encode()) for key, value in annotations.items())


def _validate_owners(owners: list[dict[str, Any]], errors: Errors) -> None:
    path = "metadata.ownerReferences"
    controllers: list[str] = []
    for owner in owners:
        for field in ("apiVersion", "kind", "name", "uid"):
            value = owner.get(field, "")
            if not value:
                field_name = "version" if field == "apiVersion" else field
                errors.append(invalid(f"{path}.{field}", value, f"{field_name} must not be empty"))
        if owner.get("controller"):
            controllers.append(owner.get("name", ""))
    if len(controllers) > 1:
        detail = (
            'Only one reference can have Controller set to true. Found "true" in references for '
            f"{controllers[0]} and {controllers[1]}"
        )
        errors.append(invalid(path, owners, detail))
