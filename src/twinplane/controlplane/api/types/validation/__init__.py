"""Validation in upstream's words: field paths, error types and messages of `kubernetes/pkg/apis/*/validation`.

`UpstreamRules.validate` runs it on every write, on the stored version. Three layers: metadata for every object; tables
by definition (required strings, enumerations, ranges) and validators by definition, which hold wherever one occurs;
rules for updates by kind (immutability). An error that two layers find is reported once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from twinplane.controlplane.api.types.contract import ResourceType
from twinplane.controlplane.api.types.registry import Registry
from twinplane.controlplane.api.types.validation import (
    access,
    core,
    device_claims,
    device_slices,
    extending,
    flowcontrol,
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
    device_claims.VALIDATORS,
    device_slices.VALIDATORS,
    extending.VALIDATORS,
    flowcontrol.VALIDATORS,
    network.VALIDATORS,
    pods.VALIDATORS,
    scheduling.VALIDATORS,
    selectors.VALIDATORS,
    services.VALIDATORS,
    storage.VALIDATORS,
    volumes.VALIDATORS,
    workloads.VALIDATORS,
)


_SEEN_AGAIN = ("core.v1.PodSpec",)
REMEMBERED = 256


class Validator:
    """Compiled validation over the definitions of one registry."""

    def __init__(self, registry: Registry) -> None:
        table = {full_name(name): [visitor] for name, visitor in tables.visitors(registry.definitions).items()}
        for validators in VALIDATORS:
            for name, validator in validators.items():
                table.setdefault(full_name(name), []).append(validator)
        self._walker = Walker(table)
        self._quick = Walker(table, quick=True, wrap=dict.fromkeys(_SEEN_AGAIN, Remembered))

    def validate(self, type: ResourceType, body: Object, old: Object | None, subresource: str) -> list[FieldError]:
        context = Context(type, old)
        if old is None:
            metadata.validate_create(type, body, context.errors)
        else:
            metadata.validate_update(type, body, old, context.errors)
        if type.schema.reference and subresource != "status":
            self._visit(type, body, context)
        if old is not None:
            updates.validate(type, body, old, subresource, context.errors)
        return _distinct(context.errors) if context.errors else []

    def _visit(self, type: ResourceType, body: Object, context: Context) -> None:
        """Most objects are sound, which a quick walk finds out; only for others the errors are put together."""
        quick = self._quick.walk(type.schema)
        if quick is None:
            return
        trial = Context(type, context.old)
        quick(body, "", trial)
        if trial.errors and (exact := self._walker.walk(type.schema)) is not None:
            exact(body, "", context)


class Remembered:
    """A walk that knows the values which it lately found to be sound: replicas have the same spec.

    Apart from the value, visitors may look at nothing but what the key here is made of.
    """

    def __init__(self, visit: Visitor) -> None:
        self._visit = visit
        self._sound: dict[object, None] = {}

    def __call__(self, value: Any, path: str, context: Context) -> None:
        key = (context.type.resource, context.old is None, context.claimed_volumes, orjson.dumps(value))
        if key in self._sound:
            return
        errors = len(context.errors)
        self._visit(value, path, context)
        if len(context.errors) == errors:
            if len(self._sound) >= REMEMBERED:
                del self._sound[next(iter(self._sound))]
            self._sound[key] = None


def _distinct(errors: list[FieldError]) -> list[FieldError]:
    seen: dict[Any, FieldError] = {}
    for error in errors:
        seen.setdefault((error.type, error.path, error.detail, str(error.value)), error)
    return list(seen.values())
