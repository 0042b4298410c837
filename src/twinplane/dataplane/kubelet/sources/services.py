"""Services that pods are told of in their environment: those of the namespaces in use, and `default/kubernetes`.

A node may have pods of few of a large cluster's namespaces, so each is watched by itself, from the first pod that
wants service links. The last list is kept on disk for the time without an API server.
"""

from __future__ import annotations

import asyncio
from random import Random

from twinplane.dataplane.kubelet.containers.service_links import MASTER_SERVICE
from twinplane.dataplane.kubelet.sources.disk import DiskTable, Patience
from twinplane.kubeclient.contract import KubeClient, Object
from twinplane.kubeclient.informer import SharedInformer
from twinplane.kubeclient.meta import name_of, namespace_of
from twinplane.kubeclient.resources import SERVICES

KEPT = ("clusterIP", "ports")


class ServiceLinks:
    def __init__(self, client: KubeClient, random: Random, disk: DiskTable) -> None:
        self._client = client
        self._random = random
        self._disk = disk
        self._informers: dict[str, SharedInformer] = {}
        self._patience: dict[str, Patience] = {}
        self._group: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            self._group = group
            for namespace, informer in self._informers.items():
                group.create_task(informer.run(), name=f"services of {namespace}")
            try:
                await asyncio.Event().wait()
            finally:
                self._group = None

    async def of(self, pod: Object) -> list[Object]:
        """What the pod is told of. Raises OSError when services have never been seen."""
        found = await self._services("", f"metadata.name={MASTER_SERVICE[1]}", MASTER_SERVICE[0])
        master = [service for service in found if name_of(service) == MASTER_SERVICE[1]]
        if pod["spec"].get("enableServiceLinks") is False:
            return master
        linked = await self._services(namespace_of(pod), "", namespace_of(pod))
        # The pod's own namespace may be the master's.
        return master + [service for service in linked if service not in master]

    async def _services(self, key: str, field_selector: str, namespace: str) -> list[Object]:
        informer = self._informers.get(key)
        if informer is None:
            informer = SharedInformer(
                self._client,
                SERVICES,
                self._random,
                namespace=namespace,
                field_selector=field_selector,
                transform=_trimmed,
            )
            self._informers[key] = informer
            if self._group is not None:
                self._group.create_task(informer.run(), name=f"services of {namespace}")
            self._patience[key] = Patience()
        if not informer.synced:
            copy: list[Object] | None = self._disk.get(key or "-master")
            if not await self._patience[key].wait(informer, has_copy=copy is not None):
                if copy is None:
                    text = "services have not yet been read at least once, cannot construct envvars"
                    raise ConnectionError(text)
                return copy
        found = informer.list()
        self._disk.put(key or "-master", found)
        return found


def _trimmed(service: Object) -> Object:
    metadata = service["metadata"]
    return {
        "metadata": {key: metadata[key] for key in ("name", "namespace", "resourceVersion", "uid") if key in metadata},
        "apiVersion": "v1",
        "kind": "Service",
        "spec": {key: service["spec"].get(key) for key in KEPT},
    }
