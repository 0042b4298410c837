"""Statistics of the node: measuring in the background, and the endpoints that tell them.

Made by the agent; eviction reads `sample`, the server takes `routes`.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from twinplane.clock import Clock
from twinplane.dataplane.exposition import CONTENT_TYPE
from twinplane.dataplane.kubelet.contract import KUBELET_DIRECTORY, PodVolumes, RunningPods
from twinplane.dataplane.kubelet.metrics import KubeletMetrics
from twinplane.dataplane.kubelet.stats.cgroup_files import number
from twinplane.dataplane.kubelet.stats.cgroup_tree import CgroupTree, read_file
from twinplane.dataplane.kubelet.stats.claims import Claims
from twinplane.dataplane.kubelet.stats.filesystems import FileSystems
from twinplane.dataplane.kubelet.stats.sampling import NodeSample, Sampler
from twinplane.dataplane.node.contract import NodeConfiguration
from twinplane.dataplane.runtime.contract import Runtime
from twinplane.kubeclient.contract import KubeClient

if TYPE_CHECKING:
    from aiohttp import web

MEBIBYTE, GIBIBYTE = 1024**2, 1024**3


def nothing_known() -> Mapping[str, str]:
    return {}


class Statistics:
    def __init__(
        self,
        configuration: NodeConfiguration,
        pods: RunningPods,
        runtime: Runtime,
        volumes: PodVolumes,
        client: KubeClient,
        *,
        clock: Clock,
        metrics: KubeletMetrics,
        node_info: Callable[[], Mapping[str, str]] = nothing_known,
        tree: CgroupTree | None = None,
        sync_loop: Callable[[], str] = lambda: "",
    ) -> None:
        """`node_info` is the node's `status.nodeInfo`, for the labels of the machine's series."""
        machine = configuration.machine
        self._configuration, self._pods, self._metrics = configuration, pods, metrics
        self._node_info = node_info
        self._sync_loop = sync_loop
        self._claims = Claims(pods, client)
        self.files = FileSystems(
            pods,
            runtime,
            volumes,
            clock,
            root_bytes=machine.root_volume_gibibytes * GIBIBYTE,
            mounts=self._claims.mounts,
            before=self._claims.learn,
        )
        self._tree = tree or CgroupTree(machine.cgroup)
        self._sampler = Sampler(pods, self._tree, self.files, clock)
        self.memory_bytes = machine.memory_mebibytes * MEBIBYTE

    async def run(self) -> None:
        """Measure until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.files.run(), name="file systems")
            group.create_task(self._sampler.run(), name="CPU rates")

    async def sample(self, *, brief: bool = False) -> NodeSample:
        return await self._sampler.sample(brief=brief)

    def processes(self) -> tuple[int, int]:
        """(how many run on the machine, how many may)."""
        limit = number(read_file("/proc/sys/kernel/pid_max"))
        return len(self._tree.processes("/")), limit

    # -- endpoints -------------------------------------------------------------------------------------------------

    def routes(self) -> list[web.RouteDef]:
        from aiohttp import web

        return [
            web.get("/stats/summary", self._summary),
            web.get("/metrics", self._kubelet),
            web.get("/metrics/resource", self._resource),
            web.get("/metrics/cadvisor", self._cadvisor),
            web.get("/metrics/probes", self._probes),
            web.get("/metrics/slis", self._health),
        ]

    async def _summary(self, request: web.Request) -> web.Response:
        import orjson
        from aiohttp import web

        from twinplane.dataplane.kubelet.stats.summary import summary

        short = request.query.get("only_cpu_and_memory") == "true"
        sample = await self.sample(brief=short)
        processes, pid_max = self.processes()
        body = summary(
            sample,
            node=self._configuration.name,
            memory_bytes=self.memory_bytes,
            pid_max=pid_max,
            processes=processes,
            only_cpu_and_memory=short,
        )
        return web.Response(body=orjson.dumps(body), content_type="application/json")

    async def _resource(self, request: web.Request) -> web.Response:
        from twinplane.dataplane.kubelet.stats.resource_metrics import resource_metrics

        return _text(resource_metrics(await self.sample(brief=True)))

    async def _cadvisor(self, request: web.Request) -> web.Response:
        from twinplane.dataplane.kubelet.stats.cadvisor import MachineFacts, cadvisor_metrics

        info = self._node_info()
        facts = MachineFacts(
            vcpus=self._configuration.machine.vcpus,
            memory_bytes=self.memory_bytes,
            boot_id=info.get("bootID", ""),
            machine_id=info.get("machineID", ""),
            system_uuid=info.get("systemUUID", ""),
            os_image=info.get("osImage", ""),
        )
        return _text(cadvisor_metrics(await self.sample(), self._tree, facts, device=_device()))

    async def _kubelet(self, request: web.Request) -> web.Response:
        from twinplane.dataplane.kubelet.stats.kubelet_metrics import kubelet_metrics

        configuration = self._configuration
        text = kubelet_metrics(
            self._metrics,
            self._pods.pods(),
            self.files.found,
            version=configuration.kubernetes_version,
            node=configuration.name,
        )
        return _text(text)

    async def _probes(self, request: web.Request) -> web.Response:
        from twinplane.dataplane.kubelet.stats.kubelet_metrics import probe_metrics

        return _text(probe_metrics(self._metrics))

    async def _health(self, request: web.Request) -> web.Response:
        from twinplane.dataplane.kubelet.stats.kubelet_metrics import health_metrics

        return _text(health_metrics({"ping": "", "log": "", "syncloop": self._sync_loop()}))


def _text(content: str) -> web.Response:
    from aiohttp import web

    return web.Response(body=content.encode(), headers={"Content-Type": CONTENT_TYPE})


def _device() -> int | None:
    try:
        return os.stat(KUBELET_DIRECTORY).st_dev
    except OSError:
        return None
