"""What the ResourceClaim controller reads of pods and claims. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from twinplane.controlplane.controllers.pods import is_terminal
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.meta import annotations_of, controller_reference, copied, is_deleting, name_of
from twinplane.kubeclient.resources import PODS

POD_CLAIM = "resource.kubernetes.io/pod-claim-name"
GENERATE_NAME_MAX = 57
"""Leaves room for the random end in a name of 63 characters."""


def entries_of(pod: Object) -> list[dict[str, Any]]:
    return list(pod["spec"].get("resourceClaims") or ())


def statuses_of(pod: Object) -> dict[str, str | None]:
    """Entry of the pod -> name of the claim that was made for it, None where none is needed."""
    found = (pod.get("status") or {}).get("resourceClaimStatuses") or ()
    return {entry["name"]: entry.get("resourceClaimName") for entry in found}


def names_of(pod: Object) -> Iterator[str]:
    """Of the claims that a pod uses, as far as they are known."""
    made = statuses_of(pod)
    for entry in entries_of(pod):
        name = entry.get("resourceClaimName") or made.get(entry["name"])
        if name:
            yield name


def all_names_of(pod: Object) -> Iterator[str]:
    """Also of the claim that the scheduler has made for its extended resources."""
    yield from names_of(pod)
    made = ((pod.get("status") or {}).get("extendedResourceClaimStatus") or {}).get("resourceClaimName")
    if made:
        yield made


def is_done(pod: Object) -> bool:
    """It will not use its claims, or not any more."""
    return is_terminal(pod) or (is_deleting(pod) and not pod["spec"].get("nodeName"))


def is_unmade(pod: Object, entry: dict[str, Any]) -> bool:
    return bool(entry.get("resourceClaimTemplateName")) and entry["name"] not in statuses_of(pod)


def claim_from(template: Object, pod: Object, entry: str) -> Object:
    spec = template["spec"]
    described = spec.get("metadata") or {}
    metadata: dict[str, Any] = {
        "generateName": _generate_name(name_of(pod), entry),
        "ownerReferences": [_owner(pod)],
        "annotations": {**(described.get("annotations") or {}), POD_CLAIM: entry},
    }
    if described.get("labels"):
        metadata["labels"] = dict(described["labels"])
    return {"metadata": metadata, "spec": copied(spec.get("spec") or {})}


def _owner(pod: Object) -> dict[str, Any]:
    return {key: value for key, value in controller_reference(pod, PODS).items() if key != "blockOwnerDeletion"}


def _generate_name(pod: str, entry: str) -> str:
    """Both names shortened in proportion, where they are too long together."""
    name = f"{pod}-{entry}-"
    if len(name) <= GENERATE_NAME_MAX:
        return name
    first = pod[: len(pod) * GENERATE_NAME_MAX // len(name)]
    rest = f"{first}-"
    return rest + entry[: len(entry) * GENERATE_NAME_MAX // len(name)]


def entry_of(claim: Object) -> str:
    return annotations_of(claim).get(POD_CLAIM, "")
