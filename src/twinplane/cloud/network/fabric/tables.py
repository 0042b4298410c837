"""The router's nftables table: edge translation, source check, security groups, gateways. Pure.

Hooks in the order that a packet meets them: `edge_in` (before connection tracking: the router knows only the VPC's own
addresses), `source_check`, `forward`, `gateways` (NAT), `edge_out`. Addresses are in
sets and maps; chains depend on groups and their rules only.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from twinplane.cloud.network.fabric import names
from twinplane.cloud.network.fabric.contract import Interface, Services, Snapshot
from twinplane.cloud.network.fabric.nft import Elements, Table, set_of
from twinplane.cloud.network.fabric.place import Place
from twinplane.cloud.network.fabric.routing import INTERNET, RESOLVER
from twinplane.cloud.network.fabric.security import Rules
from twinplane.edge import Slice

NAME = "twinplane"


def router(place: Place, snapshot: Snapshot, services: Services, peers: Sequence[Interface]) -> Table:
    """`peers` are the interfaces of peered VPCs, whose groups the rules may name."""
    held = [found for found in place.interfaces if place.held.addresses.intersection(found.addresses)]
    real = [*place.machines, *(found for found in held if found not in place.machines)]
    # A network load balancer without security groups takes and sends everything.
    open_ones = [found for found in held if not found.groups]
    real = [found for found in real if found not in open_ones]
    rules = Rules({group.id: group for group in snapshot.security_groups}, snapshot.prefix_lists, real)
    gateways = sorted(found.address for found in snapshot.nat_gateways if found.vpc_id == place.vpc_id)
    sets = {
        "sources": set_of("ether_addr . ipv4_addr", _sources(place.machines)),
        "unchecked": set_of("ether_addr", (eni.mac for eni in place.machines if not eni.source_dest_check)),
        "services": set_of("ipv4_addr . inet_proto . inet_service", _services(place, services)),
        "public": set_of("ipv4_addr", (eni.addresses[0] for eni in place.machines if eni.public_address)),
        **rules.members([*place.interfaces, *peers]),
        "senders": _verdicts("out", real),
        "receivers": _verdicts("in", real, open_ones),
    }
    return Table(NAME, sets, _chains(place, rules, gateways))


def _chains(place: Place, rules: Rules, gateways: Sequence[str]) -> dict[str, tuple[str, ...]]:
    return {
        "edge_in": (
            "type filter hook prerouting priority -310;",
            *(line for item in place.slices for line in _translation("iifname", item, to_host=False)),
        ),
        "source_check": (
            "type filter hook prerouting priority -305;",
            'iifname "sub-*" ether saddr . ip saddr != @sources ether saddr != @unchecked drop',
        ),
        **rules.rendered(),
        "forward": _forward(place, gateways),
        "gateways": (
            "type nat hook postrouting priority 100;",
            *(f'oifname "{names.EDGE}" rt ip nexthop {address} snat to {address}' for address in gateways),
        ),
        "edge_out": (
            "type filter hook postrouting priority 200;",
            *(line for item in place.slices for line in _translation("oifname", item, to_host=True)),
        ),
    }


def _forward(place: Place, gateways: Sequence[str]) -> tuple[str, ...]:
    return (
        "type filter hook forward priority 0; policy drop;",
        "ct state established,related accept",
        "ct state invalid drop",
        # Instance metadata and the VPC's resolver are not subject to security groups.
        "ip daddr . meta l4proto . th dport @services accept",
        f'iifname "{names.EDGE}" ip saddr {place.host_address} accept',
        "ip saddr vmap @senders",
        "ip daddr vmap @receivers",
        'oifname "pcx-*" accept',
        f'oifname "{names.EDGE}" rt ip nexthop {INTERNET} ip saddr @public accept',
        *(f'oifname "{names.EDGE}" rt ip nexthop {address} accept' for address in gateways),
    )


def _translation(link: str, item: Slice, *, to_host: bool) -> Iterable[str]:
    """Prefix to prefix, without state: the bits of the host part stay."""
    old, new = (item.cidr, item.host) if to_host else (item.host, item.cidr)
    for field in ("saddr", "daddr"):
        yield (
            f'{link} "{names.EDGE}" ip {field} {old} ip {field} set ip {field} & {old.hostmask} | {new.network_address}'
        )


def _sources(machines: Iterable[Interface]) -> Iterable[str]:
    return (f"{interface.mac} . {address}" for interface in machines for address in interface.addresses)


def _services(place: Place, services: Services) -> Iterable[str]:
    for address, port in services.link_local:
        yield f"{address} . tcp . {port}"
    if services.resolver is not None:
        for address in (RESOLVER, place.resolver_address):
            yield from (f"{address} . {protocol} . 53" for protocol in ("tcp", "udp"))


def _verdicts(direction: str, interfaces: Iterable[Interface], accepting: Iterable[Interface] = ()) -> Elements:
    found = {
        address: f"jump {names.chain(direction, interface.groups)}"
        for interface in interfaces
        for address in interface.addresses
    }
    found |= {address: "accept" for interface in accepting for address in interface.addresses}
    return Elements("ipv4_addr : verdict", found)
