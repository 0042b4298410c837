"""Validation in upstream's words: field paths, error types and messages of `kubernetes/pkg/apis/*/validation`.

`UpstreamRules.validate` runs it on every write, on the stored version. Three layers: metadata for every object; tables
by definition (required strings, enumerations, ranges) and validators by definition, which hold wherever one occurs;
rules for updates by kind (immutability). An error that two layers find is reported once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twinplane.controlplane.api.types.contract import ResourceType
from twinplane.controlplane.api.types.registry import Registry
from twinplane.controlplane.api.types.validation import (
    access,
    core,
    extending,
    metadata,
    network,
    pods,
    scheduling,
    selectors,
    services,
    storage,
    tables,
    updates,
    volumes,
    workloads,
)
from twinplane.controlplane.api.types.validation.context import Context, Visitor
from twinplane.controlplane.api.types.walking import Walker, full_name
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.errors import FieldError

VALIDATORS: tuple[Mapping[str, Visitor], ...] = (
    access.VALIDATORS,
    core.VALIDATORS,
    extending.VALIDATORS,
    network.VALIDATORS,
    pods.VALIDATORS,
    scheduling.VALIDATORS,
    selectors.VALIDATORS,
    services.VALIDATORS,
    storage.VALIDATORS,
    volumes.VALIDATORS,
    workloads.VALIDATORS,
)


class Validator:
    """Compiled validation over the definitions of one registry."""

    def __init__(self, registry: Registry) -> None:
        table = {full_name(name): [visitor] for name, visitor in tables.visitors(registry.definitions).items()}
        for validators in VALIDATORS:
            for name, validator in validators.items():
                table.setdefault(full_name(name), []).append(validator)
        self._walker = Walker(table)

    def validate(self, type: ResourceType, body: Object, old: Object | None, subresource: str) -> list[FieldError]:
        context = Context(type, old)
        if old is None:
            metadata.validate_create(type, body, context.errors)
        else:
            metadata.validate_update(type, body, old, context.errors)
        if type.schema.reference and subresource != "status":
            visit = self._walker.walk(type.schema)
            if visit is not None:
                visit(body, "", context)
        if old is not None:
            updates.validate(type, body, old, subresource, context.errors)
        return _distinct(context.errors) if context.errors else []


def _distinct(errors: list[FieldError]) -> list[FieldError]:
    seen: dict[Any, FieldError] = {}
    for error in errors:
        seen.setdefault((error.type, error.path, error.detail, str(error.value)), error)
    return list(seen.values())
