"""Connections of UDP that go where no endpoint is any more: the kernel's table read and cleaned, over netlink.

A UDP "connection" lives as long as its client sends, so without this a client would talk to a gone pod for ever.
As upstream's pkg/proxy/conntrack; blocking, for a thread. Formats: linux/netfilter/nfnetlink_conntrack.h.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from twinplane.dataplane.network.netlink import Message, Netlink, attributes

_GET, _DELETE = 0x101, 0x102
_NETFILTER = struct.pack("=BBH", socket.AF_INET, 0, 0)
_NETLINK_NETFILTER = 12
_ORIGINAL, _REPLY = 1, 2
_ADDRESSES, _PROTOCOL = 1, 2
_UDP = 17
_NO_ENTRY = 2


class Flow(NamedTuple):
    destination: str
    port: int
    answered_by: str
    """Where its packets really go."""
    answered_from: int
    tuple: bytes
    """Its name to the kernel."""


@dataclass(slots=True)
class Fronts:
    """Service addresses and node ports that changed, with `ADDRESS . PORT` of the endpoints that are right."""

    addresses: dict[tuple[str, int], frozenset[str]] = field(default_factory=dict)
    ports: dict[int, frozenset[str]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.addresses or self.ports)


def stale(flow: Flow, fronts: Fronts, node_ips: frozenset[str]) -> bool:
    right = fronts.addresses.get((flow.destination, flow.port))
    if right is None and flow.destination in node_ips:
        right = fronts.ports.get(flow.port)
    return right is not None and f"{flow.answered_by} . {flow.answered_from}" not in right


def clean(fronts: Fronts, node_ips: frozenset[str]) -> int:
    """Deletes stale flows; how many."""
    with Netlink(_NETLINK_NETFILTER) as netlink:
        flows = [flow for flow in _udp(netlink) if stale(flow, fronts, node_ips)]
        netlink.apply(Message(_DELETE, 0, _NETFILTER + flow.tuple, (_NO_ENTRY,)) for flow in flows)
    return len(flows)


def _udp(netlink: Netlink) -> list[Flow]:
    found = []
    for body in netlink.dump(_GET, _NETFILTER, 0x100):
        parts = attributes(body[len(_NETFILTER) :])
        original, reply = _tuple(parts.get(_ORIGINAL, b"")), _tuple(parts.get(_REPLY, b""))
        if original is None or reply is None or original[0] != _UDP:
            continue
        name = struct.pack("=HH", len(parts[_ORIGINAL]) + 4, _ORIGINAL | 0x8000) + parts[_ORIGINAL]
        found.append(Flow(original[2], original[4], reply[1], reply[3], name))
    return found


def _tuple(data: bytes) -> tuple[int, str, str, int, int] | None:
    """(protocol, source, destination, source port, destination port) of an IPv4 flow with ports."""
    parts = attributes(data)
    addresses, protocol = attributes(parts.get(_ADDRESSES, b"")), attributes(parts.get(_PROTOCOL, b""))
    if not _has(addresses, 1, 2) or not _has(protocol, 1, 2, 3):
        return None
    source, destination = (socket.inet_ntoa(addresses[kind]) for kind in (1, 2))
    ports = [struct.unpack(">H", protocol[kind])[0] for kind in (2, 3)]
    return protocol[1][0], source, destination, ports[0], ports[1]


def _has(parts: Mapping[int, bytes], *kinds: int) -> bool:
    return all(kind in parts for kind in kinds)
