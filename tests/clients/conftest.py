"""One region with one cluster for all client tests; each test works in a namespace of its own."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from tests.region_process import RegionProcess

CLUSTER = "clients"
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def region(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegionProcess]:
    """A running region and its cluster `clients` with three nodes."""
    region = RegionProcess(tmp_path_factory.mktemp("region"))
    try:
        region.start()
        region.run("twinplane", "create", "cluster", "--name", CLUSTER, "--nodes", "3", "--nodegroup-name", "ng")
        yield region
    finally:
        region.stop()


@pytest.fixture
def namespace(region: RegionProcess) -> Iterator[str]:
    name = f"test-{next(_numbers)}"
    region.kubectl("create", "namespace", name)
    yield name
    region.kubectl("delete", "namespace", name, "--wait=false")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All on one worker: they share the region, and a second one would cost more than it saves."""
    for item in items:
        if item.path.parent.name == "clients":
            item.add_marker(pytest.mark.clients)
            item.add_marker(pytest.mark.xdist_group("region"))
