"""NetworkPolicy rules against a naive reading of the API, for any policies, pods and packets."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv4Network
from typing import Any, NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from twinplane.dataplane.network.nftables import Ruleset, Set, difference
from twinplane.dataplane.network.policy.objects import NamedPort, Pod, Policy
from twinplane.dataplane.network.policy.rules import build

NAMESPACES = {"a": {"team": "red"}, "b": {"team": "blue"}}
OUTSIDE = "192.0.2.7"


class Packet(NamedTuple):
    source: str
    destination: str
    protocol: str
    port: int


# -- what nftables does ----------------------------------------------------------------------------------------------


_IN_SET = r"(ip saddr \. ip daddr|ip daddr \. meta l4proto \. th dport|ip [sd]addr) @(\S+) "


def passes(made: Ruleset, packet: Packet) -> bool:
    """A new connection, through both base chains."""
    return all(_chain(made, name, packet) != "drop" for name in ("egress", "ingress") if name in made.chains)


def _chain(made: Ruleset, name: str, packet: Packet) -> str:
    for rule in made.chains[name].rules:
        verdict = _rule(made, rule, packet)
        if verdict:
            return verdict
    return ""


def _rule(made: Ruleset, rule: str, packet: Packet) -> str:
    if rule.startswith("ct state established"):
        return ""
    keys = {
        "ip saddr . ip daddr": f"{packet.source} . {packet.destination}",
        "ip daddr . meta l4proto . th dport": f"{packet.destination} . {packet.protocol} . {packet.port}",
        "ip saddr": packet.source,
        "ip daddr": packet.destination,
    }
    rest = rule
    while rest not in ("accept", "drop") and not rest.startswith("jump "):
        if found := re.match(r"(ip [sd]addr) vmap @(\S+)$", rest):
            verdict = made.sets[found[2]].elements.get(keys[found[1]])
            return _chain(made, verdict.removeprefix("goto "), packet) if verdict else ""
        if found := re.match(_IN_SET, rest):
            holds = keys[found[1]] in made.sets[found[2]].elements
        elif found := re.match(r"(ip [sd]addr) (!= \{ )?([0-9][^a-z}]*?)(?: \})? (?=[a-z])", rest):
            inside = any(IPv4Address(keys[found[1]]) in IPv4Network(text) for text in found[3].split(", "))
            holds = inside != bool(found[2])
        elif found := re.match(r"meta l4proto (\w+) ", rest):
            holds = packet.protocol == found[1]
        elif found := re.match(r"(\w+) dport (\d+)(?:-(\d+))? ", rest):
            holds = packet.protocol == found[1] and int(found[2]) <= packet.port <= int(found[3] or found[2])
        else:
            raise AssertionError(rest)
        if not holds:
            return ""
        rest = rest[found.end() :]
    return _chain(made, rest.removeprefix("jump "), packet) if rest.startswith("jump ") else rest


# -- the naive reading -----------------------------------------------------------------------------------------------


def allowed(policies: list[Policy], pods: list[Pod], packet: Packet) -> bool:
    source = next((pod for pod in pods if pod.address == packet.source), None)
    target = next((pod for pod in pods if pod.address == packet.destination), None)
    if packet.source == packet.destination:
        return True
    return all(
        _allows([policy for policy in policies if _applies(policy, kind, pod)], kind, (other, target), packet)
        for kind, pod, other in (("Egress", source, target), ("Ingress", target, source))
        if pod is not None and pod.node == "here"
    )


def _applies(policy: Policy, kind: str, pod: Pod) -> bool:
    selected = _selected(policy.spec["podSelector"], pod.labels)
    return policy.namespace == pod.namespace and kind in policy.spec["policyTypes"] and selected


def _allows(mine: list[Policy], kind: str, others: tuple[Pod | None, Pod | None], packet: Packet) -> bool:
    """`others` are the pod at the other end, and the one that is connected to."""
    other, target = others
    address = packet.destination if kind == "Egress" else packet.source
    if not mine:
        return True
    for policy in mine:
        for rule in policy.spec.get(kind.lower()) or ():
            peers = rule.get("from" if kind == "Ingress" else "to") or [None]
            if any(_is_peer(policy, peer, other, address) for peer in peers) and _port(rule, target, packet, peers):
                return True
    return False


def _selected(selector: dict[str, Any], labels: Any) -> bool:
    return all(labels.get(key) == value for key, value in (selector.get("matchLabels") or {}).items())


def _is_peer(policy: Policy, peer: dict[str, Any] | None, other: Pod | None, address: str) -> bool:
    if peer is None:
        return True
    if "ipBlock" in peer:
        block = peer["ipBlock"]
        inside = IPv4Address(address) in IPv4Network(block["cidr"])
        return inside and not any(IPv4Address(address) in IPv4Network(text) for text in block.get("except", ()))
    if other is None:
        return False
    if "namespaceSelector" in peer:
        if not _selected(peer["namespaceSelector"], NAMESPACES[other.namespace]):
            return False
    elif other.namespace != policy.namespace:
        return False
    return _selected(peer.get("podSelector", {}), other.labels)


def _port(rule: dict[str, Any], target: Pod | None, packet: Packet, peers: list[Any]) -> bool:
    if not rule.get("ports"):
        return True
    for port in rule["ports"]:
        if port.get("protocol", "TCP").lower() != packet.protocol:
            continue
        number = port.get("port")
        if number is None:
            return True
        if isinstance(number, str):
            named = target.ports if target is not None else ()
            if any((item.name, item.number) == (number, packet.port) for item in named):
                return True
        elif number <= packet.port <= port.get("endPort", number):
            return True
    return False


# -- any world ---------------------------------------------------------------------------------------------------------

selectors = st.sampled_from([{}, {"matchLabels": {"app": "web"}}, {"matchLabels": {"app": "db"}}])
peers = st.one_of(
    st.builds(lambda pods: {"podSelector": pods}, selectors),
    st.builds(lambda team: {"namespaceSelector": {"matchLabels": {"team": team}}}, st.sampled_from(["red", "blue"])),
    st.builds(
        lambda pods, team: {"podSelector": pods, "namespaceSelector": {"matchLabels": {"team": team}}},
        selectors,
        st.sampled_from(["red", "blue"]),
    ),
    st.sampled_from(
        [
            {"ipBlock": {"cidr": "192.0.2.0/24"}},
            {"ipBlock": {"cidr": "0.0.0.0/0", "except": ["10.0.0.0/30", "192.0.2.0/25"]}},
            {"ipBlock": {"cidr": "10.0.0.0/29"}},
        ]
    ),
)
ports = st.sampled_from(
    [{"port": 80}, {"port": 80, "endPort": 90}, {"protocol": "UDP"}, {"port": 53, "protocol": "UDP"}, {"port": "http"}]
)


@st.composite
def policies(draw: st.DrawFn) -> list[Policy]:
    made = []
    for number in range(draw(st.integers(0, 3))):
        spec: dict[str, Any] = {
            "podSelector": draw(selectors),
            "policyTypes": draw(st.sampled_from([["Ingress"], ["Egress"], ["Ingress", "Egress"]])),
        }
        for direction, side in (("ingress", "from"), ("egress", "to")):
            # A name of a port means nothing at an address that is no pod's, so blocks come without ports by name.
            spec[direction] = [
                {side: draw(st.lists(peers, max_size=2)), "ports": draw(st.lists(ports, max_size=2))}
                for _ in range(draw(st.integers(0, 2)))
            ]
            if direction == "egress":
                for rule in spec[direction]:
                    if any("ipBlock" in peer for peer in rule["to"]):
                        rule["ports"] = [port for port in rule["ports"] if port.get("port") != "http"]
        made.append(Policy(draw(st.sampled_from(["a", "b"])), f"p{number}", spec))
    return made


@st.composite
def pods(draw: st.DrawFn) -> list[Pod]:
    return [
        Pod(
            draw(st.sampled_from(["a", "b"])),
            {"app": draw(st.sampled_from(["web", "db"]))},
            f"10.0.0.{number + 1}",
            draw(st.sampled_from(["here", "here", "there"])),
            draw(st.sampled_from([(), (NamedPort("http", "tcp", 8080),), (NamedPort("http", "tcp", 80),)])),
        )
        for number in range(draw(st.integers(1, 5)))
    ]


def apply(kernel: Ruleset, new: Ruleset) -> None:
    """The transaction, as the kernel checks it."""
    change = difference(kernel, new)
    for name, chain in change.chains.items():
        assert (name in kernel.chains) == (chain is None or name in change.known_chains)
        kernel.chains.pop(name, None)
        if chain is not None:
            kernel.chains[name] = chain
    for name, item in change.sets.items():
        if item is not None:
            assert name not in kernel.sets
            kernel.sets[name] = Set(item.declaration, item.kind)
    for name, keys in change.removed.items():
        for key in keys:
            del kernel.sets[name].elements[key]
    for name, elements in change.added.items():
        assert not elements.keys() & kernel.sets[name].elements.keys()
        kernel.sets[name].elements |= elements
    for name, item in change.sets.items():
        if item is None:
            assert not kernel.sets.pop(name).elements


@settings(deadline=None, max_examples=100)
@given(st.lists(st.tuples(policies(), pods()), min_size=1, max_size=3))
def test_packets_pass_as_the_api_says(worlds: list[tuple[list[Policy], list[Pod]]]) -> None:
    kernel = Ruleset()
    for some_policies, some_pods in worlds:
        apply(kernel, build(some_policies, some_pods, NAMESPACES, "here"))
    addresses = [*(pod.address for pod in some_pods), OUTSIDE, "192.0.2.200"]
    for source in addresses:
        for target in addresses:
            for protocol, port in (("tcp", 80), ("tcp", 85), ("tcp", 8080), ("udp", 53), ("udp", 80)):
                packet = Packet(source, target, protocol, port)
                assert passes(kernel, packet) == allowed(some_policies, some_pods, packet), packet


def test_nothing_without_a_policy_for_this_node() -> None:
    pod = Pod("a", {"app": "web"}, "10.0.0.1", "there")
    policy = Policy("a", "deny", {"podSelector": {}, "policyTypes": ["Ingress"]})
    assert build([policy], [pod], NAMESPACES, "here") == Ruleset()


def test_a_peer_that_comes_is_an_element() -> None:
    spec = {"podSelector": {"matchLabels": {"app": "db"}}, "ingress": [{"from": [{"podSelector": {}}]}]}
    db, web = Pod("a", {"app": "db"}, "10.0.0.1", "here"), Pod("a", {"app": "web"}, "10.0.0.2", "there")
    before = build([Policy("a", "p", spec)], [db], NAMESPACES, "here")
    change = difference(before, build([Policy("a", "p", spec)], [db, web], NAMESPACES, "here"))
    assert not change.chains
    assert not change.sets
    assert [list(elements) for elements in change.added.values()] == [["10.0.0.2"]]
