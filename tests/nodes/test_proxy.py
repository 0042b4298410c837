"""kube-proxy in real namespaces: a client, a node, and backends behind it, with TCP and UDP through the kernel."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.nodes.namespaces import Echo, Namespaces, ask, missing, namespaces
from tests.nodes.test_cni import configuration
from twinplane.clock import SystemClock
from twinplane.dataplane.network.proxy.kube_proxy import KubeProxy
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.resources import ENDPOINT_SLICES, SERVICES
from twinplane.testing.memory_cluster import MemoryCluster

pytestmark = [pytest.mark.root, pytest.mark.skipif(bool(missing()), reason=missing() or "-")]

NODE, SERVICE, NODE_PORT = "10.0.12.4", "10.100.0.80", 30080
BACKENDS = {"one": "10.0.13.1", "two": "10.0.13.2"}


class World:
    def __init__(self, where: Namespaces, cluster: MemoryCluster) -> None:
        self.where, self.cluster = where, cluster
        where.add("node")
        where.forwards("node")
        with where.inside("node"):
            # A redirect to the client would use up what the kernel allows of ICMP, and a rejection is ICMP as well.
            for device in ("all", "default"):
                Path(f"/proc/sys/net/ipv4/conf/{device}/send_redirects").write_text("0")
        where.add("client")
        where.wire("client", "eth0", "node", "eth0")
        where.ip("client", "addr add 192.0.2.7/32 dev eth0")
        where.ip("client", f"route add default via {NODE} dev eth0 onlink")
        where.ip("node", f"addr add {NODE}/32 dev eth0")
        where.ip("node", "route add 192.0.2.7/32 dev eth0")
        where.ip("node", "route add default dev eth0")
        for number, (name, address) in enumerate(BACKENDS.items()):
            where.add(name)
            where.wire(name, "eth0", "node", f"pod{number}")
            where.ip(name, f"addr add {address}/32 dev eth0")
            where.ip(name, f"route add default via {NODE} dev eth0 onlink")
            where.ip("node", f"route add {address}/32 dev pod{number} src {NODE}")
            where.ip("node", f"neigh replace {address} lladdr {self.mac(name)} dev pod{number}")

    def mac(self, name: str) -> str:
        return self.where.ip(name, "link show eth0").split("link/ether ")[1].split()[0]

    @asynccontextmanager
    async def proxy(self) -> AsyncIterator[KubeProxy]:
        with self.where.inside("node"):
            proxy = KubeProxy(configuration(), self.cluster, SystemClock(), Random(1))
            running = asyncio.create_task(proxy.run())
            try:
                async with asyncio.timeout(60):
                    await proxy.synced.wait()
                yield proxy
            finally:
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)

    async def ask(self, who: str, address: str, port: int, kind: str = "tcp", **more: Any) -> str:
        return await asyncio.to_thread(self.where.call, who, partial(ask, address, port, kind, **more))

    async def until(self, holds: Callable[[str], bool], who: str, address: str, port: int, kind: str = "tcp") -> str:
        async with asyncio.timeout(60):
            while not holds(answer := await self.ask(who, address, port, kind, seconds=0.3)):
                await asyncio.sleep(0.01)
        return answer


def service(**spec: Any) -> Object:
    ports = [
        {"name": "http", "port": 80, "nodePort": NODE_PORT, "protocol": "TCP"},
        {"name": "dns", "port": 53, "nodePort": NODE_PORT + 1, "protocol": "UDP"},
    ]
    return {
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"clusterIP": SERVICE, "type": "NodePort", "ports": ports, **spec},
    }


def slice_(*names: str, node: str = "node") -> Object:
    return {
        "metadata": {"name": "web-1", "namespace": "default", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}, {"name": "dns", "port": 5353, "protocol": "UDP"}],
        "endpoints": [
            {"addresses": [BACKENDS[name]], "nodeName": node, "conditions": {"ready": True}} for name in names
        ],
    }


@pytest.fixture
def where() -> Iterator[Namespaces]:
    with namespaces() as made:
        yield made


@pytest.fixture
def servers(where: Namespaces) -> Iterator[Callable[[], None]]:
    started: list[Echo] = []

    def start() -> None:
        for name in BACKENDS:
            started.extend((Echo(where, name, 8080), Echo(where, name, 5353, "udp")))

    yield start
    for server in started:
        server.close()


async def test_cluster_ip_node_port_and_hairpin(where: Namespaces, servers: Callable[[], None]) -> None:
    cluster = MemoryCluster()
    world = World(where, cluster)
    servers()
    cluster.seed(SERVICES, service())
    cluster.seed(ENDPOINT_SLICES, slice_("one", "two"))
    async with world.proxy():
        answers = Counter([await world.ask("client", SERVICE, 80) for _ in range(30)])
        assert answers.keys() == {"one 192.0.2.7", "two 192.0.2.7"}
        assert (await world.ask("node", SERVICE, 80)).split()[0] in BACKENDS
        assert (await world.ask("client", SERVICE, 53, "udp")).split()[0] in BACKENDS
        # A node port hides its client behind the node.
        assert (await world.ask("client", NODE, NODE_PORT)).endswith(NODE)
        assert (await world.ask("client", NODE, NODE_PORT + 1, "udp")).endswith(NODE)
        assert (await world.ask("node", NODE, NODE_PORT)).split()[0] in BACKENDS
        # A pod that meets itself must not see its own address.
        answers = Counter([await world.ask("one", SERVICE, 80) for _ in range(20)])
        assert answers.keys() == {f"one {NODE}", f"two {BACKENDS['one']}"}
        assert await world.ask("client", SERVICE, 81) == "ConnectionRefusedError"


async def test_changes_arrive_and_udp_flows_move(where: Namespaces, servers: Callable[[], None]) -> None:
    cluster = MemoryCluster()
    world = World(where, cluster)
    servers()
    async with world.proxy():
        await cluster.create(SERVICES, service(), "default")
        await world.until(lambda answer: answer == "ConnectionRefusedError", "client", SERVICE, 80)
        await cluster.create(ENDPOINT_SLICES, slice_("one"), "default")
        await world.until(lambda answer: answer == "one 192.0.2.7", "client", SERVICE, 80)
        source = ("192.0.2.7", 40_000)
        assert await world.ask("client", SERVICE, 53, "udp", source=source) == "one 192.0.2.7"
        await cluster.patch(ENDPOINT_SLICES, "web-1", {"endpoints": slice_("two")["endpoints"]}, "default")
        await world.until(lambda answer: answer == "two 192.0.2.7", "client", SERVICE, 80)
        async with asyncio.timeout(60):
            while await world.ask("client", SERVICE, 53, "udp", source=source, seconds=0.2) != "two 192.0.2.7":
                await asyncio.sleep(0.01)
        await cluster.delete(SERVICES, "web", "default")
        await world.until(lambda answer: answer == "TimeoutError", "client", SERVICE, 80)


async def test_session_affinity(where: Namespaces, servers: Callable[[], None]) -> None:
    cluster = MemoryCluster()
    world = World(where, cluster)
    servers()
    cluster.seed(SERVICES, service(sessionAffinity="ClientIP"))
    cluster.seed(ENDPOINT_SLICES, slice_("one", "two"))
    async with world.proxy():
        answers = {await world.ask("client", SERVICE, 80) for _ in range(15)}
        assert len(answers) == 1
        # The node port is the same Service port: the same endpoint, though the address is hidden.
        through = {(await world.ask("client", NODE, NODE_PORT)).split()[0] for _ in range(5)}
        assert through == {answers.pop().split()[0]}


async def test_external_policy_local_and_health_checks(where: Namespaces, servers: Callable[[], None]) -> None:
    cluster = MemoryCluster()
    world = World(where, cluster)
    servers()
    policy = {"externalTrafficPolicy": "Local", "healthCheckNodePort": 31_000, "type": "LoadBalancer"}
    cluster.seed(SERVICES, service(**policy))
    cluster.seed(ENDPOINT_SLICES, slice_("one"))
    async with world.proxy():
        assert await world.ask("client", NODE, NODE_PORT) == "one 192.0.2.7"
        assert "200 OK" in await asyncio.to_thread(where.run, "client", "curl", "-si", f"http://{NODE}:31000/")
        there = slice_("one", node="there")["endpoints"]
        await cluster.patch(ENDPOINT_SLICES, "web-1", {"endpoints": there}, "default")
        await world.until(lambda answer: answer == "TimeoutError", "client", NODE, NODE_PORT)
        assert (await world.ask("node", NODE, NODE_PORT)).startswith("one")
        health = await asyncio.to_thread(where.run, "client", "curl", "-si", f"http://{NODE}:31000/")
        assert "503" in health
        assert '"localEndpoints": 0' in health
        healthz = await asyncio.to_thread(where.run, "client", "curl", "-si", f"http://{NODE}:10256/healthz")
        assert "200 OK" in healthz


async def test_source_ranges(where: Namespaces, servers: Callable[[], None]) -> None:
    cluster = MemoryCluster()
    world = World(where, cluster)
    servers()
    spec = service(type="LoadBalancer", loadBalancerSourceRanges=["198.51.100.0/24"])
    status = {"loadBalancer": {"ingress": [{"ip": "203.0.113.9"}]}}
    cluster.seed(SERVICES, {**spec, "status": status})
    cluster.seed(ENDPOINT_SLICES, slice_("one"))
    async with world.proxy():
        assert await world.ask("client", "203.0.113.9", 80, seconds=0.3) == "TimeoutError"
        await cluster.patch(SERVICES, "web", {"spec": {"loadBalancerSourceRanges": ["192.0.2.0/24"]}}, "default")
        await world.until(lambda answer: answer == f"one {NODE}", "client", "203.0.113.9", 80)


async def test_rules_outlive_the_proxy(where: Namespaces, servers: Callable[[], None]) -> None:
    cluster = MemoryCluster()
    world = World(where, cluster)
    servers()
    cluster.seed(SERVICES, service())
    cluster.seed(ENDPOINT_SLICES, slice_("one"))
    async with world.proxy():
        pass
    assert await world.ask("client", SERVICE, 80) == "one 192.0.2.7"
    async with world.proxy():
        assert await world.ask("client", SERVICE, 80) == "one 192.0.2.7"
