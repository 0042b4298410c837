"""What each pod of the node has been allotted, and the order in which resizes that wait for room are made.

A pod runs with what it was admitted or last resized with, whatever its spec asks for since. Resizes are judged again
whenever there may be room: after an edit, when a pod ends or has shrunk, and now and then. Allotments are kept on disk.
Source: kubelet `allocation/allocation_manager.go`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from twinplane.clock import Clock
from twinplane.dataplane.kubelet.admission import NodeState, Refusal, refusal
from twinplane.dataplane.kubelet.containers.resources import pod_requests, qos_class
from twinplane.dataplane.kubelet.events import PodEvents, resize_message
from twinplane.dataplane.kubelet.pods.resizing import RESIZABLE, Given, Resizer
from twinplane.dataplane.kubelet.pods.spec import is_finished
from twinplane.dataplane.kubelet.sources.disk import DiskTable
from twinplane.dataplane.kubelet.status.conditions import Verdict
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.meta import uid_of
from twinplane.kubeclient.quantity import parse

FIELDS = ("containers", "initContainers")
FIRST_RETRY_SECONDS = 30.0
RETRY_SECONDS = 180.0


class Waiting(NamedTuple):
    """A resize that has not been allotted."""

    asked: Object
    allotted: Object
    since: float
    """When it was deferred; infinity when it has not been judged yet."""


def turn(waiting: Waiting) -> tuple[bool, int, bool, float]:
    """To sort by: what asks for no more comes first, then higher priority, Guaranteed pods, the longest deferred."""
    asked, allotted = pod_requests(waiting.asked), pod_requests(waiting.allotted)
    more = any(asked.get(name, 0) > allotted.get(name, 0) for name in RESIZABLE)
    priority = int(waiting.asked["spec"].get("priority") or 0)
    return more, -priority, qos_class(waiting.asked) != "Guaranteed", waiting.since


def judged(
    waiting: Iterable[Waiting], held: Mapping[str, Object], there: NodeState
) -> Iterator[tuple[Object, Refusal | None]]:
    """Each in its turn, with None for a resize that fits: those after it find it made. `held` are the pods by uid."""
    pods = dict(held)
    for item in sorted(waiting, key=turn):
        uid = uid_of(item.asked)
        others = [pod for other, pod in pods.items() if other != uid]
        refused = refusal(item.asked, there._replace(pods=others))
        if refused is None:
            # What shrinks gives nothing free before its containers have shrunk.
            pods[uid] = with_most(item.asked, resources_of(pods[uid]))
        yield item.asked, refused


def resources_of(pod: Object) -> Given:
    return {item["name"]: item.get("resources") or {} for field in FIELDS for item in pod["spec"].get(field) or ()}


def with_resources(pod: Object, given: Given) -> Object:
    """The pod, its containers having these resources where they say so; the same object where nothing differs."""
    fields: dict[str, Any] = {}
    for field in FIELDS:
        before = pod["spec"].get(field) or ()
        if any(
            given.get(item["name"], item.get("resources") or {}) != (item.get("resources") or {}) for item in before
        ):
            fields[field] = [
                {**item, "resources": given[item["name"]]} if item["name"] in given else item for item in before
            ]
    return {**pod, "spec": {**pod["spec"], **fields}} if fields else pod


def with_most(pod: Object, given: Given) -> Object:
    """The pod, each request being the larger of its own and that one."""
    own = resources_of(pod)
    most = {
        name: {**own[name], "requests": _larger(own[name].get("requests") or {}, resources.get("requests") or {})}
        for name, resources in given.items()
        if name in own and resources.get("requests")
    }
    return with_resources(pod, most)


def _larger(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    both = {**one, **other}
    return {name: max((side[name] for side in (one, other) if name in side), key=parse) for name in both}


class Allocations:
    def __init__(self, disk: DiskTable, resizer: Resizer, events: PodEvents, clock: Clock) -> None:
        self._disk = disk
        self._resizer = resizer
        self._events = events
        self._clock = clock
        self._allotted: dict[str, Given] = {uid: given for uid, given in disk.items() if isinstance(given, dict)}
        self._deferred: dict[str, tuple[float, int, str]] = {}
        """By uid: since when, the generation that was judged, and why."""

    def admit(self, pod: Object) -> None:
        """It has been let in with what it asks for; one that was known before keeps what it had."""
        if uid_of(pod) not in self._allotted and not is_finished(pod):
            self._allot(uid_of(pod), resources_of(pod))

    def forget(self, uid: str) -> None:
        if self._allotted.pop(uid, None) is not None:
            self._disk.remove(uid)
        self._deferred.pop(uid, None)

    def of(self, pod: Object) -> Object:
        """The pod as it has been allotted, which is how it is run."""
        given = self._allotted.get(uid_of(pod))
        return pod if given is None else with_resources(pod, given)

    def conditions(self, uid: str) -> dict[str, Verdict]:
        found = self._deferred.get(uid)
        return {} if found is None else {"PodResizePending": (True, "Deferred", found[2])}

    def retry(self, pods: Iterable[Object], there: NodeState) -> set[str]:
        """Judge what waits. `pods` are the node's, the oldest first; returns uids of those that are to be synced."""
        known = {uid_of(pod): pod for pod in pods if uid_of(pod) in self._allotted}
        allotted = {uid: self.of(pod) for uid, pod in known.items()}
        waiting = [
            Waiting(pod, allotted[uid], self._deferred.get(uid, (float("inf"),))[0])
            for uid, pod in known.items()
            if allotted[uid] is not pod
        ]
        taken_back = self._deferred.keys() - {uid_of(item.asked) for item in waiting}
        for uid in taken_back:
            del self._deferred[uid]
        if not waiting:
            return taken_back
        held = {uid: with_most(pod, self._resizer.actual(uid)) for uid, pod in allotted.items()}
        return taken_back | {
            uid_of(pod) for pod, refused in judged(waiting, held, there) if self._decided(pod, refused)
        }

    def _decided(self, pod: Object, refused: Refusal | None) -> bool:
        """Whether that is news."""
        uid, generation = uid_of(pod), int(pod["metadata"].get("generation") or 0)
        before = self._deferred.get(uid)
        if refused is None:
            self._allot(uid, resources_of(pod))
            self._deferred.pop(uid, None)
            self._resizer.begin(uid, generation)
            self._events.normal(pod, "ResizeStarted", resize_message("Pod resize started", pod, generation))
            return True
        since = before[0] if before is not None else self._clock.now()
        self._deferred[uid] = (since, generation, refused.message)
        if before is None or before[1] != generation:
            message = resize_message("Pod resize Deferred", pod, generation, refused.message)
            self._events.warning(pod, "ResizeDeferred", message)
        return before != self._deferred[uid]

    def _allot(self, uid: str, given: Given) -> None:
        self._allotted[uid] = given
        self._disk.put(uid, given)
