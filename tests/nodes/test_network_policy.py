"""NetworkPolicy in real namespaces: two pods of a node, a client elsewhere, and the node itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import pytest

from tests.nodes.namespaces import Echo, Namespaces, missing, namespaces
from tests.nodes.test_cni import configuration
from tests.nodes.test_proxy import BACKENDS, World
from twinplane.dataplane.network.policy.network_policies import NetworkPolicies
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.resources import NAMESPACES, NETWORK_POLICIES, PODS
from twinplane.testing.memory_cluster import MemoryCluster

pytestmark = [pytest.mark.root, pytest.mark.skipif(bool(missing()), reason=missing() or "-")]

ONE, TWO = BACKENDS["one"], BACKENDS["two"]


def pod(name: str, address: str) -> Object:
    containers = [{"name": "c", "ports": [{"name": "http", "containerPort": 8080}]}]
    return {
        "metadata": {"name": name, "namespace": "default", "labels": {"app": name}},
        "spec": {"nodeName": "node", "containers": containers},
        "status": {"podIP": address, "phase": "Running"},
    }


def policy(name: str, app: str, **spec: Any) -> Object:
    return {
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"podSelector": {"matchLabels": {"app": app}}, **spec},
    }


@pytest.fixture
def where() -> Iterator[Namespaces]:
    with namespaces() as made:
        yield made


@asynccontextmanager
async def enforcing(where: Namespaces, cluster: MemoryCluster) -> AsyncIterator[None]:
    with where.inside("node"):
        policies = NetworkPolicies(configuration(), cluster, Random(1))
        running = asyncio.create_task(policies.run())
        try:
            async with asyncio.timeout(60):
                await policies.synced.wait()
            yield
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


async def test_both_directions(where: Namespaces) -> None:
    cluster = MemoryCluster()
    world = World(where, cluster)
    cluster.seed(NAMESPACES, {"metadata": {"name": "default", "labels": {"team": "red"}}})
    cluster.seed(PODS, pod("one", ONE), pod("two", TWO))
    servers = [Echo(where, name, port) for name in ("one", "two", "client") for port in (8080, 8081)]
    try:
        async with enforcing(where, cluster):
            assert (await world.ask("client", ONE, 8080)).startswith("one")
            allowed = {"from": [{"podSelector": {"matchLabels": {"app": "two"}}}], "ports": [{"port": "http"}]}
            await cluster.create(NETWORK_POLICIES, policy("to-one", "one", ingress=[allowed]), "default")
            await world.until(lambda answer: answer == "TimeoutError", "client", ONE, 8080)
            assert (await world.ask("two", ONE, 8080)).startswith("one")
            assert await world.ask("two", ONE, 8081, seconds=0.3) == "TimeoutError"
            # Probes come from the node.
            assert (await world.ask("node", ONE, 8081)).startswith("one")
            assert (await world.ask("one", TWO, 8081)).startswith("two")
            block = {"to": [{"ipBlock": {"cidr": "192.0.2.0/24", "except": ["192.0.2.64/26"]}}]}
            await cluster.create(
                NETWORK_POLICIES, policy("from-one", "one", policyTypes=["Egress"], egress=[block]), "default"
            )
            await world.until(lambda answer: answer == "TimeoutError", "one", TWO, 8080)
            assert (await world.ask("one", "192.0.2.7", 8080)).startswith("client")
            for name in ("to-one", "from-one"):
                await cluster.delete(NETWORK_POLICIES, name, "default")
            await world.until(lambda answer: answer.startswith("one"), "client", ONE, 8080)
            assert "drop" not in where.run("node", "nft", "list", "table", "ip", "network-policy")
    finally:
        for server in servers:
            server.close()
