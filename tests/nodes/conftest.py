"""One region with one cluster of two real nodes, for all tests that drive official clients against real containers.

Both nodes are in one zone, so that a volume can follow its pod. It is made when the first test asks for it; every
module works in a namespace of its own. Images are packed once for this machine and then only imported.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.nodes.machines_host import IMAGES
from tests.nodes.space import Space
from tests.region_process import RegionProcess
from twinplane.cloud.machines.requirements import requirements
from twinplane.images.archive import export
from twinplane.images.pack import Recipe, pack
from twinplane.images.reference import parse
from twinplane.images.store import ImageStore

CLUSTER = """
apiVersion: eksctl.io/v1alpha5
kind: ClusterConfig
metadata: {name: real, region: us-west-2}
managedNodeGroups:
- {name: ng, desiredCapacity: 2, availabilityZones: [us-west-2a], labels: {twinplane.io/runtime: containerd}}
"""
PACKAGES = {
    "nginx:1": ("nginx-light",),
    "redis:7": ("redis-server", "redis-tools"),
    "busybox:1": ("busybox", "curl"),
}
"""Names as manifests of the field have them -> Debian packages."""
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def real_region(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegionProcess]:
    """A running region and its cluster `real` with two real nodes, and the images of `PACKAGES`."""
    lacking = requirements(Path("/tmp"))
    if lacking:
        pytest.skip(" ".join(lacking))
    region = RegionProcess(tmp_path_factory.mktemp("real"))
    try:
        region.start()
        for name, packages in PACKAGES.items():
            region.run("twinplane", "image", "import", str(archive(name, packages)))
        region.run("twinplane", "create", "cluster", "-f", "-", stdin=CLUSTER)
        region.kubectl("-n", "kube-system", "rollout", "status", "deployment/coredns", "--timeout=180s")
        yield region
    finally:
        region.stop()


def archive(name: str, packages: tuple[str, ...]) -> Path:
    """Of an image, packed when it is the first time on this machine."""
    path = IMAGES / f"{'+'.join(packages)}-{name.replace(':', '-')}.tar"
    if not path.exists():
        store, reference = ImageStore(IMAGES), parse(name)
        pack(store, IMAGES / "apt", reference, Recipe(apt=packages))
        export(store, reference, path)
    return path


@pytest.fixture(scope="module")
def space(real_region: RegionProcess) -> Iterator[Space]:
    """A namespace of the module."""
    name = f"space-{next(_numbers)}"
    real_region.kubectl("create", "namespace", name)
    yield Space(real_region, name)
    real_region.kubectl("delete", "namespace", name, "--wait=false")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All that share the region on one worker: a second one would cost more than it saves."""
    for item in items:
        if "real_region" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.root)
            item.add_marker(pytest.mark.real_cluster)
            item.add_marker(pytest.mark.xdist_group("real nodes"))
            item.add_marker(pytest.mark.timeout(900))
