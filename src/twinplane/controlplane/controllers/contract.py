"""The one shape of every controller: level-triggered, one key at a time, told when to look again.

A controller reads from informers, decides, writes the difference through a `KubeClient`, and returns. It keeps nothing
that it could not read again. `controllers.runner` owns queues, retries with back-off, and workers; informers call
`Enqueue` from handlers that the controller registers in `watch`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import NamedTuple, Protocol, runtime_checkable

from twinplane.clock import Clock
from twinplane.kubeclient.contract import KubeClient, Object
from twinplane.kubeclient.informer_contract import Handler, IndexFunction, Informer, Informers


class Key(NamedTuple):
    """What a controller reconciles: usually an object; `kind` only where one controller serves several kinds."""

    namespace: str
    name: str
    kind: str = ""


Enqueue = Callable[[Key], None]


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


@runtime_checkable
class Batching(Protocol):
    """A controller that lets the changes of some keys gather before it looks again."""

    def batch_period(self, key: Key) -> float:
        """Seconds that the key rests after a reconcile at least."""
        ...


__all__ = [
    "Batching",
    "Context",
    "Controller",
    "Enqueue",
    "EventRecorder",
    "Handler",
    "IndexFunction",
    "Informer",
    "Informers",
    "Key",
]
