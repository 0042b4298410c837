"""The host's end of the edges: links, routes to the slices, and the table `twinplane-REGIONID`. Pure.

The table hands the VPCs' service addresses to loopback ports, lets VPCs out by the host's own way (masquerading), and
keeps every other pair of networks apart: VPC from VPC, and the neighbours of the host from both.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address

from twinplane.cloud.network.fabric import names
from twinplane.cloud.network.fabric.contract import HostSide, Services, Snapshot
from twinplane.cloud.network.fabric.desired import Entry, Network, address, neighbour, route
from twinplane.cloud.network.fabric.nft import Elements, Table, set_of
from twinplane.cloud.network.fabric.place import Place
from twinplane.cloud.network.fabric.routing import RESOLVER
from twinplane.cloud.network.fabric.uplink import FORWARDING
from twinplane.edge import POOL

LINK_SETTINGS = {
    # Loopback services answer on this link, and only on this one.
    "ipv4/conf/{}/route_localnet": "1",
    "ipv4/conf/{}/forwarding": "1",
    "ipv4/conf/{}/rp_filter": "0",
    "ipv4/conf/{}/send_redirects": "0",
    "ipv6/conf/{}/disable_ipv6": "1",
}


def table_name(prefix: str) -> str:
    """`twinplane-REGIONID`, from `tp-REGIONID-`."""
    return f"twinplane-{prefix.split('-')[1]}"


def network(places: Sequence[Place], here: HostSide, snapshot: Snapshot, prefix: str) -> Network:
    entries: set[Entry] = set()
    settings: dict[str, str] = {}
    for place in places:
        entries.update(_entries(place))
        settings.update({path.format(place.link): value for path, value in LINK_SETTINGS.items()})
    if not places:
        return Network()
    if here.uplink.device and snapshot.internet_gateways:
        settings[FORWARDING.format(here.uplink.device)] = "1"
    return Network({}, frozenset(entries), settings, _table(places, here, snapshot, prefix))


def _entries(place: Place) -> Iterable[Entry]:
    first = place.slices[0]
    own, gateway = str(first.host[3]), str(first.host[1])
    yield address(f"{own}/32", place.link)
    yield neighbour(gateway, names.hardware_address(place.namespace), place.link)
    for item in place.slices:
        yield route(str(item.host), 0, device=place.link, via=gateway, source=own)
    for held in place.held.announced:
        translated = on_host(place, held)
        if translated:
            yield address(f"{translated}/32", place.link)


def on_host(place: Place, held: str) -> str:
    """The edge address of an address of the VPC; empty when it is not in one of its CIDRs."""
    wanted = IPv4Address(held)
    return next((str(item.to_host(wanted)) for item in place.slices if wanted in item.cidr), "")


def _table(places: Sequence[Place], here: HostSide, snapshot: Snapshot, prefix: str) -> Table:
    ours = f'"{prefix}*"'
    slices = [str(item.host) for place in places for item in place.slices]
    public = dict(_public(places, snapshot))
    flows = dict(_flows(places, here))
    switched = f'iifname "{here.uplink.device}" oifname != "tp-*" drop' if here.uplink.switched_on else ""
    return Table(
        table_name(prefix),
        {
            "services": Elements(
                "ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service",
                dict(_services(places, here.services)),
            ),
            "public": Elements("ipv4_addr : ipv4_addr", public),
            "private": Elements("ipv4_addr : ipv4_addr", {private: seen for seen, private in public.items()}),
            "slices": set_of("ipv4_addr", slices, interval=True),
            "flows": Elements(
                "ipv4_addr . inet_proto . inet_service : verdict",
                {key: f"jump {_chain(key, targets)}" for key, targets in flows.items()},
            ),
            "balancers": set_of("ipv4_addr", {key.split()[0] for key in flows}),
        },
        {
            **{_chain(key, targets): _spread(key, targets) for key, targets in flows.items()},
            "prerouting": (
                "type nat hook prerouting priority -105;",
                f"iifname {ours} ip daddr . meta l4proto . th dport vmap @flows",
                f"iifname {ours} dnat ip to ip daddr . meta l4proto . th dport map @services",
                f"iifname {ours} dnat ip to ip daddr map @public",
            ),
            "input": (
                "type filter hook input priority -5;",
                # Of the host itself a VPC reaches what listens for it, and what the host has asked for.
                f"iifname {ours} ct state new ip daddr 127.0.0.0/8 ct status & dnat == 0 drop",
            ),
            "forward": (
                "type filter hook forward priority -5;",
                f'iifname {ours} oifname "tp-*" ct status & dnat == 0 drop',
                f'iifname {ours} ip daddr {{ 127.0.0.0/8, 169.254.0.0/16, {POOL} }} oifname != "tp-*" drop',
                f'oifname {ours} iifname != "tp-*" ct state new drop',
                # Forwarding is on for the answers to VPCs only.
                switched,
            ),
            "postrouting": (
                "type nat hook postrouting priority 95;",
                f"iifname {ours} oifname {ours} ct original ip daddr @balancers snat ip to ct original ip daddr",
                'ip saddr @slices oifname "tp-*" ct status & dnat != 0 snat ip to ip saddr map @private',
                'ip saddr @slices oifname != "tp-*" oifname != "lo" masquerade',
            ),
        },
    )


def _flows(places: Sequence[Place], here: HostSide) -> Iterable[tuple[str, tuple[tuple[str, int], ...]]]:
    """Address . protocol . port of a load balancer on this host -> its targets."""
    by_vpc = {place.vpc_id: place for place in places}
    for (vpc_id, held, protocol, port), targets in sorted(here.flows.items()):
        place = by_vpc.get(vpc_id)
        translated = on_host(place, held) if place is not None and held in place.held.announced else ""
        if translated and targets:
            yield f"{translated} . {protocol} . {port}", targets


def _chain(key: str, targets: Sequence[tuple[str, int]]) -> str:
    """One chain for all flows of a protocol to the same targets."""
    content = f"{key.split()[2]} {targets}"
    return f"to-{hashlib.sha256(content.encode()).hexdigest()[:16]}"


def _spread(key: str, targets: Sequence[tuple[str, int]]) -> tuple[str, ...]:
    """As a network load balancer chooses: anew for each flow, so any choice will do."""
    listed = ", ".join(f"{number} : {address} . {port}" for number, (address, port) in enumerate(targets))
    return (f"meta l4proto {key.split()[2]} dnat ip to numgen random mod {len(targets)} map {{ {listed} }}",)


def _services(places: Sequence[Place], services: Services) -> Iterable[tuple[str, str]]:
    for (where, port), target in services.link_local.items():
        yield f"{where} . tcp . {port}", f"127.0.0.1 . {target}"
    resolvers = [on_host(place, place.resolver_address) for place in places]
    for where in (RESOLVER, *resolvers) if services.resolver is not None else ():
        yield from ((f"{where} . {protocol} . 53", f"127.0.0.1 . {services.resolver}") for protocol in ("tcp", "udp"))
    for place in places:
        for (held, port), target in place.held.services.items():
            translated = on_host(place, held)
            if translated:
                yield f"{translated} . tcp . {port}", f"127.0.0.1 . {target}"


def _public(places: Sequence[Place], snapshot: Snapshot) -> Iterable[tuple[str, str]]:
    """Public address -> edge address, of what the region itself reaches by it."""
    for place in places:
        for interface in place.machines:
            if interface.public_address:
                yield interface.public_address, on_host(place, interface.addresses[0])
        for gateway in snapshot.nat_gateways:
            if gateway.vpc_id == place.vpc_id and gateway.public_address:
                yield gateway.public_address, on_host(place, gateway.address)
