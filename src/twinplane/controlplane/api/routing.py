"""What a request is about, read from method, path and query: upstream's RequestInfo.

The server asks once per request, before authorization, which needs exactly these fields.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

_METHOD_VERBS = {"GET": "get", "HEAD": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_NAMESPACE_SUBRESOURCES = frozenset({"status", "finalize"})


class Route(NamedTuple):
    """`resource` is empty for a path that is not about resources; `verb` is then the method in lower case."""

    verb: str
    path: str
    group: str = ""
    version: str = ""
    namespace: str = ""
    resource: str = ""
    name: str = ""
    subresource: str = ""
    rest: tuple[str, ...] = ()
    """Path below a proxy subresource."""

    @property
    def is_resource(self) -> bool:
        return bool(self.resource)


def route(method: str, path: str, query: Mapping[str, str]) -> Route:
    parts = path[1:].split("/")
    if "" in parts or path[:1] != "/":
        parts = [part for part in path.split("/") if part]
    if len(parts) >= 3 and parts[0] == "api":
        return _resource(method, path, query, ["", *parts[1:]])
    if len(parts) >= 4 and parts[0] == "apis":
        return _resource(method, path, query, parts[1:])
    return Route(method.lower(), path)


def _resource(method: str, path: str, query: Mapping[str, str], parts: list[str]) -> Route:
    group, version, *parts = parts
    verb = _METHOD_VERBS.get(method, method.lower())
    if parts[0] == "watch" and len(parts) > 1:
        verb, parts = "watch", parts[1:]
    namespace = ""
    if parts[0] == "namespaces" and len(parts) > 1:
        namespace = parts[1]
        if len(parts) > 2 and parts[2] not in _NAMESPACE_SUBRESOURCES:
            parts = parts[2:]
    resource = parts[0]
    name = parts[1] if len(parts) > 1 else ""
    subresource = parts[2] if len(parts) > 2 else ""
    if verb == "get" and not name:
        verb = "watch" if _is_watch(query) else "list"
    elif verb == "delete" and not name:
        verb = "deletecollection"
    if not name and verb in ("list", "watch", "deletecollection"):
        name = _selected_name(query.get("fieldSelector", ""))
        return Route(verb, path, group, version, namespace, resource, name)
    return Route(verb, path, group, version, namespace, resource, name, subresource, tuple(parts[3:]))


def _is_watch(query: Mapping[str, str]) -> bool:
    value = query.get("watch")
    return value is not None and is_true(value)


def is_true(value: str) -> bool:
    """A query's flag that is there; also `watch=` and `watch=yes`."""
    return value != "0" and value.lower() != "false"


def _selected_name(field_selector: str) -> str:
    """A list of the one object `metadata.name=x` is authorized like a get of it."""
    for term in field_selector.split(","):
        field, _, value = term.partition("=")
        if field == "metadata.name" and value:
            return value.removeprefix("=")
    return ""
