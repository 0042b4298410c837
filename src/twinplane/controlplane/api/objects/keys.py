"""Where objects lie in the store: `/registry/GROUP-or-core/PLURAL/[NAMESPACE/]NAME`."""

from __future__ import annotations

from twinplane.kubeclient.contract import Resource

ROOT = "/registry/"
CORE = "core"


def prefix_of(resource: Resource) -> str:
    """Of all objects of a stored type."""
    return f"{ROOT}{resource.group or CORE}/{resource.plural}/"


def key_of(resource: Resource, namespace: str, name: str) -> str:
    scope = f"{namespace}/" if resource.namespaced else ""
    return f"{ROOT}{resource.group or CORE}/{resource.plural}/{scope}{name}"


def split(key: str) -> tuple[str, str, str]:
    """(prefix of the type, namespace or empty, name). Raises ValueError for a key that is not an object's."""
    parts = key.split("/")
    if len(parts) == 6:
        return f"/registry/{parts[2]}/{parts[3]}/", parts[4], parts[5]
    if len(parts) == 5:
        return f"/registry/{parts[2]}/{parts[3]}/", "", parts[4]
    raise ValueError(f"not the key of an object: {key}")


def stored_group(prefix: str) -> tuple[str, str]:
    """(group, plural) of a prefix."""
    _, _, group, plural, _ = prefix.split("/")
    return ("" if group == CORE else group), plural
