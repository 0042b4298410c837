"""Claims, volumes, storage classes and attach limits: what the volume plugins read, and the decisions not yet written.

Part of a snapshot's surroundings. A placed pod's decisions about its unbound claims (`VolumePlan`) are assumed here at
once, so that no other pod is promised the same volume; they are taken back when the pod is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, TypeVar

from twinplane.controlplane.scheduler.capacity import Attached, Capacity
from twinplane.controlplane.scheduler.requirements import (
    NodeTerm,
    Requirement,
    Selector,
    label_selector,
    matches,
    node_term,
)
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.quantity import whole

BIND_COMPLETED = "pv.kubernetes.io/bind-completed"
BOUND_BY_CONTROLLER = "pv.kubernetes.io/bound-by-controller"
SELECTED_NODE = "volume.kubernetes.io/selected-node"
LEGACY_CLASS = "volume.beta.kubernetes.io/storage-class"
NO_PROVISIONER = ("", "kubernetes.io/no-provisioner")
EBS_DRIVER = "ebs.csi.aws.com"
MIGRATED = {"kubernetes.io/aws-ebs": EBS_DRIVER, "awsElasticBlockStore": EBS_DRIVER}
"""In-tree names -> the CSI driver that does their work."""

Entry = TypeVar("Entry")


@dataclass(frozen=True, slots=True)
class Claim:
    key: str
    """NAMESPACE/NAME."""
    uid: str
    class_name: str
    volume: str
    """`spec.volumeName`, empty while it is not bound."""
    bound: bool
    """Bound both ways, by the volume controller."""
    lost: bool
    deleting: bool
    modes: frozenset[str]
    selector: Selector
    request: int
    """Bytes."""
    volume_mode: str
    attributes_class: str
    selected_node: str
    owner: str
    """uid of the pod that an ephemeral volume's claim belongs to."""

    @property
    def name(self) -> str:
        return self.key.partition("/")[2]


@dataclass(frozen=True, slots=True)
class Volume:
    name: str
    class_name: str
    capacity: int
    """Bytes."""
    modes: frozenset[str]
    volume_mode: str
    attributes_class: str
    labels: Mapping[str, str]
    node_terms: tuple[NodeTerm, ...] | None
    claim: str
    """Key of the claim it is bound to or kept for, empty while it is free."""
    claim_uid: str
    available: bool
    deleting: bool
    driver: str
    handle: str

    def reaches(self, labels: Mapping[str, str], node: str) -> bool:
        return self.node_terms is None or any(term.holds(labels, node) for term in self.node_terms)


@dataclass(frozen=True, slots=True)
class StorageClass:
    name: str
    provisioner: str
    waits: bool
    """volumeBindingMode WaitForFirstConsumer."""
    topologies: tuple[Selector, ...]

    def allows(self, labels: Mapping[str, str]) -> bool:
        return not self.topologies or any(matches(term, labels) for term in self.topologies)


class VolumePlan(NamedTuple):
    """What must be written before a pod may be bound: claims tied to volumes, claims to be provisioned for a node."""

    node: str
    bindings: tuple[tuple[str, str], ...] = ()
    """(claim key, volume name)."""
    provisions: tuple[str, ...] = ()
    """Claim keys."""

    @property
    def claims(self) -> tuple[str, ...]:
        return (*(claim for claim, _ in self.bindings), *self.provisions)


