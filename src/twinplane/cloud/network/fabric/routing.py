"""Route tables as the kernel's: one table for each, chosen by the bridge that a packet came in from.

Table `LOCAL` comes first and holds what no route table decides: the VPC's own addresses, those that the host holds, and
the link-local services. Every way out has a next hop of its own, made up, over the same edge link; `tables` tells
them apart by it (`rt ip nexthop`): an internet gateway needs a public address, a NAT gateway is the next hop's address.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Network

from twinplane.cloud.network.fabric import names
from twinplane.cloud.network.fabric.contract import NatGateway, Peering, Route, RouteTable, Services, Snapshot
from twinplane.cloud.network.fabric.desired import Entry, neighbour, route, rule
from twinplane.cloud.network.fabric.place import Place
from twinplane.edge import POOL

LOCAL = 100
HOST = "169.254.0.1"
INTERNET = "169.254.0.2"
PEER = "169.254.0.3"
RESOLVER = "169.254.169.253"
LINK_LOCAL = "169.254.0.0/16"


def entries(place: Place, snapshot: Snapshot, services: Services, peerings: Sequence[Peering]) -> Iterable[Entry]:
    yield from _local(place, services)
    outside = names.hardware_address(place.link)
    gateways = [found for found in snapshot.nat_gateways if found.vpc_id == place.vpc_id]
    for address in (HOST, INTERNET, *(found.address for found in gateways)):
        yield neighbour(address, outside, names.EDGE)
    for peering in peerings:
        other = peering.peer_vpc_id if peering.vpc_id == place.vpc_id else peering.vpc_id
        yield neighbour(PEER, names.hardware_address(peering.id + other), names.peer(peering.id))
    tables = [found for found in snapshot.route_tables if found.vpc_id == place.vpc_id]
    resolved = Targets(place, snapshot, tables, gateways, peerings)
    for table in tables:
        yield from resolved.table(table)
    yield rule(100, LOCAL)
    for subnet_id in place.subnets:
        used = of_subnet(tables, subnet_id)
        if used is not None:
            yield rule(200, names.table_number(used.id), names.bridge(subnet_id))


def _local(place: Place, services: Services) -> Iterable[Entry]:
    for subnet in place.subnets.values():
        yield route(subnet.cidr, LOCAL, device=names.bridge(subnet.id))
    # What a VPC does not hold is nowhere, never outside; neither are the slices of other VPCs.
    subnets = {subnet.cidr for subnet in place.subnets.values()}
    for hole in (*(str(held.cidr) for held in place.slices), str(POOL), LINK_LOCAL):
        if hole not in subnets:
            yield route(hole, LOCAL)
    to_host = {address for address, _ in services.link_local} | place.held.addresses | {place.host_address}
    if services.resolver is not None:
        to_host |= {RESOLVER, place.resolver_address}
    for address in to_host:
        yield route(address, LOCAL, device=names.EDGE, via=HOST)


def of_subnet(tables: Sequence[RouteTable], subnet_id: str) -> RouteTable | None:
    explicit = next((found for found in tables if subnet_id in found.subnets), None)
    return explicit or next((found for found in tables if found.main), None)


class Targets:
    """Where the routes of one VPC's tables lead; a black hole when nothing takes the packets."""

    def __init__(
        self,
        place: Place,
        snapshot: Snapshot,
        tables: Sequence[RouteTable],
        gateways: Sequence[NatGateway],
        peerings: Sequence[Peering],
    ) -> None:
        self._place = place
        self._tables = tables
        self._internet = {gateway for gateway, vpc in snapshot.internet_gateways.items() if vpc == place.vpc_id}
        self._gateways = {found.id: found for found in gateways}
        self._peerings = {found.id: found for found in peerings}
        # An interface takes what is not addressed to it only without its source/destination check.
        self._interfaces = {
            key: found
            for found in place.machines
            if not found.source_dest_check
            for key in ((found.id, found.instance_id) if found.device_index == 0 else (found.id,))
        }

    def table(self, table: RouteTable) -> Iterable[Entry]:
        number = names.table_number(table.id)
        found = {item.destination: self._route(item, number) for item in table.routes if ":" not in item.destination}
        return found.values()

    def _route(self, item: Route, number: int) -> Entry:
        target = item.target
        if target in self._internet:
            return route(item.destination, number, device=names.EDGE, via=INTERNET)
        if target in self._gateways and self._leads_out(self._gateways[target], item.destination):
            return route(item.destination, number, device=names.EDGE, via=self._gateways[target].address)
        if target in self._interfaces:
            taker = self._interfaces[target]
            return route(item.destination, number, device=names.bridge(taker.subnet_id), via=taker.addresses[0])
        if target in self._peerings:
            return route(item.destination, number, device=names.peer(target), via=PEER)
        return route(item.destination, number)

    def _leads_out(self, gateway: NatGateway, destination: str) -> bool:
        """A NAT gateway sends on by the route table of its own subnet, and needs an elastic IP for the internet."""
        table = of_subnet(self._tables, gateway.subnet_id)
        if table is None or not gateway.public_address:
            return False
        wanted = IPv4Network(destination)
        matching = [
            (IPv4Network(item.destination).prefixlen, item.target)
            for item in table.routes
            if ":" not in item.destination and wanted.subnet_of(IPv4Network(item.destination))
        ]
        return bool(matching) and max(matching)[1] in self._internet
