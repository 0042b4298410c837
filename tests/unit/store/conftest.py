"""Stores to test. Each joins by adding its opener to `OPENERS`: the contract tests know no more than this."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from tests.etcd_cluster import EtcdCluster, etcd
from tests.unit.store.values import FixedClock, stamp
from twinplane.controlplane.store.contract import Store
from twinplane.controlplane.store.embedded import EmbeddedStore

__all__ = ["etcd"]

Opener = Callable[[pytest.FixtureRequest, Path], Awaitable[Store]]


async def open_in_memory(_: pytest.FixtureRequest, __: Path) -> Store:
    return await EmbeddedStore.open(None, stamp=stamp, clock=FixedClock())


async def open_on_disk(_: pytest.FixtureRequest, directory: Path) -> Store:
    return await EmbeddedStore.open(directory / "store.db", stamp=stamp, clock=FixedClock())


async def open_in_etcd(request: pytest.FixtureRequest, directory: Path) -> Store:
    from twinplane.controlplane.store.etcd.store import EtcdStore

    cluster: EtcdCluster = request.getfixturevalue("etcd")
    return await EtcdStore.open(cluster.configuration(f"/{directory.name}"), stamp=stamp)


async def open_moved_to_etcd(request: pytest.FixtureRequest, directory: Path) -> Store:
    """As a cluster that comes from a store with far higher revisions."""
    from twinplane.controlplane.store.etcd import messages
    from twinplane.controlplane.store.etcd.client import EtcdClient
    from twinplane.controlplane.store.etcd.keys import Keyspace
    from twinplane.controlplane.store.etcd.origin import Origin

    cluster: EtcdCluster = request.getfixturevalue("etcd")
    client = EtcdClient(cluster.configuration("/any"))
    origin = messages.puts_request([(Keyspace(f"/{directory.name}").origin, Origin(1_000_000, 1_000_001).dump())])
    await client.write(messages.TXN, origin)
    await client.close()
    return await open_in_etcd(request, directory)


OPENERS: dict[str, Opener] = {
    "memory": open_in_memory,
    "disk": open_on_disk,
    "etcd": open_in_etcd,
    "moved": open_moved_to_etcd,
}


@pytest.fixture(params=OPENERS)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    opened = await OPENERS[request.param](request, tmp_path)
    yield opened
    await opened.close()
