"""One type's schema as a tree that can be walked: what patches, defaulting, validation and OpenAPI ask of it.

The source is an OpenAPI v2 `definitions` document with Kubernetes' extensions (package `kubernetes-validate`), or the
structural schema of a CustomResourceDefinition. `$ref`s are followed lazily and nodes are shared, so recursive types
(JSONSchemaProps) cost nothing.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

Definitions = dict[str, dict[str, Any]]
_PREFIX = "#/definitions/"


class Schema:
    """A node. Unknown territory (no schema there) is None wherever a `Schema | None` is returned."""

    def __init__(
        self, raw: dict[str, Any], definitions: Definitions, *, cache: dict[str, Schema] | None = None
    ) -> None:
        self._outer = raw
        self._definitions = definitions
        self._by_reference: dict[str, Schema] = {} if cache is None else cache
        reference = raw.get("$ref", "")
        self.reference = reference.rsplit("/", 1)[-1] if reference else ""
        self._properties: dict[str, Schema] = {}

    @classmethod
    def named(cls, name: str, definitions: Definitions, cache: dict[str, Schema]) -> Schema:
        if name not in cache:
            cache[name] = cls({"$ref": _PREFIX + name}, definitions, cache=cache)
        return cache[name]

    @cached_property
    def raw(self) -> dict[str, Any]:
        """The definition itself, the reference followed; extensions beside a `$ref` win over the target's."""
        if not self.reference:
            return self._outer
        beside = {
            key: value for key, value in self._outer.items() if key.startswith("x-kubernetes") or key == "default"
        }
        target = self._definitions.get(self.reference, {})
        return {**target, **beside} if beside else target

    def _child(self, raw: dict[str, Any]) -> Schema:
        reference = raw.get("$ref")
        if reference and len(raw) == 1:
            return Schema.named(reference.rsplit("/", 1)[-1], self._definitions, self._by_reference)
        return Schema(raw, self._definitions, cache=self._by_reference)

    def property(self, name: str) -> Schema | None:
        """The schema of one field of an object, or of a map's values."""
        found = self._properties.get(name)
        if found is None:
            raw = self.raw.get("properties", {}).get(name)
            if raw is None:
                return self.additional
            found = self._properties[name] = self._child(raw)
        return found

    @cached_property
    def property_names(self) -> frozenset[str]:
        return frozenset(self.raw.get("properties", {}))

    @cached_property
    def additional(self) -> Schema | None:
        """Of a map's values; None where the object has fixed fields or takes anything."""
        raw = self.raw.get("additionalProperties")
        return self._child(raw) if isinstance(raw, dict) else None

    @cached_property
    def items(self) -> Schema | None:
        raw = self.raw.get("items")
        return self._child(raw) if isinstance(raw, dict) else None

    @cached_property
    def required(self) -> tuple[str, ...]:
        return tuple(self.raw.get("required", ()))

    @cached_property
    def type(self) -> str:
        """object, array, string, integer, number, boolean, or empty where anything goes."""
        kind = self.raw.get("type", "")
        return next((entry for entry in kind if entry != "null"), "") if isinstance(kind, list) else str(kind)

    @cached_property
    def format(self) -> str:
        return str(self.raw.get("format", ""))

    @cached_property
    def is_int_or_string(self) -> bool:
        return bool(self.raw.get("x-kubernetes-int-or-string")) or self.format == "int-or-string"

    @cached_property
    def is_quantity(self) -> bool:
        return self.reference.endswith("api.resource.Quantity")

    @cached_property
    def preserves_unknown_fields(self) -> bool:
        return bool(self.raw.get("x-kubernetes-preserve-unknown-fields"))

    @cached_property
    def list_type(self) -> str:
        """`map`, `set` or `atomic`; atomic is the default of server-side apply."""
        return str(self.raw.get("x-kubernetes-list-type", "atomic"))

    @cached_property
    def list_map_keys(self) -> tuple[str, ...]:
        return tuple(self.raw.get("x-kubernetes-list-map-keys", ()))

    @cached_property
    def map_type(self) -> str:
        """`granular` (the default) or `atomic`."""
        return str(self.raw.get("x-kubernetes-map-type", "granular"))

    @cached_property
    def patch_strategy(self) -> tuple[str, ...]:
        """Of strategic merge: any of merge, replace, retainKeys; empty means replace for lists, merge for maps."""
        return tuple(part for part in str(self.raw.get("x-kubernetes-patch-strategy", "")).split(",") if part)

    @cached_property
    def patch_merge_key(self) -> str:
        return str(self.raw.get("x-kubernetes-patch-merge-key", ""))
