"""The node's addresses, and what to ask EC2 for: the decisions of ipamd, without its doings.

`Pool` is bookkeeping (which interface holds which address for whom); `plan` compares it with the warm targets and the
limits of the instance type. Whoever carries a step out records its result here, and plans again until nothing is left.
Rules: amazon-vpc-cni-k8s pkg/ipamd (`datastoreTargetState`, `isDatastorePoolTooLow`, `GetRemovableENI`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import chain

from twinplane.dataplane.network.cni.settings import Settings

INTERFACE_LIFE_SECONDS = 60.0
"""An interface is not given back sooner than this after it was attached."""
KEPT_SECONDS = 300.0
"""How long the address of a pod whose node restarted is kept for the pod."""


@dataclass(frozen=True, slots=True)
class Limits:
    interfaces: int
    per_interface: int
    """Addresses of one interface, its primary one included."""
    max_pods: int

    @property
    def secondary(self) -> int:
        return self.per_interface - 1


@dataclass(frozen=True, slots=True)
class Owner:
    """A pod's sandbox. `ports` are its host ports: (protocol, host IP or empty, host port, port)."""

    container: str
    namespace: str
    pod: str
    veth: str
    mac: str
    ports: tuple[tuple[str, str, int, int], ...] = ()


@dataclass(slots=True)
class Interface:
    id: str
    device: int
    mac: str
    primary: str
    attachment: str = ""
    attached_at: float = 0.0
    addresses: dict[str, Owner | None] = field(default_factory=dict)
    """The secondary ones."""


@dataclass(frozen=True, slots=True)
class Assign:
    interface: str
    count: int


@dataclass(frozen=True, slots=True)
class Attach:
    device: int
    count: int


@dataclass(frozen=True, slots=True)
class Unassign:
    interface: str
    addresses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Detach:
    interface: str


Step = Assign | Attach | Unassign | Detach


@dataclass(slots=True)
class Pool:
    interfaces: dict[str, Interface] = field(default_factory=dict)
    cooling: dict[str, float] = field(default_factory=dict)
    """Address -> when it may be used again."""
    kept: dict[str, tuple[str, float]] = field(default_factory=dict)
    """Address -> the veth of the pod that had it before the node restarted, and until when it is kept for that one: so
    what the cluster knows of its endpoints stays true, also while there is no control plane that could be told."""
    waiting: int = 0
    """Pods that found no address."""

    def find(self, address: str) -> Interface | None:
        return next((item for item in self.interfaces.values() if address in item.addresses), None)

    def owned(self) -> dict[str, Owner]:
        return {
            address: owner
            for item in self.interfaces.values()
            for address, owner in item.addresses.items()
            if owner is not None
        }

    def of(self, container: str) -> tuple[str, Owner] | None:
        return next((entry for entry in self.owned().items() if entry[1].container == container), None)

    @property
    def total(self) -> int:
        return sum(len(item.addresses) for item in self.interfaces.values())

    def keep(self, address: str, owner: Owner, until: float) -> None:
        """Free at once, for the same pod first."""
        self.release(address, 0.0)
        self.cooling.pop(address, None)
        self.kept[address] = (owner.veth, until)

    def thaw(self, now: float) -> None:
        for address in [address for address, (_, until) in self.kept.items() if until <= now]:
            del self.kept[address]
        for address in [address for address, until in self.cooling.items() if until <= now]:
            del self.cooling[address]

    def free(self, interface: Interface) -> list[str]:
        taken = self.cooling.keys() | self.kept.keys()
        return [address for address, owner in interface.addresses.items() if owner is None and address not in taken]

    def take(self, owner: Owner) -> tuple[str, Interface] | None:
        """The one that it had before the node restarted; else from the first interface that has one, as ipamd does, so
        that later ones fall empty. What is kept for others is the last resort."""
        interfaces = sorted(self.interfaces.values(), key=lambda item: item.device)
        own = [address for address, (veth, _) in self.kept.items() if veth == owner.veth]
        free = (address for item in interfaces for address in self.free(item))
        for address in chain(own, free, list(self.kept)):
            interface = self.find(address)
            if interface is not None:
                self.kept.pop(address, None)
                interface.addresses[address] = owner
                return address, interface
        return None

    def release(self, address: str, until: float) -> Owner | None:
        """Free after a cool-down that ends at `until`."""
        item = self.find(address)
        owner = item.addresses[address] if item is not None else None
        if item is not None and owner is not None:
            item.addresses[address] = None
            self.cooling[address] = until
        return owner

    def learn(self, interface: Interface) -> None:
        """What EC2 says: new addresses come, and those that no pod has may go."""
        known = self.interfaces.get(interface.id)
        if known is None:
            self.interfaces[interface.id] = interface
            return
        known.device, known.attachment = interface.device, interface.attachment or known.attachment
        for address in interface.addresses.keys() - known.addresses.keys():
            known.addresses[address] = None
        for address in known.addresses.keys() - interface.addresses.keys():
            if known.addresses[address] is None:
                self.drop(known, (address,))

    def drop(self, interface: Interface, addresses: tuple[str, ...]) -> None:
        for address in addresses:
            interface.addresses.pop(address, None)
            self.cooling.pop(address, None)
            self.kept.pop(address, None)