@dataclass
class Storage:
    """`version` grows with every change that could move a pod with claims."""

    claims: dict[str, Claim] = field(default_factory=dict)
    volumes: dict[str, Volume] = field(default_factory=dict)
    classes: dict[str, StorageClass] = field(default_factory=dict)
    limits: dict[str, Mapping[str, int]] = field(default_factory=dict)
    """Node name -> CSI driver -> volumes that can be attached, from CSINode."""
    capacities: dict[str, Capacity] = field(default_factory=dict)
    tracking: dict[str, bool] = field(default_factory=dict)
    """CSI drivers whose volumes are made only where there is capacity for them."""
    version: int = 0
    _attached: dict[str, Attached] = field(default_factory=dict)
    _attached_to: dict[str, dict[str, Attached]] = field(default_factory=dict)
    """The same by node."""
    _plans: dict[str, VolumePlan] = field(default_factory=dict)

    # What is known; None for what is gone -----------------------------------------------------------------------

    def set_claim(self, key: str, claim: Claim | None) -> bool:
        """True when it made a difference, here and below."""
        return self._replace(self.claims, key, claim)

    def set_volume(self, name: str, volume: Volume | None) -> bool:
        return self._replace(self.volumes, name, volume)

    def set_class(self, name: str, storage_class: StorageClass | None) -> bool:
        return self._replace(self.classes, name, storage_class)

    def set_limits(self, node: str, limits: Mapping[str, int] | None) -> bool:
        return self._replace(self.limits, node, limits)

    def set_capacity(self, key: str, capacity: Capacity | None) -> bool:
        return self._replace(self.capacities, key, capacity)

    def set_tracking(self, driver: str, tracks: bool) -> bool:
        return self._replace(self.tracking, driver, tracks or None)

    def set_attached(self, name: str, attached: Attached | None) -> bool:
        """`name` is the VolumeAttachment's."""
        before = self._attached.get(name)
        if not self._replace(self._attached, name, attached):
            return False
        if before is not None:
            self._attached_to[before.node].pop(name, None)
        if attached is not None:
            self._attached_to.setdefault(attached.node, {})[name] = attached
        return True

    def _replace(self, table: dict[str, Entry], key: str, entry: Entry | None) -> bool:
        if table.get(key) == entry:
            return False
        self.version += 1
        if entry is None:
            del table[key]
        else:
            table[key] = entry
        return True

    # What is decided --------------------------------------------------------------------------------------------

    def assume(self, pod_uid: str, plan: VolumePlan) -> None:
        self._plans[pod_uid] = plan
        self.version += 1

    def forget(self, pod_uid: str) -> None:
        """The pod is bound, or its placement is taken back."""
        if self._plans.pop(pod_uid, None) is not None:
            self.version += 1

    def copy(self) -> Storage:
        """For what-if questions: assumptions made on it are its own; the facts are shared and must be left alone."""
        return replace(self, _plans=dict(self._plans))

    def promised_volumes(self) -> dict[str, str]:
        """Volume name -> key of the claim it is promised to."""
        return {volume: claim for plan in self._plans.values() for claim, volume in plan.bindings}

    def promised_nodes(self) -> dict[str, str]:
        """Key of a claim that is to be provisioned -> node."""
        return {claim: plan.node for plan in self._plans.values() for claim in plan.provisions}

    def waits_for_consumer(self, claim: Claim) -> bool:
        found = self.classes.get(claim.class_name)
        return found is not None and found.waits

    def attached_to(self, node: str) -> set[tuple[str, str]]:
        """(CSI driver, identity of the volume) of what is attached to a node, whether a pod uses it or not."""
        attachments = self._attached_to.get(node, {}).values()
        found = ((attached.driver, self.volumes.get(attached.volume)) for attached in attachments)
        return {(driver, volume.handle) for driver, volume in found if volume is not None and volume.driver}

    def attachment(self, key: str) -> tuple[str, str] | None:
        """(CSI driver, identity of the volume) of a claim; None when no CSI driver attaches it."""
        claim = self.claims.get(key)
        if claim is None:
            return None
        volume = self.volumes.get(claim.volume)
        if volume is not None:
            return (volume.driver, volume.handle) if volume.driver else None
        found = self.classes.get(claim.class_name)
        if found is None or found.provisioner in NO_PROVISIONER:
            return None
        # No volume yet: the claim stands for the one that will be made.
        return MIGRATED.get(found.provisioner, found.provisioner), key


# From objects -------------------------------------------------------------------------------------------------------


