"""An account's networks made by hand: `Account` builds snapshots for the fabric's tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Network
from typing import Any

from twinplane.cloud.contract import ChangeListener, Instance
from twinplane.cloud.network.fabric.contract import (
    Interface,
    NatGateway,
    Peering,
    Permission,
    Route,
    RouteTable,
    SecurityGroup,
    Snapshot,
    Subnet,
    Vpc,
)

ANYWHERE = Permission("-1", cidr="0.0.0.0/0")


class Account:
    """Also a `CloudState`, as far as the fabric uses one: `change` tells the listeners."""

    def __init__(self) -> None:
        self.snapshot = Snapshot()
        self._listeners: list[ChangeListener] = []
        self._numbers = 0

    def subscribe(self, listener: ChangeListener) -> None:
        self._listeners.append(listener)

    def instances(self, cluster: str = "") -> list[Instance]:
        return []

    def instance_by_address(self, vpc_id: str, address: str) -> Instance | None:
        return None

    async def read(self) -> Snapshot:
        return self.snapshot

    def change(self, edit: Callable[[Snapshot], Snapshot]) -> None:
        self.snapshot = edit(self.snapshot)
        for listener in self._listeners:
            listener("ec2")

    def _id(self, kind: str) -> str:
        self._numbers += 1
        return f"{kind}-{self._numbers:017x}"

    def vpc(self, cidr: str, subnets: int = 1) -> str:
        """A VPC with /24 subnets, a main route table and a group `sg-VPC` whose members speak with one another."""
        vpc_id = self._id("vpc")
        blocks = list(IPv4Network(cidr).subnets(new_prefix=24))[:subnets]
        made = tuple(Subnet(self._id("subnet"), vpc_id, str(block)) for block in blocks)
        table = RouteTable(self._id("rtb"), vpc_id, main=True)
        group = SecurityGroup(f"sg-{vpc_id}", vpc_id, (Permission("-1", group=f"sg-{vpc_id}"),), (ANYWHERE,))
        self.change(
            lambda old: replace(
                old,
                vpcs=(*old.vpcs, Vpc(vpc_id, (cidr,))),
                subnets=(*old.subnets, *made),
                route_tables=(*old.route_tables, table),
                security_groups=(*old.security_groups, group),
            )
        )
        return vpc_id

    def group(self, vpc_id: str, *ingress: Permission, egress: tuple[Permission, ...] = (ANYWHERE,)) -> str:
        made = SecurityGroup(self._id("sg"), vpc_id, ingress, egress)
        self.change(lambda old: replace(old, security_groups=(*old.security_groups, made)))
        return made.id

    def permit(self, group_id: str, *ingress: Permission) -> None:
        """Make these a group's rules for incoming packets."""
        self.change(
            lambda old: replace(
                old,
                security_groups=tuple(
                    replace(found, ingress=ingress) if found.id == group_id else found for found in old.security_groups
                ),
            )
        )

    def subnets(self, vpc_id: str) -> list[Subnet]:
        return [found for found in self.snapshot.subnets if found.vpc_id == vpc_id]

    def interface(
        self,
        vpc_id: str,
        *host: int,
        subnet: int = 0,
        groups: tuple[str, ...] = (),
        instance: str | None = None,
        **others: Any,
    ) -> Interface:
        """With the addresses of these host numbers. A new instance's, unless one is named."""
        where = self.subnets(vpc_id)[subnet]
        number = self._numbers + 1
        made = Interface(
            id=self._id("eni"),
            vpc_id=vpc_id,
            subnet_id=where.id,
            mac=f"02:00:00:00:{number >> 8:02x}:{number & 255:02x}",
            addresses=tuple(str(IPv4Network(where.cidr)[item]) for item in host),
            groups=groups or (f"sg-{vpc_id}",),
            instance_id=self._id("i") if instance is None else instance,
        )
        made = replace(made, **others)
        self.change(lambda old: replace(old, interfaces=(*old.interfaces, made)))
        return made

    def edit_interface(self, interface: Interface, **changes: Any) -> Interface:
        changed = replace(interface, **changes)
        self.change(
            lambda old: replace(
                old, interfaces=tuple(changed if found.id == interface.id else found for found in old.interfaces)
            )
        )
        return changed

    def drop_interface(self, interface: Interface) -> None:
        self.change(
            lambda old: replace(old, interfaces=tuple(found for found in old.interfaces if found.id != interface.id))
        )

    def route(self, vpc_id: str, *routes: Route) -> None:
        """Make these the routes of the main table."""
        self.change(
            lambda old: replace(
                old,
                route_tables=tuple(
                    replace(found, routes=routes) if found.vpc_id == vpc_id and found.main else found
                    for found in old.route_tables
                ),
            )
        )

    def machines(self) -> set[str]:
        return {found.instance_id for found in self.snapshot.interfaces if found.instance_id}

    def internet(self, vpc_id: str) -> None:
        """An internet gateway, and the main table's default route to it."""
        gateway = self._id("igw")
        self.change(lambda old: replace(old, internet_gateways={**old.internet_gateways, gateway: vpc_id}))
        self.route(vpc_id, Route("0.0.0.0/0", gateway))

    def nat(self, vpc_id: str, subnet: int, public: str = "54.214.9.9") -> None:
        """A NAT gateway in the first subnet, and a table of another one that leads to it."""
        home, behind = self.subnets(vpc_id)[0], self.subnets(vpc_id)[subnet]
        address = str(IPv4Network(home.cidr)[200])
        made = NatGateway(self._id("nat"), vpc_id, home.id, address, public)
        table = RouteTable(
            self._id("rtb"), vpc_id, main=False, subnets=(behind.id,), routes=(Route("0.0.0.0/0", made.id),)
        )
        self.change(
            lambda old: replace(
                old,
                nat_gateways=(made,),
                route_tables=(*(found for found in old.route_tables if behind.id not in found.subnets), table),
            )
        )

    def peering(self, vpc_id: str, other: str) -> str:
        made = Peering(self._id("pcx"), vpc_id, other)
        self.change(lambda old: replace(old, peerings=(*old.peerings, made)))
        return made.id
