"""The VPC fabric on a real kernel: instances that speak with one another, with the host, and with nobody else.

Everything is in namespaces of the tests' own, also what stands for the host and for the internet.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import pytest

from tests.nodes.fabric_host import SHORT, Host, eventually, left, running
from twinplane.cloud.network.fabric import namespaces
from twinplane.cloud.network.fabric.contract import Permission, Route, Services
from twinplane.cloud.network.fabric.loop import clean
from twinplane.cloud.network.fabric.requirements import requirements
from twinplane.edge import Edges

MISSING = requirements()
pytestmark = [pytest.mark.root, pytest.mark.skipif(bool(MISSING), reason=" ".join(MISSING))]


def on_host(tmp_path: Path, scenario: Callable[[Host], Awaitable[None]]) -> None:
    async def run() -> None:
        async with running(tmp_path / "data") as host:
            await scenario(host)
        assert left(host) == []

    asyncio.run(run())


async def connect(host: Host, *arguments: object, **named: object) -> str | None:
    return await asyncio.to_thread(partial(host.connect, *arguments, **named))  # type: ignore[arg-type]


async def silent(host: Host, *arguments: object, **named: object) -> bool:
    """Nobody answers there, or it is refused."""
    return await connect(host, *arguments, **named, timeout=SHORT) is None


def edge_of(host: Host, vpc_id: str, address: str) -> str:
    return Edges(host.data_dir / "network/edges.json").to_host(vpc_id, address) or ""


def test_instances_speak_across_subnets_and_with_secondary_addresses(tmp_path: Path) -> None:
    async def scenario(host: Host) -> None:
        vpc = host.account.vpc("10.0.0.0/16", subnets=2)
        one = host.account.interface(vpc, 5)
        near = host.account.interface(vpc, 7, 8)
        far = host.account.interface(vpc, 5, subnet=1)
        namespace = await host.fabric.instance_network(one.instance_id)
        assert namespace in left(host)
        await host.fabric.settled()
        host.run(near, "ip", "addr", "add", "10.0.0.8/32", "dev", "eth0")
        host.listen(near, 80)
        host.listen(far, 80)
        assert await connect(host, one, "10.0.0.7", 80) == "10.0.0.5"
        assert await connect(host, one, "10.0.0.8", 80) == "10.0.0.5"
        assert await connect(host, one, "10.0.1.5", 80) == "10.0.0.5"
        assert await silent(host, one, "10.0.0.9", 80)
        assert "mtu 9001" in host.run(one, "ip", "link", "show", "eth0")
        assert one.mac in host.run(one, "ip", "link", "show", "eth0")

    on_host(tmp_path, scenario)


def test_a_new_address_is_live_at_once_and_a_taken_one_is_not(tmp_path: Path) -> None:
    async def scenario(host: Host) -> None:
        vpc = host.account.vpc("10.0.0.0/16")
        one, other = host.account.interface(vpc, 5), host.account.interface(vpc, 7)
        await host.fabric.settled()
        host.run(other, "ip", "addr", "add", "10.0.0.90/32", "dev", "eth0")
        host.listen(other, 80)
        assert await silent(host, one, "10.0.0.90", 80)
        other = host.account.edit_interface(other, addresses=("10.0.0.7", "10.0.0.90"))
        assert await eventually(lambda: host.connect(one, "10.0.0.90", 80, timeout=SHORT))
        host.account.edit_interface(other, addresses=("10.0.0.7",))
        await host.fabric.settled()
        assert await silent(host, one, "10.0.0.90", 80)

    on_host(tmp_path, scenario)


def test_security_groups_hold_in_both_directions(tmp_path: Path) -> None:
    async def scenario(host: Host) -> None:
        vpc = host.account.vpc("10.0.0.0/16")
        client = host.account.group(vpc)
        web = host.account.group(vpc, Permission("tcp", 80, 81, group=client))
        shut_in = host.account.group(vpc, egress=(Permission("udp", 53, 53, cidr="10.0.0.0/16"),))
        server = host.account.interface(vpc, 10, groups=(web,))
        friend = host.account.interface(vpc, 11, groups=(client,))
        stranger = host.account.interface(vpc, 12, groups=(web,))
        prisoner = host.account.interface(vpc, 13, groups=tuple(sorted((shut_in, client))))
        await host.fabric.settled()
        for port in (80, 82):
            host.listen(server, port)
        host.listen(server, 53, kind=socket.SOCK_DGRAM)
        assert await connect(host, friend, "10.0.0.10", 80) == "10.0.0.11"
        assert await silent(host, friend, "10.0.0.10", 82)
        assert await silent(host, stranger, "10.0.0.10", 80)
        # Groups add up: the second one lets everything out.
        assert await connect(host, prisoner, "10.0.0.10", 80) == "10.0.0.13"
        prisoner = host.account.edit_interface(prisoner, groups=(shut_in,))
        host.account.permit(web, Permission("-1", cidr="10.0.0.13/32"))
        await host.fabric.settled()
        assert await silent(host, prisoner, "10.0.0.10", 80)
        assert await asyncio.to_thread(host.ask, prisoner, "10.0.0.10", 53) == "10.0.0.13"

    on_host(tmp_path, scenario)


def test_a_revoked_rule_stops_new_connections_and_keeps_tracked_ones(tmp_path: Path) -> None:
    async def scenario(host: Host) -> None:
        vpc = host.account.vpc("10.0.0.0/16")
        web = host.account.group(vpc, Permission("tcp", 80, 80, cidr="10.0.0.0/24"))
        server, client = host.account.interface(vpc, 10, groups=(web,)), host.account.interface(vpc, 11)
        await host.fabric.settled()
        host.listen(server, 80)
        with await asyncio.to_thread(host.open, client, "10.0.0.10", 80) as tracked:
            assert tracked.recv(100)
            host.account.permit(web)
            await host.fabric.settled()
            assert await silent(host, client, "10.0.0.10", 80)
            tracked.sendall(b"still here")
            assert await asyncio.to_thread(tracked.recv, 100) == b"still here"
            host.account.permit(web, Permission("6", 80, 80, cidr="10.0.0.11/32"))
            assert await eventually(lambda: host.connect(client, "10.0.0.10", 80, timeout=SHORT))

    on_host(tmp_path, scenario)


def test_only_an_interface_without_the_check_sends_what_it_does_not_hold(tmp_path: Path) -> None:
    async def scenario(host: Host) -> None:
        vpc = host.account.vpc("10.0.0.0/16")
        open_group = host.account.group(vpc, Permission("-1", cidr="0.0.0.0/0"))
        server = host.account.interface(vpc, 10, groups=(open_group,))
        liar = host.account.interface(vpc, 11, groups=(open_group,))
        await host.fabric.settled()
        host.listen(server, 53, kind=socket.SOCK_DGRAM)
        host.run(liar, "ip", "addr", "add", "10.0.0.77/32", "dev", "lo")

        def lie() -> int:
            """Those that arrived so far, a moment after another one was sent."""

            def send() -> None:
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
                    made.bind(("10.0.0.77", 0))
                    made.sendto(b"?", ("10.0.0.10", 53))

            namespaces.inside(host.name(liar), send)
            time.sleep(0.05)
            return received(host.run(server, "cat", "/proc/net/snmp"))

        assert await asyncio.to_thread(lie) == 0
        host.account.edit_interface(liar, source_dest_check=False)
        await host.fabric.settled()
        assert await eventually(lie)

    on_host(tmp_path, scenario)


def received(counters: str) -> int:
    names, values = (line.split()[1:] for line in counters.splitlines() if line.startswith("Udp:"))
    return int(dict(zip(names, values, strict=True))["InDatagrams"])


def test_the_host_reaches_vpcs_that_have_the_same_addresses(tmp_path: Path) -> None:
    async def scenario(host: Host) -> None:
        first, second = host.account.vpc("10.0.0.0/16"), host.account.vpc("10.0.0.0/16")
        one, other = host.account.interface(first, 5), host.account.interface(second, 5)
        await host.fabric.settled()
        for interface, port in ((one, 80), (other, 81)):
            host.listen(interface, port)
        assert edge_of(host, first, "10.0.0.5") != edge_of(host, second, "10.0.0.5")
        # Unannounced, the host comes from an address that EC2 reserves, and no security group keeps it out.
        assert await connect(host, None, edge_of(host, first, "10.0.0.5"), 80) == "10.0.0.3"
        assert await connect(host, None, edge_of(host, second, "10.0.0.5"), 81) == "10.0.0.3"
        assert await silent(host, None, edge_of(host, first, "10.0.0.5"), 81)
        assert await silent(host, one, edge_of(host, second, "10.0.0.5"), 81)
        with pytest.raises(OSError, match="No route to host"):
            host.open(None, "100.127.0.1", 80)

    on_host(tmp_path, scenario)


def test_loopback_services_are_seen_at_their_addresses_in_the_vpc(tmp_path: Path) -> None:
    async def scenario(host: Host) -> None:
        vpc, twin = host.account.vpc("10.0.0.0/16"), host.account.vpc("10.0.0.0/16")
        one, other = host.account.interface(vpc, 5), host.account.interface(twin, 5)
        inner = host.account.group(vpc, Permission("tcp", 443, 443, cidr="10.0.0.5/32"))
        interface = host.account.interface(vpc, 50, groups=(inner,), instance="")
        for port in (8001, 8443, 22):
            host.listen(None, port, "127.0.0.1")
        host.listen(None, 5300, "127.0.0.1")
        host.listen(None, 5300, "127.0.0.1", kind=socket.SOCK_DGRAM)
        host.services = Services(
            {("169.254.169.254", 80): 8001}, 5300, {(vpc, "10.0.0.50", 443): 8443, (vpc, "10.0.0.50", 22): 22}
        )
        await host.fabric.settled()
        assert interface.addresses == ("10.0.0.50",)
        for where, home in ((one, vpc), (other, twin)):
            seen = await connect(host, where, "169.254.169.254", 80)
            assert seen
            assert Edges(host.data_dir / "network/edges.json").to_vpc(seen) == (home, "10.0.0.5")
        assert await silent(host, one, "169.254.169.254", 81)
        for resolver in ("169.254.169.253", "10.0.0.2"):
            assert await asyncio.to_thread(host.ask, one, resolver, 53)
            assert await connect(host, one, resolver, 53)
        assert await connect(host, one, "10.0.0.50", 443) == edge_of(host, vpc, "10.0.0.5")
        assert await silent(host, one, "10.0.0.50", 22), "its security group does not allow it"
        assert await silent(host, other, "10.0.0.50", 443)
        assert await silent(host, one, "10.0.0.3", 8001)

    on_host(tmp_path, scenario)


def test_an_announced_interface_is_the_hosts_in_both_directions(tmp_path: Path) -> None:
    async def scenario(host: Host) -> None:
        vpc = host.account.vpc("10.0.0.0/16")
        balancer = host.account.group(vpc, Permission("tcp", 80, 80, cidr="0.0.0.0/0"))
        nodes = host.account.group(vpc, Permission("tcp", 30080, 30080, group=balancer))
        node = host.account.interface(vpc, 5, groups=(nodes,))
        host.account.interface(vpc, 60, groups=(balancer,), instance="")
        host.fabric.announce("load balancers", [(vpc, "10.0.0.60")])
        await host.fabric.settled()
        bound = edge_of(host, vpc, "10.0.0.60")
        host.listen(node, 30080)
        host.listen(node, 30081)
        host.listen(None, 80, bound)
        host.listen(None, 81, bound)
        target = edge_of(host, vpc, "10.0.0.5")
        assert await connect(host, None, target, 30080, source=bound) == "10.0.0.60"
        assert await silent(host, None, target, 30081, source=bound)
        assert await connect(host, node, "10.0.0.60", 80) == target
        assert await silent(host, node, "10.0.0.60", 81)
        host.fabric.announce("load balancers", [])
        await host.fabric.settled()
        assert await silent(host, node, "10.0.0.60", 80)

    on_host(tmp_path, scenario)


def test_the_way_out_needs_a_gateway_and_a_public_address(tmp_path: Path) -> None:
    async def scenario(host: Host) -> None:
        internet = f"{host.namespace}-internet"
        namespaces.make(internet)
        try:
            host.run(None, "ip", "link", "add", "wan0", "type", "veth", "peer", "name", "wan0", "netns", internet)
            for where, address in ((host.namespace, "198.18.0.2/24"), (internet, "198.18.0.1/24")):
                setup = ["link set lo up", "link set wan0 up", f"addr add {address} dev wan0"]
                namespaces.inside(where, partial(namespaces.batch, setup))
            host.run(None, "ip", "route", "add", "default", "via", "198.18.0.1")
            host.run(None, "sh", "-c", "echo 0 > /proc/sys/net/ipv4/conf/wan0/forwarding")
            vpc = host.account.vpc("10.0.0.0/16", subnets=2)
            await the_way_out(host, vpc, internet)
            assert host.run(None, "cat", "/proc/sys/net/ipv4/conf/wan0/forwarding").strip() == "1"
            await host.kill()
            await host.fabric.remove_everything()
            assert host.run(None, "cat", "/proc/sys/net/ipv4/conf/wan0/forwarding").strip() == "0"
        finally:
            namespaces.remove(internet)

    on_host(tmp_path, scenario)


async def the_way_out(host: Host, vpc: str, internet: str) -> None:
    private = host.account.interface(vpc, 5)
    public = host.account.interface(vpc, 6, public_address="54.214.1.1")
    peer = host.account.interface(vpc, 7, public_address="54.214.1.2")
    behind = host.account.interface(vpc, 5, subnet=1)
    host.machines = {found.instance_id for found in (private, public, peer, behind)}
    await host.fabric.settled()
    host.listen_in(internet, 80)
    assert await silent(host, public, "198.18.0.1", 80), "no route"
    host.account.internet(vpc)
    await host.fabric.settled()
    assert await connect(host, public, "198.18.0.1", 80) == "198.18.0.2"
    assert await silent(host, private, "198.18.0.1", 80), "no public address"
    host.listen(peer, 8080)
    host.account.permit(f"sg-{vpc}", Permission("tcp", 8080, 8080, cidr="54.214.1.1/32"))
    host.account.nat(vpc, 1)
    await host.fabric.settled()
    assert await connect(host, public, "54.214.1.2", 8080) == "54.214.1.1"
    assert await connect(host, behind, "198.18.0.1", 80) == "198.18.0.2"
    host.account.nat(vpc, 1, public="")
    await host.fabric.settled()
    assert await silent(host, behind, "198.18.0.1", 80), "a private NAT gateway leads nowhere"


def test_a_peering_connection_joins_two_vpcs_where_their_routes_say_so(tmp_path: Path) -> None:
    async def scenario(host: Host) -> None:
        one, other = host.account.vpc("10.0.0.0/16"), host.account.vpc("10.1.0.0/16")
        client = host.account.interface(one, 5)
        web = host.account.group(other, Permission("tcp", 80, 80, group=f"sg-{one}"))
        server = host.account.interface(other, 5, groups=(web,))
        peering = host.account.peering(one, other)
        await host.fabric.settled()
        host.listen(server, 80)
        assert await silent(host, client, "10.1.0.5", 80)
        host.account.route(one, Route("10.1.0.0/16", peering))
        host.account.route(other, Route("10.0.0.0/16", peering))
        await host.fabric.settled()
        assert await connect(host, client, "10.1.0.5", 80) == "10.0.0.5"

    on_host(tmp_path, scenario)


def test_a_restarted_daemon_finds_everything_and_touches_nothing(tmp_path: Path) -> None:
    async def scenario(host: Host) -> None:
        vpc = host.account.vpc("10.0.0.0/16")
        client, server = host.account.interface(vpc, 5), host.account.interface(vpc, 7)
        host.services = Services({("169.254.169.254", 80): 8001}, 5300)
        await host.fabric.settled()
        host.listen(server, 80)
        links = [host.run(where, "ip", "link") for where in (None, client, server)]
        with await asyncio.to_thread(host.open, client, "10.0.0.7", 80) as tracked:
            assert tracked.recv(100)
            await host.restart()
            await host.fabric.settled()
            tracked.sendall(b"still here")
            assert await asyncio.to_thread(tracked.recv, 100) == b"still here"
        assert [host.run(where, "ip", "link") for where in (None, client, server)] == links

    on_host(tmp_path, scenario)


def test_what_somebody_else_took_away_comes_back_in_a_check(tmp_path: Path) -> None:
    async def scenario(host: Host) -> None:
        vpc = host.account.vpc("10.0.0.0/16", subnets=2)
        closed = host.account.group(vpc)
        client, server = host.account.interface(vpc, 5), host.account.interface(vpc, 7, subnet=1)
        private = host.account.interface(vpc, 9, groups=(closed,))
        await host.fabric.settled()
        host.listen(server, 80)
        host.listen(private, 80)
        router = next(name for name in left(host) if "-vpc-" in name)
        damage = [
            "neigh flush all nud permanent",
            "rule del pref 100",
            "route flush table 100",
            "rule add pref 50 lookup 7",
        ]
        namespaces.inside(router, partial(namespaces.batch, damage, strict=False))
        for where in (router, host.namespace):
            namespaces.inside(where, partial(namespaces.run, ["nft", "flush", "ruleset"]))
        await host.restart()
        await host.fabric.settled()
        assert await connect(host, client, "10.0.1.7", 80) == "10.0.0.5"
        assert await silent(host, client, "10.0.0.9", 80)
        assert "50:" not in namespaces.inside(router, partial(namespaces.run, ["ip", "rule"]))

    on_host(tmp_path, scenario)


def test_interfaces_and_instances_come_and_go(tmp_path: Path) -> None:
    async def scenario(host: Host) -> None:
        vpc = host.account.vpc("10.0.0.0/16", subnets=2)
        one = host.account.interface(vpc, 5)
        other = host.account.interface(vpc, 7)
        await host.fabric.settled()
        second = host.account.interface(vpc, 20, subnet=1, instance=one.instance_id, device_index=1)
        await host.fabric.settled()
        assert second.mac in host.run(one, "ip", "link", "show", "eth1")
        assert "inet " not in host.run(one, "ip", "addr", "show", "eth1"), "the CNI gives it its addresses"
        host.account.drop_interface(second)
        await host.fabric.settled()
        with pytest.raises(namespaces.CommandFailed):
            host.run(one, "ip", "link", "show", "eth1")
        host.account.drop_interface(other)
        await host.fabric.settled()
        assert len(left(host)) == 2
        host.account.drop_interface(one)
        await host.fabric.settled()
        assert left(host) == []
        assert host.run(None, "nft", "list", "tables") == ""
        again = host.account.interface(vpc, 5)
        await host.fabric.instance_network(again.instance_id)
        assert await eventually(lambda: len(left(host)) == 2)

    on_host(tmp_path, scenario)


def test_what_a_killed_daemon_left_is_found_by_name(tmp_path: Path) -> None:
    async def scenario(host: Host) -> None:
        vpc = host.account.vpc("10.0.0.0/16")
        host.account.interface(vpc, 5)
        await host.fabric.settled()
        assert len(left(host)) == 2
        await host.kill()
        await asyncio.to_thread(clean, host.data_dir, host.data_dir.parent / "run", host.namespace)
        assert left(host) == []
        assert host.run(None, "nft", "list", "tables") == ""
        assert "tp-" not in host.run(None, "ip", "link")
        assert host.run(None, "ip", "route") == ""
        assert Edges(host.data_dir / "network/edges.json").slices() == []

    on_host(tmp_path, scenario)


def test_a_host_that_lacks_programs_is_told_which(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", os.fspath(Path("/nonexistent")))
    assert requirements()[0] == "The program ip is not installed (Debian package iproute2)."


def test_a_namespace_that_somebody_took_away_is_made_again(tmp_path: Path) -> None:
    async def scenario(host: Host) -> None:
        vpc = host.account.vpc("10.0.0.0/16")
        client, server = host.account.interface(vpc, 5), host.account.interface(vpc, 7)
        await host.fabric.settled()
        namespaces.remove(host.name(server))
        await host.fabric.settled()
        host.listen(server, 80)
        assert await eventually(lambda: host.connect(client, "10.0.0.7", 80, timeout=SHORT)) == "10.0.0.5"

    on_host(tmp_path, scenario)


def test_a_region_without_machines_touches_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(host: Host) -> None:
        monkeypatch.setenv("PATH", "/nonexistent")
        host.account.vpc("10.0.0.0/16")
        await host.fabric.settled()
        assert not (tmp_path / "run").exists()
        monkeypatch.undo()

    on_host(tmp_path, scenario)
