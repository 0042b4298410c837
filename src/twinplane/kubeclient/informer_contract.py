"""What an informer is to those who read from one: controllers, the scheduler, the cloud controller, the nodes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from twinplane.kubeclient.contract import Object, Resource

Handler = Callable[[Object | None, Object | None], None]
"""(old, new): old is None for an add, new is None for a delete. Called in order, must not block or change objects."""
IndexFunction = Callable[[Object], Iterable[str]]


class Informer(Protocol):
    """A local copy of all objects of a type, kept by list and watch. Objects are shared: copy before changing."""

    resource: Resource

    def get(self, name: str, namespace: str = "") -> Object | None: ...

    def add_index(self, index: str, function: IndexFunction) -> None:
        """Idempotent by name; may be added at any time."""
        ...

    def by_index(self, index: str, value: str) -> list[Object]: ...

    def list(self, namespace: str = "") -> list[Object]: ...

    def add_handler(self, handler: Handler) -> None:
        """Called for every present object at once (as adds), then for every change."""
        ...

    @property
    def is_empty(self) -> bool: ...

    @property
    def synced(self) -> bool: ...


class Informers(Protocol):
    """One shared informer a type. The runner starts them and waits until all are synced before it starts workers."""

    def of(self, resource: Resource) -> Informer: ...
