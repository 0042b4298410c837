"""`ObjectReader` over the cache: what authorizers and admission plugins look at. Objects are parsed once and shared."""

from __future__ import annotations

from twinplane.controlplane.api.objects.cache import ObjectCache
from twinplane.controlplane.api.objects.selection import Selection
from twinplane.controlplane.api.types.contract import TypeRegistry
from twinplane.kubeclient.contract import Object, Resource


class CacheReader:
    def __init__(self, cache: ObjectCache, registry: TypeRegistry) -> None:
        self._cache = cache
        self._registry = registry

    def get(self, resource: Resource, name: str, namespace: str = "") -> Object | None:
        entry = self._cache.get(self._stored(resource), namespace, name)
        return None if entry is None else entry.object

    def list(self, resource: Resource, namespace: str = "") -> list[Object]:
        entries = self._cache.collection(self._stored(resource)).select(Selection(namespace))
        return [entry.object for entry in entries]

    def revision(self, resource: Resource) -> int:
        return self._cache.collection(self._stored(resource)).revision

    def _stored(self, resource: Resource) -> Resource:
        served = self._registry.lookup(resource.group, resource.version, resource.plural)
        return resource if served is None else served.stored_as
