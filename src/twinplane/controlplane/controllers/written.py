"""Whether the cache has caught up with what a controller wrote itself.

Objects with generated names (EndpointSlices) would be made twice by a reconcile that does not see the first ones yet.
The controller notes each answer; until the informer shows that version or a later one, it waits: the event that brings
it enqueues the key again. Where nobody waits, such an event is an echo, which tells the controller nothing.
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
        self._waiting: set[Key] = set()

    def note(self, key: Key, answer: Object) -> None:
        at = namespace_of(answer), name_of(answer)
        version = int(answer["metadata"]["resourceVersion"])
        self._notes.setdefault(key, {})[at] = version, self._clock.now()

    def pending(self, key: Key) -> float | None:
        """Seconds after which to look again at the latest, None when the cache is as new as the writes."""
        notes = self._notes.get(key)
        if notes is None:
            self._waiting.discard(key)
            return None
        now = self._clock.now()
        for (namespace, name), (version, since) in list(notes.items()):
            cached = self._informer.get(name, namespace)
            seen = cached is not None and int(cached["metadata"]["resourceVersion"]) >= version
            if seen or now - since >= PATIENCE_SECONDS:
                del notes[(namespace, name)]
        if not notes:
            self.forget(key)
            return None
        self._waiting.add(key)
        return PATIENCE_SECONDS

    def is_echo(self, key: Key, body: Object) -> bool:
        """Of an object that the informer has just brought: what was noted, while no reconcile waits for it."""
        notes = self._notes.get(key, {})
        noted = notes.get((namespace_of(body), name_of(body)))
        own = noted is not None and noted[0] == int(body["metadata"]["resourceVersion"])
        return own and key not in self._waiting

    def forget(self, key: Key) -> None:
        self._notes.pop(key, None)
        self._waiting.discard(key)
