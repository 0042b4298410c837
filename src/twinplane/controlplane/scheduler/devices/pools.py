"""Devices as their drivers publish them: ResourceSlices of a pool's latest generation, with the taints of rules.

Everything is worked out from the slices when it is first asked for, and kept until a slice or rule changes; what a
node sees of it is kept for the node. Most pools belong to one node, so others are not looked at for it.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from typing import NamedTuple

from twinplane.controlplane.scheduler.devices.facts import Device, Json, Reach, devices_of, reach_of
from twinplane.controlplane.scheduler.node import NodeFacts
from twinplane.kubeclient import quantity

PoolId = tuple[str, str]
"""Driver, name."""


class Slice(NamedTuple):
    reach: Reach
    """Empty when each device has its own."""
    devices: list[Device]


@dataclass
class Pool:
    """The slices of one pool that have its latest generation."""

    id: PoolId
    slices: list[Slice] = field(default_factory=list)
    counters: dict[tuple[str, str], Fraction] = field(default_factory=dict)
    """(counter set, counter) -> how much there is for all devices together."""
    generation: int = -1
    expected: int = 0
    _sets: list[str] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        return len(self.slices) == self.expected

    @property
    def devices(self) -> list[Device]:
        return [device for part in self.slices for device in part.devices]

    def add(self, spec: Json, devices: list[Device]) -> None:
        generation = spec["pool"].get("generation") or 0
        if generation < self.generation:
            return
        if generation > self.generation:
            # Everything of older generations is void.
            self.slices, self.counters, self._sets, self.generation = [], {}, [], generation
        self.expected = spec["pool"].get("resourceSliceCount") or 0
        reach = Reach() if spec.get("perDeviceNodeSelection") else reach_of(spec)
        shared = spec.get("sharedCounters") or ()
        if shared and not reach.node:
            # Wherever the devices are, the counters are needed.
            reach = Reach(everywhere=True)
        self.slices.append(Slice(reach, devices))
        for entry in shared:
            self._sets.append(entry["name"])
            for name, counter in entry["counters"].items():
                self.counters[entry["name"], name] = Fraction(quantity.parse(str(counter.get("value") or "0")))

    @cached_property
    def contradicts_itself(self) -> bool:
        """Counter sets with the same name, or devices that consume counters which are not there."""
        if len(set(self._sets)) < len(self._sets):
            return True
        return any((group, name) not in self.counters for device in self.devices for group, name, _ in device.consumes)


class Nearby(NamedTuple):
    """What a node sees of a pool."""

    pool: Pool
    devices: list[Device]
    complete: bool
    valid: bool


@dataclass
class Pools:
    _specs: dict[str, Json] = field(default_factory=dict)
    """Name of a slice -> its spec; likewise of rules."""
    _rules: dict[str, Json] = field(default_factory=dict)
    _devices: dict[str, list[Device]] = field(default_factory=dict)
    _everywhere: list[Pool] | None = None
    """Pools that are not one node's alone; None: to be worked out anew."""
    _of_nodes: dict[str, list[Pool]] = field(default_factory=dict)
    _near: dict[str, tuple[NodeFacts, list[Nearby]]] = field(default_factory=dict)

    def set_slice(self, name: str, spec: Json | None) -> bool:
        if spec is not None and not (spec.get("pool") or {}).get("name"):
            # From before the API server looked at slices.
            spec = None
        if self._specs.get(name) == spec:
            return False
        if spec is None:
            del self._specs[name]
        else:
            self._specs[name] = spec
        self._devices.pop(name, None)
        self._everywhere = None
        return True

    def set_rule(self, name: str, spec: Json | None) -> bool:
        if self._rules.get(name) == spec:
            return False
        if spec is None:
            del self._rules[name]
        else:
            self._rules[name] = spec
        self._devices.clear()
        self._everywhere = None
        return True

    def near(self, facts: NodeFacts) -> list[Nearby]:
        """In the order in which they are tried: by driver and pool, those with binding conditions last."""
        everywhere = self._build() if self._everywhere is None else self._everywhere
        known = self._near.get(facts.name)
        if known is not None and known[0] is facts:
            return known[1]
        pools = sorted([*everywhere, *self._of_nodes.get(facts.name, ())], key=lambda pool: pool.id)
        seen = [found for pool in pools if (found := _seen_from(pool, facts)) is not None]
        seen.sort(key=lambda found: any(device.binding.get("bindingConditions") for device in found.devices))
        self._near[facts.name] = facts, seen
        return seen

    def _build(self) -> list[Pool]:
        pools: dict[PoolId, Pool] = {}
        for name, spec in sorted(self._specs.items()):
            devices = self._devices.get(name)
            if devices is None:
                devices = self._devices[name] = devices_of(spec, self._rules.values())
            key = spec["driver"], spec["pool"]["name"]
            pools.setdefault(key, Pool(key)).add(spec, devices)
        of_nodes: defaultdict[str, list[Pool]] = defaultdict(list)
        self._everywhere = []
        for pool in pools.values():
            nodes = {part.reach.node for part in pool.slices}
            if "" in nodes:
                self._everywhere.append(pool)
            else:
                for node in nodes:
                    of_nodes[node].append(pool)
        self._of_nodes = of_nodes
        self._near.clear()
        return self._everywhere


def _seen_from(pool: Pool, facts: NodeFacts) -> Nearby | None:
    """None when the pool has nothing to do with the node."""
    devices = [device for part in pool.slices for device in part.devices if device.reach.covers(facts)]
    if not devices and not any(part.reach.covers(facts) for part in pool.slices):
        return None
    names = [device.id for device in devices]
    complete = pool.complete
    valid = not complete or (len(set(names)) == len(names) and not pool.contradicts_itself)
    return Nearby(pool, devices, complete, valid)
