"""An account's networks as plain values: between the reader of API state, the planner and the loop.

Only IPv4: addresses and CIDRs are text, as the EC2 API writes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from twinplane.cloud.network.fabric.uplink import Uplink


@dataclass(frozen=True, slots=True)
class Vpc:
    id: str
    cidrs: tuple[str, ...]
    """The primary one first."""


@dataclass(frozen=True, slots=True)
class Subnet:
    id: str
    vpc_id: str
    cidr: str


@dataclass(frozen=True, slots=True)
class Interface:
    """A network interface (ENI), attached to an instance or not."""

    id: str
    vpc_id: str
    subnet_id: str
    mac: str
    addresses: tuple[str, ...]
    """The primary one first."""
    groups: tuple[str, ...] = ()
    """Ids of its security groups, sorted."""
    source_dest_check: bool = True
    instance_id: str = ""
    device_index: int = 0
    public_address: str = ""
    """Auto-assigned or elastic; of the primary address."""


@dataclass(frozen=True, slots=True)
class Route:
    destination: str
    """A CIDR."""
    target: str
    """Id of an internet gateway, NAT gateway, interface, instance or peering connection; anything else is a hole."""


@dataclass(frozen=True, slots=True)
class RouteTable:
    id: str
    vpc_id: str
    main: bool
    subnets: tuple[str, ...] = ()
    """Those explicitly associated; the others of the VPC use the main table."""
    routes: tuple[Route, ...] = ()
    """Without the local ones."""


@dataclass(frozen=True, slots=True)
class NatGateway:
    id: str
    vpc_id: str
    subnet_id: str
    address: str
    """Its private one."""
    public_address: str = ""
    """Empty for a private NAT gateway."""


@dataclass(frozen=True, slots=True)
class Permission:
    """One rule of a security group. `from_port` and `to_port` are type and code for ICMP; -1 is any."""

    protocol: str
    """tcp, udp, icmp, a number, or -1 for all."""
    from_port: int = -1
    to_port: int = -1
    cidr: str = ""
    group: str = ""
    prefix_list: str = ""


@dataclass(frozen=True, slots=True)
class SecurityGroup:
    id: str
    vpc_id: str
    ingress: tuple[Permission, ...] = ()
    egress: tuple[Permission, ...] = ()


@dataclass(frozen=True, slots=True)
class Peering:
    """An active peering connection; symmetric."""

    id: str
    vpc_id: str
    peer_vpc_id: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All of an account in a region at one moment."""

    vpcs: tuple[Vpc, ...] = ()
    subnets: tuple[Subnet, ...] = ()
    interfaces: tuple[Interface, ...] = ()
    route_tables: tuple[RouteTable, ...] = ()
    internet_gateways: Mapping[str, str] = field(default_factory=dict)
    """Id -> VPC that it is attached to."""
    nat_gateways: tuple[NatGateway, ...] = ()
    security_groups: tuple[SecurityGroup, ...] = ()
    prefix_lists: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    peerings: tuple[Peering, ...] = ()


@dataclass(frozen=True, slots=True)
class Services:
    """What of the host's loopback a VPC sees, and where. Ports are of 127.0.0.1."""

    link_local: Mapping[tuple[str, int], int] = field(default_factory=dict)
    """(address, TCP port) -> port: instance metadata, the AWS endpoint. The same in every VPC."""
    resolver: int | None = None
    """The VPC's DNS server, UDP and TCP: seen at 169.254.169.253:53 and at port 53 of the VPC's third address."""
    interfaces: Mapping[tuple[str, str, int], int] = field(default_factory=dict)
    """(VPC id, address of an interface, TCP port) -> port: API servers behind their cross-account interfaces."""


Flow = tuple[str, str, str, int]
"""VPC id, announced address, tcp or udp, port."""


@dataclass(frozen=True, slots=True)
class HostSide:
    """What the host itself has in the VPCs."""

    services: Services = Services()
    announced: frozenset[tuple[str, str]] = frozenset()
    """(VPC id, address) of interfaces whose edge address processes of the host bind to: load balancers."""
    uplink: Uplink = field(default_factory=Uplink)
    flows: Mapping[Flow, tuple[tuple[str, int], ...]] = field(default_factory=dict)
    """What of the announced addresses is handed on -> addresses and ports of this host, of which each new flow gets
    one."""
