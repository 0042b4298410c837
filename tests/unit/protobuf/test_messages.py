"""The table against what upstream publishes as OpenAPI: same fields, same types, nothing misspelt."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.unit.protobuf.encoding import kind_of
from twinplane.controlplane.api.protobuf.messages import Field, Message, Shape, message, name_of_kind, names
from twinplane.controlplane.api.protobuf.wire import BYTES
from twinplane.controlplane.api.types.contract import ResourceType
from twinplane.controlplane.api.types.registry import Registry, built_in_types
from twinplane.controlplane.api.types.schema import Schema

TYPES = {"bool": "boolean", "int32": "integer", "int64": "integer", "double": "number", "bytes": "string"}
TYPE_META = {"apiVersion", "kind"}
GONE = {
    "Pod.status.nodeAllocatableResourceClaimStatuses.resources: not in the table",
    "ResourceSlice.spec.devices.nodeAllocatableResourceMappings: not in the table",
}
"""Alpha in 1.36, where they are off by default, and no more in 1.37."""
BESIDE_RESOURCES = (
    *(("policy", "v1", "Eviction"), ("autoscaling", "v1", "Scale"), ("authentication.k8s.io", "v1", "TokenRequest")),
    *(("", "v1", "Binding"), ("", "v1", "DeleteOptions")),
)


def flattened(type: Message) -> Iterator[Field]:
    for field in type.fields:
        if field.name:
            yield field
        else:
            yield from flattened(message(field.message))


def differences(type: Message, schema: Schema, path: str, seen: set[str]) -> Iterator[str]:
    if schema.reference in seen or not schema.property_names:
        return
    seen.add(schema.reference)
    fields = {field.name: field for field in flattened(type)}
    for name in schema.property_names.difference(fields) - TYPE_META:
        yield f"{path}.{name}: not in the table"
    for name in schema.property_names.intersection(fields):
        found = schema.property(name)
        assert found is not None
        yield from different(fields[name], found, f"{path}.{name}", seen)


def different(field: Field, schema: Schema, path: str, seen: set[str]) -> Iterator[str]:
    shape = {"array": Shape.LIST, "object": Shape.MAP if schema.additional else Shape.ONE}.get(schema.type, Shape.ONE)
    one = schema.items if shape is Shape.LIST else schema.additional if shape is Shape.MAP else schema
    assert one is not None
    if field.shape is not shape:
        yield f"{path}: {field.shape} in the table, {shape} in the schema"
    elif field.message:
        yield from differences(message(field.message), one, path, seen)
    elif one.type and one.type != TYPES.get(kind_of(field), one.type):
        yield f"{path}: {kind_of(field)} in the table, {one.type} in the schema"
    elif kind_of(field) == "string" and one.type != "string":
        yield f"{path}: a string in the table, {one.type or 'anything'} in the schema"


@pytest.fixture(scope="module", params=["1.33", "1.36", "1.37"])
def registry(request: pytest.FixtureRequest) -> Registry:
    return built_in_types(request.param)


def bodies(registry: Registry) -> Iterator[tuple[str, str, str]]:
    for served in registry.all():
        yield key(served)
        yield from ((found.group, found.version, found.kind) for found in served.subresources if found.name != "proxy")
    yield from BESIDE_RESOURCES


def key(type: ResourceType) -> tuple[str, str, str]:
    return type.resource.group, type.resource.version, type.resource.kind


def test_every_body_has_its_message(registry: Registry) -> None:
    for group, version, kind in set(bodies(registry)):
        assert name_of_kind(f"{group}/{version}" if group else version, kind)


def test_fields_and_types_are_those_of_the_schemas(registry: Registry) -> None:
    found: list[str] = []
    seen: set[str] = set()
    for group, version, kind in set(bodies(registry)):
        schema = registry.schema(group, version, kind)
        if schema is not None:
            name = name_of_kind(f"{group}/{version}" if group else version, kind)
            found.extend(differences(message(name), schema, kind, seen))
    assert set(found) <= GONE
    assert len(seen) > 300


def test_references_and_numbers_are_sound() -> None:
    for name in names():
        found = message(name)
        numbers = [field.number for field in found.fields]
        assert len(set(numbers)) == len(numbers), name
        flat = [field.name for field in flattened(found)]
        assert len(set(flat)) == len(flat), name
        assert all(field.wire_type == BYTES for field in found.fields if field.shape is Shape.MAP), name
