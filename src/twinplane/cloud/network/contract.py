"""What the fabric promises to those who put machines into it: the names of network namespaces, and when they are ready.

`cloud.machines` starts an instance inside the namespace that `cloud.network.fabric` made for it. Names are derived, not
stored: `tp-REGIONID-...`, where REGIONID is a hash of the data directory, so whatever a killed daemon left is found.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Protocol

NAMESPACES = Path("/run/netns")
"""Where `ip netns` keeps names; `NAMESPACES / name` can be opened and given to setns(2)."""


NAME_START = "tp-"
"""Of all namespaces and links of all regions."""


def region_id(data_dir: Path) -> str:
    """6 hexadecimal digits; regions of one host are told apart by their data directories."""
    return hashlib.sha256(str(data_dir.resolve()).encode()).hexdigest()[:6]


def name_prefix(region: str) -> str:
    """Of every namespace and of every link on the host that belongs to a region. `region` is a `region_id`."""
    return f"{NAME_START}{region}-"


def instance_namespace(data_dir: Path, instance_id: str) -> str:
    """`tp-REGIONID-i-...`: the network namespace of an instance, found in `NAMESPACES`."""
    return name_prefix(region_id(data_dir)) + instance_id


def router_namespace(data_dir: Path, vpc_id: str) -> str:
    """`tp-REGIONID-vpc-...`: the network namespace of a VPC's router."""
    return name_prefix(region_id(data_dir)) + vpc_id


class InstanceNetworks(Protocol):
    """Implemented by `fabric.loop.Fabric`."""

    async def instance_network(self, instance_id: str) -> str:
        """The name of the instance's network namespace, once it exists, `eth0` has its address and its security groups
        are in force. Waits as long as that takes; bound it with a timeout. Security groups are in force before the
        address is, so a machine may start the moment this returns."""
        ...
