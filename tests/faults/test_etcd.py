"""Two replicas over three etcd members: a member is killed, then each replica, while clients write and watch.

What must hold: nothing that was acknowledged is lost, each watch sees every change once and in order for each object,
and the clients get no error but those that they repeat.
"""

from __future__ import annotations

import asyncio
import os
import signal
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import yaml

from tests.etcd_cluster import EtcdCluster, etcd
from tests.region_process import RegionProcess, eventually
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.http import HttpClient
from twinplane.kubeclient.resources import CONFIG_MAPS, LEASES, NAMESPACES
from twinplane.region.processes import RunningProcess

__all__ = ["etcd"]

pytestmark = pytest.mark.root
CLUSTER = "replicated"
NAMESPACE = "load"
WRITERS = 8
PAUSE = 0.02
"""Between the writes of one writer: the load is bounded, the machine is shared."""
CALM_SECONDS = 1.5
GIVE_UP_SECONDS = 120


@pytest.fixture(scope="module")
def region(etcd: EtcdCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegionProcess]:
    region = RegionProcess(tmp_path_factory.mktemp("replicas"))
    region.flags = ("--store", "etcd", *etcd.flags(), "--control-plane-replicas", "2")
    try:
        region.start()
        region.run("twinplane", "create", "cluster", "--name", CLUSTER, "--without-nodegroup")
        yield region
    finally:
        region.stop()


@dataclass
class Load:
    """Counts up numbers in ConfigMaps, each by one writer, and watches them."""

    client: HttpClient
    acknowledged: dict[str, int] = field(default_factory=dict)
    written: int = 0
    repeated: Counter[str] = field(default_factory=Counter)
    stop: bool = False

    async def write(self, number: int) -> None:
        name = f"counter-{number}"
        value = 0
        current: Object = await self._settled(lambda: self._create(name))
        while not self.stop:
            value += 1
            current = await self._counted(name, current, value)
            self.acknowledged[name] = value
            self.written += 1
            await asyncio.sleep(PAUSE)

    async def _create(self, name: str) -> Object:
        try:
            body = {"metadata": {"name": name}, "data": {"n": "0"}}
            return await self.client.create(CONFIG_MAPS, body, NAMESPACE)
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise
            return await self.client.get(CONFIG_MAPS, name, NAMESPACE)

    async def _counted(self, name: str, current: Object, value: int) -> Object:
        """One step, repeated until it is known to be done. After an error the object tells whether it was."""

        async def attempt() -> Object:
            nonlocal current
            try:
                return await self.client.update(CONFIG_MAPS, {**current, "data": {"n": str(value)}})
            except (ApiError, OSError):
                current = await self._settled(lambda: self.client.get(CONFIG_MAPS, name, NAMESPACE))
                seen = int(current["data"]["n"])
                assert seen in (value - 1, value), f"{name}: {value - 1} was acknowledged, {seen} is there"
                if seen == value:
                    return current
                raise

        found: Object = await self._settled(attempt)
        return found

    async def _settled(self, attempt: Callable[[], Any]) -> Any:
        async with asyncio.timeout(GIVE_UP_SECONDS):
            while True:
                try:
                    return await attempt()
                except OSError as error:
                    self.repeated[type(error).__name__] += 1
                except ApiError as error:
                    if error.code not in (409, 429, 500, 503, 504):
                        raise
                    self.repeated[error.reason] += 1
                await asyncio.sleep(0.05)

    async def watch(self, seen: dict[str, list[int]], since: str) -> None:
        """From one revision on and over every connection that ends; a second sight of a change is a failure."""
        revision = since
        while not self.stop:
            try:
                async for event in self.client.watch(CONFIG_MAPS, NAMESPACE, resource_version=revision):
                    metadata = event.object["metadata"]
                    revision = metadata["resourceVersion"]
                    if event.type != "BOOKMARK" and metadata["name"].startswith("counter-"):
                        seen.setdefault(metadata["name"], []).append(int(event.object["data"]["n"]))
            except OSError as error:
                self.repeated[f"watch {type(error).__name__}"] += 1
            except ApiError as error:
                if error.code not in (429, 503, 504):
                    raise
                self.repeated[f"watch {error.reason}"] += 1
            await asyncio.sleep(0.05)


@asynccontextmanager
async def connected(region: RegionProcess) -> AsyncIterator[HttpClient]:
    kubeconfig = yaml.safe_load(region.directory.kubeconfig.read_text())
    server = kubeconfig["clusters"][0]["cluster"]["server"]
    pki = region.directory.cluster(CLUSTER) / "pki"
    context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
    context.load_cert_chain(pki / "apiserver-kubelet-client.crt", pki / "apiserver-kubelet-client.key")
    async with HttpClient(server, context) as client:
        yield client


