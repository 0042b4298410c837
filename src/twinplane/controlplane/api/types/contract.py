"""What the API server knows of a type: one row for each, whether built in or from a CustomResourceDefinition."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

from twinplane.controlplane.api.types.schema import Schema
from twinplane.kubeclient.contract import Object, Resource
from twinplane.kubeclient.errors import FieldError

ALL_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")

FieldLabels = Callable[[Object], dict[str, str]]
"""Object -> the values that field selectors may name (`metadata.name`, `spec.nodeName`, ...)."""


@dataclass(frozen=True, slots=True)
class Subresource:
    """`kind`/`group`/`version` are those of the body, e.g. Scale of autoscaling/v1 for deployments/scale."""

    name: str
    kind: str
    verbs: tuple[str, ...]
    group: str = ""
    version: str = ""


@dataclass(frozen=True)
class ResourceType:
    """One served group/version/plural."""

    resource: Resource
    singular: str
    schema: Schema
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ALL_VERBS
    subresources: tuple[Subresource, ...] = ()
    storage: Resource | None = None
    """The version that is stored, when it is another one (autoscaling/v1 -> v2, core/v1 events)."""
    selectable_fields: tuple[str, ...] = ("metadata.name", "metadata.namespace")
    persisted: bool = True
    """False for reviews (TokenReview, SubjectAccessReview, ...) and ComponentStatus, which nothing stores."""
    extra: dict[str, Any] = field(default_factory=dict)
    """For custom types: `printer_columns` (additionalPrinterColumns) and `scale` (the paths of that subresource)."""

    @property
    def stored_as(self) -> Resource:
        return self.storage or self.resource

    def subresource(self, name: str) -> Subresource | None:
        return self._subresources.get(name)

    @cached_property
    def _subresources(self) -> dict[str, Subresource]:
        return {entry.name: entry for entry in reversed(self.subresources)}


class TypeRegistry(Protocol):
    """The table of types. `generation` changes with every (un)registration; caches key on it."""

    @property
    def generation(self) -> int: ...

    def lookup(self, group: str, version: str, plural: str) -> ResourceType | None: ...

    def by_kind(self, group: str, version: str, kind: str) -> ResourceType | None: ...

    def all(self) -> Iterable[ResourceType]: ...

    def preferred_version(self, group: str) -> str: ...

    def versions(self, group: str) -> list[str]: ...

    def schema(self, group: str, version: str, kind: str) -> Schema | None: ...

    def register(self, type: ResourceType) -> None: ...

    def unregister(self, resource: Resource) -> None: ...


class TypeRules(Protocol):
    """Upstream's per-type behaviour (the `strategy` of its registry), table-driven, pure: no I/O.

    The order for a write: `unknown_fields` on what the client sent, `convert` to the stored version, `prepare`,
    `default`, admission, `validate`. Objects are changed in place where a method returns None.
    """

    def unknown_fields(self, type: ResourceType, body: Object, base: Object = ...) -> list[str]:
        """Paths as upstream's strict decoding words them, e.g. `unknown field "spec.foo"`; `base` as for `decode`."""
        ...

    def decode(self, type: ResourceType, body: Object, base: Object = ...) -> bool:
        """Check JSON types against the schema and drop unknown fields, as Go's decoder does.

        False for a built-in type when there were none; a custom type has to be asked about them before.

        What a patched `body` shares with the stored `base` (the same Python objects) has been decoded before.

        Raises `ApiError` BadRequest with Go's wording ("... cannot unmarshal string into Go struct field ...").
        """
        ...

    def convert(self, body: Object, source: Resource, target: Resource) -> Object:
        """Between served versions of one stored type; the same object when nothing has to change."""
        ...

    def prepare_create(self, type: ResourceType, body: Object) -> None:
        """Drop status where there is a status subresource, set generation 1, and the like.

        `metadata.uid` and `metadata.name` are set already: a Job's generated selector is made of them.
        """
        ...

    def prepare_update(self, type: ResourceType, body: Object, old: Object, subresource: str) -> None:
        """Keep what this (sub)resource may not touch from `old`; bump generation when the spec changed.

        Defaults `body` first, since a change is one only against what the defaults make of it.
        """
        ...

    def default(self, type: ResourceType, body: Object) -> None: ...

    def validate(self, type: ResourceType, body: Object, old: Object | None, subresource: str = "") -> list[FieldError]:
        """`old` is None for a create; immutability rules apply for an update."""
        ...

    def field_labels(self, type: ResourceType, body: Object) -> dict[str, str]:
        """The values of `type.selectable_fields`."""
        ...
