"""Upstream's OpenAPI definitions of one Kubernetes minor version, loaded once and only when asked for.

The registry and the OpenAPI documents read them. The source is the package `kubernetes-validate`, which ships what the
upstream API server publishes; it loosens every type for validation ("string or null"), and that is undone here so that
the result reads like upstream's own document again.
"""

from __future__ import annotations

import re
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import orjson

from twinplane.controlplane.api.types.schema import Definitions

SUPPORTED_VERSIONS = ("1.33", "1.34", "1.35", "1.36", "1.37")

_nullable = re.compile(rb'\[\s*"(\w+)",\s*"null"\s*\]')


_LOOSENED: Definitions = {
    "io.k8s.apimachinery.pkg.api.resource.Quantity": {
        "description": "Quantity is a fixed-point representation of a number, such as 500m, 1.5Gi or 12e6.",
        "type": "string",
    },
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": {
        "description": "IntOrString is a type that can hold an int32 or a string.",
        "type": "string",
        "format": "int-or-string",
    },
}
"""What upstream publishes for the definitions that the package rewrites."""

_DEFAULTS: tuple[tuple[str, str, Any], ...] = (
    ("io.k8s.api.core.v1.ContainerPort", "protocol", "TCP"),
    ("io.k8s.api.core.v1.ServicePort", "protocol", "TCP"),
)
"""Defaults inside list-map keys: server-side apply needs them to tell items apart."""


@lru_cache(maxsize=1)
def load(version: str) -> Definitions:
    """The definitions of a minor version such as `1.36`. Raises ValueError for a version that is not supported.

    Only the last version asked for is kept here; a registry keeps its own alive.
    """
    if version not in SUPPORTED_VERSIONS:
        raise ValueError(f"Kubernetes {version} is not supported; choose one of {', '.join(SUPPORTED_VERSIONS)}")
    path = _package_folder() / "kubernetes-json-schema" / f"v{version}.0-local" / "_definitions.json"
    text = _nullable.sub(rb'"\1"', path.read_bytes()).replace(b'"#/$defs/', b'"#/definitions/')
    definitions: Definitions = orjson.loads(text)["$defs"]
    definitions.update(_LOOSENED)
    for name, field, default in _DEFAULTS:
        definitions[name]["properties"][field]["default"] = default
    for definition in definitions.values():
        _drop_type_enumerations(definition)
    return definitions


def _package_folder() -> Path:
    """Of kubernetes-validate, whose data is all that is wanted: importing it costs a tenth of a second of start-up."""
    spec = find_spec("kubernetes_validate")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("the package kubernetes-validate is not installed")
    return Path(spec.submodule_search_locations[0])


def _drop_type_enumerations(definition: dict[str, Any]) -> None:
    """The package pins apiVersion and kind to one value each; upstream does not."""
    properties = definition.get("properties", {})
    if "x-kubernetes-group-version-kind" in definition:
        for field in ("apiVersion", "kind"):
            properties.get(field, {}).pop("enum", None)


def names_by_kind(definitions: Definitions) -> dict[tuple[str, str, str], str]:
    """(group, version, kind) -> definition name; kinds that many groups share (DeleteOptions) under each group."""
    found: dict[tuple[str, str, str], str] = {}
    for name, definition in definitions.items():
        for entry in definition.get("x-kubernetes-group-version-kind", ()):
            found[entry["group"], entry["version"], entry["kind"]] = name
    return found
