"""All devices of a cluster, which of them are taken, and the claims that take them. Part of a snapshot's surroundings.

What the scheduler has decided is taken at once (`assume`); it stands until the claim's own status says the same, or
until the decision is taken back.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import NamedTuple

from twinplane.controlplane.scheduler.devices.facts import Device, DeviceClaim, DeviceId, Json, devices_of
from twinplane.controlplane.scheduler.node import NodeFacts
from twinplane.kubeclient import quantity


class DevicePlan(NamedTuple):
    """What must be written before a pod may be bound: claims with their allocation, claims to be reserved."""

    node: str
    claims: tuple[str, ...]
    """Keys of all claims that the pod uses."""
    allocations: Mapping[str, Json]
    """Those of them that are allocated by this decision."""


@dataclass
class Pool:
    """The slices of one pool that have its latest generation."""

    devices: list[Device] = field(default_factory=list)
    counters: dict[tuple[str, str], Fraction] = field(default_factory=dict)
    """(counter set, counter) -> how much there is for all devices together."""
    generation: int = -1
    slices: int = 0
    expected: int = 0

    @property
    def complete(self) -> bool:
        return self.slices == self.expected

    def add(self, spec: Json) -> None:
        generation = spec["pool"].get("generation") or 0
        if generation < self.generation:
            return
        if generation > self.generation:
            # Everything of older generations is void.
            self.devices, self.counters, self.generation, self.slices = [], {}, generation, 0
        self.slices += 1
        self.expected = spec["pool"].get("resourceSliceCount") or 0
        self.devices += devices_of(spec)
        for entry in spec.get("sharedCounters") or ():
            for name, counter in entry["counters"].items():
                self.counters[entry["name"], name] = Fraction(quantity.parse(str(counter["value"])))


@dataclass
class Inventory:
    claims: dict[str, DeviceClaim] = field(default_factory=dict)
    classes: dict[str, Json] = field(default_factory=dict)
    """Name -> spec."""
    slices: dict[str, Json] = field(default_factory=dict)
    """Name -> spec."""
    _assumed: dict[str, Json] = field(default_factory=dict)
    _taken: Counter[DeviceId] = field(default_factory=Counter)
    _pools: dict[tuple[str, str], Pool] | None = None

    def set_claim(self, key: str, claim: DeviceClaim | None) -> bool:
        """None for one that is gone, here and below. True when it made a difference."""
        old = self.claims.get(key)
        if old == claim:
            return False
        if claim is None or claim.allocation is not None:
            self._forget(key)
        if old is not None:
            self._hold(old.allocation, -1)
        if claim is None:
            self.claims.pop(key, None)
        else:
            self.claims[key] = claim
            self._hold(claim.allocation, 1)
        return True

    def set_class(self, name: str, spec: Json | None) -> bool:
        return _replace(self.classes, name, spec)

    def set_slice(self, name: str, spec: Json | None) -> bool:
        changed = _replace(self.slices, name, spec)
        if changed:
            self._pools = None
        return changed

    def assume(self, plan: DevicePlan) -> None:
        for key, allocation in plan.allocations.items():
            self._assumed[key] = allocation
            self._hold(allocation, 1)

    def forget(self, plan: DevicePlan) -> None:
        """The decision is taken back; what has been written of it stands."""
        for key in plan.allocations:
            self._forget(key)

    def _forget(self, key: str) -> None:
        self._hold(self._assumed.pop(key, None), -1)

    def _hold(self, allocation: Json | None, sign: int) -> None:
        for result in ((allocation or {}).get("devices") or {}).get("results") or ():
            if not result.get("adminAccess"):
                self._taken[result["driver"], result["pool"], result["device"]] += sign

    def copy(self) -> Inventory:
        """For what-if questions: assumptions made on it are its own, facts are shared and must be left alone."""
        return Inventory(self.claims, self.classes, self.slices, dict(self._assumed), Counter(self._taken), self._pools)

    # Reading ----------------------------------------------------------------------------------------------------

    def is_assumed(self, key: str) -> bool:
        return key in self._assumed

    def is_taken(self, device: DeviceId) -> bool:
        return self._taken[device] > 0

    def reaching(self, facts: NodeFacts) -> Iterator[tuple[Pool, list[Device]]]:
        """Pools with devices that can be used on the node, and these."""
        for _, pool in sorted(self.pools().items()):
            devices = [device for device in pool.devices if device.reach.covers(facts)]
            if devices:
                yield pool, devices

    def pools(self) -> dict[tuple[str, str], Pool]:
        if self._pools is None:
            pools: dict[tuple[str, str], Pool] = defaultdict(Pool)
            for _, spec in sorted(self.slices.items()):
                pools[spec["driver"], spec["pool"]["name"]].add(spec)
            self._pools = dict(pools)
        return self._pools

    def device(self, id: DeviceId) -> Device | None:
        pool = self.pools().get(id[:2])
        return next((device for device in pool.devices if device.id == id), None) if pool is not None else None

    def counters_left(self, pool: Pool) -> dict[tuple[str, str], Fraction]:
        left = dict(pool.counters)
        for device in pool.devices:
            if device.consumes and self.is_taken(device.id):
                consume(left, device, -1)
        return left


def consume(left: dict[tuple[str, str], Fraction], device: Device, sign: int) -> None:
    for counter_set, name, amount in device.consumes:
        at = counter_set, name
        left[at] = left.get(at, Fraction(0)) + sign * Fraction(quantity.parse(amount))


def _replace(table: dict[str, Json], key: str, entry: Json | None) -> bool:
    if table.get(key) == entry:
        return False
    if entry is None:
        del table[key]
    else:
        table[key] = entry
    return True