def plan(pool: Pool, settings: Settings, limits: Limits, now: float) -> Step | None:
    """The next step, or None when all is as it should be."""
    used = len(pool.owned()) + len(pool.kept)
    wanted = _wanted(pool, settings, limits, used)
    if wanted > pool.total:
        return _grow(pool, settings, limits, wanted - pool.total)
    return _shrink(pool, settings, limits, used, now)


def _wanted(pool: Pool, settings: Settings, limits: Limits, used: int) -> int:
    """How many addresses there should be at least, cooling ones apart from what pods wait for."""
    if settings.by_addresses:
        wanted = max(used + (settings.warm_ip_target or 0), settings.minimum_ip_target or 0)
    else:
        wanted = used + limits.secondary * settings.warm_eni_target
    needed = used + pool.waiting + len(pool.cooling) if pool.waiting else 0
    return min(max(wanted, needed), max(limits.max_pods, used + pool.waiting))


def _interfaces_max(settings: Settings, limits: Limits) -> int:
    return min(limits.interfaces, settings.max_eni or limits.interfaces)


def _grow(pool: Pool, settings: Settings, limits: Limits, short: int) -> Step | None:
    for item in sorted(pool.interfaces.values(), key=lambda item: item.device):
        room = limits.secondary - len(item.addresses)
        if room > 0:
            return Assign(item.id, min(short, room) if settings.by_addresses else room)
    if len(pool.interfaces) >= _interfaces_max(settings, limits):
        return None
    devices = {item.device for item in pool.interfaces.values()}
    device = next(number for number in range(limits.interfaces) if number not in devices)
    return Attach(device, min(short, limits.secondary) if settings.by_addresses else limits.secondary)


def _shrink(pool: Pool, settings: Settings, limits: Limits, used: int, now: float) -> Step | None:
    if pool.waiting:
        return None
    if settings.by_addresses:
        keep = max(used + (settings.warm_ip_target or 0), settings.minimum_ip_target or 0)
        over = max(pool.total - keep, 0)
    else:
        too_high = pool.total - used >= limits.secondary * (settings.warm_eni_target + 1)
        over = limits.secondary if too_high else 0
    if not over:
        return None
    for item in sorted(pool.interfaces.values(), key=lambda item: -item.device):
        free = pool.free(item)
        empty = len(free) == len(item.addresses)
        if item.device and empty and len(free) <= over and item.attached_at + INTERFACE_LIFE_SECONDS <= now:
            return Detach(item.id)
        if settings.by_addresses and free:
            return Unassign(item.id, tuple(free[-over:]))
    return None
