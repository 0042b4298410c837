"""Security groups as compiled mean what the EC2 user guide says: held against an evaluator that knows no shortcuts."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from hypothesis import given
from hypothesis import strategies as st

from twinplane.cloud.network.fabric import names
from twinplane.cloud.network.fabric.contract import Interface, Permission, SecurityGroup
from twinplane.cloud.network.fabric.security import Clause, Rules, Traffic, clauses

GROUPS = ("sg-a", "sg-b", "sg-c")
ADDRESSES = tuple(f"10.0.0.{number}" for number in range(1, 7))
PREFIX_LISTS = {"pl-1": ("10.0.0.0/30", "192.0.2.0/24"), "pl-2": ()}


@dataclass(frozen=True)
class Packet:
    sender: str
    receiver: str
    protocol: int
    first: int
    """Destination port, or ICMP type."""
    second: int = 0
    """ICMP code."""


ports = st.sampled_from([(80, 80), (0, 65535), (79, 81), (-1, -1), (443, 500)])
icmp = st.sampled_from([(-1, -1), (8, 0), (8, -1), (3, 4)])
peers = st.one_of(
    st.fixed_dictionaries({"cidr": st.sampled_from(["0.0.0.0/0", "10.0.0.0/30", "10.0.0.4/32", "10.0.0.9/29"])}),
    st.fixed_dictionaries({"group": st.sampled_from(GROUPS)}),
    st.fixed_dictionaries({"prefix_list": st.sampled_from([*PREFIX_LISTS, "pl-gone"])}),
)


@st.composite
def permissions(draw: st.DrawFn) -> Permission:
    protocol = draw(st.sampled_from(["tcp", "udp", "icmp", "-1", "6", "50", "58", "icmpv6"]))
    first, last = draw(icmp if protocol == "icmp" else ports)
    return Permission(protocol, first, last, **draw(peers))


groups = st.fixed_dictionaries(
    {name: st.tuples(st.lists(permissions(), max_size=4), st.lists(permissions(), max_size=4)) for name in GROUPS}
)
interfaces = st.tuples(*(st.sets(st.sampled_from(GROUPS)) for _ in ADDRESSES))
packets = st.builds(
    Packet,
    st.sampled_from(ADDRESSES),
    st.sampled_from(ADDRESSES),
    st.sampled_from([1, 6, 17, 50]),
    st.sampled_from([3, 8, 79, 80, 82, 443]),
    st.sampled_from([0, 4]),
)


def allows(permission: Permission, packet: Packet, peer: str, members: dict[str, set[str]]) -> bool:
    numbers = {"tcp": 6, "udp": 17, "icmp": 1, "icmpv6": 58}
    if permission.protocol != "-1":
        if packet.protocol != numbers.get(permission.protocol, -1) and str(packet.protocol) != permission.protocol:
            return False
        ported = packet.protocol in (6, 17) and permission.from_port != -1
        if ported and not permission.from_port <= packet.first <= permission.to_port:
            return False
        if packet.protocol == 1 and permission.from_port not in (-1, packet.first):
            return False
        if packet.protocol == 1 and permission.from_port != -1 and permission.to_port not in (-1, packet.second):
            return False
    if permission.group:
        return peer in members[permission.group]
    cidrs = PREFIX_LISTS.get(permission.prefix_list, ()) if permission.prefix_list else (permission.cidr,)
    return any(IPv4Address(peer) in IPv4Network(cidr, strict=False) for cidr in cidrs)


def matches(clause: Clause, packet: Packet, peer: str, members: dict[str, set[str]]) -> bool:
    kind = clause.traffic
    if kind.protocol not in (None, packet.protocol):
        return False
    if kind.ports is not None and not kind.ports[0] <= packet.first <= kind.ports[1]:
        return False
    if kind.icmp_type not in (None, packet.first) or kind.icmp_code not in (None, packet.second):
        return False
    if clause.group:
        return peer in members[clause.group]
    return any(IPv4Address(peer) in network for network in clause.networks)


@given(groups, interfaces, packets)
def test_compiled_groups_allow_what_their_rules_allow(
    rules: dict[str, tuple[list[Permission], list[Permission]]], held: tuple[set[str], ...], packet: Packet
) -> None:
    made = {name: SecurityGroup(name, "vpc-1", tuple(found[0]), tuple(found[1])) for name, found in rules.items()}
    enis = [
        Interface(f"eni-{at}", "vpc-1", "subnet-1", f"02:00:00:00:00:0{at}", (address,), tuple(sorted(held[at])))
        for at, address in enumerate(ADDRESSES)
    ]
    members = {name: {eni.addresses[0] for eni in enis if name in eni.groups} for name in GROUPS}
    sender, receiver = (next(eni for eni in enis if at in eni.addresses) for at in (packet.sender, packet.receiver))
    wanted = any(
        allows(rule, packet, packet.receiver, members) for group in sender.groups for rule in made[group].egress
    ) and any(allows(rule, packet, packet.sender, members) for group in receiver.groups for rule in made[group].ingress)

    compiled = Rules(made, PREFIX_LISTS, enis)
    sets = compiled.members(enis)
    held_by = {name: set(found.elements) for name, found in sets.items()}
    for direction in ("in", "out"):
        for eni in enis:
            for clause in compiled.chains[names.chain(direction, eni.groups)]:
                if clause.group:
                    assert held_by[clause.group] == members[clause.group]
    out = compiled.chains[names.chain("out", sender.groups)]
    into = compiled.chains[names.chain("in", receiver.groups)]
    assert wanted == (
        any(matches(clause, packet, packet.receiver, held_by) for clause in out)
        and any(matches(clause, packet, packet.sender, held_by) for clause in into)
    )


def test_a_group_without_rules_lets_nothing_in() -> None:
    enis = [Interface("eni-1", "vpc-1", "subnet-1", "02:00:00:00:00:01", ("10.0.0.1",), ("sg-a",))]
    rules = Rules({"sg-a": SecurityGroup("sg-a", "vpc-1")}, {}, enis)
    assert set(rules.rendered().values()) == {("drop",)}


def test_clauses_are_rendered_in_nftables_words() -> None:
    found = clauses(
        [
            Permission("tcp", 80, 80, cidr="10.0.0.0/25"),
            Permission("tcp", 80, 80, cidr="10.0.0.128/25"),
            Permission("udp", 53, 60, group="sg-a"),
            Permission("icmp", 8, 0, cidr="0.0.0.0/0"),
            Permission("icmp", -1, -1, group="sg-b"),
            Permission("47", -1, -1, cidr="192.0.2.1/32"),
            Permission("tcp", 0, 65535, cidr="::/0"),
        ],
        {},
    )
    assert [clause.statement("in") for clause in found] == [
        "meta l4proto 1 ip saddr @sg-b accept",
        "icmp type 8 icmp code 0 accept",
        "tcp dport 80 ip saddr { 10.0.0.0/24 } accept",
        "udp dport 53-60 ip saddr @sg-a accept",
        "meta l4proto 47 ip saddr { 192.0.2.1/32 } accept",
    ]
    assert Clause(Traffic(), group="sg-a").statement("out") == "ip daddr @sg-a return"
