"""What a validator by definition is told besides its value and path."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twinplane.controlplane.api.types.contract import ResourceType
from twinplane.controlplane.api.types.validation.fields import Errors
from twinplane.kubeclient.contract import Object


class Context:
    """One validation: the type of the whole object, what it was before (None for a create), what is wrong."""

    __slots__ = ("claimed_volumes", "errors", "old", "type")

    def __init__(self, type: ResourceType, old: Object | None) -> None:
        self.type = type
        self.old = old
        self.errors = Errors()
        self.claimed_volumes: frozenset[str] = frozenset()
        """Volumes that pods of the object will have besides their template's: a StatefulSet's claims."""


Visitor = Callable[[Any, str, Context], None]
