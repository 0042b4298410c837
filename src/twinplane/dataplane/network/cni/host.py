"""The node's side of pod networking: forwarding, policy routes, further interfaces, and one nftables table.

The table `aws-cni` does what the CNI's iptables rules do: SNAT of what leaves the VPC to the node's primary address,
and the connection mark that brings replies back through the first interface: a connection is marked with its first
packet, and none of the later ones is looked at for it. It has the host ports too: a map is changed in 5 ms, while the
portmap plugin would be one more program to start for each pod.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from concurrent.futures import Executor
from ipaddress import IPv4Network
from pathlib import Path

from twinplane.dataplane.network import netlink
from twinplane.dataplane.network.cni.interfaces import Network
from twinplane.dataplane.network.cni.pool import Interface, Owner
from twinplane.dataplane.network.cni.settings import Settings
from twinplane.dataplane.network.cni.wiring import table_of
from twinplane.dataplane.network.netlink import TABLE_MAIN, Netlink, Rule
from twinplane.dataplane.network.nftables import Chain, Ruleset, Set

log = logging.getLogger(__name__)

TABLE = "ip aws-cni"
MARK = 0x80
MARK_PRIORITY = 1024
SYSTEM = Path("/proc/sys/net/ipv4")
APPEAR_SECONDS = 15.0
LOOK_SECONDS = 0.05

_SYSCTLS = {"ip_forward": "1", "conf/all/rp_filter": "2", "conf/default/rp_filter": "2", "ip_early_demux": "0"}
"""Replies to a pod may come in by another interface than they would leave by: loose reverse path filter. Most packets
are for pods, that is for sockets of other namespaces, which nobody need look for here."""


def prepare() -> None:
    """Once at each start; blocking."""
    for name, value in _SYSCTLS.items():
        path = SYSTEM / name
        if path.read_text().strip() != value:
            path.write_text(value)
    with Netlink() as socket:
        socket.apply([netlink.rule(Rule(MARK_PRIORITY, "", "", TABLE_MAIN, MARK))])


async def set_up(interface: Interface, network: Network, mtu: int, threads: Executor) -> None:
    """A further interface: its address, and a table of its own. Raises `TimeoutError` when the device does not come."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(APPEAR_SECONDS):
        # There is no telling when: the fabric works through a queue of its own.
        while (link := await loop.run_in_executor(threads, _link, interface.mac)) is None:  # noqa: ASYNC110
            await asyncio.sleep(LOOK_SECONDS)
    await loop.run_in_executor(threads, _configure, link.index, interface, network, mtu)
    log.info("interface %s (%s) is set up as %s", interface.id, interface.primary, link.name)


def _link(mac: str) -> netlink.Link | None:
    with Netlink() as socket:
        return next((link for link in socket.links() if link.mac == mac), None)


def _configure(index: int, interface: Interface, network: Network, mtu: int) -> None:
    subnet = IPv4Network(network.subnet_cidr)
    router, table = str(subnet[1]), table_of(interface.device)
    with Netlink() as socket:
        socket.apply(
            [
                netlink.link_up(index, mtu),
                netlink.address(index, interface.primary, subnet.prefixlen, prefix_route=False),
                netlink.route(f"{router}/32", index, table=table, scope=netlink.SCOPE_LINK),
                netlink.route("0.0.0.0/0", index, gateway=router, table=table),
            ]
        )


def ruleset(settings: Settings, network: Network, primary: str, owners: Iterable[tuple[str, Owner]]) -> Ruleset:
    """The table `aws-cni`; `owners` are (address, owner) of all pods."""
    pods = f'iifname "{settings.veth_prefix}*"'
    hostport = (
        "fib daddr type != local return",
        "dnat ip to ip daddr . meta l4proto . th dport map @hostip-ports",
        "dnat ip to meta l4proto . th dport map @hostports",
    )
    made = Ruleset(
        {
            "mark-inbound": Chain(
                (f'ct state new iifname "eth0" fib daddr . iif type local ct mark set ct mark or {MARK:#x}',),
                "type filter hook prerouting priority mangle",
            ),
            "mark-outbound": Chain(
                (
                    f"ct state new {pods} ip daddr != @vpc-cidrs ct mark set ct mark or {MARK:#x}",
                    f"{pods} ct mark and {MARK:#x} == {MARK:#x} meta mark set meta mark or {MARK:#x}",
                ),
                # After the destination of a Service has been chosen, so that the pod's address decides.
                "type filter hook prerouting priority -90",
            ),
            "hostports-prerouting": Chain(hostport, "type nat hook prerouting priority -99"),
            "hostports-output": Chain(hostport, "type nat hook output priority -99"),
            "postrouting": Chain(_source_rules(settings, primary), "type nat hook postrouting priority srcnat"),
        },
        {
            "vpc-cidrs": Set("type ipv4_addr; flags interval; auto-merge"),
            "hostports": Set("type inet_proto . inet_service : ipv4_addr . inet_service", "map"),
            "hostip-ports": Set("type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service", "map"),
            "hairpins": Set("type ipv4_addr . ipv4_addr"),
        },
    )
    made.sets["vpc-cidrs"].elements = dict.fromkeys((*network.vpc_cidrs, *settings.exclude_snat_cidrs), "")
    for address, owner in owners:
        _host_ports(made, address, owner)
    return made


def _source_rules(settings: Settings, primary: str) -> tuple[str, ...]:
    hairpin = "ct status dnat ip saddr . ip daddr @hairpins masquerade"
    if settings.external_snat:
        return (hairpin,)
    return (
        hairpin,
        'oifname "lo" return',
        "ip daddr @vpc-cidrs return",
        "fib daddr type local return",
        # What the node opened before there was this table nobody tracked: another port would be another connection.
        f"ip saddr {primary} return",
        f"snat to {primary} fully-random",
    )


def _host_ports(made: Ruleset, address: str, owner: Owner) -> None:
    for protocol, host_ip, host_port, port in owner.ports:
        key, value = f"{protocol} . {host_port}", f"{address} . {port}"
        if host_ip and host_ip != "0.0.0.0":
            made.sets["hostip-ports"].elements[f"{host_ip} . {key}"] = value
        else:
            made.sets["hostports"].elements[key] = value
        made.sets["hairpins"].elements[f"{address} . {address}"] = ""
