"""DynamicResources: a pod's ResourceClaims must have devices that the node can use, or must get them there.

Allocated claims say where their devices can be used; for all others devices are looked for on each node. What was found
on the winning node is handed on by `allocate`. Pods whose claims do not exist yet are not tried at all (`problem`).
"""

from __future__ import annotations

from collections.abc import Mapping

from twinplane.controlplane.scheduler.devices.allocation import AllocationFailed, Patience, allocate
from twinplane.controlplane.scheduler.devices.facts import DeviceClaim, Json
from twinplane.controlplane.scheduler.devices.inventory import DevicePlan, Inventory
from twinplane.controlplane.scheduler.framework import Check, Plugin, Refusal, Scope
from twinplane.controlplane.scheduler.node import NodeState
from twinplane.controlplane.scheduler.shape import PodShape
from twinplane.controlplane.scheduler.snapshot import Snapshot

NAME = "DynamicResources"
NOT_ALLOCATED = "cannot allocate all claims"
NOT_ON_NODE = "resourceclaim not available on the node"


def problem(shape: PodShape, inventory: Inventory) -> str:
    """Why the pod need not be tried yet, empty when it can be (upstream's PreEnqueue)."""
    for use, key in zip(shape.device_claims, shape.device_claim_keys, strict=True):
        claim = inventory.claims.get(key)
        if not use.name:
            return "ResourceClaim not created yet"
        if claim is None:
            return f'resourceclaim.resource.k8s.io "{use.name}" not found'
        if claim.deleting:
            return f'resourceclaim "{use.name}" is being deleted'
        if use.generated and claim.owner != shape.uid:
            return f"ResourceClaim {key} was not created for the pod (Pod is not owner)"
    return ""


class DynamicResources(Check):
    filters = True

    def __init__(self, shape: PodShape, inventory: Inventory) -> None:
        self._inventory = inventory
        reason = problem(shape, inventory)
        claims = [] if reason else [inventory.claims[key] for key in dict.fromkeys(shape.device_claim_keys)]
        self._allocated = [claim for claim in claims if claim.allocation is not None]
        self._waiting = [claim for claim in claims if claim.allocation is None]
        self._unavailable: set[str] = set()
        self._uid = shape.uid
        self._keys = tuple(claim.key for claim in claims)
        self._found: dict[str, dict[str, Json] | None] = {}
        self._patience = Patience()
        reason = reason or next(filter(None, map(self._wrong, self._waiting)), "")
        self.rejection = Refusal(NAME, (reason,), resolvable=False) if reason else None

    def _wrong(self, claim: DeviceClaim) -> str:
        if self._inventory.is_assumed(claim.key):
            return f"resource claim {claim.key} is in the process of being allocated"
        for request in claim.spec.get("requests") or ():
            subrequests = request.get("firstAvailable") or ()
            named = [(request["name"], request.get("exactly") or {})] if not subrequests else []
            for name, body in [*named, *((f"{request['name']}/{sub['name']}", sub) for sub in subrequests)]:
                if body.get("deviceClassName") not in self._inventory.classes:
                    return f"request {name}: device class {body.get('deviceClassName')} does not exist"
        return ""

    def refuse(self, node: NodeState) -> Refusal | None:
        unavailable = [claim.key for claim in self._allocated if not claim.reaches(node.facts)]
        if unavailable:
            self._unavailable.update(unavailable)
            return Refusal(NAME, (NOT_ON_NODE,))
        try:
            found = self._on(node)
        except AllocationFailed as error:
            return Refusal(NAME, (str(error),), resolvable=False)
        return Refusal(NAME, (NOT_ALLOCATED,)) if found is None else None

    def _on(self, node: NodeState) -> Mapping[str, Json] | None:
        if not self._waiting:
            return {}
        if node.name not in self._found:
            self._found[node.name] = allocate(self._waiting, node.facts, self._inventory, self._patience)
        return self._found[node.name]

    def allocate(self, node: NodeState) -> DevicePlan | None:
        return DevicePlan(node.name, self._keys, self._on(node) or {})

    def idle(self) -> str:
        """Of an allocated claim that nobody else uses and that kept a node from having the pod."""
        idle = (claim for claim in self._allocated if claim.key in self._unavailable)
        return next((claim.key for claim in idle if set(claim.reserved) <= {self._uid}), "")


def check(shape: PodShape, snapshot: Snapshot) -> Check | None:
    return DynamicResources(shape, snapshot.surroundings.devices) if shape.device_claims else None


PLUGIN = Plugin(NAME, Scope.PODS, check, personal=True)
