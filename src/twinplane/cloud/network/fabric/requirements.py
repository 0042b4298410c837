"""What a host must have for VPCs to be real networks: tried, not guessed."""

from __future__ import annotations

import os
import shutil

from twinplane.cloud.network.contract import NAME_START
from twinplane.cloud.network.fabric import namespaces, nft
from twinplane.cloud.network.fabric.namespaces import CommandFailed

PROGRAMS = {"ip": "iproute2", "bridge": "iproute2", "nft": "nftables"}
RULES = nft.remove("probe") + (
    "table ip probe {\n"
    "map verdicts { type ipv4_addr : verdict; }\n"
    "chain edge { type filter hook prerouting priority -310; ip saddr set ip saddr & 0.0.255.255 | 10.0.0.0\n}\n"
    "chain forward { type filter hook forward priority 0; ct state established accept\n ip saddr vmap @verdicts\n"
    'oifname "edge" rt ip nexthop 169.254.0.2 accept\n}\n'
    "chain nat { type nat hook postrouting priority 100; masquerade\n}\n"
    "}\n"
)
PROBES: dict[str, tuple[str, ...]] = {
    "Linux bridges (kernel module bridge)": ("link add br0 type bridge",),
    "veth pairs (kernel module veth)": ("link add v0 type veth peer name v1",),
    "isolated and locked bridge ports (Linux 5.16 or later)": (
        "link set v0 master br0",
        "link set v0 type bridge_slave isolated on locked on",
    ),
    "policy routing": ("rule add pref 100 lookup 100",),
}


def requirements() -> list[str]:
    """What is missing, each a sentence; empty when VPCs can be made. Blocking, some 50 ms."""
    if os.geteuid() != 0:
        return ["Real nodes need root."]
    missing = [
        f"The program {program} is not installed (Debian package {package})."
        for program, package in PROGRAMS.items()
        if shutil.which(program) is None
    ]
    return missing or _probe(f"{NAME_START}probe-{os.getpid()}")


def _probe(name: str) -> list[str]:
    try:
        namespaces.make(name)
    except CommandFailed as error:
        return [f"Network namespaces cannot be made, which needs CAP_SYS_ADMIN and CAP_NET_ADMIN: {error}."]
    try:
        return namespaces.inside(name, _missing)
    finally:
        namespaces.remove(name)


def _missing() -> list[str]:
    missing = []
    for what, lines in PROBES.items():
        try:
            namespaces.batch(list(lines))
        except CommandFailed as error:
            missing.append(f"This kernel lacks {what}: {error}.")
    try:
        namespaces.load_rules(RULES)
    except CommandFailed as error:
        missing.append(f"This kernel lacks nftables with connection tracking and NAT: {error}.")
    return missing
