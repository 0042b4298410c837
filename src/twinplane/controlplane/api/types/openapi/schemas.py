"""Definitions for OpenAPI documents: those that a group version needs, in the dialect of version 3."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from twinplane.controlplane.api.types.contract import ResourceType
from twinplane.controlplane.api.types.schema import Definitions

_V2_PREFIX, _V3_PREFIX = "#/definitions/", "#/components/schemas/"
_META = "io.k8s.apimachinery.pkg.apis.meta.v1."


def closure(roots: Iterable[str], definitions: Definitions) -> list[str]:
    """The roots and everything they refer to, by name."""
    waiting, found = [name for name in roots if name in definitions], set[str]()
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting.extend(_references(definitions[name]))
    return sorted(found & definitions.keys())


def _references(node: Any) -> list[str]:
    if isinstance(node, list):
        return [name for item in node for name in _references(item)]
    if not isinstance(node, dict):
        return []
    reference = node.get("$ref")
    here = [reference.rsplit("/", 1)[-1]] if isinstance(reference, str) else []
    return here + [name for value in node.values() if isinstance(value, dict | list) for name in _references(value)]


def to_v3(node: Any) -> Any:
    """References move to components, and stand in `allOf` where something is said beside them."""
    if isinstance(node, list):
        return [to_v3(item) for item in node]
    if not isinstance(node, dict):
        return node
    reference = node.get("$ref")
    if isinstance(reference, str):
        target = {"$ref": reference.replace(_V2_PREFIX, _V3_PREFIX)}
        beside = {key: value for key, value in node.items() if key != "$ref"}
        return beside | {"allOf": [target]} if beside else target
    if node.get("format") == "int-or-string" and node.get("type") == "string":
        beside = {key: value for key, value in node.items() if key != "type"}
        return beside | {"oneOf": [{"type": "integer"}, {"type": "string"}]}
    return {key: to_v3(value) if isinstance(value, dict | list) else value for key, value in node.items()}


def custom_name(served: ResourceType) -> str:
    """`com.example.v1.Widget`: the group backwards, as upstream names definitions of custom resources."""
    resource = served.resource
    return ".".join([*reversed(resource.group.split(".")), resource.version, resource.kind])


def custom_definitions(served: ResourceType) -> Definitions:
    """A custom type and its list, with the metadata that its own schema leaves out."""
    resource, name = served.resource, custom_name(served)
    extension = {"group": resource.group, "version": resource.version, "kind": resource.kind}
    text = {"type": "string"}
    head: dict[str, Any] = {
        "apiVersion": text | {"description": "APIVersion defines the versioned schema of this representation."},
        "kind": text | {"description": "Kind is the type of this object."},
    }
    metadata = {"description": "Standard object's metadata.", "$ref": f"{_V2_PREFIX}{_META}ObjectMeta"}
    raw = served.schema.raw
    properties = {**(raw.get("properties") or {}), **head, "metadata": metadata}
    return {
        name: {**raw, "type": "object", "properties": properties, "x-kubernetes-group-version-kind": [extension]},
        f"{name}List": {
            "description": f"{resource.kind}List is a list of {resource.kind}",
            "type": "object",
            "required": ["items"],
            "properties": {
                **head,
                "items": {"type": "array", "items": {"$ref": f"{_V2_PREFIX}{name}"}},
                "metadata": {"$ref": f"{_V2_PREFIX}{_META}ListMeta"},
            },
            "x-kubernetes-group-version-kind": [extension | {"kind": resource.kind + "List"}],
        },
    }
