"""A store of objects in a dictionary that is both `ObjectReader` and `KubeClient`, for auth and admission tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from twinplane.kubeclient import errors
from twinplane.kubeclient.contract import Object, ObjectList, PatchType, Resource, WatchEvent
from twinplane.kubeclient.meta import copied, labels_of, name_of
from twinplane.kubeclient.resources import PODS


class Cluster:
    """Every write yields to the loop once, as a real one does; a stale resourceVersion is a conflict."""

    def __init__(self, *objects: tuple[Resource, Object]) -> None:
        self.objects: dict[tuple[str, str, str, str], Object] = {}
        self.revisions: dict[tuple[str, str], int] = {}
        self.writes: list[tuple[str, str, str]] = []
        self._counter = 0
        for resource, body in objects:
            self.put(resource, body)

    def put(self, resource: Resource, body: Object) -> Object:
        self._counter += 1
        metadata = {"uid": f"uid-{self._counter}", **body.get("metadata", {}), "resourceVersion": str(self._counter)}
        stored = {**body, "metadata": metadata}
        self.objects[self._key(resource, metadata["name"], metadata.get("namespace", ""))] = stored
        self.revisions[resource.group, resource.plural] = self._counter
        return stored

    def remove(self, resource: Resource, name: str, namespace: str = "") -> None:
        del self.objects[self._key(resource, name, namespace)]
        self._counter += 1
        self.revisions[resource.group, resource.plural] = self._counter

    @staticmethod
    def _key(resource: Resource, name: str, namespace: str) -> tuple[str, str, str, str]:
        return resource.group, resource.plural, namespace if resource.namespaced else "", name

    @property
    def reader(self) -> Reader:
        return Reader(self)

    async def get(
        self, resource: Resource, name: str, namespace: str | None = None, *, query: Mapping[str, str] | None = None
    ) -> Object:
        await asyncio.sleep(0)
        found = self.objects.get(self._key(resource, name, namespace or ""))
        if found is None:
            raise errors.not_found(resource.group, resource.plural, name)
        return copied(found)

    async def list(self, resource: Resource, namespace: str | None = None, **_: Any) -> ObjectList:
        await asyncio.sleep(0)
        return ObjectList([copied(each) for each in self.reader.list(resource, namespace or "")], str(self._counter))

    async def create(
        self,
        resource: Resource,
        body: Object,
        namespace: str | None = None,
        *,
        name: str | None = None,
        subresource: str | None = None,
    ) -> Object:
        await asyncio.sleep(0)
        metadata = {**body["metadata"], **({"namespace": namespace} if namespace else {})}
        if self._key(resource, metadata["name"], namespace or "") in self.objects:
            raise errors.already_exists(resource.group, resource.plural, metadata["name"])
        self.writes.append(("create", resource.plural, metadata["name"]))
        return copied(self.put(resource, {**copied(body), "metadata": metadata}))

    async def create_named(self, resource: Resource, body: Object, namespace: str | None = None) -> str:
        return name_of(await self.create(resource, body, namespace))

    async def update(self, resource: Resource, body: Object, *, subresource: str | None = None) -> Object:
        await asyncio.sleep(0)
        metadata = body["metadata"]
        current = self.objects.get(self._key(resource, metadata["name"], metadata.get("namespace", "")))
        if current is None:
            raise errors.not_found(resource.group, resource.plural, metadata["name"])
        if metadata.get("resourceVersion") not in (None, current["metadata"]["resourceVersion"]):
            raise errors.conflict(resource.group, resource.plural, metadata["name"], errors.OBJECT_MODIFIED)
        self.writes.append(("update", resource.plural, metadata["name"]))
        return copied(self.put(resource, copied(body)))

    def watch(self, resource: Resource, namespace: str | None = None, **_: Any) -> AsyncIterator[WatchEvent]:
        raise AssertionError("not needed here")

    async def patch(
        self,
        resource: Resource,
        name: str,
        patch: Any,
        namespace: str | None = None,
        *,
        subresource: str | None = None,
        patch_type: PatchType = "application/merge-patch+json",
        field_manager: str = "",
        force: bool = False,
        wants_answer: bool = True,
    ) -> Object:
        raise AssertionError("not needed here")

    async def delete(
        self,
        resource: Resource,
        name: str,
        namespace: str | None = None,
        *,
        propagation_policy: str | None = None,
        grace_period_seconds: int | None = None,
        uid: str | None = None,
        resource_version: str | None = None,
        wants_answer: bool = True,
    ) -> Object:
        raise AssertionError("not needed here")

    async def delete_collection(
        self, resource: Resource, namespace: str | None = None, *, label_selector: str = "", field_selector: str = ""
    ) -> None:
        raise AssertionError("not needed here")


class Reader:
    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def get(self, resource: Resource, name: str, namespace: str = "") -> Object | None:
        return self._cluster.objects.get(Cluster._key(resource, name, namespace))

    def labels(self, resource: Resource, name: str, namespace: str = "") -> Mapping[str, str]:
        return labels_of(self.get(resource, name, namespace) or {"metadata": {}})

    def list(self, resource: Resource, namespace: str = "") -> list[Object]:
        return [
            body
            for (group, plural, place, _), body in self._cluster.objects.items()
            if (group, plural) == (resource.group, resource.plural) and namespace in ("", place)
        ]

    def on_node(self, node: str, namespace: str = "") -> Sequence[StoredPod]:
        bound = (pod for pod in self.list(PODS, namespace) if pod.get("spec", {}).get("nodeName") == node)
        return [StoredPod(pod) for pod in bound]

    def revision(self, resource: Resource) -> int:
        return self._cluster.revisions.get((resource.group, resource.plural), 0)


class StoredPod:
    def __init__(self, pod: Object) -> None:
        self._pod = pod
        self.namespace: str = pod["metadata"].get("namespace", "")
        self.name: str = pod["metadata"]["name"]
        self.key = f"{self.namespace}/{self.name}"
        self.revision = int(pod["metadata"]["resourceVersion"])

    def parsed(self) -> Object:
        return copied(self._pod)


class FixedClock:
    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self.time = now

    def now(self) -> float:
        return self.time


def named(name: str, namespace: str = "", **fields: Any) -> Object:
    metadata: Object = {"name": name}
    if namespace:
        metadata["namespace"] = namespace
    return {"metadata": metadata, **fields}
