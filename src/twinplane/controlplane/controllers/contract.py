"""The one shape of every controller: level-triggered, one key at a time, told when to look again.

A controller reads from informers, decides, writes the difference through a `KubeClient`, and returns. It keeps nothing
that it could not read again. `controllers.runner` owns queues, retries with back-off, and workers; informers call
`Enqueue` from handlers that the controller registers in `watch`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from random import Random
from typing import NamedTuple, Protocol

from twinplane.clock import Clock
from twinplane.kubeclient.contract import KubeClient, Object, Resource


class Key(NamedTuple):
    """What a controller reconciles: usually an object; `kind` only where one controller serves several kinds."""

    namespace: str
    name: str
    kind: str = ""


Enqueue = Callable[[Key], None]
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
    def synced(self) -> bool: ...


class Informers(Protocol):
    """One shared informer a type. The runner starts them and waits until all are synced before it starts workers."""

    def of(self, resource: Resource) -> Informer: ...


class EventRecorder(Protocol):
    def event(self, regarding: Object, type: str, reason: str, message: str) -> None:
        """`type` is Normal or Warning. Never blocks; equal events are counted up, not repeated."""
        ...


@dataclass(frozen=True)
class Context:
    """What the composition root hands to every controller."""

    client: KubeClient
    informers: Informers
    clock: Clock
    random: Random
    events: EventRecorder
    options: Mapping[str, str]
    """Of the cluster: `cluster-name`, `service-cidr`, ... Absent keys mean upstream's default."""


class Controller(Protocol):
    name: str
    workers: int

    def watch(self, enqueue: Enqueue) -> None:
        """Register informer handlers; called once, before informers start."""
        ...

    async def reconcile(self, key: Key) -> float | None:
        """Make one key true. Returns seconds after which to look again, or None.

        Raising `ApiError` (a conflict, say) puts the key back with exponential back-off.
        """
        ...
