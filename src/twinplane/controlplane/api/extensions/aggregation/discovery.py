"""This server's discovery documents with the groups of aggregated servers in them. Pure.

The other server's APIResourceList, read when its availability was checked, is what there is to know of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from twinplane.controlplane.api.types.registry import version_rank
from twinplane.kubeclient.contract import Object


@dataclass(frozen=True, slots=True)
class RemoteVersion:
    """`resources` is the APIResourceList, None while the server has not answered."""

    group: str
    version: str
    group_priority: int
    version_priority: int
    resources: Object | None
    available: bool
    openapi: Object | None = None
    """Its version 2 document, where it has one."""


def group_list(document: Object, remote: Iterable[RemoteVersion]) -> Object:
    """`/apis`: groups in order of priority come after those this server has."""
    groups = {entry["name"]: entry for entry in document["groups"]}
    for name, versions in _by_group(remote).items():
        groups[name] = merged_group(groups.get(name), name, versions)
    return {**document, "groups": list(groups.values())}


def group(document: Object | None, name: str, remote: Iterable[RemoteVersion]) -> Object | None:
    """`/apis/GROUP`; None for a group that nobody serves."""
    versions = _by_group(remote).get(name)
    if versions is None:
        return document
    return {"kind": "APIGroup", "apiVersion": "v1"} | merged_group(document, name, versions)


def merged_group(known: Object | None, name: str, remote: list[RemoteVersion]) -> Object:
    present = [entry["version"] for entry in (known or {}).get("versions") or ()]
    added = [each.version for each in remote if each.version not in present]
    ordered = [*present, *added]
    versions = [{"groupVersion": f"{name}/{version}", "version": version} for version in ordered]
    return {"name": name, "versions": versions, "preferredVersion": versions[0]}


def _by_group(remote: Iterable[RemoteVersion]) -> dict[str, list[RemoteVersion]]:
    groups: dict[str, list[RemoteVersion]] = {}
    order = sorted(remote, key=lambda each: (-each.group_priority, each.group))
    for each in order:
        groups.setdefault(each.group, []).append(each)
    for versions in groups.values():
        versions.sort(key=lambda each: (each.version_priority, version_rank(each.version)), reverse=True)
    return groups


def aggregated(document: Object, remote: Iterable[RemoteVersion]) -> Object:
    """`/apis` in its aggregated form."""
    items = {item["metadata"]["name"]: item for item in document["items"]}
    for name, versions in _by_group(remote).items():
        known = items.get(name) or {"metadata": {"name": name, "creationTimestamp": None}, "versions": []}
        present = {entry["version"] for entry in known["versions"]}
        added = [_version(each) for each in versions if each.version not in present]
        items[name] = {**known, "versions": [*known["versions"], *added]}
    return {**document, "items": list(items.values())}


def _version(remote: RemoteVersion) -> Object:
    return {
        "version": remote.version,
        "resources": _resources(remote),
        "freshness": "Current" if remote.available else "Stale",
    }


def _resources(remote: RemoteVersion) -> list[Object]:
    found: dict[str, Object] = {}
    for entry in (remote.resources or {}).get("resources") or ():
        name, _, subresource = str(entry.get("name", "")).partition("/")
        if subresource:
            if name in found:
                part = {"subresource": subresource, "responseKind": _kind(remote, entry), "verbs": _verbs(entry)}
                found[name].setdefault("subresources", []).append(part)
            continue
        found[name] = {
            "resource": name,
            "responseKind": _kind(remote, entry),
            "scope": "Namespaced" if entry.get("namespaced") else "Cluster",
            "singularResource": entry.get("singularName", ""),
            "verbs": _verbs(entry),
            **{field: entry[field] for field in ("shortNames", "categories") if entry.get(field)},
        }
    return list(found.values())


def _verbs(entry: dict[str, Any]) -> list[str]:
    return list(entry.get("verbs") or ())


def _kind(remote: RemoteVersion, entry: dict[str, Any]) -> Object:
    return {
        "group": entry.get("group") or remote.group,
        "version": entry.get("version") or remote.version,
        "kind": entry.get("kind", ""),
    }


def openapi_index(document: Object, remote: Iterable[RemoteVersion]) -> Object:
    """`/openapi/v3`: documents of aggregated servers are fetched from them when asked for."""
    added = {
        f"apis/{each.group}/{each.version}": {"serverRelativeURL": f"/openapi/v3/apis/{each.group}/{each.version}"}
        for each in remote
        if each.available
    }
    return {**document, "paths": {**document["paths"], **added}}


def openapi_v2(document: Object, remote: Iterable[RemoteVersion]) -> Object:
    """`/openapi/v2`: the paths of the other servers' versions, and what those are made of."""
    paths, definitions = dict(document["paths"]), dict(document["definitions"])
    for each in remote:
        below = f"/apis/{each.group}/{each.version}/"
        for path, item in ((each.openapi or {}).get("paths") or {}).items():
            if f"{path}/".startswith(below):
                paths.setdefault(path, item)
        for name, schema in ((each.openapi or {}).get("definitions") or {}).items():
            definitions.setdefault(name, schema)
    return {**document, "paths": paths, "definitions": definitions}


def definitions_of(remote: Iterable[RemoteVersion]) -> dict[str, Object]:
    return {name: each for one in remote for name, each in ((one.openapi or {}).get("definitions") or {}).items()}
