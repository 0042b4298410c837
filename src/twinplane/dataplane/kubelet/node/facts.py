"""What the node is to its pods: addresses, capacity, resolver; read once, passed around."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from twinplane.kubeclient.quantity import whole

RESOLV_CONF = Path("/etc/resolv.conf")
HOSTS = Path("/etc/hosts")


@dataclass(frozen=True, slots=True)
class NodeFacts:
    name: str
    ips: tuple[str, ...]
    capacity: Mapping[str, str]
    allocatable: Mapping[str, str]
    cluster_dns: str
    cluster_domain: str
    resolv_conf: Path = RESOLV_CONF
    hosts: Path = HOSTS
    apparmor: bool = False

    @property
    def memory_capacity(self) -> int:
        return whole(self.capacity.get("memory", "0"))
