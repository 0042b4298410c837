"""The addresses of a VPC as this host reaches them: `edges.json`, written by the VPC fabric, read by whoever connects.

Each VPC CIDR with real nodes is mapped prefix to prefix to a slice of 100.64.0.0/10 (docs/real-nodes.md). The load
balancers, the API servers (kubelets, webhooks, proxies) and the command line translate before they connect; VPCs
without real nodes have no entry.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv4Network
from pathlib import Path

POOL = IPv4Network("100.64.0.0/10")
AWS_ENDPOINT = "http://169.254.169.252"
"""Every AWS service of the region, as machines and pods of its VPCs reach it."""
FILE = "network/edges.json"
"""Below the data directory."""


@dataclass(frozen=True, slots=True)
class Slice:
    """One CIDR of a VPC, and the prefix of the same length that stands for it on the host."""

    vpc_id: str
    cidr: IPv4Network
    host: IPv4Network

    def to_host(self, address: IPv4Address) -> IPv4Address:
        return self.host[int(address) - int(self.cidr.network_address)]

    def to_vpc(self, address: IPv4Address) -> IPv4Address:
        return self.cidr[int(address) - int(self.host.network_address)]


def dump(slices: list[Slice]) -> str:
    """The content of `edges.json`: VPC id -> [{cidr, host}]."""
    vpcs: dict[str, list[dict[str, str]]] = {}
    for item in slices:
        vpcs.setdefault(item.vpc_id, []).append({"cidr": str(item.cidr), "host": str(item.host)})
    return json.dumps(vpcs, indent=1, sort_keys=True)


def parse(content: str) -> list[Slice]:
    loaded: Mapping[str, list[dict[str, str]]] = json.loads(content)
    return [
        Slice(vpc_id, IPv4Network(item["cidr"]), IPv4Network(item["host"]))
        for vpc_id, items in loaded.items()
        for item in items
    ]


class Edges:
    """The file, read again when it changed: a look costs one stat."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int] | None = None
        self._slices: list[Slice] = []

    def slices(self) -> list[Slice]:
        try:
            status = self._path.stat()
            seen = (status.st_mtime_ns, status.st_ino)
            if seen != self._seen:
                self._slices, self._seen = parse(self._path.read_text()), seen
        except FileNotFoundError:
            self._slices, self._seen = [], None
        return self._slices

    def to_host(self, vpc_id: str, address: str) -> str | None:
        """None for what is no address of a VPC with real nodes (a name, IPv6, another range)."""
        try:
            wanted = IPv4Address(address)
        except AddressValueError:
            return None
        return next((str(s.to_host(wanted)) for s in self.slices() if s.vpc_id == vpc_id and wanted in s.cidr), None)

    def to_vpc(self, address: str) -> tuple[str, str] | None:
        """(VPC id, address in it) of whoever connects from an edge address."""
        wanted = IPv4Address(address)
        return next(((s.vpc_id, str(s.to_vpc(wanted))) for s in self.slices() if wanted in s.host), None)
