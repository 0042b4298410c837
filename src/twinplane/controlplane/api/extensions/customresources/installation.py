"""The types that a CustomResourceDefinition stands for, as rows of the table of types."""

from __future__ import annotations

from typing import Any

from twinplane.controlplane.api.extensions.customresources import definition as definitions
from twinplane.controlplane.api.extensions.customresources.behaviour import SchemaBehaviour
from twinplane.controlplane.api.types.contract import ALL_VERBS, ResourceType, Subresource
from twinplane.controlplane.api.types.rules import OBJECT_META
from twinplane.controlplane.api.types.schema import Definitions, Schema
from twinplane.kubeclient.contract import Object, Resource

_SUBRESOURCE_VERBS = ("get", "patch", "update")
_ENVELOPE = {
    "apiVersion": {"type": "string"},
    "kind": {"type": "string"},
    "metadata": {"$ref": f"#/definitions/{OBJECT_META}"},
}
_ANYTHING = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


def types_of(
    definition: Object, published: Definitions, converter: Any = None
) -> tuple[list[ResourceType], ResourceType | None]:
    """(the served types, the stored one, which need not be served). Both empty unless the definition is established.

    `published` has the definition of ObjectMeta, which every custom type shares.

    `extra` of each holds `behaviour`, `printer_columns`, `scale`, `stored_type` and `converter` where they apply.
    """
    if not definitions.is_true(definition, "Established"):
        return [], None
    storage = definitions.storage_version(definition)
    stored: ResourceType | None = None
    served: list[ResourceType] = []
    ordered = sorted(definitions.versions(definition), key=lambda version: version["name"] != storage)
    for version in ordered:
        found = _type(definition, version, stored, published)
        if converter is not None:
            found.extra["converter"] = converter
        stored = stored or found
        if version.get("served"):
            served.append(found)
    return served, stored


def _type(
    definition: Object, version: dict[str, Any], stored: ResourceType | None, published: Definitions
) -> ResourceType:
    spec, names = definition["spec"], (definition.get("status") or {}).get("acceptedNames") or {}
    resource = Resource(
        spec["group"], version["name"], names["plural"], names["kind"], spec.get("scope") == "Namespaced"
    )
    raw = (version.get("schema") or {}).get("openAPIV3Schema") or _ANYTHING
    subresources = version.get("subresources") or {}
    scale = subresources.get("scale")
    extra: dict[str, Any] = {
        "behaviour": SchemaBehaviour(raw, scale),
        "printer_columns": version.get("additionalPrinterColumns") or [],
    }
    if scale is not None:
        extra["scale"] = scale
    if stored is not None:
        extra["stored_type"] = stored
    if version.get("deprecated"):
        default = f"{spec['group']}/{version['name']} {names['kind']} is deprecated"
        extra["deprecation"] = version.get("deprecationWarning") or default
    terminating = definition["metadata"].get("deletionTimestamp")
    return ResourceType(
        resource,
        names.get("singular") or names["kind"].lower(),
        Schema(_with_envelope(raw), published),
        short_names=tuple(names.get("shortNames") or ()),
        categories=tuple(names.get("categories") or ()),
        verbs=tuple(verb for verb in ALL_VERBS if not (terminating and verb == "create")),
        subresources=_subresources(resource, subresources),
        storage=None if stored is None else stored.resource,
        selectable_fields=_selectable(version),
        extra=extra,
    )


def _with_envelope(raw: dict[str, Any]) -> dict[str, Any]:
    """What every object has, declared: server-side apply merges by it."""
    return {**raw, "properties": {**(raw.get("properties") or {}), **_ENVELOPE}}


def _subresources(resource: Resource, given: dict[str, Any]) -> tuple[Subresource, ...]:
    found = []
    if given.get("status") is not None:
        found.append(Subresource("status", resource.kind, _SUBRESOURCE_VERBS, resource.group, resource.version))
    if given.get("scale") is not None:
        found.append(Subresource("scale", "Scale", _SUBRESOURCE_VERBS, "autoscaling", "v1"))
    return tuple(found)


def _selectable(version: dict[str, Any]) -> tuple[str, ...]:
    fields = (entry["jsonPath"].lstrip(".") for entry in version.get("selectableFields") or ())
    return ("metadata.name", "metadata.namespace", *fields)
