"""From informer events to the snapshot and the queue: what the loop knows of the cluster.

Every handler is a few dictionary operations, since it sees every change of every pod and node; changes that the
scheduler does not read (heartbeats, status) are recognised and dropped here.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from twinplane.clock import Clock
from twinplane.controlplane.scheduler.node import node_facts
from twinplane.controlplane.scheduler.queue import Happening, SchedulingQueue
from twinplane.controlplane.scheduler.requirements import Selector, equalities, label_selector
from twinplane.controlplane.scheduler.shape import Shapes
from twinplane.controlplane.scheduler.snapshot import Budget, Snapshot
from twinplane.kubeclient.contract import Object, Resource
from twinplane.kubeclient.informer_contract import Handler, Informer, Informers
from twinplane.kubeclient.meta import is_deleting, labels_of, name_of, namespace_of, uid_of
from twinplane.kubeclient.resources import (
    NAMESPACES,
    NODES,
    POD_DISRUPTION_BUDGETS,
    PODS,
    REPLICA_SETS,
    REPLICATION_CONTROLLERS,
    SERVICES,
    STATEFUL_SETS,
)

FINISHED = ("Succeeded", "Failed")


class ClusterView:
    def __init__(self, scheduler_name: str, clock: Clock, random: Random, wake: Callable[[], None]) -> None:
        self.snapshot = Snapshot(random)
        self.queue = SchedulingQueue()
        self.assumed: set[str] = set()
        """uids of pods that are counted on a node although their binding is not confirmed yet."""
        self._scheduler_name = scheduler_name
        self._clock = clock
        self._wake = wake
        self._shapes = Shapes()

    def follow(self, informers: Informers) -> list[Informer]:
        """Register for everything that is read, and return it, so that the caller can wait until it is there."""
        handlers: dict[Resource, Handler] = {
            NODES: self.node_changed,
            PODS: self.pod_changed,
            SERVICES: self._service_changed,
            REPLICA_SETS: self._workload_changed,
            STATEFUL_SETS: self._workload_changed,
            REPLICATION_CONTROLLERS: self._workload_changed,
            NAMESPACES: self._namespace_changed,
            POD_DISRUPTION_BUDGETS: self._budget_changed,
        }
        followed = []
        for resource, handler in handlers.items():
            informer = informers.of(resource)
            informer.add_handler(handler)
            followed.append(informer)
        return followed

    def happened(self, happening: Happening) -> None:
        self.queue.happened(happening, self._clock.now())
        self._wake()

    # -- nodes and pods ------------------------------------------------------------------------------------------

    def node_changed(self, old: Object | None, new: Object | None) -> None:
        if new is None:
            if old is not None:
                self.snapshot.remove_node(name_of(old))
        elif self.snapshot.set_node(node_facts(new)):
            self.happened(Happening.NODE_CHANGED)

    def pod_changed(self, old: Object | None, new: Object | None) -> None:
        if new is None:
            if old is not None:
                self._forget(uid_of(old))
        elif (new.get("status") or {}).get("phase") in FINISHED:
            self._forget(uid_of(new))
        elif new["spec"].get("nodeName"):
            self._count(old, new)
        elif new["spec"].get("schedulerName", self._scheduler_name) == self._scheduler_name:
            self._enqueue(old, new)

    def _forget(self, uid: str) -> None:
        self.queue.remove(uid)
        self.assumed.discard(uid)
        if self.snapshot.remove_pod(uid) is not None:
            self.happened(Happening.POD_GONE)

    def _count(self, old: Object | None, new: Object) -> None:
        uid = uid_of(new)
        if old is not None and not _differ(old, new) and uid not in self.assumed:
            return
        pod = self._shapes.pod(new)
        self.queue.remove(uid)
        self.assumed.discard(uid)
        self.snapshot.add_pod(pod, pod.node)
        self.happened(Happening.POD_PLACED)

    def _enqueue(self, old: Object | None, new: Object) -> None:
        uid = uid_of(new)
        if uid in self.assumed:
            return
        if is_deleting(new):
            self._forget(uid)
            return
        pod = self._shapes.pod(new)
        if pod.nominated and self.snapshot.home_of(uid) is None:
            self.snapshot.add_pod(pod, pod.nominated)
        self.queue.set(pod, self._clock.now(), changed=old is None or _differ(old, new))
        self._wake()

    # -- surroundings --------------------------------------------------------------------------------------------

    def _service_changed(self, old: Object | None, new: Object | None) -> None:
        body = _either(old, new)
        selector = equalities(body["spec"].get("selector")) or None
        self.snapshot.surroundings.set_service(namespace_of(body), name_of(body), selector if new else None)

    def _workload_changed(self, old: Object | None, new: Object | None) -> None:
        body = _either(old, new)
        selector = body["spec"].get("selector")
        plain = body.get("kind") == "ReplicationController"
        compiled: Selector | None = equalities(selector) if plain else label_selector(selector)
        self.snapshot.surroundings.set_workload(uid_of(body), compiled if new else None)

    def _namespace_changed(self, old: Object | None, new: Object | None) -> None:
        body = _either(old, new)
        self.snapshot.surroundings.set_namespace(name_of(body), labels_of(body) if new else None)

    def _budget_changed(self, old: Object | None, new: Object | None) -> None:
        body = _either(old, new)
        status = body.get("status") or {}
        budget = Budget(
            namespace_of(body),
            label_selector(body["spec"].get("selector")),
            status.get("disruptionsAllowed") or 0,
            frozenset(status.get("disruptedPods") or ()),
        )
        key = f"{namespace_of(body)}/{name_of(body)}"
        self.snapshot.surroundings.set_budget(key, budget if new else None)


def _either(old: Object | None, new: Object | None) -> Object:
    body = new if new is not None else old
    assert body is not None, "an informer event has an object"
    return body


def _differ(old: Object, new: Object) -> bool:
    """In what the scheduler reads of a pod."""
    before, after = old["metadata"], new["metadata"]
    return (
        before.get("uid") != after.get("uid")
        or before.get("labels") != after.get("labels")
        or ("deletionTimestamp" in before) != ("deletionTimestamp" in after)
        or bool(old["spec"] != new["spec"])
    )
