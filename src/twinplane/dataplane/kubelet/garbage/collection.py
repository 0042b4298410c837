"""Garbage collection as a loop: containers once a minute, images every five, all at once when eviction wants space."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from cri_api.v1 import api_pb2 as cri

from twinplane.clock import Clock
from twinplane.dataplane.kubelet.contract import POD_LOGS, PodVolumes, RunningPods
from twinplane.dataplane.kubelet.durations import seconds_of
from twinplane.dataplane.kubelet.garbage.plans import (
    ImageRecords,
    bytes_to_free,
    dead_containers,
    dead_sandboxes,
    used_images,
)
from twinplane.dataplane.kubelet.logs import links, rotation
from twinplane.dataplane.kubelet.metrics import KubeletMetrics
from twinplane.dataplane.kubelet.stats.filesystems import FileSystem
from twinplane.dataplane.runtime.contract import Runtime, RuntimeFailure
from twinplane.kubeclient.meta import uid_of
from twinplane.kubeclient.quantity import parse

log = logging.getLogger(__name__)

CONTAINER_SECONDS, IMAGE_SECONDS, LINK_SECONDS = 60.0, 300.0, 10.0


Report = Callable[[str, str, str], None]
"""(type, reason, message): an event of the node."""


def unreported(type: str, reason: str, message: str) -> None:
    log.warning("%s: %s", reason, message)


class GarbageCollection:
    def __init__(
        self,
        pods: RunningPods,
        runtime: Runtime,
        volumes: PodVolumes,
        *,
        clock: Clock,
        metrics: KubeletMetrics,
        kubelet: Mapping[str, Any],
        files: Callable[[], FileSystem],
        ready: Callable[[], bool],
        report: Report = unreported,
        pause_image: str = "",
    ) -> None:
        """`kubelet` is the KubeletConfiguration, `files` the file system of images.

        `ready` says whether the pods of this node are known: before that, what belongs to no pod is left alone.
        """
        self._pods, self._runtime, self._volumes = pods, runtime, volumes
        self._clock, self._metrics = clock, metrics
        self._files, self._ready, self._report = files, ready, report
        self._always = [pause_image] if pause_image else []
        self._records = ImageRecords()
        self._high, self._low = int(kubelet["imageGCHighThresholdPercent"]), int(kubelet["imageGCLowThresholdPercent"])
        self._minimum_age = seconds_of(kubelet["imageMinimumGCAge"])
        self._maximum_age = seconds_of(kubelet["imageMaximumGCAge"])
        self._rotation = rotation.LogRotation(
            runtime,
            clock,
            max_bytes=int(parse(str(kubelet["containerLogMaxSize"]))),
            max_files=int(kubelet["containerLogMaxFiles"]),
        )

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._rotation.run(), name="log rotation")
            group.create_task(self._every(LINK_SECONDS, self._link_logs), name="log links")
            group.create_task(self._every(CONTAINER_SECONDS, self.collect_containers), name="container garbage")
            group.create_task(self._every(IMAGE_SECONDS, self.collect_images), name="image garbage")

    async def _every(self, seconds: float, collect: Callable[[], Any]) -> None:
        while True:
            await asyncio.sleep(seconds)
            try:
                await collect()
            except (RuntimeFailure, OSError) as error:
                log.warning("garbage collection: %s", error)

    # -- containers ------------------------------------------------------------------------------------------------

    async def collect_containers(self, *, all_dead: bool = False) -> None:
        """Raises RuntimeFailure and OSError; what was not done is done the next time."""
        pods = {uid_of(pod) for pod in self._pods.pods()} if self._ready() else None
        for container_id in dead_containers(await self._runtime.list_containers(), pods, all_dead=all_dead):
            await self._remove_container(container_id)
        containers = await self._runtime.list_containers()
        sandboxes = await self._runtime.list_pod_sandboxes()
        for sandbox_id in dead_sandboxes(sandboxes, containers, pods):
            await self._runtime.remove_pod_sandbox(sandbox_id)
        if pods is not None:
            present = pods | {item.metadata.uid for item in sandboxes if item.state == cri.SANDBOX_READY}
            await asyncio.to_thread(remove_logs, present)
            await self._unmount(present | {item.metadata.uid for item in sandboxes})
        links.remove_dangling()

    async def _remove_container(self, container_id: str) -> None:
        try:
            path = (await self._runtime.container_status(container_id)).status.log_path
        except RuntimeFailure as failure:
            if failure.not_found:
                return
            raise
        await self._runtime.remove_container(container_id)
        if path:
            rotation.remove(Path(path))

    async def _unmount(self, present: set[str]) -> None:
        for uid in await self._volumes.left_behind():
            if uid not in present:
                await self._volumes.unmount(uid)

    async def _link_logs(self) -> None:
        """Of containers that run; those of dead ones stay as long as their logs."""
        running = cri.ContainerFilter(state=cri.ContainerStateValue(state=cri.CONTAINER_RUNNING))
        for item in await self._runtime.list_containers(running):
            pod, namespace = (item.labels.get(f"io.kubernetes.pod.{name}", "") for name in ("name", "namespace"))
            if links.is_linked(namespace, pod, item.metadata.name, item.id):
                continue
            path = (await self._runtime.container_status(item.id)).status.log_path
            links.link(Path(path), namespace, pod, item.metadata.name, item.id)

    # -- images ----------------------------------------------------------------------------------------------------

    async def collect_images(self) -> None:
        """When the disk is fuller than the high threshold, down to the low one. Raises RuntimeFailure."""
        used = await self._observe_images()
        now = self._clock.now()
        if self._maximum_age:
            for image in self._records.older(used, now, self._maximum_age):
                await self._remove_image(image, "age")
        files = self._files()
        wanted = bytes_to_free(files.capacity, files.available, high_percent=self._high, low_percent=self._low)
        if not wanted:
            return
        freed = await self._free(wanted, used, self._minimum_age)
        if freed < wanted:
            self._report(
                "Warning",
                "FreeDiskSpaceFailed",
                "Failed to garbage collect required amount of images. Attempted to free "
                f"{wanted} bytes, but only found {freed} bytes eligible to free.",
            )

    async def delete_unused_images(self) -> None:
        """All of them: the disk is full. Raises RuntimeFailure."""
        await self._free(1 << 62, await self._observe_images(), 0.0)

    async def _observe_images(self) -> set[str]:
        """Ids of the images in use."""
        images = await self._runtime.list_images()
        used = used_images(images, await self._runtime.list_containers(), self._always)
        self._records.observe(images, used, self._clock.now())
        return used

    async def _free(self, wanted: int, used: set[str], minimum_age: float) -> int:
        """Bytes that were freed."""
        freed = 0
        for image in self._records.unused(used, self._clock.now(), minimum_age):
            if freed >= wanted:
                break
            size = self._records.by_id[image].size
            await self._remove_image(image, "space")
            freed += size
        return freed

    async def _remove_image(self, image: str, reason: str) -> None:
        await self._runtime.remove_image(image)
        self._records.by_id.pop(image, None)
        self._metrics.images_collected.add(reason)


def remove_logs(present: set[str], root: Path = POD_LOGS) -> None:
    """Directories of pods that are gone: `NAMESPACE_NAME_UID`."""
    try:
        directories = list(root.iterdir())
    except OSError:
        return
    for each in directories:
        namespace, _, rest = each.name.partition("_")
        uid = rest.rpartition("_")[2]
        if namespace and uid and uid not in present:
            shutil.rmtree(each, ignore_errors=True)
