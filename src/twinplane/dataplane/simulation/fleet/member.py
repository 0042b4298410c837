"""A node of a fleet, as the node code sees it: an instance that no account has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network

from twinplane.dataplane.simulation.fleet.failures import NodeFacts
from twinplane.dataplane.simulation.fleet.spec import GROUP_LABEL, LABEL, FleetSpec, NodeGroup
from twinplane.dataplane.simulation.instances import Instance
from twinplane.dataplane.userdata import NodeSettings

PROVIDER = "twinplane:///"
"""Not `aws://`: the cloud controller leaves such nodes alone."""


class AddressRange:
    """The addresses of a fleet, handed out in a circle: one that was given back rests for as long as possible."""

    def __init__(self, network: IPv4Network | None) -> None:
        """None for one that has none."""
        self.network = network
        self._first = int(network.network_address) + 1 if network is not None else 0
        self._size = max(network.num_addresses - 2, 0) if network is not None else 0
        self._next = 0
        self._taken: set[int] = set()

    def claim(self, address: str) -> None:
        """It was in use before this process started."""
        number = int(IPv4Address(address)) - self._first
        if 0 <= number < self._size:
            self._taken.add(number)
            self._next = max(self._next, number + 1)

    def take(self) -> str | None:
        if len(self._taken) >= self._size:
            return None
        number = self._next % self._size
        while number in self._taken:
            number = (number + 1) % self._size
        self._taken.add(number)
        self._next = number + 1
        return str(IPv4Address(self._first + number))

    def give_back(self, address: str) -> None:
        self._taken.discard(int(IPv4Address(address)) - self._first)

    def __contains__(self, address: str) -> bool:
        return self.network is not None and IPv4Address(address) in self.network


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetInstance(Instance):
    """`instance_id` is FLEET/GROUP-n."""

    fleet: str
    group: str
    settings: NodeSettings
    capacity: Mapping[str, str]
    annotations: Mapping[str, str]
    volumes: int | None
    """EBS volumes that it may have; None for what the instance type allows."""
    addresses: AddressRange = field(compare=False)

    @property
    def facts(self) -> NodeFacts:
        return NodeFacts(self.private_dns_name, self.fleet, self.group, self.availability_zone)


def member_name(fleet: str, group: str, number: int) -> str:
    return f"{fleet}-{group}-{number}"


def member(spec: FleetSpec, group: NodeGroup, number: int, address: str, addresses: AddressRange) -> FleetInstance:
    labels = {**group.labels, LABEL: spec.name, GROUP_LABEL: group.name}
    return FleetInstance(
        instance_id=f"{spec.name}/{group.name}-{number}",
        state="running",
        instance_type=group.instance_type,
        image_id="",
        private_ip=address,
        private_dns_name=member_name(spec.name, group.name, number),
        vpc_id=f"fleet/{spec.name}",
        subnet_id="",
        availability_zone=group.zones[number % len(group.zones)],
        network_interface_id="",
        fleet=spec.name,
        group=group.name,
        settings=NodeSettings(group.pods_per_node, labels, group.taints),
        capacity=group.capacity,
        annotations=group.annotations,
        volumes=group.volumes_per_node,
        addresses=addresses,
    )