def replica(region: RegionProcess, number: int) -> RunningProcess | None:
    name = f"{CLUSTER}.controlplane" + (f"-{number}" if number else "")
    return RunningProcess.read(region.directory.processes / f"{name}.json")


async def kill_replica(region: RegionProcess, number: int) -> None:
    """And wait until the region has another one in its place."""
    process = replica(region, number)
    assert process is not None
    os.kill(process.pid, signal.SIGKILL)
    async with asyncio.timeout(60):
        while (found := replica(region, number)) is None or found.pid == process.pid:
            await asyncio.sleep(0.05)


async def faults(region: RegionProcess, etcd: EtcdCluster, load: Load) -> None:
    async def calm() -> None:
        before = load.written
        async with asyncio.timeout(GIVE_UP_SECONDS):
            while load.written < before + 5 * WRITERS:
                await asyncio.sleep(0.05)
        await asyncio.sleep(CALM_SECONDS)

    await calm()
    for name in etcd.names:
        etcd.kill(name)
        await calm()
        etcd.start_member(name)
        await asyncio.to_thread(etcd.wait)
    for number in (0, 1):
        await kill_replica(region, number)
        await calm()


async def test_killing_members_and_replicas_loses_nothing(region: RegionProcess, etcd: EtcdCluster) -> None:
    async with connected(region) as client:
        await client.create(NAMESPACES, {"metadata": {"name": NAMESPACE}})
        load = Load(client)
        since = (await client.list(CONFIG_MAPS, NAMESPACE)).resource_version
        views: list[dict[str, list[int]]] = [{}, {}]
        async with asyncio.TaskGroup() as tasks:
            watches = [tasks.create_task(load.watch(seen, since)) for seen in views]
            writers = [tasks.create_task(load.write(number)) for number in range(WRITERS)]
            await faults(region, etcd, load)
            load.stop = True
            await asyncio.wait(writers)
            await _until_seen(load, views)
            for task in watches:
                task.cancel()
        listed = await client.list(CONFIG_MAPS, NAMESPACE)
        final = {
            item["metadata"]["name"]: int(item["data"]["n"])
            for item in listed.items
            if item["metadata"]["name"] in load.acknowledged
        }
        assert final == load.acknowledged
        for seen in views:
            for name, last in load.acknowledged.items():
                assert seen[name] == list(range(last + 1)), name
        print(f"{load.written} writes; repeated: {dict(load.repeated)}")


async def _until_seen(load: Load, views: list[dict[str, list[int]]]) -> None:
    async with asyncio.timeout(GIVE_UP_SECONDS):
        for seen in views:
            for name, last in load.acknowledged.items():
                while seen.get(name, [-1])[-1] < last:
                    await asyncio.sleep(0.05)


async def test_the_other_replica_takes_over(region: RegionProcess) -> None:
    async with connected(region) as client:
        lease = await client.get(LEASES, "kube-controller-manager", "kube-system")
        holder = lease["spec"]["holderIdentity"]
        number = int(holder.removeprefix("replica-").partition("_")[0])
        process = replica(region, number)
        assert process is not None
        os.kill(process.pid, signal.SIGKILL)

        def other() -> bool:
            found = region.get("lease", "kube-controller-manager", "-n", "kube-system")
            return str(found["spec"].get("holderIdentity", "")) not in ("", holder)

        await asyncio.to_thread(eventually, other, "another life holds the lease")
        region.kubectl("create", "namespace", "after")
        region.kubectl("wait", "-n", "after", "serviceaccount/default", "--for=create", "--timeout=180s")


def test_a_cluster_moves_out_of_etcd_and_back(region: RegionProcess) -> None:
    region.kubectl("create", "configmap", "kept", "--from-literal=a=b")
    before = region.get("configmap", "kept")
    # A list at a revision since which nothing has changed may be answered still: something has.
    region.kubectl("create", "configmap", "later")
    refused = region.attempt("twinplane", "store", "migrate", "--cluster", CLUSTER, "--to", "embedded")
    assert refused.returncode == 1
    assert "the region runs" in refused.stderr
    for target in ("embedded", "etcd"):
        region.run("twinplane", "down")
        region.run("twinplane", "store", "migrate", "--cluster", CLUSTER, "--to", target)
        region.start()
        after = region.get("configmap", "kept")
        assert after["metadata"]["uid"] == before["metadata"]["uid"]
        assert after["data"] == before["data"]
        assert int(after["metadata"]["resourceVersion"]) >= int(before["metadata"]["resourceVersion"])
        running = replica(region, 1)
        assert (running is not None) == (target == "etcd"), "replicas only where the store can be shared"
        version = before["metadata"]["resourceVersion"]
        past = region.attempt(
            "kubectl", "get", "--raw", f"/api/v1/configmaps?resourceVersion={version}&resourceVersionMatch=Exact"
        )
        assert "Expired" in past.stderr or "too old" in past.stderr, past.stderr
        before = after
