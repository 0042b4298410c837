"""One VPC that is made: what the planner's parts (`routing`, `tables`, `host`) know of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network

from twinplane.cloud.network.fabric.contract import Interface, Peering, Subnet
from twinplane.edge import Slice


@dataclass(frozen=True, slots=True)
class Held:
    """What of a VPC the host itself has: interfaces of load balancers, and those in front of loopback services."""

    announced: frozenset[str] = frozenset()
    services: Mapping[tuple[str, int], int] = field(default_factory=dict)

    @property
    def addresses(self) -> frozenset[str]:
        return self.announced | {address for address, _ in self.services}


@dataclass(frozen=True, slots=True)
class Place:
    """One VPC that is made, with everything that is in it."""

    vpc_id: str
    slices: tuple[Slice, ...]
    """Of the primary CIDR first."""
    namespace: str
    link: str
    """The host's end of the edge."""
    subnets: Mapping[str, Subnet]
    interfaces: tuple[Interface, ...]
    machines: tuple[Interface, ...]
    """Those that are attached to a real machine."""
    held: Held
    peerings: tuple[Peering, ...] = ()

    @property
    def host_address(self) -> str:
        """Whoever on the host has no address of its own in the VPC: the third that EC2 reserves, "for future use"."""
        return str(self.slices[0].cidr[3])

    @property
    def resolver_address(self) -> str:
        return str(self.slices[0].cidr[2])

    def gateway(self, subnet_id: str) -> str:
        return str(IPv4Network(self.subnets[subnet_id].cidr)[1])