def claim_of(body: Object) -> Claim:
    metadata, spec = body["metadata"], body.get("spec") or {}
    annotations = metadata.get("annotations") or {}
    phase = (body.get("status") or {}).get("phase")
    volume = spec.get("volumeName") or ""
    owners = [item["uid"] for item in metadata.get("ownerReferences") or () if item.get("controller")]
    return Claim(
        key=f"{metadata['namespace']}/{metadata['name']}",
        uid=metadata.get("uid", ""),
        class_name=annotations.get(LEGACY_CLASS) or spec.get("storageClassName") or "",
        volume=volume,
        bound=bool(volume) and (BIND_COMPLETED in annotations or phase == "Bound"),
        lost=phase == "Lost",
        deleting="deletionTimestamp" in metadata,
        modes=frozenset(spec.get("accessModes") or ()),
        selector=label_selector(spec.get("selector")) or (),
        request=whole(((spec.get("resources") or {}).get("requests") or {}).get("storage") or 0),
        volume_mode=spec.get("volumeMode") or "Filesystem",
        attributes_class=spec.get("volumeAttributesClassName") or "",
        selected_node=annotations.get(SELECTED_NODE, ""),
        owner=owners[0] if owners else "",
    )


def volume_of(body: Object) -> Volume:
    metadata, spec = body["metadata"], body.get("spec") or {}
    reference = spec.get("claimRef") or {}
    required = (spec.get("nodeAffinity") or {}).get("required")
    driver, handle = _attached_by(spec)
    return Volume(
        name=metadata["name"],
        class_name=(metadata.get("annotations") or {}).get(LEGACY_CLASS) or spec.get("storageClassName") or "",
        capacity=whole((spec.get("capacity") or {}).get("storage") or 0),
        modes=frozenset(spec.get("accessModes") or ()),
        volume_mode=spec.get("volumeMode") or "Filesystem",
        attributes_class=spec.get("volumeAttributesClassName") or "",
        labels=metadata.get("labels") or {},
        node_terms=None
        if required is None
        else tuple(node_term(term) for term in required.get("nodeSelectorTerms") or ()),
        claim=f"{reference.get('namespace')}/{reference['name']}" if reference.get("name") else "",
        claim_uid=reference.get("uid") or "",
        available=(body.get("status") or {}).get("phase") == "Available",
        deleting="deletionTimestamp" in metadata,
        driver=driver,
        handle=handle,
    )


def _attached_by(spec: Mapping[str, Any]) -> tuple[str, str]:
    if spec.get("csi"):
        return spec["csi"].get("driver") or "", spec["csi"].get("volumeHandle") or ""
    if spec.get("awsElasticBlockStore"):
        return EBS_DRIVER, ebs_volume(spec["awsElasticBlockStore"].get("volumeID") or "")
    return "", ""


def ebs_volume(identity: str) -> str:
    """`aws://us-west-2a/vol-1` and `vol-1` are the same volume."""
    return identity.rsplit("/", 1)[-1]


def class_of(body: Object) -> StorageClass:
    return StorageClass(
        name=body["metadata"]["name"],
        provisioner=body.get("provisioner") or "",
        waits=body.get("volumeBindingMode") == "WaitForFirstConsumer",
        topologies=tuple(_topology(term) for term in body.get("allowedTopologies") or ()),
    )


def _topology(term: Mapping[str, Any]) -> Selector:
    expressions: Iterable[Mapping[str, Any]] = term.get("matchLabelExpressions") or ()
    return tuple(Requirement(item["key"], "In", frozenset(item.get("values") or ())) for item in expressions)


def limits_of(body: Object) -> dict[str, int]:
    """Of a CSINode; drivers without a count have no limit."""
    found = {}
    for driver in (body.get("spec") or {}).get("drivers") or ():
        count = (driver.get("allocatable") or {}).get("count")
        if count is not None:
            found[driver["name"]] = int(count)
    return found
