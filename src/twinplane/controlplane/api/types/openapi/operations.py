"""Paths of a type in an OpenAPI document: its verbs, with the marks by which clients find them.

kubectl looks for `x-kubernetes-group-version-kind` and `x-kubernetes-action`, and asks whether a PATCH takes
`fieldValidation` and `dryRun` before it relies on them.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any

from twinplane.controlplane.api.types.contract import ResourceType, Subresource
from twinplane.kubeclient.contract import Resource

_META = "io.k8s.apimachinery.pkg.apis.meta.v1."
_CUSTOM_PATCHES = ("application/apply-patch+yaml", "application/json-patch+json", "application/merge-patch+json")
_PATCHES = (*_CUSTOM_PATCHES, "application/strategic-merge-patch+json")
"""kubectl's apply sends a strategic patch wherever that is said to be taken."""

_WRITE = {
    "dryRun": "When present, indicates that modifications should not be persisted. Valid values are: All.",
    "fieldManager": "The name of the actor or entity that is making these changes.",
    "fieldValidation": "What to do with unknown and duplicate fields: Ignore, Warn or Strict.",
}
_LIST = {
    "allowWatchBookmarks": "Whether a watch may send events of type BOOKMARK.",
    "continue": "The token of a previous page.",
    "fieldSelector": "Restricts the objects by their fields.",
    "labelSelector": "Restricts the objects by their labels.",
    "limit": "The largest number of objects to return.",
    "resourceVersion": "Which resource versions a request may be served from.",
    "resourceVersionMatch": "How resourceVersion is applied to a list.",
    "sendInitialEvents": "Whether a watch starts with the current objects.",
    "timeoutSeconds": "Timeout of the call.",
    "watch": "Watch for changes instead of listing.",
}
_DELETE = {
    "dryRun": _WRITE["dryRun"],
    "gracePeriodSeconds": "Seconds before the object is deleted; zero deletes at once.",
    "orphanDependents": "Deprecated: use propagationPolicy.",
    "propagationPolicy": "Whether and how garbage collection is performed: Orphan, Background or Foreground.",
}
_PATCH = _WRITE | {"force": "Force Apply requests: re-acquire conflicting fields owned by other people."}
_TYPES = {
    **dict.fromkeys(("allowWatchBookmarks", "watch", "sendInitialEvents", "orphanDependents", "force"), "boolean"),
    **dict.fromkeys(("limit", "timeoutSeconds", "gracePeriodSeconds"), "integer"),
}
_VERBS: dict[str, tuple[str, str, Mapping[str, str]]] = {
    "get": ("get", "get", {}),
    "list": ("get", "list", _LIST),
    "create": ("post", "post", _WRITE),
    "update": ("put", "put", _WRITE),
    "patch": ("patch", "patch", _PATCH),
    "delete": ("delete", "delete", _DELETE),
    "deletecollection": ("delete", "deletecollection", {**_LIST, **_DELETE}),
}
"""Verb -> HTTP method, x-kubernetes-action, query parameters."""
_COLLECTION = ("list", "create", "deletecollection")
_ITEM = ("get", "update", "patch", "delete")


class Dialect(Enum):
    V2 = "#/definitions/"
    V3 = "#/components/schemas/"


def paths_of(
    served: ResourceType, body: str, list_body: str, subresources: Mapping[str, str], dialect: Dialect
) -> dict[str, Any]:
    """All paths of a type. `body`, `list_body` and the values of `subresources` are names of definitions."""
    resource = served.resource
    place = resource.path("{namespace}" if resource.namespaced else None)
    paths = {
        place: _operations(served, _COLLECTION, body, list_body, dialect),
        f"{place}/{{name}}": _operations(served, _ITEM, body, list_body, dialect),
    }
    if resource.namespaced and "list" in served.verbs:
        paths[resource.path()] = _operations(served, ("list",), body, list_body, dialect, everywhere=True)
    for part in served.subresources:
        operations = _subresource(served, part, subresources[part.name], dialect)
        paths[f"{place}/{{name}}/{part.name}"] = operations
    return {path: operations for path, operations in paths.items() if len(operations) > 1}


