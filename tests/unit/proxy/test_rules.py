"""kube-proxy's rules against a naive reading of the API: what may become of a packet, whatever Services there are."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.proxy.kernel import Kernel, Outcome, Packet
from twinplane.dataplane.network.nftables import transaction
from twinplane.dataplane.network.proxy.endpoints import Place, choose
from twinplane.dataplane.network.proxy.objects import Endpoint, Port, Service, Slice
from twinplane.dataplane.network.proxy.rules import TABLE, ServiceRules, build, frame, shared_chain, stable
from twinplane.dataplane.network.proxy.table import Table

PLACE = Place("here", "zone-a")
NODE = "10.0.0.1"
CIDR = "10.100.0.0/16"
CLIENT = "192.0.2.7"
SOURCES = (CLIENT, "198.51.100.7", NODE)


class Proxy:
    """The table kept as `KubeProxy` keeps it, and the kernel beside it."""

    def __init__(self) -> None:
        self.kernel = Kernel()
        self.table = Table(frame([NODE], CIDR))
        self.sync({})

    def sync(self, world: dict[str, tuple[Service, list[Slice]] | None]) -> str:
        built: dict[str, ServiceRules | None] = {}
        for key, entry in world.items():
            built[key] = None if entry is None else rules_of(*entry, self.table)
        change, again = self.table.update(built)
        self.kernel.apply(change)
        if again:
            self.sync({key: world.get(key) for key in again})
        return transaction(TABLE, change)


def rules_of(service: Service, slices: list[Slice], table: Table) -> ServiceRules:
    chosen = {port: choose(service, port, slices, PLACE) for port in service.ports}
    here = [item.address for part in slices for item in part.endpoints if item.node == PLACE.node]
    return build(service, chosen, here, table.orders(service.key))


# -- the naive reading ---------------------------------------------------------------------------------------------


def naive(service: Service, slices: list[Slice], packet: Packet) -> set[Outcome]:
    for port in service.ports:
        if port.protocol != packet.protocol:
            continue
        if packet.destination == service.cluster_ip and packet.port == port.port:
            return reached(service, port, slices, packet, external=False)
        if packet.destination in service.ingress_ips and packet.port == port.port and service.source_ranges:
            allowed = packet.source.startswith("192.0.2.") or packet.source in service.ingress_ips
            if not allowed:
                return {Outcome("drop")}
        if packet.destination in (*service.external_ips, *service.ingress_ips) and packet.port == port.port:
            return reached(service, port, slices, packet, external=True)
        if packet.destination == NODE and port.node_port and packet.port == port.node_port:
            return reached(service, port, slices, packet, external=True)
    if packet.destination == service.cluster_ip:
        return {Outcome("reject")}
    return {Outcome("drop")} if packet.destination.startswith("10.100.") else {Outcome("pass")}


def reached(service: Service, port: Port, slices: list[Slice], packet: Packet, *, external: bool) -> set[Outcome]:
    every = [
        (f"{item.address} . {entry.port}", item)
        for part in slices
        for entry in part.ports
        if (entry.name, entry.protocol) == (port.name, port.protocol)
        for item in part.endpoints
    ]
    usable = [item for _, item in every if item.ready or (item.serving and item.terminating)]
    if not usable:
        return {Outcome("reject")}
    local = service.external_local if external else service.internal_local
    short_cut = external and local and packet.from_node
    pool = [entry for entry in every if entry[1].node == "here"] if local and not short_cut else every
    picked = [entry for entry in pool if entry[1].ready]
    if pool is every and picked:
        for hint, mine in (("nodes", "here"), ("zones", "zone-a")):
            hinted = all(getattr(item, hint) for _, item in picked)
            near = [entry for entry in picked if mine in getattr(entry[1], hint)]
            if hinted and near:
                picked = near
                break
    if not picked:
        picked = [entry for entry in pool if entry[1].serving and entry[1].terminating]
    if not picked:
        return {Outcome("drop")}
    masquerade = external and (not local or short_cut)
    return {Outcome("dnat", target, masquerade) for target, _ in picked}


# -- any world -----------------------------------------------------------------------------------------------------

conditions = st.sampled_from([(True, True, False), (False, True, True), (False, False, True), (False, False, False)])


@st.composite
def slices_of(draw: st.DrawFn, key: str) -> list[Slice]:
    count = draw(st.integers(0, 6))
    hinted = draw(st.sampled_from(["", "zones", "nodes", "some"]))
    endpoints = []
    for number in range(count):
        ready, serving, terminating = draw(conditions)
        hints = hinted if hinted != "some" else draw(st.sampled_from(["", "zones", "nodes"]))
        zones = (draw(st.sampled_from(["zone-a", "zone-b"])),) if hints == "zones" else ()
        nodes = (draw(st.sampled_from(["here", "there"])),) if hints == "nodes" else ()
        node = draw(st.sampled_from(["here", "there"]))
        endpoints.append(Endpoint(f"10.0.1.{number}", node, ready, serving, terminating, zones, nodes))
    cut = draw(st.integers(0, count))
    ports = (Port("http", "tcp", 8080), Port("dns", "udp", 5353))
    return [Slice(key, ports, tuple(endpoints[:cut])), Slice(key, ports, tuple(endpoints[cut:]))]


@st.composite
def services(draw: st.DrawFn, number: int) -> Service:
    kind = draw(st.sampled_from(["cluster", "nodeport", "balancer", "external"]))
    node_ports = kind in ("nodeport", "balancer")
    ports = (
        Port("http", "tcp", 80, 30000 + 2 * number if node_ports else 0),
        Port("dns", "udp", 53, 30001 + 2 * number if node_ports else 0),
    )
    return Service(
        "default",
        f"s{number}",
        f"10.100.0.{number + 1}",
        ports[: draw(st.integers(1, 2))],
        (f"203.0.113.{number}",) if kind == "external" else (),
        (f"203.0.113.{number + 100}",) if kind == "balancer" else (),
        draw(st.sampled_from([(), ("192.0.2.0/24",)])) if kind == "balancer" else (),
        draw(st.booleans()),
        draw(st.booleans()) if kind != "cluster" else False,
        draw(st.sampled_from([0, 0, 10])),
    )


Entry = tuple[Service, list[Slice]]


@st.composite
def worlds(draw: st.DrawFn) -> dict[str, Entry | None]:
    made: dict[str, Entry | None] = {}
    for number in draw(st.sets(st.integers(0, 2), min_size=1)):
        service = draw(services(number))
        made[service.key] = (service, draw(slices_of(service.key))) if draw(st.integers(0, 5)) else None
    return made


@settings(deadline=None, max_examples=50)
@given(st.lists(worlds(), min_size=1, max_size=4))
def test_packets_fare_as_the_api_says(steps: list[dict[str, Entry | None]]) -> None:
    proxy = Proxy()
    world: dict[str, Entry | None] = {}
    for step in steps:
        proxy.sync(step)
        world |= step
    for entry in world.values():
        if entry is None:
            continue
        service, slices = entry
        for packet in packets(service):
            assert proxy.kernel.outcomes(packet) == naive(service, slices, packet), packet
    fresh = Proxy()
    fresh.sync({key: entry for key, entry in world.items() if entry is not None})
    shared = {name for name in proxy.kernel.chains if name.count("-") == 2 and name.rpartition("-")[2].isdecimal()}
    assert proxy.kernel.chains.keys() - shared == fresh.kernel.chains.keys() - shared
    assert proxy.kernel.sets.keys() == fresh.kernel.sets.keys()
    for name, item in fresh.kernel.sets.items():
        mine = proxy.kernel.sets[name].elements
        assert mine.keys() == item.elements.keys()
        if "endpoints" not in name:
            assert mine == item.elements


def packets(service: Service) -> list[Packet]:
    found = []
    for port in service.ports:
        for source in SOURCES:
            addresses = (service.cluster_ip, *service.external_ips, *service.ingress_ips)
            found += [Packet(source, address, port.protocol, port.port, source == NODE) for address in addresses]
            if port.node_port:
                found.append(Packet(source, NODE, port.protocol, port.node_port, source == NODE))
    return [*found, Packet(CLIENT, service.cluster_ip, "tcp", 81), Packet(CLIENT, "10.100.99.99", "tcp", 80)]


@given(st.lists(st.integers(0, 12), unique=True), st.lists(st.integers(0, 12), unique=True))
def test_numbering_moves_as_few_as_can_be(before: list[int], after: list[int]) -> None:
    had, wanted = tuple(map(str, before)), tuple(map(str, after))
    order = stable(had, wanted)
    assert sorted(order) == sorted(wanted)
    moved = sum(1 for place, item in enumerate(had) if item in wanted and order.index(item) != place)
    assert moved <= max(0, len(had) - len(wanted))


def simple(count: int) -> Entry:
    service = Service("default", "web", "10.100.0.1", (Port("http", "tcp", 80),))
    endpoints = tuple(Endpoint(f"10.0.1.{number}", "there") for number in range(count))
    return service, [Slice(service.key, (Port("http", "tcp", 8080),), endpoints)]


def test_one_more_endpoint_is_a_few_lines() -> None:
    proxy = Proxy()
    proxy.sync({"default/web": simple(50)})
    proxy.sync({"default/other": None})
    lines = proxy.sync({"default/web": simple(51)}).splitlines()
    assert sorted(lines) == [
        "add chain ip kube-proxy cluster-tcp-51",
        "add element ip kube-proxy service-ips { 10.100.0.1 . tcp . 80 : goto cluster-tcp-51 }",
        "add element ip kube-proxy tcp-endpoints { 10.100.0.1 . 80 . 50 : 10.0.1.50 . 8080 }",
        f"add rule ip kube-proxy cluster-tcp-51 {shared_chain('cluster-tcp-51').rules[0]}",
        "delete element ip kube-proxy service-ips { 10.100.0.1 . tcp . 80 }",
    ]


def test_two_services_with_one_external_address() -> None:
    def claiming(name: str, number: int) -> Entry:
        service = Service("default", name, f"10.100.0.{number}", (Port("http", "tcp", 80),), ("203.0.113.9",))
        return service, [Slice(service.key, (Port("http", "tcp", 80),), (Endpoint(f"10.0.1.{number}", "there"),))]

    proxy = Proxy()
    proxy.sync({"default/one": claiming("one", 1)})
    proxy.sync({"default/two": claiming("two", 2)})
    packet = Packet(CLIENT, "203.0.113.9", "tcp", 80)
    assert proxy.kernel.outcomes(packet) == {Outcome("dnat", "10.0.1.1 . 80", True)}
    change, again = proxy.table.update({"default/one": None})
    proxy.kernel.apply(change)
    assert again == {"default/two"}
    proxy.sync({"default/two": claiming("two", 2)})
    assert proxy.kernel.outcomes(packet) == {Outcome("dnat", "10.0.1.2 . 80", True)}
