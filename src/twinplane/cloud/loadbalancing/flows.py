"""Which listeners of network load balancers need no proxy inside a VPC: flows that the host's kernel hands on. Pure.

A network load balancer works on packets. Where all of its targets are in VPCs that this host has, the fabric gives each
new flow to one of them and the kernel does the rest, at about the speed of pods among themselves; Envoy copies every
byte twice. Envoy stays behind it for what needs it (TLS, proxy protocol, stickiness, simulated targets), for clients on
the host, and to know who is healthy.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import AddressValueError, IPv4Address

from twinplane.cloud.loadbalancing.clusters import Resolved, cluster_name, is_sticky
from twinplane.cloud.loadbalancing.contract import Flow, Listener, LoadBalancer, Snapshot, SocketAddress, TargetGroup
from twinplane.cloud.loadbalancing.envoy import ConfigHealth
from twinplane.edge import POOL

PROTOCOLS = {"TCP": ("tcp",), "UDP": ("udp",), "TCP_UDP": ("tcp", "udp")}


def flows(snapshot: Snapshot, resolved: Resolved, health: ConfigHealth) -> dict[Flow, tuple[SocketAddress, ...]]:
    """(VPC id, address of an interface, tcp or udp, port) -> where new flows go, by the addresses of this host."""
    found: dict[Flow, tuple[SocketAddress, ...]] = {}
    for balancer in snapshot.load_balancers:
        for listener in balancer.listeners if balancer.kind == "network" else ():
            targets = _targets(listener, snapshot, resolved, health)
            if targets:
                found |= dict.fromkeys(_flows(balancer, listener), targets)
    return found


def _flows(balancer: LoadBalancer, listener: Listener) -> list[Flow]:
    return [
        (balancer.vpc_id, address, protocol, listener.port)
        for address in balancer.addresses
        for protocol in PROTOCOLS[listener.protocol]
    ]


def _targets(
    listener: Listener, snapshot: Snapshot, resolved: Resolved, health: ConfigHealth
) -> tuple[SocketAddress, ...]:
    """The healthy ones, all when none is (fail open); empty where Envoy has to do it."""
    action = listener.rules[-1].action
    if listener.protocol not in PROTOCOLS or len(action.target_groups) != 1:
        return ()
    group = snapshot.target_groups.get(action.target_groups[0][0])
    if group is None or not _plain(group):
        return ()
    addresses = sorted({where for target in group.targets for where in resolved.get((group.vpc_id, target), ())})
    if not all(_in_vpc(host) for host, _ in addresses):
        return ()
    states: Mapping[SocketAddress, str] = health.get(cluster_name(group.arn), {})
    healthy = tuple(where for where in addresses if states.get(where) == "healthy")
    return healthy or tuple(addresses)


def _plain(group: TargetGroup) -> bool:
    proxied = any(group.attributes.get(f"proxy_protocol_{version}.enabled") == "true" for version in ("v1", "v2"))
    return group.protocol in PROTOCOLS and not proxied and not is_sticky(group)


def _in_vpc(host: str) -> bool:
    try:
        return IPv4Address(host) in POOL
    except AddressValueError:
        return False