def _operations(
    served: ResourceType,
    verbs: tuple[str, ...],
    body: str,
    list_body: str,
    dialect: Dialect,
    *,
    everywhere: bool = False,
) -> dict[str, Any]:
    resource = served.resource
    names = ["namespace"] if resource.namespaced and not everywhere else []
    if verbs is _ITEM:
        names.append("name")
    result: dict[str, Any] = {"parameters": [_path_parameter(name, dialect) for name in names]}
    for verb in verbs:
        if verb in served.verbs:
            answer = list_body if verb == "list" else body
            identity = _identity(resource, verb, "ForAllNamespaces" if everywhere else "")
            kind = (resource.group, resource.version, resource.kind)
            method, operation = _operation(verb, kind, answer, body, dialect, patches=_patches(served))
            result[method] = {"operationId": identity, "tags": [_tag(resource)], **operation}
    return result


def _patches(served: ResourceType) -> tuple[str, ...]:
    return _PATCHES if served.schema.reference else _CUSTOM_PATCHES


def _subresource(served: ResourceType, part: Subresource, body: str, dialect: Dialect) -> dict[str, Any]:
    resource = served.resource
    names = ["namespace", "name"] if resource.namespaced else ["name"]
    result: dict[str, Any] = {"parameters": [_path_parameter(name, dialect) for name in names]}
    for verb in part.verbs:
        kind = (part.group, part.version or resource.version, part.kind)
        method, operation = _operation(verb, kind, body, body, dialect, patches=_patches(served))
        identity = _identity(resource, verb, part.name.capitalize())
        result[method] = {"operationId": identity, "tags": [_tag(resource)], **operation}
    return result


def _operation(
    verb: str, kind: tuple[str, str, str], answer: str, body: str, dialect: Dialect, *, patches: tuple[str, ...]
) -> tuple[str, dict[str, Any]]:
    method, action, query = _VERBS[verb]
    parameters = [_query_parameter(name, text, dialect) for name, text in query.items()]
    removes = verb in ("delete", "deletecollection")
    reference = {"$ref": dialect.value + (_META + "Status" if removes else answer)}
    operation: dict[str, Any] = {
        "description": f"{verb} {kind[2]}",
        "parameters": parameters,
        "responses": {"200": _response(reference, dialect), "401": {"description": "Unauthorized"}},
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": {"group": kind[0], "version": kind[1], "kind": kind[2]},
    }
    sent = {"update": body, "create": body, "patch": _META + "Patch"}.get(
        verb, _META + "DeleteOptions" if removes else ""
    )
    if sent:
        media = patches if verb == "patch" else ("*/*",)
        _add_body(operation, verb, {"$ref": dialect.value + sent}, dialect, media)
    return method, operation


def _response(reference: dict[str, str], dialect: Dialect) -> dict[str, Any]:
    if dialect is Dialect.V2:
        return {"description": "OK", "schema": reference}
    return {"description": "OK", "content": {"application/json": {"schema": reference}}}


def _add_body(
    operation: dict[str, Any], verb: str, reference: dict[str, str], dialect: Dialect, media: tuple[str, ...]
) -> None:
    if dialect is Dialect.V2:
        body = {
            "name": "body",
            "in": "body",
            "schema": reference,
            "required": verb not in ("delete", "deletecollection"),
        }
        operation["parameters"].append(body)
        operation["consumes"] = list(media)
        operation["produces"] = ["application/json", "application/yaml"]
    else:
        operation["requestBody"] = {"content": {name: {"schema": reference} for name in media}}


def _query_parameter(name: str, text: str, dialect: Dialect) -> dict[str, Any]:
    kind = {"type": _TYPES.get(name, "string"), "uniqueItems": True}
    return {"name": name, "in": "query", "description": text} | (kind if dialect is Dialect.V2 else {"schema": kind})


def _path_parameter(name: str, dialect: Dialect) -> dict[str, Any]:
    kind = {"type": "string", "uniqueItems": True}
    text = "name of the object" if name == "name" else "object name and auth scope, such as for teams and projects"
    head = {"name": name, "in": "path", "description": text, "required": True}
    return head | (kind if dialect is Dialect.V2 else {"schema": kind})


def _tag(resource: Resource) -> str:
    group = resource.group.removesuffix(".k8s.io") or "core"
    return f"{group.replace('.', '')}_{resource.version}"


_WORDS = {"get": "read", "update": "replace", "deletecollection": "deleteCollection"}


def _identity(resource: Resource, verb: str, suffix: str) -> str:
    group = "".join(part.capitalize() for part in resource.group.removesuffix(".k8s.io").split(".")) or "Core"
    scope = "Namespaced" if resource.namespaced and suffix != "ForAllNamespaces" else ""
    return f"{_WORDS.get(verb, verb)}{group}{resource.version.capitalize()}{scope}{resource.kind}{suffix}"
