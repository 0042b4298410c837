"""From one Service and its endpoints to what the table `ip kube-proxy` holds for it: pure.

Plain Services have no chains of their own. A verdict map sends ADDRESS . PROTOCOL . PORT to a chain shared by all with
as many endpoints (`cluster-tcp-3`: draw one of three), and that chain finds the endpoint in one big map by the same key
and the number drawn. So a change of one endpoint is a change of two map elements, and 10,000 Services are two maps.
Only session affinity and externalTrafficPolicy Local need chains. Semantics: upstream's pkg/proxy/nftables.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, collapse_addresses

from twinplane.dataplane.network.nftables import Chain, Ruleset, Set
from twinplane.dataplane.network.proxy.endpoints import Chosen
from twinplane.dataplane.network.proxy.objects import Port, Service

TABLE = "ip kube-proxy"
MASQUERADE = "meta mark set meta mark or 0x4000"

SERVICE_IPS, NODE_PORTS = "service-ips", "service-nodeports"
ENDPOINTS, NODE_PORT_ENDPOINTS = "endpoints", "nodeport-endpoints"
NO_ENDPOINTS, NO_NODE_PORT_ENDPOINTS = "no-endpoint-services", "no-endpoint-nodeports"
FIREWALL, CLUSTER_IPS, HAIRPINS, NODE_IPS = "firewall-ips", "cluster-ips", "hairpins", "nodeport-ips"

PROTOCOLS = ("tcp", "udp", "sctp")
REJECT, DROP = "goto reject-chain", "drop"
AFFINITY_MAX = 65_536

Orders = dict[tuple[str, str, str], tuple[str, ...]]


@dataclass(slots=True)
class ServiceRules:
    """Content of the table on behalf of one Service."""

    elements: dict[tuple[str, str], str] = field(default_factory=dict)
    """(set or map, key) -> value."""
    external: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    """Elements by ADDRESS . PROTOCOL . PORT of addresses that nobody guards: two Services may claim them."""
    chains: dict[str, Chain] = field(default_factory=dict)
    sets: dict[str, Set] = field(default_factory=dict)
    shared: set[str] = field(default_factory=set)
    """Chains of `shared_chain` that are used."""
    hairpins: set[str] = field(default_factory=set)
    orders: Orders = field(default_factory=dict)
    """How the endpoints were numbered, so that the next change moves few."""


def shared_chain(name: str) -> Chain:
    """`cluster-PROTOCOL-N`, `external-PROTOCOL-N` and `nodeport-PROTOCOL-N`: draw one of N endpoints."""
    kind, protocol, count = name.split("-")
    key, where = (f"{protocol} dport", NODE_PORT_ENDPOINTS) if kind == "nodeport" else (
        f"ip daddr . {protocol} dport", ENDPOINTS
    )  # fmt: skip
    draw = f"dnat ip to {key} . numgen random mod {count} map @{protocol}-{where}"
    return Chain(
        (f"meta l4proto {protocol} {draw}",) if kind == "cluster" else (MASQUERADE, f"meta l4proto {protocol} {draw}")
    )


def frame(node_ips: Iterable[str], service_cidr: str) -> Ruleset:
    """The table without any Service."""
    service = "ip daddr . meta l4proto . th dport"
    node_port = "meta l4proto . th dport"
    unserved = (
        f"ct state new {service} vmap @{NO_ENDPOINTS}",
        f"ct state new ip daddr @{NODE_IPS} {node_port} vmap @{NO_NODE_PORT_ENDPOINTS}",
        f"ct state new ip daddr @{CLUSTER_IPS} reject",
        *((f"ct state new ip daddr {service_cidr} drop",) if service_cidr else ()),
    )
    services = (f"{service} vmap @{SERVICE_IPS}", f"ip daddr @{NODE_IPS} {node_port} vmap @{NODE_PORTS}")
    firewall = (f"ct state new {service} vmap @{FIREWALL}",)
    masquerade = (
        "meta mark and 0x4000 == 0x4000 meta mark set meta mark and 0xffffbfff masquerade fully-random",
        f"ct status dnat ip saddr . ip daddr @{HAIRPINS} masquerade fully-random",
    )
    jump = ("jump services",)
    return Ruleset(
        {
            "reject-chain": Chain(("reject",)),
            "services": Chain(services),
            "filter-prerouting-pre-dnat": Chain(firewall, "type filter hook prerouting priority -110"),
            "filter-output-pre-dnat": Chain(firewall, "type filter hook output priority -110"),
            "nat-prerouting": Chain(jump, "type nat hook prerouting priority -100"),
            "nat-output": Chain(jump, "type nat hook output priority -100"),
            "filter-input": Chain(unserved, "type filter hook input priority 0"),
            "filter-forward": Chain(unserved, "type filter hook forward priority 0"),
            "filter-output": Chain(unserved, "type filter hook output priority 0"),
            "nat-postrouting": Chain(masquerade, "type nat hook postrouting priority 100"),
        },
        _sets() | {NODE_IPS: Set("type ipv4_addr", "set", dict.fromkeys(node_ips, ""))},
    )


def _sets() -> dict[str, Set]:
    by_address, by_port = "type ipv4_addr . inet_proto . inet_service", "type inet_proto . inet_service"
    drawing: dict[str, Set] = {}
    for protocol in PROTOCOLS:
        # One map each: with `th dport` nft cannot read back what it declared, with `tcp dport` it looks for TCP.
        number = f"{protocol} dport . numgen random mod 65536 : ip daddr . {protocol} dport"
        drawing[f"{protocol}-{ENDPOINTS}"] = Set(f"typeof ip daddr . {number}", "map")
        drawing[f"{protocol}-{NODE_PORT_ENDPOINTS}"] = Set(f"typeof {number}", "map")
    return drawing | {
        SERVICE_IPS: Set(f"{by_address} : verdict", "map"),
        NODE_PORTS: Set(f"{by_port} : verdict", "map"),
        NO_ENDPOINTS: Set(f"{by_address} : verdict", "map"),
        NO_NODE_PORT_ENDPOINTS: Set(f"{by_port} : verdict", "map"),
        FIREWALL: Set(f"{by_address} : verdict", "map"),
        CLUSTER_IPS: Set("type ipv4_addr"),
        HAIRPINS: Set("type ipv4_addr . ipv4_addr"),
    }


def build(service: Service, chosen: Mapping[Port, Chosen], local: Iterable[str], before: Orders) -> ServiceRules:
    """`local` are addresses of endpoints on this node; `before` is `orders` of the Service's former rules."""
    made = ServiceRules(hairpins={f"{address} . {address}" for address in local})
    made.elements[CLUSTER_IPS, service.cluster_ip] = ""
    for port in service.ports:
        _Port(made, service, port, chosen[port], before).build()
    return made


