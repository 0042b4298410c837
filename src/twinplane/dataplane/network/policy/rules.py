"""From policies, pods and namespaces to the table `ip network-policy` of one node: pure.

Two base chains on forwarded packets, one for each direction, so that `accept` in the first does not end the second. A
map sends a pod's address to the chain of its set of policies (pods with the same policies share it); each policy is a
chain that accepts what it allows, and what no policy of a pod accepts is dropped. Peers are sets of addresses, so a pod
that comes or goes is an element. What comes from the node itself (probes, pods on its network) and what goes to it is
not forwarded, and so is always allowed, as Kubernetes wants it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from ipaddress import AddressValueError, IPv4Network, NetmaskValueError, collapse_addresses
from typing import Any

import orjson

from twinplane.dataplane.network.nftables import Chain, Ruleset, Set
from twinplane.dataplane.network.policy.objects import Pod, Policy
from twinplane.kubeclient.selectors import selector_of

TABLE = "ip network-policy"
INGRESS, EGRESS = "ingress", "egress"
_HOOKS = {EGRESS: "type filter hook forward priority 0", INGRESS: "type filter hook forward priority 1"}
_OWN = {EGRESS: "saddr", INGRESS: "daddr"}
_PEER = {EGRESS: "daddr", INGRESS: "saddr"}
SELF = "self"

Labels = Mapping[str, str]


def build(policies: Iterable[Policy], pods: Sequence[Pod], namespaces: Mapping[str, Labels], node: str) -> Ruleset:
    return _Builder(pods, namespaces, node).build(sorted(policies, key=lambda item: (item.namespace, item.name)))


def directions(spec: Mapping[str, Any]) -> list[str]:
    """`policyTypes`, or what the API says of a policy without them."""
    types = spec.get("policyTypes") or ["Ingress", *(["Egress"] if spec.get("egress") else [])]
    return [str(kind).lower() for kind in types]


class _Builder:
    def __init__(self, pods: Sequence[Pod], namespaces: Mapping[str, Labels], node: str) -> None:
        self._namespaces = namespaces
        self._node = node
        self._made = Ruleset()
        self._by_namespace: dict[str, list[Pod]] = {}
        for pod in pods:
            self._by_namespace.setdefault(pod.namespace, []).append(pod)

    def build(self, policies: list[Policy]) -> Ruleset:
        """Empty when no policy selects a pod of the node."""
        held: dict[tuple[str, str], list[str]] = {}
        for policy in policies:
            targets = self._targets(policy)
            if not targets:
                continue
            for direction in directions(policy.spec):
                chain = self._policy(policy, direction, targets)
                for pod in targets:
                    held.setdefault((direction, pod.address), []).append(chain)
        if held:
            self._frame(held)
        return self._made

    def _targets(self, policy: Policy) -> list[Pod]:
        selector = selector_of(policy.spec.get("podSelector") or {})
        mine = self._by_namespace.get(policy.namespace, ())
        return [pod for pod in mine if pod.node == self._node and selector.matches(pod.labels)]

    def _frame(self, held: Mapping[tuple[str, str], list[str]]) -> None:
        self._set(SELF, "type ipv4_addr . ipv4_addr", (f"{address} . {address}" for _, address in held))
        for direction, hook in _HOOKS.items():
            pods = self._made.sets[f"{direction}-pods"] = Set("type ipv4_addr : verdict", "map")
            for (where, address), chains in held.items():
                if where == direction:
                    pods.elements[address] = f"goto {self._isolated(direction, chains)}"
            self._made.chains[direction] = Chain(
                (
                    "ct state established,related accept",
                    f"ip saddr . ip daddr @{SELF} accept",
                    f"ip {_OWN[direction]} vmap @{direction}-pods",
                ),
                hook,
            )

    def _isolated(self, direction: str, chains: list[str]) -> str:
        name = f"{direction}-of-{_hash(*chains)}"
        self._made.chains[name] = Chain((*(f"jump {chain}" for chain in chains), "drop"))
        return name

    # -- one policy ----------------------------------------------------------------------------------------------

    def _policy(self, policy: Policy, direction: str, targets: list[Pod]) -> str:
        name = f"{direction}-by-{_hash(policy.namespace, policy.name)}"
        rules: list[str] = []
        for rule in policy.spec.get(direction) or ():
            peers = rule.get("from" if direction == INGRESS else "to") or ()
            for peer in peers or (None,):
                rules += self._allowed(policy, direction, targets, peer, rule.get("ports") or ())
        self._made.chains[name] = Chain(tuple(dict.fromkeys(rules)))
        return name

    def _allowed(
        self, policy: Policy, direction: str, targets: list[Pod], peer: Mapping[str, Any] | None, ports: Sequence[Any]
    ) -> list[str]:
        match = self._peer(policy, _PEER[direction], peer)
        if match is None:
            return []
        if not ports:
            return [f"{match}accept"]
        named = [port for port in ports if isinstance(port.get("port"), str)]
        rules = [f"{match}{numbers} accept" for numbers in _numbers(port for port in ports if port not in named)]
        if named:
            # A name is what the pod that is connected to means by it.
            owners = targets if direction == INGRESS else list(self._peers(policy, peer))
            name = _hash(policy.namespace, policy.name, direction, match)
            rules += self._named(name, match, owners, named)
        return rules

    def _named(self, name: str, match: str, owners: Iterable[Pod], named: Sequence[Mapping[str, Any]]) -> list[str]:
        wanted = {(port["port"], _protocol(port)) for port in named}
        elements = sorted(
            f"{pod.address} . {port.protocol} . {port.number}"
            for pod in owners
            for port in pod.ports
            if (port.name, port.protocol) in wanted
        )
        if not elements:
            return []
        name = f"ports-{_hash(name, *(f'{port}/{protocol}' for port, protocol in sorted(wanted)))}"
        self._set(name, "type ipv4_addr . inet_proto . inet_service", elements)
        return [f"{match}ip daddr . meta l4proto . th dport @{name} accept"]

    def _peer(self, policy: Policy, field: str, peer: Mapping[str, Any] | None) -> str | None:
        """The match of a peer with a blank behind it; None for one that nothing of IPv4 can be."""
        if peer is None:
            return ""
        block = peer.get("ipBlock")
        if block is not None:
            return _block(field, block)
        name = f"peers-{_hash(_scope(policy, peer))}"
        if name not in self._made.sets:
            self._set(name, "type ipv4_addr", (pod.address for pod in self._peers(policy, peer)))
        return f"ip {field} @{name} "

    def _peers(self, policy: Policy, peer: Mapping[str, Any] | None) -> Iterable[Pod]:
        if peer is None:
            return [pod for pods in self._by_namespace.values() for pod in pods]
        if peer.get("ipBlock") is not None:
            return ()
        pods, chosen = selector_of(peer.get("podSelector") or {}), [policy.namespace]
        if peer.get("namespaceSelector") is not None:
            namespaces = selector_of(peer["namespaceSelector"])
            chosen = [name for name, labels in self._namespaces.items() if namespaces.matches(labels)]
        return [pod for name in chosen for pod in self._by_namespace.get(name, ()) if pods.matches(pod.labels)]

    def _set(self, name: str, declaration: str, elements: Iterable[str]) -> None:
        self._made.sets[name] = Set(declaration, "set", dict.fromkeys(elements, ""))


def _scope(policy: Policy, peer: Mapping[str, Any]) -> str:
    """Equal for peers that mean the same pods."""
    namespaces = peer.get("namespaceSelector")
    where = policy.namespace if namespaces is None else namespaces
    return orjson.dumps([where, peer.get("podSelector") or {}], option=orjson.OPT_SORT_KEYS).decode()


def _block(field: str, block: Mapping[str, Any]) -> str | None:
    network = _network(block["cidr"])
    if network is None:
        return None
    excepted = [item for text in block.get("except") or () if (item := _network(text)) is not None]
    match = f"ip {field} {network} " if network.prefixlen else ""
    if excepted:
        listed = ", ".join(str(item) for item in collapse_addresses(excepted))
        match += f"ip {field} != {{ {listed} }} "
    return match


def _network(text: str) -> IPv4Network | None:
    try:
        return IPv4Network(text, strict=False)
    except (AddressValueError, NetmaskValueError, ValueError):
        return None


def _protocol(port: Mapping[str, Any]) -> str:
    return str(port.get("protocol") or "TCP").lower()


def _numbers(ports: Iterable[Mapping[str, Any]]) -> list[str]:
    """One match a protocol: `tcp dport { 80, 8000-8080 }`, or `meta l4proto udp` for all its ports."""
    by_protocol: dict[str, list[str]] = {}
    every: set[str] = set()
    for port in ports:
        protocol, number = _protocol(port), port.get("port")
        if number is None:
            every.add(protocol)
        else:
            last = port.get("endPort") or number
            by_protocol.setdefault(protocol, []).append(f"{number}-{last}" if last != number else str(number))
    matches = [f"meta l4proto {protocol}" for protocol in sorted(every)]
    for protocol, listed in sorted(by_protocol.items()):
        if protocol not in every:
            matches += [f"{protocol} dport {text}" for text in dict.fromkeys(listed)]
    return matches


def _hash(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]
