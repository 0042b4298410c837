"""What containerd alone needs for pods: the CRI calls of the kubelet on the same node, and nothing else of a kubelet.

No volumes, no cgroups of pods, no events, no API server. The sandboxes are on the node's own network (no network
namespace, no CNI plugin) unless they are asked to be on the pod network.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import TypeVar

from cri_api.v1 import api_pb2 as cri

from twinplane.dataplane.node.contract import CONTAINERD_SOCKET
from twinplane.dataplane.runtime.cri import CriRuntime

T = TypeVar("T")


def containerd_of(first: int) -> CriRuntime:
    """containerd of the machine whose PID 1 is `first` on the host."""
    return CriRuntime(Path(f"/proc/{first}/root") / CONTAINERD_SOCKET.relative_to("/"))


class BarePods:
    """Pods of one container each that nobody but the runtime knows."""

    def __init__(self, runtime: CriRuntime, image: str, at_once: int, *, pod_network: bool = False) -> None:
        self._runtime = runtime
        self._image = image
        self._bound = asyncio.Semaphore(at_once)
        self._network = cri.NamespaceMode.Value("POD" if pod_network else "NODE")
        self._made: list[str] = []

    async def start(self, count: int) -> None:
        await self._each(self._start, range(count))

    async def end(self) -> None:
        await self._each(self._end, self._made)
        self._made.clear()

    async def _start(self, number: int) -> None:
        runtime, config = self._runtime, self._sandbox(number)
        sandbox = await runtime.run_pod_sandbox(config)
        self._made.append(sandbox)
        container = cri.ContainerConfig(
            metadata=cri.ContainerMetadata(name="main"),
            image=cri.ImageSpec(image=self._image),
            command=["sleep", "infinity"],
            log_path="main.log",
            linux=cri.LinuxContainerConfig(),
        )
        await runtime.start_container(await runtime.create_container(sandbox, container, config))

    async def _end(self, sandbox: str) -> None:
        await self._runtime.stop_pod_sandbox(sandbox)
        await self._runtime.remove_pod_sandbox(sandbox)

    def _sandbox(self, number: int) -> cri.PodSandboxConfig:
        name = f"bare-{number}"
        namespaces = cri.NamespaceOption(network=self._network, pid=cri.NamespaceMode.Value("CONTAINER"))
        security = cri.LinuxSandboxSecurityContext(namespace_options=namespaces)
        return cri.PodSandboxConfig(
            metadata=cri.PodSandboxMetadata(name=name, uid=name, namespace="bare", attempt=0),
            log_directory=f"/run/bare/{name}",
            linux=cri.LinuxPodSandboxConfig(security_context=security),
        )

    async def _each(self, do: Callable[[T], Awaitable[None]], items: Iterable[T]) -> None:
        async def one(item: T) -> None:
            async with self._bound:
                await do(item)

        async with asyncio.TaskGroup() as group:
            for item in list(items):
                group.create_task(one(item))
