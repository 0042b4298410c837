"""What a ResourceClaim counts for in quotas of the extended resources that its DeviceClasses stand for.

`quota_usage` asks. Pods and claims are held against the same number: a claim that the scheduler has made for a pod's
extended resources counts only for what the pod does not count for already. Source: upstream's evaluator of claims.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from twinplane.controlplane.admission.plugin import annotation
from twinplane.controlplane.admission.pod_resources import Amounts
from twinplane.kubeclient.contract import Object, Resource
from twinplane.kubeclient.device_claims import EXTENDED_CLAIM, IMPLICIT_RESOURCE
from twinplane.kubeclient.meta import controller_of
from twinplane.kubeclient.resources import DEVICE_CLASSES, PODS, RESOURCE_CLAIMS

DEVICES_SUFFIX = ".deviceclass.resource.k8s.io/devices"


class Known(Protocol):
    """Objects that are there; they are looked at only."""

    def get(self, resource: Resource, name: str, namespace: str = "") -> Object | None: ...

    def list(self, resource: Resource, namespace: str = "") -> list[Object]: ...


def is_extended(name: str) -> bool:
    """Whether a quota of this name may count devices."""
    return name.startswith("requests.") and (
        name.startswith(f"requests.{IMPLICIT_RESOURCE}") or ("/" in name and "kubernetes.io/" not in name)
    )


def extended_usage(devices: Amounts, of_pod: Amounts, known: Known) -> Amounts:
    """By extended resource; `devices` by class. `of_pod` is what the pod that the claim was made for counts for."""
    found: Amounts = {}
    for name, count in devices.items():
        for resource in _resources_of(name.removesuffix(DEVICES_SUFFIX), known):
            left = count - of_pod.get(f"requests.{resource}", 0)
            if left > 0:
                found[f"requests.{resource}"] = left
    return found


def _resources_of(class_name: str, known: Known) -> Iterator[str]:
    found = known.get(DEVICE_CLASSES, class_name)
    if found is not None:
        yield f"{IMPLICIT_RESOURCE}{class_name}"
        named = (found.get("spec") or {}).get("extendedResourceName")
        if named:
            yield named


def served_pod(claim: Object, known: Known) -> Object | None:
    """The pod for whose extended resources the claim was made; None when that is not to be believed."""
    metadata = claim.get("metadata") or {}
    owner = controller_of(claim)
    if annotation(claim, EXTENDED_CLAIM) != "true" or owner is None:
        return None
    if (owner.get("kind"), owner.get("apiVersion")) != ("Pod", "v1"):
        return None
    pod = known.get(PODS, owner["name"], metadata.get("namespace", ""))
    if pod is None or pod["metadata"].get("uid") != owner["uid"]:
        return None
    status = (pod.get("status") or {}).get("extendedResourceClaimStatus")
    if status is not None:
        return pod if status.get("resourceClaimName") == metadata.get("name") else None
    # The pod does not say yet which claim it has: the first one counts.
    others = known.list(RESOURCE_CLAIMS, metadata.get("namespace", ""))
    theirs = [other for other in others if (controller_of(other) or {}).get("uid") == owner["uid"]]
    return pod if all(_age(claim) <= _age(other) for other in theirs if annotation(other, EXTENDED_CLAIM)) else None


def _age(claim: Object) -> tuple[str, str]:
    return claim["metadata"].get("creationTimestamp") or "", claim["metadata"]["name"]
