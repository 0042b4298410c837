"""Names, numbers and hardware addresses that the fabric derives from ids: the same after a restart.

A link's name has at most 15 characters, so an id is cut to its last eleven hexadecimal digits.
"""

from __future__ import annotations

import hashlib

from twinplane.edge import POOL, Slice

EDGE = "edge"
"""The router's end of the pair to the host."""
MTU = 9001


def bridge(subnet_id: str) -> str:
    return f"sub-{subnet_id.rpartition('-')[2][-11:]}"


def port(interface_id: str) -> str:
    return f"eni-{interface_id.rpartition('-')[2][-11:]}"


def peer(peering_id: str) -> str:
    return f"pcx-{peering_id.rpartition('-')[2][-11:]}"


def host_link(prefix: str, place: Slice) -> str:
    """`tp-REGIONID-` and the slice's number: no other VPC of this host has it."""
    return f"{prefix}{(int(place.host.network_address) - int(POOL.network_address)) >> 4:05x}"


def hardware_address(name: str) -> str:
    """Locally administered, and never one of those that EC2 interfaces have here (02:...)."""
    digits = hashlib.sha256(name.encode()).hexdigest()
    return ":".join(["06", *(digits[at : at + 2] for at in range(0, 10, 2))])


def table_number(route_table_id: str) -> int:
    """Of the kernel's table that stands for a route table."""
    return 1000 + int(hashlib.sha256(route_table_id.encode()).hexdigest()[:7], 16)


def chain(direction: str, groups: tuple[str, ...]) -> str:
    """`in-...` or `out-...`: one for each combination of groups that some interface has."""
    return f"{direction}-{hashlib.sha256(' '.join(groups).encode()).hexdigest()[:12]}"
