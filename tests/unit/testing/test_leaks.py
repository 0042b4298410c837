"""What a cluster leaves behind: nothing, however many there were."""

from __future__ import annotations

import asyncio
import gc
import os
import ssl
import threading
from contextlib import suppress
from pathlib import Path

from tests.unit.testing.objects import deployment
from twinplane.controlplane.api.server import ApiServer
from twinplane.kubeclient.http import HttpClient
from twinplane.kubeclient.resources import DEPLOYMENTS, PODS
from twinplane.testing import cluster, in_process, running_cluster

CLUSTERS = 50
WARM = 15
GROWTH_MAX = 50
"""Objects that a cluster may leave in caches; it is tens of thousands while it lives."""


def threads_now() -> set[threading.Thread]:
    """Those of other tests may end meanwhile."""
    return set(threading.enumerate())


def opened() -> set[str]:
    """What descriptors lead to: of other tests some may be closed meanwhile."""
    found = set()
    for each in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            found.add(os.readlink(each))
    return found - {f"/proc/{os.getpid()}/fd"}


async def one(nodes: int) -> None:
    async with cluster(nodes=nodes) as made:
        if nodes:
            await made.client().create(DEPLOYMENTS, deployment(1))
        assert made.kubeconfig.exists()


def objects() -> int:
    gc.collect()
    return len(gc.get_objects())


def server_count() -> int:
    """Other tests of this process may have left some behind; they do not count."""
    return sum(isinstance(entry, ApiServer) for entry in gc.get_objects())


async def test_fifty_clusters_leave_nothing_behind() -> None:
    # Bounded caches of the process are full after some clusters.
    for number in range(WARM):
        await one(nodes=int(number == 0))
    servers = server_count()
    tasks, threads, files, known = len(asyncio.all_tasks()), threads_now(), opened(), objects()
    for number in range(CLUSTERS - WARM):
        await one(nodes=int(number == 0))
    assert len(asyncio.all_tasks()) == tasks
    assert threads_now() <= threads
    assert opened() <= files
    assert (objects() - known) / (CLUSTERS - WARM) < GROWTH_MAX
    # The last one may still be held by the frames of the test.
    assert server_count() <= servers + 1


async def test_closes_at_once_while_clients_watch() -> None:
    """Neither a watch nor an idle connection holds a cluster up."""
    async with cluster() as made:
        trust = ssl.create_default_context(cadata=made.certificate_authority)
        token = made.token

        async def bearer() -> str:
            return token

        async def watch(client: HttpClient) -> None:
            async for _ in client.watch(PODS):
                pass

        client = await HttpClient(made.url, trust, bearer).__aenter__()
        await client.list(PODS)
        watching = asyncio.create_task(watch(client))
        await asyncio.sleep(0.02)
        assert not watching.done()
    await asyncio.gather(watching, return_exceptions=True)
    await client.__aexit__(None, None, None)
    # Requests under way are waited for no longer than this, and then cut off.
    assert in_process.CLOSE_GRACE_SECONDS < 0.1


def test_threads_end_with_their_clusters() -> None:
    with running_cluster() as warm:
        warm.settle()
    threads, files = threads_now(), opened()
    for _ in range(5):
        with running_cluster() as running:
            running.settle()
    assert threads_now() <= threads
    assert opened() <= files
