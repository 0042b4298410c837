"""What an object counts for in ResourceQuotas, and which quotas look at it: pure, for whoever charges or counts."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fractions import Fraction

from twinplane.controlplane.admission import service_fields
from twinplane.controlplane.admission.device_quota import DEVICES_SUFFIX, Known, extended_usage, is_extended, served_pod
from twinplane.controlplane.admission.pod_resources import Amounts, added, amounts, total
from twinplane.kubeclient import quantity
from twinplane.kubeclient.contract import Object, Resource
from twinplane.kubeclient.errors import qualified
from twinplane.kubeclient.resources import PERSISTENT_VOLUME_CLAIMS, PODS, RESOURCE_CLAIMS, SERVICES

_COUNTED_BY_NAME = frozenset(
    ("configmaps", "secrets", "replicationcontrollers", "resourcequotas", "services", "persistentvolumeclaims", "pods")
)
_PLAIN = frozenset(("cpu", "memory", "ephemeral-storage"))
_CLASS_SUFFIX = ".storageclass.storage.k8s.io/"
_DEVICES_MAX = 32
"""What a request for all devices may come to."""


def usage(resource: Resource, body: Object, known: Known) -> Amounts:
    """Of one object, under every name that a quota may use for it. `known`: what a ResourceClaim may be made for."""
    core = not resource.group
    counted: Amounts = {f"count/{qualified(resource.plural, resource.group)}": 1}
    if core and resource.plural == PODS.plural:
        return counted | _pod(body)
    if core and resource.plural in _COUNTED_BY_NAME:
        counted[resource.plural] = 1
    if core and resource.plural == SERVICES.plural:
        counted |= _service(body.get("spec") or {})
    if core and resource.plural == PERSISTENT_VOLUME_CLAIMS.plural:
        counted |= _claim(body.get("spec") or {})
    if (resource.group, resource.plural) == (RESOURCE_CLAIMS.group, RESOURCE_CLAIMS.plural):
        devices = _devices((body.get("spec") or {}).get("devices") or {})
        pod = served_pod(body, known)
        counted |= devices | extended_usage(devices, _pod(pod) if pod is not None else {}, known)
    return counted


def _pod(pod: Object) -> Amounts:
    found: Amounts = {"count/pods": 1}
    if (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
        return found
    spec = pod.get("spec") or {}
    found["pods"] = 1
    for name, value in total(spec, "requests").items():
        found[f"requests.{name}"] = value
        if name in _PLAIN or name.startswith("hugepages-"):
            found[name] = value
    for name, value in total(spec, "limits").items():
        if name in _PLAIN:
            found[f"limits.{name}"] = value
    return found


def _service(spec: Object) -> Amounts:
    ports = len(spec.get("ports") or ())
    kind = service_fields.kind_of(spec)
    if kind == "LoadBalancer":
        node_ports = ports if spec.get("allocateLoadBalancerNodePorts") is not False else 0
        return {"services.nodeports": node_ports, "services.loadbalancers": 1}
    return {"services.nodeports": ports if kind == "NodePort" else 0, "services.loadbalancers": 0}


def _claim(spec: Object) -> Amounts:
    storage = amounts((spec.get("resources") or {}).get("requests")).get("storage", 0)
    found: Amounts = {"requests.storage": storage}
    name = spec.get("storageClassName")
    if name:
        found[f"{name}{_CLASS_SUFFIX}requests.storage"] = storage
        found[f"{name}{_CLASS_SUFFIX}persistentvolumeclaims"] = 1
    return found


def _devices(spec: Object) -> Amounts:
    """By class; of alternatives the most that each class may have to give."""
    found: Amounts = {}
    for request in spec.get("requests") or ():
        most: Amounts = {}
        for wanted in request.get("firstAvailable") or [request.get("exactly") or {}]:
            count = _DEVICES_MAX if wanted.get("allocationMode") == "All" else wanted.get("count") or 0
            name = f"{wanted.get('deviceClassName', '')}{DEVICES_SUFFIX}"
            most[name] = max(most.get(name, 0), count)
        found = added(found, most)
    return found


def _is_terminating(pod: Object) -> bool:
    return (pod.get("spec") or {}).get("activeDeadlineSeconds") is not None


def _is_best_effort(pod: Object) -> bool:
    spec = pod.get("spec") or {}
    return not any(
        name in ("cpu", "memory") and value for kind in ("requests", "limits") for name, value in _all(spec, kind)
    )


def _all(spec: Object, kind: str) -> Iterable[tuple[str, quantity.Value]]:
    return total(spec, "requests" if kind == "requests" else "limits").items()


def _has_cross_namespace_affinity(pod: Object) -> bool:
    affinity = (pod.get("spec") or {}).get("affinity") or {}
    for kind in ("podAffinity", "podAntiAffinity"):
        terms = list((affinity.get(kind) or {}).get("requiredDuringSchedulingIgnoredDuringExecution") or ())
        weighted = (affinity.get(kind) or {}).get("preferredDuringSchedulingIgnoredDuringExecution") or ()
        terms += [term.get("podAffinityTerm") or {} for term in weighted]
        if any(term.get("namespaces") or term.get("namespaceSelector") is not None for term in terms):
            return True
    return False


_SCOPES: dict[str, Callable[[Object], bool]] = {
    "Terminating": _is_terminating,
    "NotTerminating": lambda pod: not _is_terminating(pod),
    "BestEffort": _is_best_effort,
    "NotBestEffort": lambda pod: not _is_best_effort(pod),
    "CrossNamespacePodAffinity": _has_cross_namespace_affinity,
}


def in_scope(quota: Object, resource: Resource, body: Object) -> bool:
    """Whether the quota's scopes take in this object; quotas with scopes look at pods (and claims, by class) alone."""
    spec = quota.get("spec") or {}
    selectors = list((spec.get("scopeSelector") or {}).get("matchExpressions") or ())
    selectors += [{"scopeName": scope, "operator": "Exists"} for scope in spec.get("scopes") or ()]
    if not selectors:
        return True
    return not resource.group and all(_selects(selector, resource, body) for selector in selectors)


