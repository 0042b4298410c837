"""`ObjectReader` over the cache: what authorizers and admission plugins look at. Objects are parsed once and shared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from twinplane.controlplane.api.objects.cache import ObjectCache
from twinplane.controlplane.api.objects.collection import Collection
from twinplane.controlplane.api.objects.entry import NO_LABELS, Entry
from twinplane.controlplane.api.objects.selection import Selection
from twinplane.controlplane.api.types.contract import TypeRegistry
from twinplane.kubeclient.contract import Object, Resource
from twinplane.kubeclient.resources import PODS


class CacheReader:
    def __init__(self, cache: ObjectCache, registry: TypeRegistry) -> None:
        self._cache = cache
        self._registry = registry
        self._collections: dict[Resource, Collection] = {}
        self._generation = -1

    def get(self, resource: Resource, name: str, namespace: str = "") -> Object | None:
        entry = self._entry(resource, name, namespace)
        return None if entry is None else entry.object

    def labels(self, resource: Resource, name: str, namespace: str = "") -> Mapping[str, str]:
        entry = self._entry(resource, name, namespace)
        return NO_LABELS if entry is None else entry.labels

    def list(self, resource: Resource, namespace: str = "") -> list[Object]:
        collection = self._collection(resource)
        return [entry.object for entry in collection.select(Selection(namespace))] if len(collection) else []

    def on_node(self, node: str, namespace: str = "") -> Sequence[Entry]:
        return self._collection(PODS).select(Selection(namespace, node=node))

    def revision(self, resource: Resource) -> int:
        # Asked several times on every request.
        found = self._collections.get(resource) if self._generation == self._registry.generation else None
        return (self._collection(resource) if found is None else found).revision

    def _entry(self, resource: Resource, name: str, namespace: str) -> Entry | None:
        collection = self._collection(resource)
        scope = f"{namespace}/" if resource.namespaced else ""
        return collection.get(f"{collection.prefix}{scope}{name}")

    def _collection(self, resource: Resource) -> Collection:
        """Where the type's objects are, which only another table of types can change."""
        if self._generation != self._registry.generation:
            self._generation = self._registry.generation
            self._collections = {}
        found = self._collections.get(resource)
        if found is None:
            served = self._registry.lookup(resource.group, resource.version, resource.plural)
            found = self._cache.collection(resource if served is None else served.stored_as)
            self._collections[resource] = found
        return found
