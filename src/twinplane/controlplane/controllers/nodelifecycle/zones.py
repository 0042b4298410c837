"""How fast nodes of a zone may be evicted: slowly, and not at all when the control plane itself may be cut off. Pure.

A zone that lost most of its nodes at once more likely lost its network. As upstream's `ComputeZoneState` and
`handleDisruption` (pkg/controller/nodelifecycle).
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Rates:
    """The controller manager's flags, with its defaults."""

    eviction: float = 0.1
    """Nodes a second and zone."""
    secondary: float = 0.01
    """The same in a zone that is partly disrupted, and large."""
    large_zone: int = 50
    """More nodes than this."""
    unhealthy_part: float = 0.55


DEFAULT_RATES = Rates()


@dataclass
class Zone:
    nodes: set[str] = field(default_factory=set)
    not_ready: set[str] = field(default_factory=set)
    next_at: float = 0.0
    """Seconds since the epoch from which the next node may be tainted."""
    excluded: set[str] = field(default_factory=set)
    """Nodes that say nothing about the zone, ready or not."""

    @property
    def not_ready_and_counted(self) -> set[str]:
        return self.not_ready - self.excluded if self.excluded else self.not_ready

    @property
    def fully_disrupted(self) -> bool:
        count = len(self.not_ready_and_counted) if self.not_ready else 0
        return count > 0 and count == self.size

    @property
    def size(self) -> int:
        return len(self.nodes) - len(self.excluded)

    def rate(self, rates: Rates) -> float:
        """Evictions a second, while other zones are well."""
        count = len(self.not_ready_and_counted) if self.not_ready else 0
        if count <= 2 or count == self.size or count / self.size < rates.unhealthy_part:
            return rates.eviction
        return rates.secondary if self.size > rates.large_zone else 0.0


class Zones:
    def __init__(self, rates: Rates = DEFAULT_RATES) -> None:
        self._rates = rates
        self._zones: dict[str, Zone] = {}
        self._zone_of: dict[str, str] = {}

    def put(self, node: str, zone: str, *, ready: bool, counted: bool = True) -> None:
        """`counted` is false for a node that is left out when a zone's health is judged."""
        if self._zone_of.get(node, zone) != zone:
            self.remove(node)
        self._zone_of[node] = zone
        entry = self._zones.setdefault(zone, Zone())
        entry.nodes.add(node)
        if ready:
            entry.not_ready.discard(node)
        else:
            entry.not_ready.add(node)
        if counted:
            entry.excluded.discard(node)
        else:
            entry.excluded.add(node)

    def remove(self, node: str) -> None:
        name = self._zone_of.pop(node, None)
        if name is None:
            return
        zone = self._zones[name]
        zone.nodes.discard(node)
        zone.not_ready.discard(node)
        zone.excluded.discard(node)
        if not zone.nodes:
            del self._zones[name]

    @property
    def all_disrupted(self) -> bool:
        """No node anywhere is ready: then nobody is evicted."""
        judged = [zone for zone in self._zones.values() if zone.size]
        return bool(judged) and all(zone.fully_disrupted for zone in judged)

    @property
    def not_ready(self) -> list[str]:
        return [node for zone in self._zones.values() for node in sorted(zone.not_ready)]

    def state(self) -> tuple[bool, tuple[float, ...]]:
        """Changes when waiting nodes have to be looked at again."""
        return self.all_disrupted, tuple(zone.rate(self._rates) for zone in self._zones.values())

    def wait(self, node: str, now: float) -> float | None:
        """Take the turn to evict a node: 0 if it is now, seconds until then, None while none may be evicted."""
        zone = self._zones[self._zone_of[node]]
        rate = 0.0 if self.all_disrupted else zone.rate(self._rates)
        if rate == 0.0:
            return None
        # The rate may have risen since the last turn was taken.
        zone.next_at = min(zone.next_at, now + 1 / rate)
        if now < zone.next_at:
            return zone.next_at - now
        zone.next_at = now + 1 / rate
        return 0.0
