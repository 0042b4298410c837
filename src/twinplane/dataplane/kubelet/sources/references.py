"""ConfigMaps, Secrets and other objects that pods name: watched one by one while a pod uses them, and kept on disk.

A kubelet may read only what its pods name, so it cannot watch a namespace; upstream's `WatchBasedManager` does the
same. The copies on disk let a node bring its pods back while the API server is away.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from random import Random
from typing import Any, NamedTuple

from twinplane.dataplane.kubelet.pods.spec import all_containers
from twinplane.dataplane.kubelet.sources.disk import DiskTable, Patience
from twinplane.kubeclient import resources
from twinplane.kubeclient.contract import KubeClient, Object, Resource
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.informer import SharedInformer, without_managed_fields
from twinplane.kubeclient.meta import namespace_of, uid_of

ASK_SECONDS = 4.0
"""An object that is not watched is asked for that long before its copy on disk counts."""
RESOURCES: dict[str, Resource] = {
    resource.plural: resource
    for resource in (
        resources.CONFIG_MAPS,
        resources.SECRETS,
        resources.PERSISTENT_VOLUMES,
        resources.PERSISTENT_VOLUME_CLAIMS,
        resources.STORAGE_CLASSES,
        resources.CSI_DRIVERS,
        resources.VOLUME_ATTACHMENTS,
        resources.SERVICE_ACCOUNTS,
        resources.NODES,
        resources.RUNTIME_CLASSES,
    )
}


class Reference(NamedTuple):
    resource: str
    namespace: str
    name: str

    @property
    def key(self) -> str:
        return "/".join(self)


def references_of(pod: Object) -> set[Reference]:
    """ConfigMaps and Secrets that its environment, volumes and image pulls name."""
    namespace = namespace_of(pod)
    found: set[Reference] = set()
    for secret in pod["spec"].get("imagePullSecrets") or ():
        found.add(Reference("secrets", namespace, secret.get("name") or ""))
    for _, container in all_containers(pod):
        for source in (
            *(container.get("envFrom") or ()),
            *(item.get("valueFrom") or {} for item in container.get("env") or ()),
        ):
            for field, resource in (
                ("configMapRef", "configmaps"),
                ("secretRef", "secrets"),
                ("configMapKeyRef", "configmaps"),
                ("secretKeyRef", "secrets"),
            ):
                if source.get(field):
                    found.add(Reference(resource, namespace, source[field].get("name") or ""))
    for volume in pod["spec"].get("volumes") or ():
        found |= set(_of_volume(namespace, volume))
    return {reference for reference in found if reference.name}


def _of_volume(namespace: str, volume: dict[str, Any]) -> Iterator[Reference]:
    for source in (volume, *((volume.get("projected") or {}).get("sources") or ())):
        config_map, secret = source.get("configMap"), source.get("secret")
        if config_map:
            yield Reference("configmaps", namespace, config_map.get("name") or "")
        if secret:
            yield Reference("secrets", namespace, secret.get("secretName") or secret.get("name") or "")


def _nobody(uid: str) -> None:
    del uid


class References:
    """`ReferencedObjects`. `run` until cancelled; `register` and `unregister` follow the pods of the node."""

    def __init__(self, client: KubeClient, random: Random, disk: DiskTable) -> None:
        self.changed: Callable[[str], None] = _nobody
        """Told the uid of each pod that names an object that has come, changed or gone."""
        self._client = client
        self._random = random
        self._disk = disk
        self._pods: dict[str, set[Reference]] = {}
        self._users: dict[Reference, set[str]] = {}
        self._namespaces: dict[str, str] = {}
        self._informers: dict[Reference, tuple[SharedInformer, asyncio.Task[None] | None]] = {}
        self._patience: dict[Reference, Patience] = {}
        self._group: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            self._group = group
            for reference in list(self._informers):
                self._start(reference)
            try:
                await asyncio.Event().wait()
            finally:
                self._group = None

    def register(self, pod: Object) -> None:
        uid, wanted = uid_of(pod), references_of(pod)
        before = self._pods.get(uid, set())
        self._pods[uid] = wanted
        self._namespaces[uid] = namespace_of(pod)
        for reference in wanted - before:
            self._users.setdefault(reference, set()).add(uid)
            if reference not in self._informers:
                self._follow(reference)
        for reference in before - wanted:
            self._release(reference, uid)

    def unregister(self, uid: str) -> None:
        for reference in self._pods.pop(uid, set()):
            self._release(reference, uid)
        namespace = self._namespaces.pop(uid, None)
        if namespace is not None and namespace not in self._namespaces.values():
            for key in self._disk.keys():  # noqa: SIM118 - a table, not a dictionary
                if key.split("/")[1] == namespace:
                    self._disk.remove(key)

    async def get(self, resource: str, namespace: str, name: str) -> Object | None:
        reference = Reference(resource, namespace, name)
        if reference not in self._informers:
            return await self._ask(reference)
        informer = self._informers[reference][0]
        if not informer.synced:
            copy: Object | None = self._disk.get(reference.key)
            if not await self._patience[reference].wait(informer, has_copy=copy is not None):
                if copy is None:
                    raise ConnectionError("timed out waiting for the condition")
                return copy
        return informer.get(name, namespace)

    async def _ask(self, reference: Reference) -> Object | None:
        kind = RESOURCES[reference.resource]
        try:
            async with asyncio.timeout(ASK_SECONDS):
                found = await self._client.get(kind, reference.name, reference.namespace or None)
        except ApiError as error:
            if error.code == 404:
                self._disk.remove(reference.key)
                return None
            raise ConnectionError(str(error)) from error
        except OSError:
            copy: Object | None = self._disk.get(reference.key)
            if copy is None:
                raise
            return copy
        self._disk.put(reference.key, found)
        return found

    def _follow(self, reference: Reference) -> None:
        informer = SharedInformer(
            self._client,
            RESOURCES[reference.resource],
            self._random,
            namespace=reference.namespace,
            field_selector=f"metadata.name={reference.name}",
            transform=without_managed_fields,
        )
        key = reference.key

        def changed(old: Object | None, new: Object | None) -> None:
            if new is not None:
                self._disk.put(key, new)
            else:
                self._disk.remove(key)
            if old is not None or informer.synced:
                for uid in self._users.get(reference, ()):
                    self.changed(uid)

        informer.add_handler(changed)
        self._informers[reference] = (informer, None)
        self._patience[reference] = Patience()
        if self._group is not None:
            self._start(reference)

    def _start(self, reference: Reference) -> None:
        assert self._group is not None
        informer, _ = self._informers[reference]
        task = self._group.create_task(informer.run(), name=f"watch of {reference.key}")
        self._informers[reference] = (informer, task)

    def _release(self, reference: Reference, uid: str) -> None:
        users = self._users.get(reference, set())
        users.discard(uid)
        if users:
            return
        self._users.pop(reference, None)
        self._patience.pop(reference, None)
        _, task = self._informers.pop(reference, (None, None))
        if task is not None:
            task.cancel()
        self._disk.remove(reference.key)
