"""From the account's networks to what Linux should look like: pure, the same for the same input.

Only VPCs that hold a real machine are made. In a router's namespace all addresses are the VPC's own; what goes to or
comes from the host is translated at the edge link (`host` says what the other end looks like).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from twinplane.cloud.network.fabric import host, names, routing, tables
from twinplane.cloud.network.fabric.contract import HostSide, Interface, Peering, Services, Snapshot, Subnet
from twinplane.cloud.network.fabric.desired import Entry, Link, Network, Plan, address, neighbour
from twinplane.cloud.network.fabric.place import Held, Place
from twinplane.edge import Slice

PORT = "isolated on learning off flood off mcast_flood off bcast_flood off locked on"
"""A bridge port speaks to the router only, under its own hardware address only, and hears what is sent to it only."""

ROUTER_SETTINGS = {
    "ipv4/ip_forward": "1",
    # A router's packets are for sockets elsewhere: it need not look for one in each.
    "ipv4/ip_early_demux": "0",
    # They pass its rules when they are routed, not once more as frames of a bridge.
    "bridge/bridge-nf-call-iptables": "0",
    "ipv4/conf/all/rp_filter": "0",
    "ipv4/conf/default/rp_filter": "0",
    "ipv4/conf/all/send_redirects": "0",
    "ipv4/conf/default/send_redirects": "0",
    "ipv6/conf/all/disable_ipv6": "1",
    "ipv6/conf/default/disable_ipv6": "1",
}
BRIDGE_SETTINGS = {
    "ipv4/conf/{}/proxy_arp": "1",
    "ipv4/conf/{}/proxy_arp_pvlan": "1",
    "ipv4/conf/{}/send_redirects": "0",
    # The kernel waits up to 0.8 s before it answers for another, to let the other be first.
    "ipv4/neigh/{}/proxy_delay": "0",
}


def materialised(snapshot: Snapshot, machines: Collection[str]) -> list[tuple[str, str]]:
    """(VPC id, CIDR) of the VPCs that hold a machine: those that need a slice."""
    wanted = {interface.vpc_id for interface in snapshot.interfaces if interface.instance_id in machines}
    return [(vpc.id, cidr) for vpc in snapshot.vpcs if vpc.id in wanted for cidr in vpc.cidrs]


def plan(
    snapshot: Snapshot,
    machines: Collection[str],
    slices: Sequence[Slice],
    here: HostSide,
    prefix: str,
) -> Plan:
    """`prefix` is `contract.name_prefix` of the region."""
    places = _places(snapshot, machines, slices, here, prefix)
    routers = {place.namespace: _router(place, snapshot, here.services, places) for place in places.values()}
    instances = {
        interface.instance_id: prefix + interface.instance_id
        for place in places.values()
        for interface in place.machines
    }
    return Plan(routers, instances, host.network(list(places.values()), here, snapshot, prefix))


def _places(
    snapshot: Snapshot,
    machines: Collection[str],
    slices: Sequence[Slice],
    here: HostSide,
    prefix: str,
) -> dict[str, Place]:
    by_vpc: dict[str, list[Interface]] = {}
    for interface in snapshot.interfaces:
        by_vpc.setdefault(interface.vpc_id, []).append(interface)
    places: dict[str, Place] = {}
    for vpc in snapshot.vpcs:
        own = {str(found.cidr): found for found in slices if found.vpc_id == vpc.id}
        placed = tuple(own[cidr] for cidr in vpc.cidrs if cidr in own)
        interfaces = tuple(by_vpc.get(vpc.id, ()))
        attached = tuple(found for found in interfaces if found.instance_id in machines)
        if not attached or not placed:
            continue
        behind = {
            (address, port): target
            for (vpc_id, address, port), target in here.services.interfaces.items()
            if vpc_id == vpc.id
        }
        places[vpc.id] = Place(
            vpc.id,
            placed,
            prefix + vpc.id,
            names.host_link(prefix, placed[0]),
            {found.id: found for found in snapshot.subnets if found.vpc_id == vpc.id},
            interfaces,
            attached,
            Held(frozenset(held for vpc_id, held in here.announced if vpc_id == vpc.id), behind),
        )
    return places


def _router(place: Place, snapshot: Snapshot, services: Services, places: Mapping[str, Place]) -> Network:
    peers = [found for found in snapshot.peerings if {found.vpc_id, found.peer_vpc_id} <= places.keys()]
    own_peers = [found for found in peers if place.vpc_id in (found.vpc_id, found.peer_vpc_id)]
    links = [_edge_link(place)]
    links += [_bridge(subnet) for subnet in place.subnets.values()]
    links += [_port(place, interface) for interface in place.machines]
    links += [_peer_link(place, found, places) for found in own_peers]
    entries: set[Entry] = set(routing.entries(place, snapshot, services, own_peers))
    for subnet in place.subnets.values():
        length = subnet.cidr.partition("/")[2]
        entries.add(address(f"{place.gateway(subnet.id)}/{length}", names.bridge(subnet.id)))
    for interface in place.machines:
        device = names.bridge(interface.subnet_id)
        entries.update(neighbour(held, interface.mac, device) for held in interface.addresses)
    settings = dict(ROUTER_SETTINGS)
    for subnet in place.subnets.values():
        settings.update({path.format(names.bridge(subnet.id)): value for path, value in BRIDGE_SETTINGS.items()})
    members = [found for peer in own_peers for found in _other(peer, place.vpc_id, places).interfaces]
    return Network(
        {link.name: link for link in links},
        frozenset(entries),
        settings,
        tables.router(place, snapshot, services, members),
    )


def _other(peering: Peering, vpc_id: str, places: Mapping[str, Place]) -> Place:
    return places[peering.peer_vpc_id if peering.vpc_id == vpc_id else peering.vpc_id]


def _bridge(subnet: Subnet) -> Link:
    name = names.bridge(subnet.id)
    # A bridge without an address of its own takes that of a port, and changes it when the port goes.
    mac = names.hardware_address(subnet.id)
    lines = (f"link add {name} address {mac} mtu {names.MTU} type bridge", f"link set {name} up")
    return Link(name, subnet.id, lines)


def _edge_link(place: Place) -> Link:
    router, outside = names.hardware_address(place.namespace), names.hardware_address(place.link)
    pair = _pair((place.link, outside), (names.EDGE, router), place.namespace)
    return Link(names.EDGE, place.link, (f"link set {names.EDGE} up",), (None, (pair, f"link set {place.link} up")))


def _pair(near: tuple[str, str], far: tuple[str, str], namespace: str) -> str:
    """Two ends, each a name and a hardware address; the far one goes into another namespace."""
    (name, mac), (peer, peer_mac) = near, far
    return (
        f"link add {name} address {mac} mtu {names.MTU} type veth "
        f"peer name {peer} address {peer_mac} mtu {names.MTU} netns {namespace}"
    )


def _port(place: Place, interface: Interface) -> Link:
    """The instance's end is set up before the router's: an interface is on the network when it is complete."""
    name, device = names.port(interface.id), f"eth{interface.device_index}"
    namespace = place.namespace.removesuffix(place.vpc_id) + interface.instance_id
    length = place.subnets[interface.subnet_id].cidr.partition("/")[2]
    far = [
        _pair((device, interface.mac), (name, names.hardware_address(interface.id)), place.namespace),
        "link set lo up",
        f"link set {device} up",
    ]
    if interface.device_index == 0:
        far.append(f"addr add {interface.addresses[0]}/{length} brd + dev {device}")
        far.append(f"route add default via {place.gateway(interface.subnet_id)} dev {device}")
    bridge = names.bridge(interface.subnet_id)
    lines = (
        f"link set {name} master {bridge}",
        f"link set {name} type bridge_slave {PORT}",
        f"link set {name} up",
    )
    alias = f"{interface.id} {interface.instance_id} {device} {interface.mac} {interface.addresses[0]}"
    return Link(name, alias, lines, (namespace, tuple(far)), interface.mac)


def _peer_link(place: Place, peering: Peering, places: Mapping[str, Place]) -> Link:
    name = names.peer(peering.id)
    requester = places[peering.vpc_id].namespace
    made: tuple[str, ...] = ()
    if place.vpc_id == peering.peer_vpc_id:
        mac, other = (names.hardware_address(peering.id + vpc) for vpc in (peering.vpc_id, peering.peer_vpc_id))
        made = (_pair((name, mac), (name, other), place.namespace),)
    return Link(name, f"{peering.id} {place.vpc_id}", (f"link set {name} up",), (requester, made))
