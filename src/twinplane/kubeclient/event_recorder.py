"""Events: what components tell the user about an object (`kubectl describe`), never waited for.

`EventBroadcaster` belongs to the composition root: it writes what all recorders of a process queue. It keeps the
manners of client-go (tools/record): the same event again counts up the stored one, many events that differ only in
their message are combined, an object that produces events all the time is cut off, and what does not fit into the
queue is dropped. All together are written at a bounded rate, as by a client of upstream.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from twinplane.clock import Clock, rfc3339
from twinplane.kubeclient.contract import KubeClient, Object
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.meta import name_of, namespace_of, uid_of
from twinplane.kubeclient.resources import EVENTS

log = logging.getLogger(__name__)

QUEUE_MAX = 1000
WRITES_PER_SECOND = 50.0
WRITES_BURST = 100
"""Of all events together: what upstream's scheduler allows the client that writes its events."""
REMEMBERED_MAX = 4096
SIMILAR_MAX = 10
"""Events alike but for their message within `SIMILAR_SECONDS`, before they are combined."""
SIMILAR_SECONDS = 600.0
BURST = 25
REFILL_SECONDS = 300.0
"""An object may cause BURST events at once and one more every five minutes after that."""
MESSAGE_MAX = 1024

V = TypeVar("V")


class _Recent(Generic[V]):
    """The last `REMEMBERED_MAX` entries used."""

    def __init__(self) -> None:
        self._entries: OrderedDict[tuple[str, ...], V] = OrderedDict()

    def get(self, key: tuple[str, ...]) -> V | None:
        if key in self._entries:
            self._entries.move_to_end(key)
        return self._entries.get(key)

    def put(self, key: tuple[str, ...], value: V) -> None:
        self._entries[key] = value
        self._entries.move_to_end(key)
        if len(self._entries) > REMEMBERED_MAX:
            self._entries.popitem(last=False)


@dataclass
class _Similar:
    since: float
    messages: set[str] = field(default_factory=set)


@dataclass
class _Bucket:
    tokens: float
    at: float


@dataclass
class _Stored:
    name: str
    count: int


