"""How fast nodes of a zone may be evicted: slowly, and not at all when the control plane itself may be cut off. Pure.

A zone that lost most of its nodes at once more likely lost its network. As upstream's `ComputeZoneState` and
`handleDisruption` (pkg/controller/nodelifecycle).
"""

from __future__ import annotations

from dataclasses import dataclass, field

EVICTION_RATE = 0.1
"""Nodes a second and zone."""
SECONDARY_RATE = 0.01
LARGE_ZONE = 50
UNHEALTHY_PART = 0.55


@dataclass
class Zone:
    nodes: set[str] = field(default_factory=set)
    not_ready: set[str] = field(default_factory=set)
    next_at: float = 0.0
    """Seconds since the epoch from which the next node may be tainted."""

    @property
    def fully_disrupted(self) -> bool:
        return bool(self.not_ready) and self.not_ready >= self.nodes

    @property
    def rate(self) -> float:
        """Evictions a second, while other zones are well."""
        count = len(self.not_ready)
        if self.fully_disrupted or count <= 2 or count / len(self.nodes) < UNHEALTHY_PART:
            return EVICTION_RATE
        return SECONDARY_RATE if len(self.nodes) > LARGE_ZONE else 0.0


class Zones:
    def __init__(self) -> None:
        self._zones: dict[str, Zone] = {}
        self._zone_of: dict[str, str] = {}

    def put(self, node: str, zone: str, *, ready: bool) -> None:
        if self._zone_of.get(node, zone) != zone:
            self.remove(node)
        self._zone_of[node] = zone
        entry = self._zones.setdefault(zone, Zone())
        entry.nodes.add(node)
        if ready:
            entry.not_ready.discard(node)
        else:
            entry.not_ready.add(node)

    def remove(self, node: str) -> None:
        name = self._zone_of.pop(node, None)
        if name is None:
            return
        zone = self._zones[name]
        zone.nodes.discard(node)
        zone.not_ready.discard(node)
        if not zone.nodes:
            del self._zones[name]

    @property
    def all_disrupted(self) -> bool:
        """No node anywhere is ready: then nobody is evicted."""
        return bool(self._zones) and all(zone.fully_disrupted for zone in self._zones.values())

    @property
    def not_ready(self) -> list[str]:
        return [node for zone in self._zones.values() for node in sorted(zone.not_ready)]

    def state(self) -> tuple[bool, tuple[float, ...]]:
        """Changes when waiting nodes have to be looked at again."""
        return self.all_disrupted, tuple(zone.rate for zone in self._zones.values())

    def wait(self, node: str, now: float) -> float | None:
        """Take the turn to evict a node: 0 if it is now, seconds until then, None while none may be evicted."""
        zone = self._zones[self._zone_of[node]]
        rate = 0.0 if self.all_disrupted else zone.rate
        if rate == 0.0:
            return None
        # The rate may have risen since the last turn was taken.
        zone.next_at = min(zone.next_at, now + 1 / rate)
        if now < zone.next_at:
            return zone.next_at - now
        zone.next_at = now + 1 / rate
        return 0.0
