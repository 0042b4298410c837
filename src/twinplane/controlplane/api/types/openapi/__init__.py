"""OpenAPI documents, as `kubectl explain`, `apply` and `create --validate` read them.

The API server serves `/openapi/v2`, `/openapi/v3` and `/openapi/v3/...` from here. Building a document walks many
definitions, so the caller keeps the bytes for one `registry.generation`.
"""

from __future__ import annotations

import hashlib
from typing import Any

import orjson

from twinplane.controlplane.api.types.contract import ResourceType
from twinplane.controlplane.api.types.openapi import protobuf
from twinplane.controlplane.api.types.openapi.operations import Dialect, paths_of
from twinplane.controlplane.api.types.openapi.schemas import closure, custom_definitions, custom_name, to_v3
from twinplane.controlplane.api.types.registry import Registry
from twinplane.controlplane.api.types.schema import Definitions
from twinplane.controlplane.api.types.strategy import is_custom
from twinplane.kubeclient.contract import Object

_META = "io.k8s.apimachinery.pkg.apis.meta.v1."
_ALWAYS = (_META + "Status", _META + "DeleteOptions", _META + "Patch", _META + "WatchEvent")
_EXTENSION = "x-kubernetes-group-version-kind"


def v2(registry: Registry) -> bytes:
    """Swagger 2.0 of everything that is served."""
    paths: dict[str, Any] = {}
    for served in registry.all():
        paths.update(_paths(registry, served, Dialect.V2))
    document: Object = {"swagger": "2.0", "info": _info(registry), "paths": paths}
    document["definitions"] = _all_definitions(registry)
    return orjson.dumps(document)


def v2_protobuf(registry: Registry) -> bytes:
    """The same definitions for clients that accept `protobuf.MEDIA_TYPE`, as kubectl does."""
    info = _info(registry)
    return protobuf.encode(info["title"], info["version"], _all_definitions(registry))


def _all_definitions(registry: Registry) -> Definitions:
    definitions = dict(registry.definitions)
    for served in registry.all():
        if is_custom(served):
            definitions.update(custom_definitions(served, v2=True))
    return definitions


def v3_index(registry: Registry) -> Object:
    """`/openapi/v3`: one document for each group version; the hash in its URL changes with its contents."""
    paths = {
        name: {"serverRelativeURL": f"/openapi/v3/{name}?hash={_hash(registry, types)}"}
        for name, types in _documents(registry).items()
    }
    return {"paths": paths}


def v3_hash(registry: Registry, path: str) -> str | None:
    """What the index says of one document, which changes with it; None for a path that the index does not have."""
    types = _documents(registry).get(path)
    return None if types is None else _hash(registry, types)


def v3(registry: Registry, path: str) -> bytes | None:
    """The document of `api/v1` or `apis/GROUP/VERSION`; None for a path the index does not have."""
    types = _documents(registry).get(path.strip("/"))
    if types is None:
        return None
    definitions: Definitions = dict(registry.definitions)
    roots = list(_ALWAYS)
    paths: dict[str, Any] = {}
    for served in types:
        if is_custom(served):
            definitions.update(custom_definitions(served, v2=False))
        roots.extend(_roots(registry, served))
        paths.update(_paths(registry, served, Dialect.V3))
    schemas = {name: to_v3(definitions[name]) for name in closure(roots, definitions)}
    document = {
        "openapi": "3.0.0",
        "info": _info(registry),
        "paths": paths,
        "components": {"schemas": schemas},
    }
    return orjson.dumps(document)


def _info(registry: Registry) -> Object:
    return {"title": "Kubernetes", "version": f"v{registry.version}.0"}


def _documents(registry: Registry) -> dict[str, list[ResourceType]]:
    found: dict[str, list[ResourceType]] = {}
    for group in ("", *registry.groups()):
        for version in registry.versions(group):
            name = f"apis/{group}/{version}" if group else f"api/{version}"
            found[name] = registry.of_group_version(group, version)
    return found


def _hash(registry: Registry, types: list[ResourceType]) -> str:
    digest = hashlib.sha256(registry.version.encode())
    for served in types:
        resource = served.resource
        digest.update(f"{resource.group}/{resource.version}/{resource.plural}/{served.short_names}".encode())
        if is_custom(served):
            digest.update(orjson.dumps(served.schema.raw))
    return digest.hexdigest().upper()


def _definition_name(registry: Registry, served: ResourceType) -> str:
    return custom_name(served) if is_custom(served) else served.schema.reference


def _list_name(registry: Registry, served: ResourceType) -> str:
    resource = served.resource
    if is_custom(served):
        return custom_name(served) + "List"
    return registry.definition_name(resource.group, resource.version, resource.kind + "List")


def _roots(registry: Registry, served: ResourceType) -> list[str]:
    bodies = [
        registry.definition_name(part.group, part.version, part.kind) for part in served.subresources if part.version
    ]
    names = [_definition_name(registry, served), _list_name(registry, served), *bodies]
    return [name for name in names if name]


def _paths(registry: Registry, served: ResourceType, dialect: Dialect) -> dict[str, Any]:
    bodies = {
        part.name: registry.definition_name(part.group, part.version, part.kind) or _definition_name(registry, served)
        for part in served.subresources
    }
    return paths_of(served, _definition_name(registry, served), _list_name(registry, served), bodies, dialect)
