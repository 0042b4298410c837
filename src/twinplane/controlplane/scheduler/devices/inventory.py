"""All devices of a cluster, what of them is taken, and the claims that take it. Part of a snapshot's surroundings.

What the scheduler has decided is taken at once (`assume`); it stands until the claim's own status says the same, or
until the decision is taken back.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import NamedTuple

from twinplane.controlplane.scheduler.devices.capacity import Amounts, count
from twinplane.controlplane.scheduler.devices.extended import ExtendedPlan
from twinplane.controlplane.scheduler.devices.facts import Device, DeviceClaim, Json
from twinplane.controlplane.scheduler.devices.pools import Nearby, Pools
from twinplane.controlplane.scheduler.devices.selectors import SelectorFailed, all_hold
from twinplane.controlplane.scheduler.node import NodeFacts
from twinplane.controlplane.scheduler.resources import ExtendedUse
from twinplane.kubeclient.device_claims import IMPLICIT_RESOURCE, DeviceId, device_of

_NONE: Amounts = {}


class DevicePlan(NamedTuple):
    """What must be written before a pod may be bound: claims with their allocation, claims to be reserved."""

    node: str
    claims: tuple[str, ...]
    """Keys of all claims that the pod uses."""
    allocations: Mapping[str, Json]
    """Those of them that are allocated by this decision, and the one that has yet to be made."""
    extended: ExtendedPlan | None = None
    """The claim that is to be made for the pod's extended resources."""


class DeviceClass(NamedTuple):
    spec: Json
    created: str = ""
    """RFC 3339."""


