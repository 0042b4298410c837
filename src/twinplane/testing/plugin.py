"""The pytest plugin: fixtures for throwaway clusters, and options that point the same tests at a real one.

pytest loads it in every project that has Twinplane installed, so it imports nothing but pytest until a test asks for a
cluster.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from twinplane.testing.running import AsyncCluster, RunningCluster

IN_PROCESS = "in-process"
MARKER = "twinplane(nodes=0, version='1.36', instance_type='m5.large', zones=3): the cluster that a test is given"


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("twinplane", "Kubernetes clusters for tests")
    group.addoption(
        "--twinplane",
        default=IN_PROCESS,
        metavar="WHERE",
        help=f"{IN_PROCESS} (default): every test gets a cluster of its own in this process; "
        "else a kubeconfig file, or a URL without credentials, of a cluster that exists",
    )
    group.addoption(
        "--twinplane-nodes", type=int, default=0, metavar="N", help="simulated nodes of every such cluster (0)"
    )
    group.addoption(
        "--twinplane-version", default="1.36", metavar="MINOR", help="Kubernetes version of every such cluster (1.36)"
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", MARKER)
    if config.pluginmanager.hasplugin("asyncio"):
        from twinplane.testing import plugin_asyncio

        config.pluginmanager.register(plugin_asyncio, "twinplane-asyncio")


def cluster_for(request: pytest.FixtureRequest) -> AbstractAsyncContextManager[AsyncCluster]:
    """The cluster that options and the test's marker ask for, not yet entered."""
    option = request.config.getoption
    where = str(option("--twinplane"))
    if where != IN_PROCESS:
        from twinplane.testing.existing import existing_cluster

        return existing_cluster(where)
    from twinplane.testing.in_process import cluster

    wanted: dict[str, Any] = {"nodes": option("--twinplane-nodes"), "version": option("--twinplane-version")}
    marker = request.node.get_closest_marker("twinplane")
    return cluster(**(wanted | (marker.kwargs if marker is not None else {})))


@pytest.fixture
def twinplane_cluster(request: pytest.FixtureRequest) -> Iterator[RunningCluster]:
    """A cluster of the test's own, on a thread: for sync tests and blocking clients."""
    from twinplane.testing.running import on_a_thread

    with on_a_thread(lambda: cluster_for(request)) as running:
        yield running


@pytest.fixture
def twinplane_namespace(twinplane_cluster: RunningCluster) -> Iterator[str]:
    """The name of a fresh namespace, which keeps tests apart also on a cluster that exists."""
    from twinplane.kubeclient.resources import NAMESPACES

    name = f"test-{uuid.uuid4().hex[:8]}"
    client = twinplane_cluster.client()
    client.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    yield name
    client.delete(NAMESPACES, name)
