"""The pods and claims of a StatefulSet: sticky names, one per ordinal. Pure."""

from __future__ import annotations

from typing import Any, NamedTuple

from twinplane.controlplane.controllers.pods import is_available, is_ready, phase_of, pod_from_template
from twinplane.controlplane.controllers.revisions import HASH_LABEL
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.meta import (
    controller_reference,
    copied,
    is_deleting,
    labels_of,
    name_of,
    namespace_of,
    owner_references,
    uid_of,
)
from twinplane.kubeclient.resources import PODS, STATEFUL_SETS

POD_NAME_LABEL = "statefulset.kubernetes.io/pod-name"
POD_INDEX_LABEL = "apps.kubernetes.io/pod-index"


def ordinal_of(stateful_set: Object, pod: Object) -> int | None:
    name = name_of(pod)
    prefix, _, number = name.rpartition("-")
    return int(number) if prefix == name_of(stateful_set) and number.isdigit() else None


def first_ordinal(stateful_set: Object) -> int:
    return int((stateful_set["spec"].get("ordinals") or {}).get("start", 0))


def pod_for(stateful_set: Object, template: Object, revision: str, ordinal: int) -> Object:
    pod = pod_from_template(template, stateful_set, STATEFUL_SETS)
    name = f"{name_of(stateful_set)}-{ordinal}"
    metadata = pod["metadata"]
    del metadata["generateName"]
    metadata["name"] = name
    labels = metadata.setdefault("labels", {})
    labels |= {POD_NAME_LABEL: name, POD_INDEX_LABEL: str(ordinal), HASH_LABEL: revision}
    spec = pod["spec"]
    spec["hostname"] = name
    spec["subdomain"] = stateful_set["spec"].get("serviceName", "")
    claims = [claim_volume(stateful_set, claim, ordinal) for claim in claim_templates(stateful_set)]
    names = {volume["name"] for volume in claims}
    spec["volumes"] = [*claims, *(volume for volume in spec.get("volumes") or [] if volume["name"] not in names)]
    return pod


def claim_templates(stateful_set: Object) -> list[Object]:
    return stateful_set["spec"].get("volumeClaimTemplates") or []


def claim_name(stateful_set: Object, claim: Object, ordinal: int) -> str:
    return f"{name_of(claim)}-{name_of(stateful_set)}-{ordinal}"


def claim_volume(stateful_set: Object, claim: Object, ordinal: int) -> dict[str, Any]:
    source = {"claimName": claim_name(stateful_set, claim, ordinal), "readOnly": False}
    return {"name": name_of(claim), "persistentVolumeClaim": source}


def claim_for(stateful_set: Object, template: Object, ordinal: int) -> Object:
    """A PersistentVolumeClaim; it goes with the set only where the retention policy says so."""
    claim: Object = copied(template)
    claim.pop("status", None)
    metadata = claim["metadata"]
    metadata["name"] = claim_name(stateful_set, template, ordinal)
    metadata["namespace"] = namespace_of(stateful_set)
    metadata.pop("creationTimestamp", None)
    selector = (stateful_set["spec"].get("selector") or {}).get("matchLabels") or {}
    metadata["labels"] = {**(metadata.get("labels") or {}), **selector}
    if retention(stateful_set, "whenDeleted") == "Delete":
        metadata["ownerReferences"] = [controller_reference(stateful_set, STATEFUL_SETS)]
    return claim


class Owners(NamedTuple):
    references: list[dict[str, Any]]
    conflict: bool = False
    """Somebody else controls the claim: the retention policy does not hold for it."""


def owners_of_claim(stateful_set: Object, claim: Object, pod: Object, *, condemned: bool) -> Owners:
    """Who takes the claim of `pod` along: the set when it is deleted, the pod when it is scaled away, or nobody.

    A claim that an earlier set or pod of the same name owns is left alone.
    """
    before = owner_references(claim)
    if any(_is_stale(entry, "StatefulSet", stateful_set) or _is_stale(entry, "Pod", pod) for entry in before):
        return Owners(before)
    ours = {uid_of(stateful_set), uid_of(pod)}
    others = [entry for entry in before if entry["uid"] not in ours]
    if any(entry.get("controller") for entry in others):
        return Owners(others, conflict=True)
    if condemned and retention(stateful_set, "whenScaled") == "Delete":
        return Owners([*others, controller_reference(pod, PODS)])
    if retention(stateful_set, "whenDeleted") == "Delete":
        return Owners([*others, controller_reference(stateful_set, STATEFUL_SETS)])
    return Owners(others)


def is_stale_claim(stateful_set: Object, claim: Object, ordinal: int) -> bool:
    """It still goes with a pod that was scaled away: the next pod of that ordinal has to wait until it is gone."""
    if retention(stateful_set, "whenScaled") != "Delete":
        return False
    name = f"{name_of(stateful_set)}-{ordinal}"
    return any(entry["kind"] == "Pod" and entry["name"] == name for entry in owner_references(claim))


def _is_stale(reference: dict[str, Any], kind: str, body: Object) -> bool:
    return (reference["kind"], reference["name"]) == (kind, name_of(body)) and reference["uid"] != uid_of(body)


def retention(stateful_set: Object, when: str) -> str:
    policy = stateful_set["spec"].get("persistentVolumeClaimRetentionPolicy") or {}
    return str(policy.get(when, "Retain"))


def revision_of(pod: Object) -> str:
    return labels_of(pod).get(HASH_LABEL, "")


def is_created(pod: Object) -> bool:
    return phase_of(pod) != ""


def is_running_and_ready(pod: Object) -> bool:
    return phase_of(pod) == "Running" and is_ready(pod)


def is_healthy(pod: Object) -> bool:
    return is_running_and_ready(pod) and not is_deleting(pod)


def is_available_pod(stateful_set: Object, pod: Object, now: float) -> bool:
    return is_healthy(pod) and is_available(pod, int(stateful_set["spec"].get("minReadySeconds", 0)), now)