class _Turns:
    """`WRITES_BURST` at once, and `WRITES_PER_SECOND` after that."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._free_at = self._loop.time() - WRITES_BURST / WRITES_PER_SECOND

    async def next(self) -> None:
        now = self._loop.time()
        self._free_at = max(self._free_at, now - WRITES_BURST / WRITES_PER_SECOND) + 1 / WRITES_PER_SECOND
        if self._free_at > now:
            await asyncio.sleep(self._free_at - now)


class EventBroadcaster:
    """Queue, correlate, write. `run` until cancelled; without it events are kept up to the queue's bound."""

    def __init__(self, client: KubeClient, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._queue: asyncio.Queue[Object] = asyncio.Queue(QUEUE_MAX)
        self._stored: _Recent[_Stored] = _Recent()
        self._similar: _Recent[_Similar] = _Recent()
        self._buckets: _Recent[_Bucket] = _Recent()
        self._sequence = 0

    @property
    def idle(self) -> bool:
        """Nothing waits to be written."""
        return self._queue.empty()

    def recorder(self, component: str, host: str = "") -> ComponentRecorder:
        """For one component, named as `kubectl describe` shows it in `From` (`replicaset-controller`).

        `host` is the node, for what runs on one. What an event is about may carry a `fieldPath`.
        """
        return ComponentRecorder(self, component, host)

    def offer(self, component: str, regarding: Object, type: str, reason: str, message: str, *, host: str = "") -> None:
        if self._queue.full():
            log.debug("event dropped: %s %s", reason, message)
            return
        now = self._clock.now()
        if not self._has_token((component, uid_of(regarding) or name_of(regarding)), now):
            return
        event = self._event(component, regarding, now)
        if host:
            event["source"]["host"] = event["reportingInstance"] = host
        event |= {"type": type, "reason": reason, "message": message[:MESSAGE_MAX]}
        self._queue.put_nowait(event)

    async def run(self) -> None:
        """What is offered faster than it may be written waits in the queue, and is dropped when that is full."""
        turns = _Turns()
        while True:
            event = await self._queue.get()
            await turns.next()
            try:
                await self._write(event)
            except (ApiError, OSError) as error:
                log.debug("event refused: %s", error)
            except Exception as error:
                # The boundary of the recorder's task: events are worth no more than one attempt.
                log.warning("event lost: %s", error, exc_info=True)

    def _event(self, component: str, regarding: Object, now: float) -> Object:
        self._sequence += 1
        namespace = namespace_of(regarding)
        involved = {
            "kind": regarding.get("kind", ""),
            "namespace": namespace,
            "name": name_of(regarding),
            "uid": uid_of(regarding),
            "apiVersion": regarding.get("apiVersion", ""),
            "resourceVersion": regarding["metadata"].get("resourceVersion", ""),
            "fieldPath": regarding.get("fieldPath", ""),
        }
        nanoseconds = int(now * 1_000_000) * 1000 + self._sequence % 1000
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": f"{name_of(regarding)}.{nanoseconds:x}", "namespace": namespace or "default"},
            "involvedObject": {key: value for key, value in involved.items() if value},
            "source": {"component": component},
            "firstTimestamp": rfc3339(now),
            "lastTimestamp": rfc3339(now),
            "count": 1,
            "eventTime": None,
            "reportingComponent": component,
            "reportingInstance": "",
        }

    def _has_token(self, source: tuple[str, str], now: float) -> bool:
        bucket = self._buckets.get(source)
        if bucket is None:
            bucket = _Bucket(BURST, now)
            self._buckets.put(source, bucket)
        bucket.tokens = min(BURST, bucket.tokens + (now - bucket.at) / REFILL_SECONDS)
        bucket.at = now
        if bucket.tokens < 1:
            return False
        bucket.tokens -= 1
        return True

    def _combined(self, event: Object, alike: tuple[str, ...]) -> tuple[str, ...]:
        """The key under which the event counts: its message, or none once too many messages came."""
        now = self._clock.now()
        similar = self._similar.get(alike)
        if similar is None or now - similar.since > SIMILAR_SECONDS:
            similar = _Similar(now)
            self._similar.put(alike, similar)
        if len(similar.messages) < SIMILAR_MAX:
            similar.messages.add(event["message"])
        if len(similar.messages) < SIMILAR_MAX or event["message"] in similar.messages:
            return (*alike, event["message"])
        event["message"] = f"(combined from similar events): {event['message']}"
        return alike

    async def _write(self, event: Object) -> None:
        regarding = event["involvedObject"]
        alike = (
            event["source"]["component"],
            regarding.get("kind", ""),
            regarding.get("namespace", ""),
            regarding.get("name", ""),
            regarding.get("uid", ""),
            regarding.get("fieldPath", ""),
            event["type"],
            event["reason"],
        )
        key = self._combined(event, alike)
        namespace = event["metadata"]["namespace"]
        stored = self._stored.get(key)
        if stored is not None:
            patch = {name: event[name] for name in ("message", "lastTimestamp")} | {"count": stored.count + 1}
            try:
                await self._client.patch(EVENTS, stored.name, patch, namespace)
            except ApiError as error:
                if error.code != 404:
                    raise
            else:
                stored.count += 1
                return
        await self._client.create(EVENTS, event, namespace)
        self._stored.put(key, _Stored(event["metadata"]["name"], 1))


class ComponentRecorder:
    """An `EventRecorder`."""

    def __init__(self, broadcaster: EventBroadcaster, component: str, host: str = "") -> None:
        self._broadcaster = broadcaster
        self._component = component
        self._host = host

    def event(self, regarding: Object, type: str, reason: str, message: str) -> None:
        self._broadcaster.offer(self._component, regarding, type, reason, message, host=self._host)
