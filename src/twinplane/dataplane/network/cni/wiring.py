"""One pod on the network: a veth pair, one /32 address, and routes, as the routed-eni plugin makes them.

The pod sees a single neighbour, 169.254.1.1, which is its own host veth; the node has a route to each pod, and rules
that choose the table of the interface that holds the pod's address. Blocking, for a thread: 2 ms. Upstream:
cmd/routed-eni-cni-plugin/driver.
"""

from __future__ import annotations

import errno
import hashlib
import os
import socket
from dataclasses import dataclass

from twinplane.dataplane.network import netlink
from twinplane.dataplane.network.netlink import TABLE_MAIN, Netlink, NetlinkError, Rule

GATEWAY = "169.254.1.1"
TO_POD_PRIORITY = 512
FROM_POD_PRIORITY = 1536


def veth_name(prefix: str, namespace: str, pod: str) -> str:
    """`eni` and 11 digits: known without any state, for a deletion after the agent lost its own."""
    return prefix + hashlib.sha1(f"{namespace}.{pod}".encode(), usedforsecurity=False).hexdigest()[:11]


def table_of(device: int) -> int:
    """The first interface is routed by the main table."""
    return TABLE_MAIN if device == 0 else device + 1


def random_mac(random: bytes) -> str:
    """Of six random bytes: unicast, locally administered."""
    return bytes([random[0] & 0xFC | 2, *random[1:6]]).hex(":")


@dataclass(frozen=True, slots=True)
class Sandbox:
    namespace: str
    """Path of its network namespace."""
    interface: str
    mac: str
    address: str
    veth: str
    """The node's end."""
    table: int
    mtu: int


def connect(sandbox: Sandbox) -> None:
    """What an earlier sandbox of the pod left is taken away. Raises OSError."""
    host_mac = random_mac(os.urandom(6))
    veth, address = sandbox.veth, sandbox.address
    descriptor = os.open(sandbox.namespace, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with Netlink() as host:
            _create(host, sandbox, host_mac, descriptor)
            with netlink.inside(descriptor):
                index = socket.if_nametoindex(sandbox.interface)
                with Netlink() as pod:
                    pod.apply(
                        [
                            netlink.link_up(index),
                            netlink.address(index, address, 32),
                            netlink.route(f"{GATEWAY}/32", index, scope=netlink.SCOPE_LINK),
                            netlink.route("0.0.0.0/0", index, gateway=GATEWAY),
                            netlink.neighbour(index, GATEWAY, host_mac),
                        ]
                    )
            index = socket.if_nametoindex(veth)
            host.apply(
                [
                    netlink.route(f"{address}/32", index, scope=netlink.SCOPE_LINK),
                    netlink.neighbour(index, address, sandbox.mac),
                    *rules(address, sandbox.table),
                ]
            )
    finally:
        os.close(descriptor)


def _create(host: Netlink, sandbox: Sandbox, mac: str, namespace: int) -> None:
    pair = netlink.veth(sandbox.veth, mac, sandbox.interface, sandbox.mac, peer_namespace=namespace, mtu=sandbox.mtu)
    try:
        host.apply([pair])
    except NetlinkError as error:
        # Not deleted on suspicion: the kernel takes 20 ms to say that there is no such link.
        if error.errno != errno.EEXIST:
            raise
        host.apply([netlink.link_deleted(sandbox.veth), pair])


def rules(address: str, table: int, *, delete: bool = False) -> list[netlink.Message]:
    target = f"{address}/32"
    made = [netlink.rule(Rule(TO_POD_PRIORITY, "", target, TABLE_MAIN), delete=delete)]
    if table != TABLE_MAIN:
        made.append(netlink.rule(Rule(FROM_POD_PRIORITY, target, "", table), delete=delete))
    return made


def disconnect(veth: str, address: str, table: int) -> None:
    """The pair (unless `veth` is empty), its routes with it, and the rules; nothing need be there."""
    links = [netlink.link_deleted(veth)] if veth else []
    with Netlink() as host:
        host.apply([*links, *rules(address, table, delete=True)])


def connected(prefix: str) -> dict[str, tuple[str, int]]:
    """Address -> (host veth, interface index) of the pods that are on the network."""
    with Netlink() as host:
        names = {link.index: link.name for link in host.links()}
        return {
            route.destination.removesuffix("/32"): (names[route.interface], route.interface)
            for route in host.routes()
            if route.destination.endswith("/32") and names.get(route.interface, "").startswith(prefix)
        }