class _Port:
    """One port of a Service being built."""

    def __init__(self, made: ServiceRules, service: Service, port: Port, chosen: Chosen, before: Orders) -> None:
        self._made = made
        self._service = service
        self._port = port
        self._chosen = chosen
        self._before = before
        self._internal = chosen.local if service.internal_local else chosen.cluster
        self._external = chosen.local if service.external_local else chosen.cluster
        identity = f"{service.key}/{port.protocol}/{port.name}/{service.affinity_seconds}"
        self._hash = hashlib.sha256(identity.encode()).hexdigest()[:16]

    def build(self) -> None:
        port = self._port
        key = f"{port.protocol} . {port.port}"
        self._frontend(f"{self._service.cluster_ip} . {key}", "cluster", self._internal)
        for address in (*self._service.external_ips, *self._service.ingress_ips):
            if address != self._service.cluster_ip:
                self._frontend(f"{address} . {key}", "external", self._external)
        if port.node_port:
            self._frontend(f"{port.protocol} . {port.node_port}", "nodeport", self._external)
        if self._service.source_ranges:
            self._firewall(key)

    def _frontend(self, key: str, kind: str, targets: tuple[str, ...]) -> None:
        """`kind` is cluster, external or nodeport."""
        verdicts, endpoints, unserved = (
            (NODE_PORTS, NODE_PORT_ENDPOINTS, NO_NODE_PORT_ENDPOINTS)
            if kind == "nodeport"
            else (SERVICE_IPS, ENDPOINTS, NO_ENDPOINTS)
        )
        if not targets:
            self._element(unserved, key, key, DROP if self._chosen.any else REJECT, kind)
        if kind != "cluster" and self._service.external_local and self._chosen.cluster:
            self._element(verdicts, key, key, f"goto {self._local_policy_chain()}", kind)
        elif targets and self._service.affinity_seconds:
            chain = self._drawing_chain("cluster" if targets is self._chosen.cluster else "local", targets)
            if kind != "cluster":
                chain = self._chain("external", (MASQUERADE, f"goto {chain}"))
            self._element(verdicts, key, key, f"goto {chain}", kind)
        elif targets:
            name = f"{kind}-{self._port.protocol}-{len(targets)}"
            place = key.replace(f"{self._port.protocol} . ", "")
            self._made.shared.add(name)
            self._element(verdicts, key, key, f"goto {name}", kind)
            for number, target in enumerate(self._ordered(key, kind, targets)):
                self._element(f"{self._port.protocol}-{endpoints}", key, f"{place} . {number}", target, kind)

    def _element(self, name: str, front: str, key: str, value: str, kind: str) -> None:
        place = (name, key)
        self._made.elements[place] = value
        if kind == "external":
            self._made.external.setdefault(front, []).append(place)

    def _ordered(self, key: str, kind: str, targets: tuple[str, ...]) -> tuple[str, ...]:
        place = (kind, key, "")
        order = self._made.orders[place] = stable(self._before.get(place, ()), targets)
        return order

    def _chain(self, kind: str, rules: tuple[str, ...]) -> str:
        name = f"{kind}-{self._hash}"
        self._made.chains[name] = Chain(rules)
        return name

    def _local_policy_chain(self) -> str:
        """From the node itself any endpoint will do, as through the cluster IP; from elsewhere only local ones."""
        everywhere = self._drawing_chain("cluster", self._chosen.cluster)
        rules = [f"fib saddr type local {MASQUERADE} goto {everywhere}"]
        if self._chosen.local:
            rules.append(f"goto {self._drawing_chain('local', self._chosen.local)}")
        return self._chain("external", tuple(rules))

    def _drawing_chain(self, kind: str, targets: tuple[str, ...]) -> str:
        """Draws one of `targets`, or takes the one that the client had before."""
        if not self._service.affinity_seconds:
            choices = ", ".join(f"{number} : {target}" for number, target in enumerate(targets))
            draw = f"numgen random mod {len(targets)} map {{ {choices} }}"
            return self._chain(kind, (f"meta l4proto {self._port.protocol} dnat ip to {draw}",))
        names = [self._affine(target) for target in targets]
        remembered = [f"ip saddr @affinity-{name} goto endpoint-{name}" for name in names]
        choices = ", ".join(f"{number} : goto endpoint-{name}" for number, name in enumerate(names))
        return self._chain(kind, (*remembered, f"numgen random mod {len(names)} vmap {{ {choices} }}"))

    def _affine(self, target: str) -> str:
        """An endpoint with a set of its clients: the name that both go by."""
        name = f"{self._hash}-{target.replace(' . ', '-').replace('.', '-')}"
        affinity = f"type ipv4_addr; size {AFFINITY_MAX}; flags dynamic,timeout; timeout"
        self._made.sets[f"affinity-{name}"] = Set(f"{affinity} {self._service.affinity_seconds}s")
        address, _, number = target.partition(" . ")
        self._made.chains[f"endpoint-{name}"] = Chain(
            (
                f"update @affinity-{name} {{ ip saddr }}",
                f"meta l4proto {self._port.protocol} dnat ip to {address}:{number}",
            )
        )
        return name

    def _firewall(self, key: str) -> None:
        """Only what comes for the load balancer's address is looked at; itself it may pass, for clients behind it."""
        passing = [IPv4Network(text) for text in (*self._service.source_ranges, *self._service.ingress_ips)]
        ranges = ", ".join(str(network) for network in collapse_addresses(passing))
        for address in self._service.ingress_ips:
            chain = self._chain("firewall", (f"ip saddr != {{ {ranges} }} drop",))
            front = f"{address} . {key}"
            self._element(FIREWALL, front, front, f"goto {chain}", "external")


def stable(before: tuple[str, ...], wanted: tuple[str, ...]) -> tuple[str, ...]:
    """`wanted` in an order that leaves as many in their former places as can be."""
    new = [target for target in wanted if target not in before]
    kept = set(wanted)
    order: list[str | None] = [target if target in kept else None for target in before]
    for place, target in enumerate(order):
        if target is None and new:
            order[place] = new.pop(0)
    while None in order:
        last = order.pop()
        if last is not None:
            order[order.index(None)] = last
    return (*(target for target in order if target is not None), *new)
