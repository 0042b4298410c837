"""How eksctl divides a VPC: pure, so that the plan can be shown and tested before anything is made."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network


@dataclass(frozen=True, slots=True)
class SubnetPlan:
    zone: str
    cidr: str
    public: bool


def plan_subnets(cidr: str, zones: tuple[str, ...]) -> list[SubnetPlan]:
    """One public and one private subnet for each zone, public ones first.

    eksctl cuts the block into eight parts (sixteen for more than four zones) and takes them in order: with
    192.168.0.0/16 and three zones public 0, 32, 64 and private 96, 128, 160, each /19.
    """
    bits = 3 if len(zones) <= 4 else 4
    parts = IPv4Network(cidr).subnets(prefixlen_diff=bits)
    return [SubnetPlan(zone, str(next(parts)), public) for public in (True, False) for zone in zones]
