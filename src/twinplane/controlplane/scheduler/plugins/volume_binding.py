"""VolumeBinding: bound claims must be reachable from the node, unbound ones must find or get a volume there.

Claims of classes with volumeBindingMode Immediate must be bound before anything else is looked at. For the others
(WaitForFirstConsumer) the smallest matching volume that reaches the node is taken, or the claim is to be provisioned
in the node's topology, if its driver has room for it there. What was chosen for the winning node is handed on by
`reserve`.
"""

from __future__ import annotations

from collections.abc import Sequence

from twinplane.controlplane.scheduler.framework import Check, Plugin, Refusal, Scope
from twinplane.controlplane.scheduler.node import NodeState
from twinplane.controlplane.scheduler.requirements import matches
from twinplane.controlplane.scheduler.shape import PodShape
from twinplane.controlplane.scheduler.snapshot import Snapshot
from twinplane.controlplane.scheduler.storage import NO_PROVISIONER, Claim, Storage, Volume, VolumePlan

NAME = "VolumeBinding"
UNREACHABLE = "node(s) didn't match PersistentVolume's node affinity"
NOTHING_TO_BIND = "node(s) didn't find available persistent volumes to bind"
TOO_LITTLE_SPACE = "node(s) did not have enough free storage"
NO_VOLUME = "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)"
NOT_BOUND = "pod has unbound immediate PersistentVolumeClaims"


class VolumeBinding(Check):
    filters = True

    def __init__(self, shape: PodShape, storage: Storage) -> None:
        self._storage = storage
        self._bound: list[Claim] = []
        self._unbound: list[Claim] = []
        reason = self._problem(shape) or self._sort(shape)
        self.rejection = Refusal(NAME, (reason,), resolvable=False) if reason else None
        self._promised = storage.promised_volumes()
        self._nodes = storage.promised_nodes()
        self._kept = {owner for volume in storage.volumes.values() if (owner := self._owner(volume))}
        """Claims that a volume is kept for: another must not be made for them."""
        self._candidates = {claim.key: self._volumes_for(claim) for claim in self._unbound}

    def _problem(self, shape: PodShape) -> str:
        for use, key in zip(shape.claims, shape.claim_keys, strict=True):
            claim = self._storage.claims.get(key)
            if claim is None and use.ephemeral:
                return f'waiting for ephemeral volume controller to create the persistentvolumeclaim "{use.name}"'
            if claim is None:
                return f'persistentvolumeclaim "{use.name}" not found'
            if claim.lost:
                return f'persistentvolumeclaim "{use.name}" bound to non-existent persistentvolume "{claim.volume}"'
            if claim.deleting:
                return f'persistentvolumeclaim "{use.name}" is being deleted'
            if use.ephemeral and claim.owner != shape.uid:
                return f"PVC {key} was not created for the pod (pod is not owner)"
        return ""

    def _sort(self, shape: PodShape) -> str:
        for key in shape.claim_keys:
            claim = self._storage.claims[key]
            if claim.bound:
                self._bound.append(claim)
            elif not claim.volume and self._storage.waits_for_consumer(claim):
                self._unbound.append(claim)
            else:
                return NOT_BOUND
        # Upstream gives the smallest claims their choice first.
        self._unbound.sort(key=lambda claim: claim.request)
        return ""

    def _volumes_for(self, claim: Claim) -> list[Volume]:
        """Volumes that the claim could have but for the node, the best first."""
        volumes = self._storage.volumes.values()
        if claim.key in self._kept:
            kept = [volume for volume in volumes if self._owner(volume) == claim.key]
            return [volume for volume in kept if volume.claim_uid in ("", claim.uid)]
        fitting = [volume for volume in volumes if self._suits(volume, claim)]
        return sorted(fitting, key=lambda volume: (volume.capacity, volume.name))

    def _owner(self, volume: Volume) -> str:
        return self._promised.get(volume.name) or volume.claim

    def _suits(self, volume: Volume, claim: Claim) -> bool:
        return (
            volume.available
            and not volume.deleting
            and not self._owner(volume)
            and volume.class_name == claim.class_name
            and volume.volume_mode == claim.volume_mode
            and volume.attributes_class == claim.attributes_class
            and volume.capacity >= claim.request
            and claim.modes <= volume.modes
            and matches(claim.selector, volume.labels)
        )

    def refuse(self, node: NodeState) -> Refusal | None:
        reasons = self._bound_reasons(node)
        planned = self._plan(node)
        if isinstance(planned, str):
            reasons.append(planned)
        return Refusal(NAME, tuple(reasons), resolvable=False) if reasons else None

    def _bound_reasons(self, node: NodeState) -> list[str]:
        volumes = [self._storage.volumes.get(claim.volume) for claim in self._bound]
        labels = node.facts.labels
        if None in volumes:
            return [NO_VOLUME]
        reachable = all(volume is not None and volume.reaches(labels, node.name) for volume in volumes)
        return [] if reachable else [UNREACHABLE]

    def reserve(self, node: NodeState) -> VolumePlan | None:
        planned = self._plan(node)
        return planned if isinstance(planned, VolumePlan) else None

    def _plan(self, node: NodeState) -> VolumePlan | str | None:
        """A string says why there is none; None: nothing has to be bound."""
        if not self._unbound:
            return None
        bindings: list[tuple[str, str]] = []
        provisions: list[str] = []
        taken: set[str] = set()
        for claim in self._unbound:
            selected = self._nodes.get(claim.key) or claim.selected_node
            volume = None if selected else self._choose(self._candidates[claim.key], node, taken)
            if volume is not None:
                taken.add(volume.name)
                bindings.append((claim.key, volume.name))
            elif selected not in ("", node.name) or not self._can_be_made(claim, node):
                return NOTHING_TO_BIND
            elif not self._has_room(claim, node):
                return TOO_LITTLE_SPACE
            else:
                provisions.append(claim.key)
        return VolumePlan(node.name, tuple(bindings), tuple(provisions))

    @staticmethod
    def _choose(volumes: Sequence[Volume], node: NodeState, taken: set[str]) -> Volume | None:
        labels = node.facts.labels
        return next((item for item in volumes if item.name not in taken and item.reaches(labels, node.name)), None)

    def _can_be_made(self, claim: Claim, node: NodeState) -> bool:
        found = self._storage.classes.get(claim.class_name)
        if found is None or found.provisioner in NO_PROVISIONER or claim.key in self._kept:
            return False
        return found.allows(node.facts.labels)

    def _has_room(self, claim: Claim, node: NodeState) -> bool:
        driver = self._storage.classes[claim.class_name].provisioner
        if not claim.request or driver not in self._storage.tracking:
            return True
        labels = node.facts.labels
        capacities = self._storage.capacities.values()
        return any(item.class_name == claim.class_name and item.has(claim.request, labels) for item in capacities)


def check(shape: PodShape, snapshot: Snapshot) -> Check | None:
    return VolumeBinding(shape, snapshot.surroundings.storage) if shape.claims else None


# Not FACTS, although only the node object counts: upstream asks after NodeResourcesFit, and reports the first refusal.
PLUGIN = Plugin(NAME, Scope.PODS, check, personal=True)