def _selects(selector: Object, resource: Resource, body: Object) -> bool:
    scope, operator = selector.get("scopeName"), selector.get("operator")
    values = selector.get("values") or ()
    if scope == "PriorityClass" and resource.plural == PODS.plural:
        names = {(body.get("spec") or {}).get("priorityClassName") or ""}
    elif scope == "VolumeAttributesClass" and resource.plural == PERSISTENT_VOLUME_CLAIMS.plural:
        names = attributes_classes_of(body) or {""}
    else:
        matches = _SCOPES.get(str(scope))
        return matches is not None and resource.plural == PODS.plural and matches(body)
    match operator:
        case "In":
            return not names.isdisjoint(values)
        case "NotIn":
            return any(name not in values for name in names)
        case "Exists":
            return any(names)
        case _:
            return not any(names)


def attributes_classes_of(body: Object) -> set[str]:
    """The VolumeAttributesClasses that a claim or volume names: wanted, current, and on the way."""
    status = body.get("status") or {}
    target = (status.get("modifyVolumeStatus") or {}).get("targetVolumeAttributesClassName")
    wanted = (body.get("spec") or {}).get("volumeAttributesClassName")
    return set(filter(None, (wanted, status.get("currentVolumeAttributesClassName"), target)))


def relevant(counted: Amounts, hard: Object) -> Amounts:
    """The part of an object's usage that a quota limits."""
    return {name: value for name, value in counted.items() if name in hard}


def summed(resource: Resource, objects: Iterable[Object], quota: Object, known: Known) -> Amounts:
    """Usage of all live objects of a type that the quota takes in."""
    hard = (quota.get("spec") or {}).get("hard") or {}
    found: Amounts = {}
    for body in objects:
        if in_scope(quota, resource, body):
            found = added(found, relevant(usage(resource, body, known), hard))
    return found


def resources_of(name: str) -> tuple[tuple[str, str], ...]:
    """(group, plural) of the objects that a quota's resource name counts; devices are counted where there are any."""
    first = _resource_of(name)
    if first is None:
        return ()
    return (first, (RESOURCE_CLAIMS.group, RESOURCE_CLAIMS.plural)) if is_extended(name) else (first,)


def _resource_of(name: str) -> tuple[str, str] | None:
    if name.startswith("count/"):
        plural, _, group = name.removeprefix("count/").partition(".")
        return group, plural
    if name in _COUNTED_BY_NAME:
        return "", name
    if name.startswith("services."):
        return "", SERVICES.plural
    if name == "requests.storage" or _CLASS_SUFFIX in name:
        return "", PERSISTENT_VOLUME_CLAIMS.plural
    if name.endswith(DEVICES_SUFFIX):
        return RESOURCE_CLAIMS.group, RESOURCE_CLAIMS.plural
    if name in _PLAIN or name.startswith(("requests.", "limits.", "hugepages-")):
        return "", PODS.plural
    return None


def shown(values: Amounts, like: Object) -> str:
    """`cpu=500m,pods=2`, each in the family of suffixes that the quota's `hard` uses."""
    return ",".join(f"{name}={written(values[name], like.get(name))}" for name in sorted(values))


def written(value: quantity.Value | Fraction, like: object) -> str:
    return quantity.render(value, quantity.format_of(like) if isinstance(like, str) else "DecimalSI")
