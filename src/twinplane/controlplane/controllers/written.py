"""Whether the cache has caught up with what a controller wrote itself.

Objects with generated names (EndpointSlices) would be made twice by a reconcile that does not see the first ones yet.
The controller notes each answer; until the informer shows that version or a later one, it waits: the event that brings
it enqueues the key again.
"""

from __future__ import annotations

from twinplane.clock import Clock
from twinplane.controlplane.controllers.contract import Informer, Key
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.meta import name_of, namespace_of

PATIENCE_SECONDS = 10.0
"""After that a note is dropped: somebody else deleted what was written before the cache had it."""


class Written:
    def __init__(self, informer: Informer, clock: Clock) -> None:
        self._informer = informer
        self._clock = clock
        self._notes: dict[Key, dict[tuple[str, str], tuple[int, float]]] = {}

    def note(self, key: Key, answer: Object) -> None:
        at = namespace_of(answer), name_of(answer)
        version = int(answer["metadata"]["resourceVersion"])
        self._notes.setdefault(key, {})[at] = version, self._clock.now()

    def pending(self, key: Key) -> float | None:
        """Seconds after which to look again at the latest, None when the cache is as new as the writes."""
        notes = self._notes.get(key)
        if notes is None:
            return None
        now = self._clock.now()
        for (namespace, name), (version, since) in list(notes.items()):
            cached = self._informer.get(name, namespace)
            seen = cached is not None and int(cached["metadata"]["resourceVersion"]) >= version
            if seen or now - since >= PATIENCE_SECONDS:
                del notes[(namespace, name)]
        if not notes:
            del self._notes[key]
            return None
        return PATIENCE_SECONDS

    def forget(self, key: Key) -> None:
        self._notes.pop(key, None)
