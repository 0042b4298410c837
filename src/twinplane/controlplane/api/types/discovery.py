"""Discovery documents: which groups, versions and resources there are, in the old and in the aggregated form.

The API server serves them as they are (`/api`, `/apis`, `/apis/GROUP`, `/apis/GROUP/VERSION`), and caches them by the
registry's generation. Order and contents follow k8s.io/apiserver pkg/endpoints/discovery.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Any

from twinplane.controlplane.api.types.contract import ResourceType, Subresource
from twinplane.controlplane.api.types.registry import Registry
from twinplane.kubeclient.contract import Object

AGGREGATED_VERSION = "apidiscovery.k8s.io/v2"


def legacy_versions(server_address: str = "") -> Object:
    """`/api`; `server_address` is host:port as clients reach it."""
    address = {"clientCIDR": "0.0.0.0/0", "serverAddress": server_address}
    return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": [address]}


def group_list(registry: Registry) -> Object:
    """`/apis`."""
    return {
        "kind": "APIGroupList",
        "apiVersion": "v1",
        "groups": [_group(registry, name) for name in registry.groups()],
    }


def group(registry: Registry, name: str) -> Object | None:
    """`/apis/GROUP`; None for a group that is not served."""
    if not name or not registry.versions(name):
        return None
    return {"kind": "APIGroup", "apiVersion": "v1"} | _group(registry, name)


def _group(registry: Registry, name: str) -> Object:
    versions = [{"groupVersion": f"{name}/{version}", "version": version} for version in registry.versions(name)]
    return {"name": name, "versions": versions, "preferredVersion": versions[0]}


def resource_list(registry: Registry, group: str, version: str) -> Object | None:
    """`/api/v1` or `/apis/GROUP/VERSION`; None for a group version that is not served."""
    types = registry.of_group_version(group, version)
    if not types:
        return None
    resources = [entry for served in types for entry in (_resource(served), *_subresources(served))]
    head = {"kind": "APIResourceList"} | ({"apiVersion": "v1"} if group else {})
    return head | {"groupVersion": f"{group}/{version}" if group else version, "resources": resources}


def _resource(served: ResourceType) -> Object:
    resource = served.resource
    entry: Object = {
        "name": resource.plural,
        "singularName": served.singular,
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": list(served.verbs),
    }
    if served.short_names:
        entry["shortNames"] = list(served.short_names)
    if served.categories:
        entry["categories"] = list(served.categories)
    if served.persisted:
        entry["storageVersionHash"] = storage_version_hash(served)
    return entry


def _subresources(served: ResourceType) -> list[Object]:
    entries: list[Object] = []
    for subresource in sorted(served.subresources, key=lambda entry: entry.name):
        entry: Object = {
            "name": f"{served.resource.plural}/{subresource.name}",
            "singularName": "",
            "namespaced": served.resource.namespaced,
        }
        if _is_foreign(served, subresource):
            entry |= {"group": subresource.group, "version": subresource.version}
        entries.append(entry | {"kind": subresource.kind, "verbs": list(subresource.verbs)})
    return entries


def _is_foreign(served: ResourceType, subresource: Subresource) -> bool:
    own = served.resource.group, served.resource.version
    return bool(subresource.version) and (subresource.group, subresource.version) != own


def storage_version_hash(served: ResourceType) -> str:
    """Eight bytes of the SHA-256 of what is stored, so that clients see when that changes."""
    stored = served.stored_as
    digest = hashlib.sha256(f"{stored.group}/{stored.version}/{stored.kind}".encode()).digest()
    return base64.b64encode(digest[:8]).decode()


def aggregated(registry: Registry, legacy: bool) -> Object:
    """`/api` (`legacy`) or `/apis` for clients that accept `g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList`."""
    names = [""] if legacy else registry.groups()
    items = [_discovered_group(registry, name) for name in names]
    return {"kind": "APIGroupDiscoveryList", "apiVersion": AGGREGATED_VERSION, "metadata": {}, "items": items}


def _discovered_group(registry: Registry, name: str) -> Object:
    versions = [
        {
            "version": version,
            "resources": [_discovered(served) for served in registry.of_group_version(name, version)],
            "freshness": "Current",
        }
        for version in registry.versions(name)
    ]
    metadata = {"name": name, "creationTimestamp": None} if name else {"creationTimestamp": None}
    return {"metadata": metadata, "versions": versions}


def _discovered(served: ResourceType) -> Object:
    resource = served.resource
    entry: dict[str, Any] = {
        "resource": resource.plural,
        "responseKind": _kind(resource.group, resource.version, resource.kind),
        "scope": "Namespaced" if resource.namespaced else "Cluster",
        "singularResource": served.singular,
        "verbs": list(served.verbs),
    }
    if served.short_names:
        entry["shortNames"] = list(served.short_names)
    if served.categories:
        entry["categories"] = list(served.categories)
    if served.subresources:
        entry["subresources"] = [
            {
                "subresource": part.name,
                "responseKind": _kind(part.group, part.version or resource.version, part.kind),
                "verbs": list(part.verbs),
            }
            for part in sorted(served.subresources, key=lambda part: part.name)
        ]
    return entry


def _kind(group: str, version: str, kind: str) -> Object:
    return {"group": group, "version": version, "kind": kind}
