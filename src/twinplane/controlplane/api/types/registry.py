"""The table of types that one API server serves: built-in ones, and custom ones while they are registered.

The API server builds it once (`built_in_types`) and hands it to everything that asks what a path or a kind means.
Lookups are dictionary reads; whoever derives something from the table keys its cache on `generation`.
"""

from __future__ import annotations

from collections.abc import Iterable

from twinplane.controlplane.api.types import definitions as published
from twinplane.controlplane.api.types.contract import ResourceType, Subresource
from twinplane.controlplane.api.types.schema import Definitions, Schema
from twinplane.controlplane.api.types.table import GROUP_ORDER, ROWS, SUBRESOURCES, Row
from twinplane.kubeclient.contract import Resource


class Registry:
    """`TypeRegistry`, and the schemas of everything else that travels (Scale, Eviction, DeleteOptions, ...)."""

    def __init__(self, version: str, definitions: Definitions) -> None:
        self.version = version
        """The Kubernetes minor version, e.g. `1.36`."""
        self.definitions = definitions
        self._names = published.names_by_kind(definitions)
        self._schemas: dict[str, Schema] = {}
        self._by_plural: dict[tuple[str, str, str], ResourceType] = {}
        self._by_kind: dict[tuple[str, str, str], ResourceType] = {}
        self._generation = 0

    def copy(self) -> Registry:
        """Another table of the same types, to register more in; schemas, which never change, are shared."""
        made = Registry.__new__(Registry)
        made.__dict__ |= self.__dict__
        made._by_plural = dict(self._by_plural)
        made._by_kind = dict(self._by_kind)
        return made

    @property
    def generation(self) -> int:
        return self._generation

    def lookup(self, group: str, version: str, plural: str) -> ResourceType | None:
        return self._by_plural.get((group, version, plural))

    def by_kind(self, group: str, version: str, kind: str) -> ResourceType | None:
        return self._by_kind.get((group, version, kind))

    def all(self) -> Iterable[ResourceType]:
        return tuple(self._by_plural.values())

    def of_group_version(self, group: str, version: str) -> list[ResourceType]:
        """The types of one group version by plural, as discovery lists them."""
        found = [served for key, served in self._by_plural.items() if key[:2] == (group, version)]
        return sorted(found, key=lambda served: served.resource.plural)

    def groups(self) -> list[str]:
        """Named groups in discovery's order; the core group is not among them."""
        present = {group for group, _, _ in self._by_plural if group}
        known = [group for group in GROUP_ORDER if group in present]
        return known + sorted(present.difference(GROUP_ORDER))

    def versions(self, group: str) -> list[str]:
        """Most preferred first: GA before beta before alpha, higher numbers first."""
        return sorted({entry[1] for entry in self._by_plural if entry[0] == group}, key=version_rank, reverse=True)

    def preferred_version(self, group: str) -> str:
        """Empty for a group that is not served."""
        return next(iter(self.versions(group)), "")

    def register(self, type: ResourceType) -> None:
        """Add a type, or replace the one at the same group, version and plural."""
        self._forget(type.resource)
        resource = type.resource
        self._by_plural[resource.group, resource.version, resource.plural] = type
        self._by_kind[resource.group, resource.version, resource.kind] = type
        self._generation += 1

    def unregister(self, resource: Resource) -> None:
        if self._forget(resource):
            self._generation += 1

    def _forget(self, resource: Resource) -> bool:
        known = self._by_plural.pop((resource.group, resource.version, resource.plural), None)
        if known is None:
            return False
        self._by_kind.pop((resource.group, resource.version, known.resource.kind), None)
        return True

    def schema(self, group: str, version: str, kind: str) -> Schema | None:
        """Of any published kind, served as a resource or not."""
        served = self._by_kind.get((group, version, kind))
        if served is not None:
            return served.schema
        name = self._names.get((group, version, kind))
        return self.definition(name) if name else None

    def definition(self, name: str) -> Schema:
        return Schema.named(name, self.definitions, self._schemas)

    def definition_name(self, group: str, version: str, kind: str) -> str:
        """Empty for kinds without a published definition (custom resources, connect options)."""
        return self._names.get((group, version, kind), "")


def built_in_types(version: str) -> Registry:
    """Everything that upstream serves by default in `version` ("1.36"). Raises ValueError for an unknown one."""
    registry = Registry(version, published.load(version))
    for row in ROWS:
        name = registry.definition_name(row.group, row.version, row.kind)
        if name:
            registry.register(_resource_type(row, registry.definition(name)))
    return registry


def _resource_type(row: Row, schema: Schema) -> ResourceType:
    resource = Resource(row.group, row.version, row.plural, row.kind, row.namespaced)
    own_fields = ("metadata.name", "metadata.namespace") if row.namespaced else ("metadata.name",)
    stored = Resource(*row.stored, row.plural, row.kind, row.namespaced) if row.stored[1] else None
    return ResourceType(
        resource=resource,
        singular=row.kind.lower(),
        schema=schema,
        short_names=tuple(row.short.split()),
        categories=tuple(row.categories.split()),
        verbs=row.verbs,
        subresources=tuple(_subresource(name, resource) for name in row.sub.split()),
        storage=stored,
        selectable_fields=(*own_fields, *row.fields.split()),
        persisted=row.persisted,
        extra={"deprecation": row.deprecated} if row.deprecated else {},
    )


def _subresource(name: str, owner: Resource) -> Subresource:
    row = SUBRESOURCES[name]
    if not row.kind:
        return Subresource(name, owner.kind, row.verbs, owner.group, owner.version)
    kind = owner.kind + row.kind if name == "proxy" else row.kind
    return Subresource(name, kind, row.verbs, row.group, row.version)


def version_rank(version: str) -> tuple[int, int, int, str]:
    """Order of k8s.io/apimachinery pkg/version: v2 > v1 > v1beta2 > v1beta1 > v1alpha1 > anything else."""
    stage, major, minor = 0, 0, 0
    if version.startswith("v"):
        head, letters, tail = version[1:], "", ""
        for word, rank in (("alpha", 1), ("beta", 2)):
            if word in head:
                head, _, tail = head.partition(word)
                letters, stage = word, rank
        if head.isdigit() and (not letters or tail.isdigit() or not tail):
            major, minor, stage = int(head), int(tail or 0), stage or 3
        else:
            stage = 0
    return stage, major, minor, version
