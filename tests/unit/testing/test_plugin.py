"""The pytest plugin, as a project sees it that has Twinplane installed."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points

import pytest

# pytester forgets what the inner run imports first; cryptography cannot be imported twice in a process.
import twinplane.region.certificates  # noqa: F401
from twinplane.testing import running_cluster

pytest_plugins = ("pytester",)

PLUGIN = "twinplane.testing.plugin"
INSTALLED = any(entry.value == PLUGIN for entry in entry_points(group="pytest11"))
LOADED = (*(() if INSTALLED else ("-p", PLUGIN)), "-o", "asyncio_default_fixture_loop_scope=function")
"""An environment made before the entry point was declared has to be told."""

SYNC = """
    import pytest
    from twinplane.kubeclient.resources import NAMESPACES, NODES

    def test_nodes(twinplane_cluster):
        assert len(twinplane_cluster.client().list(NODES).items) == {nodes}

    @pytest.mark.twinplane(nodes=3, version="1.34")
    def test_marker_wins(twinplane_cluster):
        assert len(twinplane_cluster.client().list(NODES).items) == 3
        assert twinplane_cluster.cluster.version == "1.34"

    def test_namespace(twinplane_cluster, twinplane_namespace):
        found = twinplane_cluster.client().get(NAMESPACES, twinplane_namespace)
        assert found["status"]["phase"] == "Active"
"""
ASYNC = """
    import asyncio
    from twinplane.kubeclient.resources import CONFIG_MAPS

    async def test_on_the_same_loop(twinplane_async_cluster):
        client = twinplane_async_cluster.client()
        await client.create(CONFIG_MAPS, {"metadata": {"name": "a"}}, "default")
        assert "control plane" in {task.get_name() for task in asyncio.all_tasks()}
"""
PORTABLE = """
    from twinplane.kubeclient.resources import CONFIG_MAPS

    def test_anywhere(twinplane_cluster, twinplane_namespace):
        client = twinplane_cluster.client()
        client.create(CONFIG_MAPS, {"metadata": {"name": "a"}}, twinplane_namespace)
        twinplane_cluster.settle()
        assert client.get(CONFIG_MAPS, "a", twinplane_namespace)["metadata"]["uid"]

    def test_needs_nodes(twinplane_cluster):
        twinplane_cluster.add_nodes(1)

    def test_needs_users(twinplane_cluster):
        twinplane_cluster.client("jane")
"""


def test_options_and_marker(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(SYNC.format(nodes=2))
    pytester.runpytest_inprocess(*LOADED, "--twinplane-nodes", "2").assert_outcomes(passed=3)


@pytest.mark.parametrize("mode", ["auto", "strict"])
def test_async_fixture(pytester: pytest.Pytester, mode: str) -> None:
    marked = "    import pytest\n    pytestmark = pytest.mark.asyncio\n" + ASYNC
    pytester.makepyfile(marked)
    options = ("-o", f"asyncio_mode={mode}")
    pytester.runpytest_inprocess(*LOADED, *options).assert_outcomes(passed=1)


def test_same_tests_on_a_cluster_that_exists(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(PORTABLE)
    with running_cluster() as existing:
        where = str(existing.kubeconfig)
        pytester.runpytest_inprocess(*LOADED, "--twinplane", where).assert_outcomes(passed=1, skipped=2)
    pytester.runpytest_inprocess(*LOADED).assert_outcomes(passed=3)


def test_kubeconfig_that_is_not_there_is_told(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(PORTABLE)
    result = pytester.runpytest_inprocess(*LOADED, "--twinplane", "/nowhere/kubeconfig")
    result.assert_outcomes(errors=3)
    result.stdout.fnmatch_lines(["*No such file or directory: '/nowhere/kubeconfig'*"])


def test_projects_without_clusters_pay_nothing() -> None:
    """Loading the plugin imports no part of Twinplane but itself."""
    program = (
        "import sys, pytest; before = set(sys.modules); import twinplane.testing.plugin; "
        "print(*sorted(set(sys.modules) - before))"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=300
    ).stdout.split()
    assert [name for name in loaded if name.startswith("twinplane")] == ["twinplane", "twinplane.testing", PLUGIN]
    assert not {"asyncio", "ssl", "aiohttp", "orjson"}.intersection(loaded)
