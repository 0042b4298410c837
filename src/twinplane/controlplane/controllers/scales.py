"""The scale subresource of any kind: what autoscaling and disruption budgets know a workload by.

They are given a kind and a name and must find the resource behind it: among the types that are served now, custom ones
included.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from twinplane.kubeclient.contract import KubeClient, Object, Resource
from twinplane.kubeclient.errors import ApiError

Types = Callable[[], Iterable[Resource]]
"""The types that are served now, each in one version."""


class Scales:
    def __init__(self, client: KubeClient, types: Types) -> None:
        self._client = client
        self._types = types

    def resource_of(self, api_version: str, kind: str) -> Resource:
        """In whatever version is served. Raises `ApiError` for a kind that is not."""
        group = api_version.rpartition("/")[0]
        for resource in self._types():
            if (resource.group, resource.kind) == (group, kind):
                return resource
        subject = f"{kind}.{group}" if group else kind
        raise ApiError("NotFound", f'no matches for kind "{kind}" in group "{group}"', details={"kind": subject})

    async def get(self, api_version: str, kind: str, namespace: str, name: str) -> tuple[Resource, Object]:
        """An autoscaling/v1 Scale. Raises `ApiError`: 404 where the kind cannot be scaled or the object is gone."""
        resource = self.resource_of(api_version, kind)
        return resource, await self._client.get(resource, f"{name}/scale", namespace)

    async def set(self, resource: Resource, scale: Object, replicas: int) -> None:
        body = {**scale, "spec": {**(scale.get("spec") or {}), "replicas": replicas}}
        await self._client.update(resource, body, subresource="scale")
