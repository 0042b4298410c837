"""The APIService objects of groups and versions that this server serves itself: which there should be. Pure.

Built-in ones are made at the start, those of custom resources come and go with their definitions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from twinplane.controlplane.api.types.contract import ResourceType
from twinplane.controlplane.api.types.strategy import is_custom
from twinplane.kubeclient.contract import Object

AUTOMANAGED = "kube-aggregator.kubernetes.io/automanaged"
ON_START, WHILE_SERVED = "onstart", "true"
_CUSTOM = (1000, 100)
_BUILT_IN = (15000, 9)
_PRIORITIES: dict[str, int] = {
    "": 18000,
    "apps": 17800,
    "events.k8s.io": 17750,
    "authentication.k8s.io": 17700,
    "authorization.k8s.io": 17600,
    "autoscaling": 17500,
    "batch": 17400,
    "certificates.k8s.io": 17300,
    "networking.k8s.io": 17200,
    "policy": 17100,
    "rbac.authorization.k8s.io": 17000,
    "storage.k8s.io": 16800,
    "apiextensions.k8s.io": 16700,
    "admissionregistration.k8s.io": 16700,
    "scheduling.k8s.io": 16600,
    "coordination.k8s.io": 16500,
    "node.k8s.io": 16300,
    "discovery.k8s.io": 16200,
    "flowcontrol.apiserver.k8s.io": 16100,
    "internal.apiserver.k8s.io": 16000,
    "resource.k8s.io": 15900,
}
_VERSION_PRIORITIES = {("", "v1"): 1, ("autoscaling", "v2"): 30, ("flowcontrol.apiserver.k8s.io", "v1"): 21}


def wanted(types: Iterable[ResourceType]) -> dict[str, Object]:
    """By name. The aggregator's own group has none, as upstream."""
    found: dict[str, Object] = {}
    for served in types:
        group, version = served.resource.group, served.resource.version
        if group != "apiregistration.k8s.io":
            found.setdefault(f"{version}.{group}", _service(group, version, custom=is_custom(served)))
    return found


def _service(group: str, version: str, *, custom: bool) -> Object:
    minimum, priority = _CUSTOM if custom else (_PRIORITIES.get(group, _BUILT_IN[0]), 15)
    spec = {
        "groupPriorityMinimum": minimum,
        "versionPriority": _VERSION_PRIORITIES.get((group, version), priority),
        "version": version,
    }
    if group:
        spec["group"] = group
    label = WHILE_SERVED if custom else ON_START
    return {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": f"{version}.{group}", "labels": {AUTOMANAGED: label}},
        "spec": spec,
    }


def surplus(present: Iterable[Object], wanted: dict[str, Object]) -> Iterator[str]:
    """Names of automanaged objects that nothing stands behind any more."""
    for service in present:
        managed = (service["metadata"].get("labels") or {}).get(AUTOMANAGED)
        if managed in (ON_START, WHILE_SERVED) and service["metadata"]["name"] not in wanted:
            yield service["metadata"]["name"]


def is_remote(service: Object) -> bool:
    return bool((service.get("spec") or {}).get("service"))
