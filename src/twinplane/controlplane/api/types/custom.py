"""What a custom type brings along: its schema's own behaviour, which the API extensions compile from its definition."""

from __future__ import annotations

from typing import Protocol

from twinplane.controlplane.api.types.contract import ResourceType
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.errors import FieldError


class CustomBehaviour(Protocol):
    def unknown_fields(self, body: Object) -> list[str]:
        """Paths of fields that the schema does not have."""
        ...

    def prune(self, body: Object) -> None: ...

    def default(self, body: Object) -> bool:
        """In place; True when something changed."""
        ...

    def validate(self, body: Object, old: Object | None) -> list[FieldError]:
        """By the schema and its rules; metadata is validated elsewhere."""
        ...


def behaviour_of(type: ResourceType) -> CustomBehaviour | None:
    """None for built-in types."""
    found: CustomBehaviour | None = type.extra.get("behaviour")
    return found
