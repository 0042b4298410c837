"""What a write may touch: upstream's PrepareForCreate and PrepareForUpdate, generic first, special cases by kind.

`UpstreamRules` calls it before validation. A create starts with an empty status (nodes bring theirs), an update of the
main resource keeps the old status, an update of a subresource keeps everything else. The generation counts changes of
what users ask for, so both sides must be defaulted by then.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twinplane.controlplane.api.types.contract import ResourceType
from twinplane.controlplane.api.types.strategy import core, devices, jobs, pods, services
from twinplane.controlplane.api.types.strategy.equality import same
from twinplane.kubeclient.contract import Object

Create = Callable[[Object], None]
Update = Callable[[Object, Object], None]
"""(new, old): changes `new`."""

_WITH_GENERATION: dict[str, frozenset[str]] = {
    "": frozenset({"Pod", "ReplicationController"}),
    "admissionregistration.k8s.io": frozenset(
        {
            *("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration", "ValidatingAdmissionPolicy"),
            *("ValidatingAdmissionPolicyBinding", "MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding"),
        }
    ),
    "apiextensions.k8s.io": frozenset({"CustomResourceDefinition"}),
    "apps": frozenset({"DaemonSet", "Deployment", "ReplicaSet", "StatefulSet"}),
    "batch": frozenset({"CronJob", "Job"}),
    "discovery.k8s.io": frozenset({"EndpointSlice"}),
    "flowcontrol.apiserver.k8s.io": frozenset({"FlowSchema", "PriorityLevelConfiguration"}),
    "networking.k8s.io": frozenset({"Ingress", "IngressClass", "NetworkPolicy"}),
    "policy": frozenset({"PodDisruptionBudget"}),
    "resource.k8s.io": frozenset({"DeviceClass", "DeviceTaintRule", "ResourceSlice"}),
    "storage.k8s.io": frozenset({"CSIDriver"}),
}
_KEEPS_STATUS_ON_CREATE = frozenset({("", "Node")})
_STATUS_KEEPS_LABELS = frozenset({"Deployment", "DaemonSet", "StatefulSet", "ReplicaSet", "CustomResourceDefinition"})
"""Kinds whose status update may not even change labels."""
_ANNOTATIONS_COUNT = frozenset({("apps", "Deployment")})
_NOT_DESIRED = frozenset({"apiVersion", "kind", "metadata", "status"})
_SERVER_OWNED = (
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
    "selfLink",
    "uid",
)

CREATES: dict[tuple[str, str], Create] = {
    ("", "Namespace"): core.create_namespace,
    ("", "PersistentVolumeClaim"): core.create_claim,
    ("", "Pod"): pods.create_pod,
    ("", "Service"): services.create_service,
    ("apiextensions.k8s.io", "CustomResourceDefinition"): core.create_definition,
    ("apiregistration.k8s.io", "APIService"): core.create_api_service,
    ("batch", "Job"): jobs.create_job,
    ("resource.k8s.io", "ResourceSlice"): devices.create_slice,
}
UPDATES: dict[tuple[str, str, str], Update] = {
    ("", "Namespace", ""): core.update_namespace,
    ("", "Namespace", "finalize"): core.finalize_namespace,
    ("", "PersistentVolumeClaim", ""): core.update_claim,
    ("", "Pod", ""): pods.update_pod,
    ("", "Pod", "status"): pods.update_status,
    ("", "Pod", "ephemeralcontainers"): pods.update_ephemeral_containers,
    ("", "Pod", "resize"): pods.resize,
    ("", "Service", ""): services.update_service,
    ("apiextensions.k8s.io", "CustomResourceDefinition", ""): core.update_definition,
    ("certificates.k8s.io", "CertificateSigningRequest", ""): core.update_signing_request,
    ("certificates.k8s.io", "CertificateSigningRequest", "approval"): core.approve_signing_request,
    ("certificates.k8s.io", "CertificateSigningRequest", "status"): core.sign_signing_request,
    ("resource.k8s.io", "ResourceClaim", "status"): devices.update_claim_status,
    ("resource.k8s.io", "ResourceSlice", ""): devices.update_slice,
}


def prepare_create(type: ResourceType, body: Object) -> None:
    """In place. A Job's generated selector needs `metadata.uid`, so the system fields must be there already."""
    resource = type.resource
    key = (resource.group, resource.kind)
    if type.subresource("status") is not None and key not in _KEEPS_STATUS_ON_CREATE:
        body.pop("status", None)
    metadata = body.setdefault("metadata", {})
    if _counts_generations(type):
        metadata["generation"] = 1
    else:
        metadata.pop("generation", None)
    special = CREATES.get(key)
    if special is not None:
        special(body)


def prepare_update(type: ResourceType, body: Object, old: Object, subresource: str) -> None:
    """In place; `body` and `old` are both defaulted and of the same version."""
    resource = type.resource
    metadata = body.setdefault("metadata", {})
    _restore(metadata, old.get("metadata") or {}, _SERVER_OWNED)
    if not subresource and type.subresource("status") is not None:
        _restore(body, old, ("status",))
    elif subresource:
        _keep_all_but_status(type, body, old, subresource)
    special = UPDATES.get((resource.group, resource.kind, subresource))
    if special is not None:
        special(body, old)
    if _counts_generations(type) and subresource != "status" and _desire_changed(type, body, old):
        # Not `metadata`: the update of a subresource may have put the old one in its place.
        body["metadata"]["generation"] = (old["metadata"].get("generation") or 0) + 1


def _restore(body: dict[str, Any], old: dict[str, Any], fields: tuple[str, ...]) -> None:
    for field in fields:
        if field in old:
            body[field] = old[field]
        else:
            body.pop(field, None)


def _keep_all_but_status(type: ResourceType, body: Object, old: Object, subresource: str) -> None:
    if subresource != "status":
        return
    for field in (body.keys() | old.keys()) - _NOT_DESIRED:
        _restore(body, old, (field,))
    before = old.get("metadata") or {}
    if is_custom(type):
        body["metadata"] = {**before, "managedFields": body["metadata"].get("managedFields") or []}
        if not body["metadata"]["managedFields"]:
            del body["metadata"]["managedFields"]
        return
    kept = ("ownerReferences", "labels") if type.resource.kind in _STATUS_KEEPS_LABELS else ("ownerReferences",)
    _restore(body["metadata"], before, kept)


def is_custom(type: ResourceType) -> bool:
    """Types of CustomResourceDefinitions have an anonymous schema; built-in ones a named definition."""
    return not type.schema.reference


def _counts_generations(type: ResourceType) -> bool:
    return is_custom(type) or type.resource.kind in _WITH_GENERATION.get(type.resource.group, ())


def _desire_changed(type: ResourceType, body: Object, old: Object) -> bool:
    fields = (body.keys() | old.keys()) - _NOT_DESIRED
    if is_custom(type):
        fields |= {"status"} if type.subresource("status") is None else set()
        return any(body.get(field) != old.get(field) for field in fields)
    if not all(same(body.get(field), old.get(field)) for field in fields):
        return True
    if (type.resource.group, type.resource.kind) in _ANNOTATIONS_COUNT:
        return not same(body["metadata"].get("annotations"), old["metadata"].get("annotations"))
    return False
