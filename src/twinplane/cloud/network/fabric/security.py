"""Security groups as nft chains: pure.

An interface's groups are one list of clauses for each direction, compiled for every combination of groups in use. A
clause is data (`Clause`), so tests evaluate exactly what is rendered. Outgoing packets return from the sender's chain
when allowed and then meet the receiver's, which accepts; each ends in a drop. Only packets that begin a connection come
here: those of tracked connections are let through before, so a changed rule acts on new connections (EC2 user guide,
"Security group connection tracking").
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, collapse_addresses
from typing import Literal

from twinplane.cloud.network.fabric import names
from twinplane.cloud.network.fabric.contract import Interface, Permission, SecurityGroup
from twinplane.cloud.network.fabric.nft import Elements, set_of

Direction = Literal["in", "out"]
NUMBERS = {"tcp": 6, "udp": 17, "icmp": 1}
ALL = IPv4Network("0.0.0.0/0")


@dataclass(frozen=True, slots=True, order=True)
class Traffic:
    """A protocol number (None: all), a range of destination ports, or an ICMP type and code (None: any)."""

    protocol: int | None = None
    ports: tuple[int, int] | None = None
    icmp_type: int | None = None
    icmp_code: int | None = None

    def statement(self) -> str:
        if self.protocol is None:
            return ""
        if self.ports is not None:
            name = "tcp" if self.protocol == NUMBERS["tcp"] else "udp"
            first, last = self.ports
            return f"{name} dport {first}" + (f"-{last}" if last != first else "")
        if self.icmp_type is not None:
            code = f" icmp code {self.icmp_code}" if self.icmp_code is not None else ""
            return f"icmp type {self.icmp_type}{code}"
        return f"meta l4proto {self.protocol}"


@dataclass(frozen=True, slots=True)
class Clause:
    """Allows some traffic with networks, or with the members of a group."""

    traffic: Traffic
    networks: tuple[IPv4Network, ...] = ()
    group: str = ""

    def statement(self, direction: Direction) -> str:
        field, verdict = ("saddr", "accept") if direction == "in" else ("daddr", "return")
        parts = [self.traffic.statement()]
        if self.group:
            parts.append(f"ip {field} @{self.group}")
        elif self.networks != (ALL,):
            parts.append(f"ip {field} {{ {', '.join(str(network) for network in self.networks)} }}")
        return " ".join([part for part in parts if part] + [verdict])


def traffic(permission: Permission) -> Traffic | None:
    """None for what no IPv4 packet is (ICMPv6), and for a protocol that is no protocol."""
    protocol, first, last = permission.protocol, permission.from_port, permission.to_port
    if protocol == "-1":
        return Traffic()
    number = NUMBERS.get(protocol) or (int(protocol) if protocol.isdigit() else None)
    if number is None or not 0 <= number < 256 or number == 58:
        return None
    if number == NUMBERS["icmp"] and first >= 0:
        return Traffic(number, None, first, last if last >= 0 else None)
    if number in (NUMBERS["tcp"], NUMBERS["udp"]) and 0 <= first <= last <= 65535 and (first, last) != (0, 65535):
        return Traffic(number, (first, last))
    return Traffic(number)


def clauses(permissions: Iterable[Permission], prefix_lists: Mapping[str, tuple[str, ...]]) -> tuple[Clause, ...]:
    """Networks of the same traffic are one clause, merged."""
    networks: dict[Traffic, list[IPv4Network]] = {}
    groups: set[tuple[Traffic, str]] = set()
    for permission in permissions:
        kind = traffic(permission)
        if kind is None:
            continue
        if permission.group:
            groups.add((kind, permission.group))
            continue
        cidrs = prefix_lists.get(permission.prefix_list, ()) if permission.prefix_list else (permission.cidr,)
        for cidr in cidrs:
            if cidr and ":" not in cidr:
                networks.setdefault(kind, []).append(IPv4Network(cidr, strict=False))
    found = [Clause(kind, tuple(collapse_addresses(held))) for kind, held in networks.items()]
    found += [Clause(kind, group=group) for kind, group in groups]
    # The commonest first: whole protocols before ports.
    return tuple(sorted(found, key=lambda clause: (_order(clause.traffic), clause.group, clause.networks)))


def _order(kind: Traffic) -> tuple[object, ...]:
    return (
        -1 if kind.protocol is None else kind.protocol,
        kind.ports or (-1, -1),
        -1 if kind.icmp_type is None else kind.icmp_type,
        -1 if kind.icmp_code is None else kind.icmp_code,
    )


class Rules:
    """The groups of one VPC (and of those it peers with), compiled for the interfaces in it."""

    def __init__(
        self,
        groups: Mapping[str, SecurityGroup],
        prefix_lists: Mapping[str, tuple[str, ...]],
        interfaces: Iterable[Interface],
    ) -> None:
        """`interfaces` are those whose packets meet the rules: the others are members only."""
        self.chains: dict[str, tuple[Clause, ...]] = {}
        """In either direction: `names.chain` -> what it allows."""
        for combination in {interface.groups for interface in interfaces}:
            held = [groups[group] for group in combination if group in groups]
            for direction in ("in", "out"):
                permissions = [
                    permission
                    for group in held
                    for permission in (group.ingress if direction == "in" else group.egress)
                ]
                self.chains[names.chain(direction, combination)] = clauses(permissions, prefix_lists)

    def rendered(self) -> dict[str, tuple[str, ...]]:
        return {name: self._chain(name) for name in sorted(self.chains)}

    def _chain(self, name: str) -> tuple[str, ...]:
        direction: Direction = "in" if name.startswith("in-") else "out"
        return (*(clause.statement(direction) for clause in self.chains[name]), "drop")

    def members(self, interfaces: Iterable[Interface]) -> dict[str, Elements]:
        """The sets of the groups that some clause names: all addresses of all interfaces in each."""
        wanted = {clause.group for found in self.chains.values() for clause in found if clause.group}
        held: dict[str, list[str]] = {group: [] for group in sorted(wanted)}
        for interface in interfaces:
            for group in wanted.intersection(interface.groups):
                held[group].extend(interface.addresses)
        return {group: set_of("ipv4_addr", addresses) for group, addresses in held.items()}
