"""What an update may not change: fields frozen after creation, by kind.

`FROZEN` lists paths that are simply immutable; `SPECIAL` holds the rules with exceptions (pods, claims, services).
Upstream: the `Validate*Update` functions of kubernetes/pkg/apis/*/validation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twinplane.controlplane.api.types.contract import ResourceType
from twinplane.controlplane.api.types.strategy.equality import same
from twinplane.controlplane.api.types.validation import device_status, pod_updates
from twinplane.controlplane.api.types.validation.fields import IMMUTABLE, Errors, forbidden, invalid
from twinplane.kubeclient import quantity
from twinplane.kubeclient.contract import Object

Rule = Callable[[Object, Object, Errors], None]

FROZEN: dict[tuple[str, str], tuple[str, ...]] = {
    ("", "Secret"): ("type",),
    ("apps", "DaemonSet"): ("spec.selector",),
    ("apps", "Deployment"): ("spec.selector",),
    ("apps", "ReplicaSet"): ("spec.selector",),
    ("apps", "ControllerRevision"): ("data",),
    ("batch", "Job"): ("spec.selector", "spec.completionMode", "spec.podFailurePolicy", "spec.backoffLimitPerIndex"),
    ("certificates.k8s.io", "CertificateSigningRequest"): ("spec",),
    ("discovery.k8s.io", "EndpointSlice"): ("addressType",),
    ("networking.k8s.io", "IngressClass"): ("spec.controller",),
    ("networking.k8s.io", "IPAddress"): ("spec.parentRef",),
    ("node.k8s.io", "RuntimeClass"): ("handler",),
    ("resource.k8s.io", "ResourceClaim"): ("spec",),
    ("resource.k8s.io", "ResourceClaimTemplate"): ("spec",),
    ("scheduling.k8s.io", "PriorityClass"): ("preemptionPolicy",),
    ("storage.k8s.io", "CSIDriver"): ("spec.attachRequired", "spec.volumeLifecycleModes"),
    ("storage.k8s.io", "StorageClass"): ("reclaimPolicy", "volumeBindingMode"),
    ("storage.k8s.io", "VolumeAttachment"): ("spec",),
    ("storage.k8s.io", "VolumeAttributesClass"): ("driverName", "parameters"),
}
_STATEFUL_SET_MAY_CHANGE = frozenset(
    {
        *("minReadySeconds", "ordinals", "persistentVolumeClaimRetentionPolicy", "replicas", "revisionHistoryLimit"),
        *("template", "updateStrategy"),
    }
)
_STATEFUL_SET_TEXT = (
    "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', "
    "'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"
)
_CLAIM_TEXT = (
    "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"
)


def validate(type: ResourceType, body: Object, old: Object, subresource: str, errors: Errors) -> None:
    """Main resource only, but for the pod subresources, which have rules of their own."""
    resource = type.resource
    key = (resource.group, resource.kind)
    if subresource == "ephemeralcontainers":
        pod_updates.validate_ephemeral(body, old, errors)
    elif subresource == "resize":
        pod_updates.validate_resize(body, old, errors)
    if subresource == "status" and key in STATUS:
        STATUS[key](body, old, errors)
    if subresource:
        return
    for path in FROZEN.get(key, ()):
        errors.unchanged(path, _read(body, path), _read(old, path))
    special = SPECIAL.get(key)
    if special is not None:
        special(body, old, errors)


STATUS: dict[tuple[str, str], Rule] = {("resource.k8s.io", "ResourceClaim"): device_status.claim_status}
"""What others than the API server rely on in a status."""


def _read(body: Object, path: str) -> Any:
    value: Any = body
    for key in path.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return value


def config_data(body: Object, old: Object, errors: Errors) -> None:
    """Config maps and secrets that were marked immutable."""
    if not old.get("immutable"):
        return
    if not body.get("immutable"):
        errors.append(forbidden("immutable", "field is immutable when `immutable` is set"))
    for field in ("data", "binaryData"):
        if not same(body.get(field), old.get(field)):
            errors.append(forbidden(field, "field is immutable when `immutable` is set"))


def stateful_set(body: Object, old: Object, errors: Errors) -> None:
    spec, before = body.get("spec") or {}, old.get("spec") or {}
    if not all(
        same(spec.get(field), before.get(field)) for field in (spec.keys() | before.keys()) - _STATEFUL_SET_MAY_CHANGE
    ):
        errors.append(forbidden("spec", _STATEFUL_SET_TEXT))


def job(body: Object, old: Object, errors: Errors) -> None:
    """Completions move with parallelism for indexed jobs; a suspended job that never ran may get other nodes."""
    spec, before = body.get("spec") or {}, old.get("spec") or {}
    if not same(spec.get("completions"), before.get("completions")):
        elastic = spec.get("completionMode") == "Indexed" and spec.get("completions") == spec.get("parallelism")
        if not elastic:
            errors.append(invalid("spec.completions", spec.get("completions"), IMMUTABLE))
    suspended = before.get("suspend") and not (old.get("status") or {}).get("startTime")
    template, old_template = spec.get("template") or {}, before.get("template") or {}
    if suspended:
        template, old_template = _without_placement(template), _without_placement(old_template)
    if not same(template, old_template):
        errors.append(invalid("spec.template", spec.get("template"), IMMUTABLE))


def _without_placement(template: dict[str, Any]) -> dict[str, Any]:
    dropped = ("nodeSelector", "affinity", "tolerations", "schedulingGates")
    spec = {key: value for key, value in (template.get("spec") or {}).items() if key not in dropped}
    spec["containers"] = [{**container, "resources": None} for container in spec.get("containers") or ()]
    return {"spec": spec, "metadata": {}}


def claim(body: Object, old: Object, errors: Errors) -> None:
    spec, before = dict(body.get("spec") or {}), dict(old.get("spec") or {})
    size, old_size = _storage(spec), _storage(before)
    is_bound = (old.get("status") or {}).get("phase") == "Bound"
    if before.get("storageClassName") is None and spec.get("storageClassName"):
        before["storageClassName"] = spec["storageClassName"]
    if not before.get("volumeName"):
        before["volumeName"] = spec.get("volumeName")
    if is_bound:
        spec.pop("resources", None)
        before.pop("resources", None)
    for side in (spec, before):
        side.pop("volumeAttributesClassName", None)
    if not same(spec, before):
        errors.append(forbidden("spec", _CLAIM_TEXT))
    if size is not None and old_size is not None and size < old_size:
        detail = "field can not be less than status.capacity"
        capacity = ((old.get("status") or {}).get("capacity") or {}).get("storage")
        if capacity is None or size < quantity.parse(capacity):
            errors.append(forbidden("spec.resources.requests.storage", detail))


def _storage(spec: dict[str, Any]) -> quantity.Value | None:
    text = ((spec.get("resources") or {}).get("requests") or {}).get("storage")
    return None if text is None else quantity.parse(text)


_VOLUME_MAY_CHANGE = frozenset(
    {
        *("accessModes", "capacity", "claimRef", "mountOptions", "nodeAffinity", "persistentVolumeReclaimPolicy"),
        *("storageClassName", "volumeAttributesClassName"),
    }
)


def persistent_volume(body: Object, old: Object, errors: Errors) -> None:
    spec, before = body.get("spec") or {}, old.get("spec") or {}
    errors.unchanged("spec.volumeMode", spec.get("volumeMode"), before.get("volumeMode"))
    sources = (spec.keys() | before.keys()) - _VOLUME_MAY_CHANGE - {"volumeMode"}
    if any(not same(spec.get(field), before.get(field)) for field in sources):
        errors.append(
            forbidden("spec.persistentvolumesource", "spec.persistentvolumesource is immutable after creation")
        )
    if before.get("nodeAffinity"):
        errors.unchanged("spec.nodeAffinity", spec.get("nodeAffinity"), before["nodeAffinity"])


def service(body: Object, old: Object, errors: Errors) -> None:
    """An address stays while the service needs one; so does the class of a load balancer."""
    spec, before = body.get("spec") or {}, old.get("spec") or {}
    if "ExternalName" not in (spec.get("type"), before.get("type")) and before.get("clusterIP"):
        first = (spec.get("clusterIPs") or [spec.get("clusterIP", "")])[0]
        if first != before["clusterIP"]:
            detail = "may not change once set"
            errors.append(invalid("spec.clusterIPs[0]", spec.get("clusterIPs") or [first], detail))
    balanced = spec.get("type") == before.get("type") == "LoadBalancer"
    if balanced and not same(spec.get("loadBalancerClass"), before.get("loadBalancerClass")):
        detail = "may not change once set"
        errors.append(invalid("spec.loadBalancerClass", spec.get("loadBalancerClass"), detail))


def role_binding(body: Object, old: Object, errors: Errors) -> None:
    if not same(body.get("roleRef"), old.get("roleRef")):
        errors.append(invalid("roleRef", body.get("roleRef"), "cannot change roleRef"))


def priority_class(body: Object, old: Object, errors: Errors) -> None:
    if not same(body.get("value"), old.get("value")):
        errors.append(forbidden("value", "may not be changed in an update."))


def storage_class(body: Object, old: Object, errors: Errors) -> None:
    for field, text in (
        ("parameters", "updates to parameters are forbidden."),
        ("provisioner", "updates to provisioner are forbidden."),
    ):
        if not same(body.get(field), old.get(field)):
            errors.append(forbidden(field, text))


def node(body: Object, old: Object, errors: Errors) -> None:
    spec, before = body.get("spec") or {}, old.get("spec") or {}
    if before.get("podCIDRs") and not same(spec.get("podCIDRs"), before["podCIDRs"]):
        detail = 'node updates may not change podCIDR except from "" to valid'
        errors.append(forbidden("spec.podCIDRs", detail))
    if before.get("providerID") and spec.get("providerID") != before["providerID"]:
        detail = 'node updates may not change providerID except from "" to valid'
        errors.append(forbidden("spec.providerID", detail))


def custom_resource_definition(body: Object, old: Object, errors: Errors) -> None:
    established = any(
        condition.get("type") == "Established" and condition.get("status") == "True"
        for condition in (old.get("status") or {}).get("conditions") or ()
    )
    for path in ("spec.group", *(("spec.scope", "spec.names.kind", "spec.names.plural") if established else ())):
        errors.unchanged(path, _read(body, path), _read(old, path))


SPECIAL: dict[tuple[str, str], Rule] = {
    ("", "ConfigMap"): config_data,
    ("", "Node"): node,
    ("", "PersistentVolume"): persistent_volume,
    ("", "PersistentVolumeClaim"): claim,
    ("", "Pod"): pod_updates.validate_update,
    ("", "Secret"): config_data,
    ("", "Service"): service,
    ("apiextensions.k8s.io", "CustomResourceDefinition"): custom_resource_definition,
    ("apps", "StatefulSet"): stateful_set,
    ("batch", "Job"): job,
    ("rbac.authorization.k8s.io", "ClusterRoleBinding"): role_binding,
    ("rbac.authorization.k8s.io", "RoleBinding"): role_binding,
    ("scheduling.k8s.io", "PriorityClass"): priority_class,
    ("storage.k8s.io", "StorageClass"): storage_class,
}
