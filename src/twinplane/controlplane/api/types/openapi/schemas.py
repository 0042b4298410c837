"""Definitions for OpenAPI documents: those that a group version needs, in the dialect of version 3."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from twinplane.controlplane.api.types.contract import ResourceType
from twinplane.controlplane.api.types.schema import Definitions

_V2_PREFIX, _V3_PREFIX = "#/definitions/", "#/components/schemas/"
_META = "io.k8s.apimachinery.pkg.apis.meta.v1."
_PRESERVES = "x-kubernetes-preserve-unknown-fields"
_TYPE_META: dict[str, Any] = {
    "apiVersion": {
        "type": "string",
        "description": "APIVersion defines the versioned schema of this representation of an object. Servers should "
        "convert recognized schemas to the latest internal value, and may reject unrecognized values. More info: "
        "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources",
    },
    "kind": {
        "type": "string",
        "description": "Kind is a string value representing the REST resource this object represents. Servers may "
        "infer this from the endpoint the client submits requests to. Cannot be updated. In CamelCase. More info: "
        "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds",
    },
}
_OBJECT_META: dict[str, Any] = {
    **_TYPE_META,
    "metadata": {
        "description": "Standard object's metadata. More info: "
        "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata",
        "$ref": f"{_V2_PREFIX}{_META}ObjectMeta",
    },
}


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


def custom_definitions(served: ResourceType, *, v2: bool) -> Definitions:
    """A custom type and its list, with the metadata that its own schema leaves out, in what version 2 or 3 can say."""
    resource, name = served.resource, custom_name(served)
    extension = {"group": resource.group, "version": resource.version, "kind": resource.kind}
    return {
        name: {**_custom_object(served.schema.raw, v2=v2), "x-kubernetes-group-version-kind": [extension]},
        f"{name}List": {
            "description": f"{resource.kind}List is a list of {resource.kind}",
            "type": "object",
            "required": ["items"],
            "properties": {
                **_TYPE_META,
                "items": {"type": "array", "items": {"$ref": f"{_V2_PREFIX}{name}"}},
                "metadata": {"$ref": f"{_V2_PREFIX}{_META}ListMeta"},
            },
            "x-kubernetes-group-version-kind": [extension | {"kind": resource.kind + "List"}],
        },
    }


def _custom_object(raw: dict[str, Any], *, v2: bool) -> dict[str, Any]:
    if v2 and raw.get(_PRESERVES):
        # kubectl takes any property that is named for the only ones that are allowed.
        return {"type": "object"}
    found = _with_embedded(_plain(raw) if v2 else raw, v2=v2)
    return {**found, "type": "object", "properties": {**(found.get("properties") or {}), **_OBJECT_META}}


def _plain(schema: Any) -> Any:
    """What kubectl understands of a structural schema: as upstream's ToStructuralOpenAPIV2."""
    if not isinstance(schema, dict):
        return schema
    found = {key: value for key, value in schema.items() if key not in ("allOf", "oneOf", "anyOf", "not", "nullable")}
    nullable, preserves = schema.get("nullable"), schema.get(_PRESERVES)
    properties, items, additional = found.get("properties") or {}, found.get("items"), found.get("additionalProperties")
    if nullable or preserves:
        for key in ("items", "properties"):
            found.pop(key, None)
    elif properties:
        found["properties"] = {name: _plain(entry) for name, entry in properties.items()}
    if "items" in found:
        found["items"] = _plain(items)
    if isinstance(additional, dict):
        found["additionalProperties"] = _plain(additional)
    untyped_list = found.get("type") == "array" and "items" not in found
    if nullable or untyped_list or (preserves and found.get("type") == "object"):
        found.pop("type", None)
    required = [name for name in found.pop("required", ()) if not (properties.get(name) or {}).get("nullable")]
    if required and not (isinstance(additional, dict) and additional.get("nullable")):
        found["required"] = required
    return found


def _with_embedded(schema: Any, *, v2: bool) -> Any:
    """Embedded resources have apiVersion, kind and metadata, and need the first two."""
    if not isinstance(schema, dict):
        return schema
    found = dict(schema)
    for key in ("items", "additionalProperties"):
        if key in found:
            found[key] = _with_embedded(found[key], v2=v2)
    if "properties" in found:
        found["properties"] = {name: _with_embedded(entry, v2=v2) for name, entry in found["properties"].items()}
    if schema.get("x-kubernetes-embedded-resource") and not (v2 and schema.get(_PRESERVES)):
        found["properties"] = {**(found.get("properties") or {}), **_OBJECT_META}
        required = list(found.get("required") or ())
        found["required"] = required + [name for name in ("kind", "apiVersion") if name not in required]
    return found
