"""A node for tests: a whole kubelet on a runtime, an API server and volumes in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from twinplane.clock import Clock
from twinplane.dataplane.kubelet import contract
from twinplane.dataplane.kubelet.containers.cgroups import Cgroups
from twinplane.dataplane.kubelet.contract import ContainerMount, Mounted, VolumeNotReady
from twinplane.dataplane.kubelet.kubelet import Kubelet
from twinplane.dataplane.kubelet.pods import launching
from twinplane.dataplane.node.contract import Machine, NodeConfiguration
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.meta import uid_of
from twinplane.kubeclient.resources import EVENTS, PODS
from twinplane.testing.memory_cluster import MemoryCluster
from twinplane.testing.memory_runtime import MemoryRuntime

NODE = "ip-192-168-1-7.us-west-2.compute.internal"


class MemoryVolumes:
    """`PodVolumes` that mounts nothing."""

    def __init__(self) -> None:
        self.mounted: set[str] = set()
        self.not_ready = ""
        self.log: list[tuple[str, str]] = []

    async def mount(self, pod: Object) -> Mapping[str, Mounted]:
        if self.not_ready:
            raise VolumeNotReady(self.not_ready)
        self.mounted.add(uid_of(pod))
        return {}

    def container_mounts(
        self, pod: Object, container: Mapping[str, Any], mounted: Mapping[str, Mounted], environment: Mapping[str, str]
    ) -> list[ContainerMount]:
        return []

    async def refresh(self, pod: Object) -> None:
        self.log.append(("refresh", uid_of(pod)))

    async def unmount(self, uid: str) -> None:
        self.log.append(("unmount", uid))
        self.mounted.discard(uid)

    async def left_behind(self) -> list[str]:
        return list(self.mounted)

    def used_by(self, uid: str) -> dict[str, int]:
        return {}


def configuration(**changes: Any) -> NodeConfiguration:
    machine = Machine(
        instance_id="i-0123",
        instance_type="m5.large",
        image_id="ami-1",
        region="us-west-2",
        availability_zone="us-west-2a",
        account_id="1",
        vpc_id="vpc-1",
        subnet_id="subnet-1",
        network_interface_id="eni-1",
        private_ip="192.168.1.7",
        private_dns_name=NODE,
        cluster="demo",
        user_data="",
        aws_endpoint="http://169.254.169.252",
        api_servers=(),
        host_address="100.64.1.7",
        cgroup="/test",
        vcpus=2,
        memory_mebibytes=8192,
        root_volume_gibibytes=20,
    )
    values: dict[str, Any] = {
        "machine": machine,
        "name": NODE,
        "provider_id": "aws:///us-west-2a/i-0123",
        "certificate_authority": "",
        "kubernetes_version": "v1.36.0-eks-1",
        "service_cidr": "10.100.0.0/16",
        "cluster_dns": "10.100.0.10",
        "max_pods": 29,
    }
    return NodeConfiguration(**(values | changes))


@dataclass
class TestNode:
    cluster: MemoryCluster
    runtime: MemoryRuntime
    clock: Clock
    root: Path
    volumes: MemoryVolumes = field(default_factory=MemoryVolumes)
    settings: dict[str, Any] = field(default_factory=dict)
    kubelet: Kubelet | None = None
    _task: asyncio.Task[None] | None = None

    __test__ = False

    async def start(self) -> None:
        settings = {**self.settings, "kubelet": {"staticPodPath": str(self.root / "manifests")}}
        self.kubelet = Kubelet(
            configuration(**settings),
            self.cluster,
            self.runtime,
            lambda _: self.volumes,
            clock=self.clock,
            random=Random(1),
            directory=self.root / "kubelet",
            cgroups=Cgroups("/test", root=self.root / "cgroup"),
        )
        self._task = asyncio.create_task(self.kubelet.run())
        await asyncio.sleep(0.2)

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    def pod(self, name: str) -> Object | None:
        return self.cluster.object(PODS, name, "default")

    def status(self, name: str) -> dict[str, Any]:
        pod = self.pod(name)
        assert pod is not None
        status: dict[str, Any] = pod["status"]
        return status

    def condition(self, name: str, type: str) -> str:
        return next((item["status"] for item in self.status(name)["conditions"] if item["type"] == type), "")

    def events(self, reason: str = "") -> list[str]:
        found = self.cluster.objects(EVENTS)
        return [event["message"] for event in found if not reason or event["reason"] == reason]

    async def create(self, pod: Object) -> Object:
        return await self.cluster.create(PODS, pod, "default")


def pod_object(name: str = "web", containers: list[dict[str, Any]] | None = None, **spec: Any) -> Object:
    given = containers or [{"name": "main", "image": "app:1"}]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"nodeName": NODE, "containers": given, "terminationGracePeriodSeconds": 30, **spec},
    }


@asynccontextmanager
async def test_node(clock: Clock, root: Path, monkeypatch: Any, **settings: Any) -> AsyncIterator[TestNode]:
    monkeypatch.setattr(contract, "KUBELET_DIRECTORY", root / "kubelet")
    monkeypatch.setattr(contract, "POD_LOGS", root / "logs")
    monkeypatch.setattr(launching, "CONTAINER_LOGS", root / "links")
    cluster = MemoryCluster(clock)
    service = {
        "metadata": {"name": "kubernetes", "namespace": "default"},
        "spec": {"clusterIP": "10.100.0.1", "ports": [{"name": "https", "port": 443, "protocol": "TCP"}]},
    }
    from twinplane.kubeclient.resources import SERVICES

    cluster.seed(SERVICES, service)
    runtime = MemoryRuntime(clock)
    runtime.add_image("app:1")
    node = TestNode(cluster, runtime, clock, root, settings=settings)
    await node.start()
    try:
        yield node
    finally:
        await node.stop()


test_node.__test__ = False  # type: ignore[attr-defined]
