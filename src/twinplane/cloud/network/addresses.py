"""Private IPv4 addresses of a subnet, as EC2 gives them out: a pure allocator.

The adapter around moto (`cloud.aws.addressing`) is the only caller: it says which addresses are in use and gets free
ones back. EC2 reserves five addresses of a subnet: the network address, the router, DNS, one for the future, and the
broadcast address (VPC user guide, "Subnet CIDR blocks").

Allocation goes upwards from the last address given out and wraps around, so an address that was just freed is the
last to come back: connections to a pod that is gone do not reach another pod.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Container

RESERVED_FIRST = 4
RESERVED_LAST = 1


class InsufficientFreeAddressesInSubnet(Exception):
    """The subnet has fewer free addresses than asked for."""

    def __init__(self) -> None:
        super().__init__("The specified subnet does not have enough free addresses to satisfy the request.")


def usable(cidr: str) -> tuple[int, int]:
    """First and last address that EC2 hands out in a subnet, as integers (first > last when there is none)."""
    network = ipaddress.IPv4Network(cidr, strict=False)
    first = int(network.network_address)
    return first + RESERVED_FIRST, first + network.num_addresses - 1 - RESERVED_LAST


def capacity(cidr: str) -> int:
    """How many addresses an empty subnet has to give."""
    first, last = usable(cidr)
    return max(0, last - first + 1)


def is_usable(cidr: str, address: str) -> bool:
    first, last = usable(cidr)
    return first <= int(ipaddress.IPv4Address(address)) <= last


def allocate(cidr: str, in_use: Container[str], count: int = 1, after: str = "") -> list[str]:
    """The next `count` free addresses after `after`, wrapping around.

    Raises `InsufficientFreeAddressesInSubnet` when there are fewer; nothing is kept, so nothing has to be undone.
    """
    first, last = usable(cidr)
    size = last - first + 1
    start = int(ipaddress.IPv4Address(after)) + 1 - first if after else 0
    found: list[str] = []
    for offset in range(max(0, size)):
        if len(found) == count:
            break
        address = str(ipaddress.IPv4Address(first + (start + offset) % size))
        if address not in in_use:
            found.append(address)
    if len(found) < count:
        raise InsufficientFreeAddressesInSubnet
    return found
