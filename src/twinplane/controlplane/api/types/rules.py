"""`TypeRules` for every type: the front of decoding, conversion, strategy, defaulting and validation.

The API server calls it on every write. Everything is compiled on first use and kept for the life of the registry's
definitions; custom types go through the generic parts only (their own schema is validated by custom resource handling).
"""

from __future__ import annotations

from collections.abc import Callable

from twinplane.controlplane.api.types import conversion, custom, field_labels, strategy
from twinplane.controlplane.api.types.contract import ResourceType
from twinplane.controlplane.api.types.decoding import (
    NOTHING,
    Decoders,
    Finder,
    Mismatch,
    compile_decoder,
    compile_unknown,
    prune,
)
from twinplane.controlplane.api.types.defaulting import defaulter
from twinplane.controlplane.api.types.registry import Registry
from twinplane.controlplane.api.types.schema import Schema
from twinplane.controlplane.api.types.validation import Validator
from twinplane.kubeclient.contract import Object, Resource
from twinplane.kubeclient.errors import ApiError, FieldError, bad_request

Converter = Callable[[Object, Resource], Object]
"""(body, the resource it is to be one of) -> the converted body."""
_NOT_OF_SPEC = ("metadata", "status")
OBJECT_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"


class UpstreamRules:
    """Pure apart from its compiled plans; one per registry, shared by all requests."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._decoders = Decoders()
        self._finders: dict[str, Finder | None] = {}
        self._defaults = defaulter()
        self._validator = Validator(registry)
        self.converters: dict[tuple[str, str], Converter] = {}
        """(group, kind) of custom types that a webhook converts."""

    def unknown_fields(self, type: ResourceType, body: Object, base: Object = NOTHING) -> list[str]:
        behaviour = custom.behaviour_of(type)
        if behaviour is not None:
            return [f'unknown field "{path}"' for path in behaviour.unknown_fields(body)]
        return self.unknown_fields_of(type.schema, body, base)

    def unknown_fields_of(self, schema: Schema, body: Object, base: Object = NOTHING) -> list[str]:
        """As `unknown_fields`, for bodies that are not resources (Scale, Eviction, DeleteOptions, ...)."""
        finder = compile_unknown(schema, self._finders)
        found: list[str] = []
        if finder is not None and not schema.preserves_unknown_fields:
            finder(body, "", found, base) if base else finder(body, "", found)
        if not schema.reference:
            found = [path for path in found if path not in ("apiVersion", "kind", "metadata")]
        return [f'unknown field "{path}"' for path in found]

    def decode(self, type: ResourceType, body: Object, base: Object = NOTHING) -> bool:
        if not strategy.is_custom(type):
            return self.decode_as(type.schema, body, type.resource.kind, type.resource.version, base)
        metadata = body.get("metadata")
        if metadata is not None:
            self._decode_metadata(type, metadata)
        envelope = {key: body.pop(key) for key in ("apiVersion", "kind", "metadata") if key in body}
        behaviour = custom.behaviour_of(type)
        if behaviour is not None:
            behaviour.prune(body)
        else:
            prune(type.schema, body)
        rest = dict(body)
        body.clear()
        body.update(envelope | rest)
        return True

    def decode_as(self, schema: Schema, body: Object, kind: str, version: str, base: Object = NOTHING) -> bool:
        """As `decode`, for a body of any published kind. Raises BadRequest in Go's words."""
        self._decoders.unknown.clear()
        try:
            decode = compile_decoder(schema, self._decoders)
            decode(body, base) if base else decode(body)
        except (Mismatch, ValueError) as error:
            raise _undecodable(kind, version, error) from error
        return bool(self._decoders.unknown)

    def _decode_metadata(self, type: ResourceType, metadata: Object) -> None:
        decoder = compile_decoder(self._registry.definition(OBJECT_META), self._decoders)
        try:
            decoder(metadata)
        except Mismatch as mismatch:
            mismatch.at("", "metadata")
            raise _undecodable(type.resource.kind, type.resource.version, mismatch) from mismatch
        except ValueError as error:
            raise _undecodable(type.resource.kind, type.resource.version, error) from error

    def convert(self, body: Object, source: Resource, target: Resource) -> Object:
        converter = self.converters.get((source.group, source.kind)) if self.converters else None
        if converter is not None and source.group == target.group:
            return converter(body, target)
        return conversion.convert(body, source, target)

    def prepare_create(self, type: ResourceType, body: Object) -> None:
        """`metadata.uid` and `name` must be set already: a Job's selector is made of them."""
        strategy.prepare_create(type, body)

    def prepare_update(self, type: ResourceType, body: Object, old: Object, subresource: str) -> None:
        """Defaults `body` first: a change is one only against what the defaults make of it."""
        if subresource == "status" and not strategy.is_custom(type):
            self._default_status(type, body)
        else:
            self.default(type, body)
        strategy.prepare_update(type, body, old, subresource)

    def _default_status(self, type: ResourceType, body: Object) -> None:
        """The rest will be what it was."""
        part: Object = {field: body[field] for field in _NOT_OF_SPEC if field in body}
        self.default_as(type.schema, part)
        body.update((field, part[field]) for field in _NOT_OF_SPEC if field in part)

    def default(self, type: ResourceType, body: Object) -> None:
        behaviour = custom.behaviour_of(type)
        if behaviour is not None:
            behaviour.default(body)
        else:
            self.default_as(type.schema, body)

    def default_as(self, schema: Schema, body: Object) -> None:
        """Default a body of any published kind in place (Scale, TokenRequest, ...)."""
        if schema.reference:
            visit = self._defaults.walk(schema)
            if visit is not None:
                visit(body, "", None)

    def validate(self, type: ResourceType, body: Object, old: Object | None, subresource: str = "") -> list[FieldError]:
        errors = self._validator.validate(type, body, old, subresource)
        behaviour = custom.behaviour_of(type)
        return errors if behaviour is None else [*errors, *behaviour.validate(body, old)]

    def field_labels(self, type: ResourceType, body: Object) -> dict[str, str]:
        return field_labels.reader(type)(body)


def _undecodable(kind: str, version: str, error: Exception) -> ApiError:
    return bad_request(f'{kind} in version "{version}" cannot be handled as a {kind}: {error}')