@dataclass
class Inventory:
    claims: dict[str, DeviceClaim] = field(default_factory=dict)
    classes: dict[str, DeviceClass] = field(default_factory=dict)
    resources: dict[str, str] = field(default_factory=dict)
    """Extended resource -> name of the class that backs it."""
    resources_version: int = 0
    """Grows when `resources` changes."""
    extended: dict[str, str] = field(default_factory=dict)
    """uid of a pod -> key of the claim that the scheduler has made for its extended resources."""
    version: int = 0
    """Grows when there are other devices, or others are taken than `assume` and `forget` have told."""
    failed: set[str] = field(default_factory=set)
    """Keys of claims whose devices could not be made ready: they do for no node until they have others."""
    _pools: Pools = field(default_factory=Pools)
    _assumed: dict[str, Json] = field(default_factory=dict)
    _taken: Counter[DeviceId] = field(default_factory=Counter)
    _shares: Counter[DeviceId] = field(default_factory=Counter)
    _consumed: dict[DeviceId, Amounts] = field(default_factory=dict)

    def set_claim(self, key: str, claim: DeviceClaim | None) -> bool:
        """None for one that is gone, here and below. True when it made a difference."""
        old = self.claims.get(key)
        if old == claim:
            return False
        if self._devices_of(key, old or claim, old) != (self._devices_of(key, claim, claim) if claim else []):
            self.version += 1
        if claim is None or claim.allocation is not None:
            self._forget(key)
        if old is not None:
            self._hold(old.allocation, -1)
            if old.extended:
                self.extended.pop(old.owner, None)
        if claim is None or claim.allocation is None:
            self.failed.discard(key)
        if claim is None:
            self.claims.pop(key, None)
            return True
        self.claims[key] = claim
        self._hold(claim.allocation, 1)
        if claim.extended:
            self.extended[claim.owner] = key
            if claim.allocation is not None:
                self._forget(claim.owner)
        return True

    def set_class(self, name: str, entry: DeviceClass | None) -> bool:
        if self.classes.get(name) == entry:
            return False
        if entry is None:
            del self.classes[name]
        else:
            self.classes[name] = entry
        self.version += 1
        resources = _resources(self.classes)
        if resources != self.resources:
            self.resources = resources
            self.resources_version += 1
        return True

    def set_slice(self, name: str, spec: Json | None) -> bool:
        changed = self._pools.set_slice(name, spec)
        self.version += changed
        return changed

    def set_rule(self, name: str, spec: Json | None) -> bool:
        """A DeviceTaintRule."""
        return self._pools.set_rule(name, spec)

    def assume(self, plan: DevicePlan) -> None:
        for key, allocation in plan.allocations.items():
            self._assumed[key] = allocation
            self._hold(allocation, 1)

    def forget(self, plan: DevicePlan) -> None:
        """The decision is taken back; what has been written of it stands."""
        for key in plan.allocations:
            self._forget(key)

    def _devices_of(self, key: str, named: DeviceClaim | None, claim: DeviceClaim | None) -> list[DeviceId]:
        """That are a claim's, or shall be: the one that has yet to be made for extended resources goes by its owner."""
        allocation = claim.allocation if claim is not None else None
        if allocation is None:
            owner = named.owner if named is not None and named.extended else ""
            allocation = self._assumed.get(key) or self._assumed.get(owner)
        return [device_of(result) for result in ((allocation or {}).get("devices") or {}).get("results") or ()]

    def _forget(self, key: str) -> None:
        self._hold(self._assumed.pop(key, None), -1)

    def _hold(self, allocation: Json | None, sign: int) -> None:
        for result in ((allocation or {}).get("devices") or {}).get("results") or ():
            if result.get("adminAccess"):
                continue
            device = device_of(result)
            if result.get("shareID"):
                self._shares[device] += sign
                count(self._consumed.setdefault(device, {}), result.get("consumedCapacity") or {}, sign)
                if not self._shares[device]:
                    del self._shares[device], self._consumed[device]
            else:
                self._taken[device] += sign

    def copy(self) -> Inventory:
        """For what-if questions: assumptions made on it are its own, facts are shared and must be left alone."""
        return Inventory(
            self.claims,
            self.classes,
            self.resources,
            self.resources_version,
            self.extended,
            self.version,
            self.failed,
            self._pools,
            dict(self._assumed),
            Counter(self._taken),
            Counter(self._shares),
            {device: dict(amounts) for device, amounts in self._consumed.items()},
        )

    # Reading ----------------------------------------------------------------------------------------------------

    def class_spec(self, name: str) -> Json:
        found = self.classes.get(name)
        return found.spec if found is not None else {}

    def backs(self, uses: Iterable[ExtendedUse]) -> bool:
        return bool(self.resources) and any(use.resource in self.resources for use in uses)

    def is_assumed(self, key: str) -> bool:
        return key in self._assumed

    def is_taken(self, device: DeviceId) -> bool:
        """Some claim has it for itself."""
        return self._taken[device] > 0

    def is_shared(self, device: DeviceId) -> bool:
        """Some claims have a share of it."""
        return device in self._shares

    def consumed(self, device: DeviceId) -> Amounts:
        """By those who share it."""
        return self._consumed.get(device, _NONE)

    def near(self, facts: NodeFacts) -> list[Nearby]:
        """Pools that matter for a node, with the devices that can be used there."""
        return self._pools.near(facts)

    def totals(self, resource: str, facts: NodeFacts) -> tuple[int, int]:
        """How many devices a node has for an extended resource, and how many of them are taken, for scoring."""
        if resource not in self.resources:
            return 0, 0
        selectors = self.class_spec(self.resources[resource]).get("selectors") or []
        try:
            devices = [each for seen in self.near(facts) for each in seen.devices if all_hold(selectors, each)]
        except SelectorFailed:
            return 0, 0
        return len(devices), sum(self.is_taken(each.id) or self.is_shared(each.id) for each in devices)

    def counters_left(self, devices: list[Device], counters: Mapping[tuple[str, str], Fraction]) -> Counters:
        """Of a pool: its counters without what its allocated devices consume."""
        left = dict(counters)
        for device in devices:
            if device.consumes and (self.is_taken(device.id) or self.is_shared(device.id)):
                consume(left, device, -1)
        return left


Counters = dict[tuple[str, str], Fraction]
"""(counter set, counter) -> how much."""


def consume(left: Counters, device: Device, sign: int) -> None:
    for counter_set, name, amount in device.consumes:
        at = counter_set, name
        left[at] = left.get(at, Fraction(0)) + sign * amount


def _resources(classes: Mapping[str, DeviceClass]) -> dict[str, str]:
    """Of classes that name the same resource the newest has it, then the one whose name comes first."""
    found = {f"{IMPLICIT_RESOURCE}{name}": name for name in classes}
    named: defaultdict[str, list[str]] = defaultdict(list)
    for name, entry in classes.items():
        if entry.spec.get("extendedResourceName"):
            named[entry.spec["extendedResourceName"]].append(name)
    for resource, names in named.items():
        newest = max(classes[name].created for name in names)
        found[resource] = min(name for name in names if classes[name].created == newest)
    return found
