"""DynamicResources: a pod's ResourceClaims must have devices that the node can use, or must get them there.

Allocated claims say where their devices can be used; for all others devices are looked for on each node. What was found
on the winning node is handed on by `allocate`. Pods whose claims do not exist yet are not tried at all (`problem`).

Extended resources that a DeviceClass backs are looked for as one more claim, on nodes that have none of themselves.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple

from twinplane.controlplane.scheduler.devices.allocation import (
    AllocationError,
    AllocationFailed,
    Patience,
    allocate,
)
from twinplane.controlplane.scheduler.devices.extended import ExtendedPlan, extended_plan
from twinplane.controlplane.scheduler.devices.facts import DeviceClaim, Json
from twinplane.controlplane.scheduler.devices.inventory import DevicePlan, Inventory
from twinplane.controlplane.scheduler.framework import Candidate, Check, Plugin, Refusal, Scope, share_of_max
from twinplane.controlplane.scheduler.node import NodeState
from twinplane.controlplane.scheduler.shape import PodShape
from twinplane.controlplane.scheduler.snapshot import Snapshot

NAME = "DynamicResources"
NOT_ALLOCATED = "cannot allocate all claims"
NOT_ON_NODE = "resourceclaim not available on the node"
STALE = "cannot schedule extended resource claim"
CONSUMERS_MAX = 256
"""Of one claim."""
ALTERNATIVES_MAX = 8
"""Of one request: the first is worth as much, the second one less, and so on."""


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


class Found(NamedTuple):
    """For the pod's claims on one node."""

    allocations: dict[str, Json]
    extended: ExtendedPlan | None


class DynamicResources(Check):
    filters = True

    def __init__(self, shape: PodShape, inventory: Inventory) -> None:
        self._inventory = inventory
        reason = problem(shape, inventory)
        claims = [] if reason else [inventory.claims[key] for key in dict.fromkeys(shape.device_claim_keys)]
        self._allocated = [claim for claim in claims if claim.allocation is not None]
        self._waiting = [claim for claim in claims if claim.allocation is None]
        self._unavailable: set[str] = set()
        self._shape = shape
        self._uid = shape.uid
        self._keys = tuple(claim.key for claim in claims)
        self._backed = {
            use.resource: inventory.resources[use.resource]
            for use in shape.extended
            if use.resource in inventory.resources
        }
        self._stale = inventory.extended.get(shape.uid, "") if self._backed else ""
        """Key of the claim for extended resources of an earlier attempt, which must go first."""
        self._preferring = {claim.key: order for claim in claims if (order := _order(claim))}
        self.ranks = bool(self._preferring)
        self.searches = bool(self._waiting or self._backed)
        self._found: dict[str, Found | Refusal] = {}
        self._patience = Patience()
        reason = reason or next(filter(None, map(self._wrong, claims)), "")
        self.rejection = _refusal(reason) if reason else None

    def _wrong(self, claim: DeviceClaim) -> str:
        if claim.allocation is not None:
            full = len(claim.reserved) >= CONSUMERS_MAX and self._uid not in claim.reserved
            return "resourceclaim in use" if full else ""
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
        if self._stale:
            return _refusal(STALE)
        unavailable = [
            claim.key
            for claim in self._allocated
            if claim.key in self._inventory.failed or not claim.reaches(node.facts)
        ]
        if unavailable:
            self._unavailable.update(unavailable)
            return _refusal(NOT_ON_NODE)
        found = self._on(node)
        return found if isinstance(found, Refusal) else None

    def _on(self, node: NodeState) -> Found | Refusal:
        found = self._found.get(node.name)
        if found is None:
            found = self._found[node.name] = self._look(node)
        return found

    def _look(self, node: NodeState) -> Found | Refusal:
        allocatable = node.facts.allocatable
        needed = {resource: name for resource, name in self._backed.items() if not allocatable.get(resource)}
        extended = extended_plan(self._shape.extended, needed) if needed else None
        claims = [*self._waiting, self._special(extended)] if extended is not None else self._waiting
        if not claims:
            return Found({}, None)
        try:
            allocations = allocate(claims, node.facts, self._inventory, self._patience)
        except AllocationFailed as error:
            if isinstance(error, AllocationError):
                self.error = f'running "{NAME}" filter plugin: {error}'
            return _refusal(str(error))
        return _refusal(NOT_ALLOCATED) if allocations is None else Found(allocations, extended)

    def _special(self, plan: ExtendedPlan) -> DeviceClaim:
        """The claim that is made when the pod goes to the node; until then it goes by the pod's uid."""
        spec = {"requests": plan.requests}
        return DeviceClaim(self._uid, self._uid, False, self._uid, spec, None, (), (), extended=True)

    def allocate(self, node: NodeState) -> DevicePlan | None:
        found = self._on(node)
        if isinstance(found, Refusal) or not (self._keys or found.extended):
            return None
        return DevicePlan(node.name, self._keys, found.allocations, found.extended)

    def group(self, node: NodeState) -> Hashable:
        return node.name

    def rank(self, candidates: Sequence[Candidate]) -> list[int]:
        """By the alternatives that the claims get, or have got."""
        return share_of_max([self._worth(candidate.node) for candidate in candidates])

    def _worth(self, node: NodeState) -> int:
        found = self._on(node)
        worth = 0
        for key, order in self._preferring.items():
            allocation = None if isinstance(found, Refusal) else found.allocations.get(key)
            if allocation is None:
                allocation = self._inventory.claims[key].allocation or {}
            names = {result["request"] for result in (allocation.get("devices") or {}).get("results") or ()}
            worth += sum(ALTERNATIVES_MAX - position for name, position in order.items() if name in names)
        return worth

    def idle(self) -> str:
        """Of an allocated claim that nobody else uses and that kept a node from having the pod, or of a stale one."""
        idle = (claim for claim in self._allocated if claim.key in self._unavailable)
        return next((claim.key for claim in idle if set(claim.reserved) <= {self._uid}), self._stale)


def _order(claim: DeviceClaim) -> dict[str, int]:
    """`REQUEST/SUBREQUEST` -> its place among the alternatives."""
    return {
        f"{request['name']}/{alternative['name']}": position
        for request in claim.spec.get("requests") or ()
        for position, alternative in enumerate(request.get("firstAvailable") or ())
    }


def _refusal(reason: str) -> Refusal:
    """Upstream never preempts for devices."""
    return Refusal(NAME, (reason,), resolvable=False)


def check(shape: PodShape, snapshot: Snapshot) -> Check | None:
    return DynamicResources(shape, snapshot.surroundings.devices) if shape.uses_devices else None


PLUGIN = Plugin(NAME, Scope.PODS, check, weight=2, personal=True)
