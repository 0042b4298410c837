"""From informer events to the snapshot and the queue: what the loop knows of the cluster.

Every handler is a few dictionary operations, since it sees every change of every pod and node; changes that the
scheduler does not read (heartbeats, status) are recognised and dropped here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from random import Random

from twinplane.clock import Clock, SystemClock
from twinplane.controlplane.scheduler.capacity import attached_of, capacity_of, tracks_capacity
from twinplane.controlplane.scheduler.devices.facts import claim_of as device_claim_of
from twinplane.controlplane.scheduler.devices.inventory import DeviceClass
from twinplane.controlplane.scheduler.hints import Happening, Kind, nominees_that_fit
from twinplane.controlplane.scheduler.node import node_facts
from twinplane.controlplane.scheduler.plugins import dynamic_resources
from twinplane.controlplane.scheduler.queue import SchedulingQueue
from twinplane.controlplane.scheduler.requirements import Selector, equalities, label_selector
from twinplane.controlplane.scheduler.resizing import as_counted
from twinplane.controlplane.scheduler.shape import Pod
from twinplane.controlplane.scheduler.snapshot import Budget, Snapshot
from twinplane.controlplane.scheduler.storage import claim_of, class_of, limits_of, volume_of
from twinplane.controlplane.scheduler.volume_writing import ClaimWatch
from twinplane.kubeclient.contract import Object, Resource
from twinplane.kubeclient.informer_contract import Handler, Informer, Informers
from twinplane.kubeclient.meta import is_deleting, labels_of, name_of, namespace_of, uid_of
from twinplane.kubeclient.resources import (
    CSI_DRIVERS,
    CSI_NODES,
    CSI_STORAGE_CAPACITIES,
    DEVICE_CLASSES,
    DEVICE_TAINT_RULES,
    NAMESPACES,
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    POD_DISRUPTION_BUDGETS,
    PODS,
    REPLICA_SETS,
    REPLICATION_CONTROLLERS,
    RESOURCE_CLAIMS,
    RESOURCE_SLICES,
    SERVICES,
    STATEFUL_SETS,
    STORAGE_CLASSES,
    VOLUME_ATTACHMENTS,
)

DEFAULT_NAME = "default-scheduler"
FINISHED = ("Succeeded", "Failed")


class ClusterView:
    def __init__(
        self,
        names: Collection[str],
        queue: SchedulingQueue,
        clock: Clock,
        random: Random,
        wake: Callable[[], None],
        *,
        taint_rules: bool = False,
    ) -> None:
        """`names`: the schedulerNames whose pods are queued. `taint_rules`: the API has DeviceTaintRules."""
        self.snapshot = Snapshot(random)
        self.queue = queue
        self.claims = ClaimWatch()
        self.device_claims = ClaimWatch()
        self._without_claims: dict[str, Object] = {}
        """Pods, by uid, whose ResourceClaims are not there yet."""
        self.assumed: set[str] = set()
        """uids of pods that are counted on a node although their binding is not confirmed yet."""
        self._resizing: set[str] = set()
        """uids of pods that count with what their status says."""
        self._names = names
        self._taint_rules = taint_rules
        self._clock = clock
        self._wake = wake
        self.shapes = self.snapshot.shapes

    def handlers(self) -> dict[Resource, Handler]:
        """Everything that is read, with who reads it."""
        return {
            NODES: self.node_changed,
            PODS: self.pod_changed,
            SERVICES: self._service_changed,
            REPLICA_SETS: self._workload_changed,
            STATEFUL_SETS: self._workload_changed,
            REPLICATION_CONTROLLERS: self._workload_changed,
            NAMESPACES: self._namespace_changed,
            POD_DISRUPTION_BUDGETS: self._budget_changed,
            PERSISTENT_VOLUME_CLAIMS: self._claim_changed,
            PERSISTENT_VOLUMES: self._volume_changed,
            STORAGE_CLASSES: self._class_changed,
            CSI_NODES: self._limits_changed,
            CSI_DRIVERS: self._driver_changed,
            CSI_STORAGE_CAPACITIES: self._capacity_changed,
            VOLUME_ATTACHMENTS: self._attachment_changed,
            RESOURCE_CLAIMS: self._device_claim_changed,
            DEVICE_CLASSES: self._device_class_changed,
            RESOURCE_SLICES: self._slice_changed,
            **({DEVICE_TAINT_RULES: self._taint_rule_changed} if self._taint_rules else {}),
        }

    def follow(self, informers: Informers) -> list[Informer]:
        """Register for everything, and return it, so that the caller can wait until it is there."""
        followed = []
        for resource, handler in self.handlers().items():
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
            self.happened(Happening(Kind.NODE_CHANGED, node=self.snapshot.nodes[name_of(new)].facts))

    def pod_changed(self, old: Object | None, new: Object | None) -> None:
        if new is None:
            if old is not None:
                self._forget(uid_of(old))
        elif (new.get("status") or {}).get("phase") in FINISHED:
            self._forget(uid_of(new))
        elif new["spec"].get("nodeName"):
            self._count(old, new)
        elif new["spec"].get("schedulerName", DEFAULT_NAME) in self._names:
            self._enqueue(old, new)

    def _forget(self, uid: str) -> None:
        self.queue.remove(uid)
        self._without_claims.pop(uid, None)
        self.assumed.discard(uid)
        self._resizing.discard(uid)
        self.left(uid)

    def left(self, uid: str) -> None:
        """A pod is no longer on its node, or no longer promised to it."""
        node = self.snapshot.nodes.get(self.snapshot.home_of(uid) or "")
        pod = self.snapshot.remove_pod(uid)
        if pod is None:
            return
        if node is not None:
            self.queue.helped(nominees_that_fit(node), self._clock.now())
        self.happened(Happening(Kind.POD_GONE, shape=pod.shape, left=node))

    def _count(self, old: Object | None, new: Object) -> None:
        uid = uid_of(new)
        if old is not None and not _differ(old, new) and uid not in self.assumed and uid not in self._resizing:
            return
        counted = as_counted(new)
        if counted is not new:
            self._resizing.add(uid)
        else:
            self._resizing.discard(uid)
        pod = self.shapes.pod(counted)
        self.queue.remove(uid)
        self.assumed.discard(uid)
        node = self.snapshot.nodes.get(pod.node)
        before = node.pods.get(uid) if node is not None else None
        self.snapshot.add_pod(pod, pod.node)
        self.snapshot.surroundings.storage.forget(uid)
        if before is not None and before.shape is not pod.shape:
            # Resized, relabelled or terminating: what it was has gone.
            resized = before.shape.requests != pod.shape.requests
            kind = Kind.POD_GONE if resized else Kind.POD_RELABELLED
            self.happened(Happening(kind, shape=before.shape, left=node))
        self.happened(Happening(Kind.POD_PLACED, shape=pod.shape))

    def _enqueue(self, old: Object | None, new: Object) -> None:
        uid = uid_of(new)
        if uid in self.assumed:
            return
        if is_deleting(new):
            self._forget(uid)
            return
        pod = self.shapes.pod(new)
        if pod.shape.device_claims:
            pod = self._gated(pod, new)
        if pod.nominated and self.snapshot.home_of(uid) is None:
            self.snapshot.add_pod(pod, pod.nominated)
        elif not pod.nominated and old is not None and _nominated(old):
            self.left(uid)
        self.queue.set(pod, self._clock.now(), changed=old is None or _differ(old, new))
        self._wake()

    def _gated(self, pod: Pod, body: Object) -> Pod:
        """While its ResourceClaims are not there the pod is not tried, as if it had one more scheduling gate."""
        if not dynamic_resources.problem(pod.shape, self.snapshot.surroundings.devices):
            self._without_claims.pop(pod.uid, None)
            return pod
        self._without_claims[pod.uid] = body
        return pod._replace(gates=(*pod.gates, dynamic_resources.NAME))

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

    # -- storage -------------------------------------------------------------------------------------------------

    def _claim_changed(self, old: Object | None, new: Object | None) -> None:
        body = _either(old, new)
        key = f"{namespace_of(body)}/{name_of(body)}"
        if self.snapshot.surroundings.storage.set_claim(key, claim_of(new) if new else None):
            self.claims.changed(key)
            self.happened(Happening(Kind.CLAIM_CHANGED, claim=key))

    def _volume_changed(self, old: Object | None, new: Object | None) -> None:
        name = name_of(_either(old, new))
        if self.snapshot.surroundings.storage.set_volume(name, volume_of(new) if new else None):
            self.happened(Happening(Kind.VOLUME_CHANGED))

    def _class_changed(self, old: Object | None, new: Object | None) -> None:
        name = name_of(_either(old, new))
        if self.snapshot.surroundings.storage.set_class(name, class_of(new) if new else None):
            self.happened(Happening(Kind.CLASS_CHANGED))

    def _limits_changed(self, old: Object | None, new: Object | None) -> None:
        name = name_of(_either(old, new))
        if self.snapshot.surroundings.storage.set_limits(name, limits_of(new) if new else None):
            self.happened(Happening(Kind.LIMITS_CHANGED))

    def _driver_changed(self, old: Object | None, new: Object | None) -> None:
        tracks = new is not None and tracks_capacity(new)
        if self.snapshot.surroundings.storage.set_tracking(name_of(_either(old, new)), tracks) and not tracks:
            self.happened(Happening(Kind.CAPACITY_CHANGED))

    def _capacity_changed(self, old: Object | None, new: Object | None) -> None:
        body = _either(old, new)
        storage = self.snapshot.surroundings.storage
        key = f"{namespace_of(body)}/{name_of(body)}"
        before, after = storage.capacities.get(key), capacity_of(new) if new else None
        grows = after is not None and after.exceeds(before)
        if storage.set_capacity(key, after) and grows:
            self.happened(Happening(Kind.CAPACITY_CHANGED))

    def _attachment_changed(self, old: Object | None, new: Object | None) -> None:
        attached = attached_of(new) if new else None
        if self.snapshot.surroundings.storage.set_attached(name_of(_either(old, new)), attached) and attached is None:
            self.happened(Happening(Kind.DETACHED))

    # -- devices -------------------------------------------------------------------------------------------------

    def _device_claim_changed(self, old: Object | None, new: Object | None) -> None:
        body = _either(old, new)
        key = f"{namespace_of(body)}/{name_of(body)}"
        devices = self.snapshot.surroundings.devices
        had = devices.claims.get(key)
        if devices.set_claim(key, device_claim_of(new) if new else None):
            self.device_claims.changed(key)
            for waiting in list(self._without_claims.values()):
                if namespace_of(waiting) == namespace_of(body):
                    self._enqueue(waiting, waiting)
            now = devices.claims.get(key)
            freed = now is None or (had is not None and had.allocation is not None and now.allocation is None)
            self.happened(Happening(Kind.DEVICES_CHANGED, claim="" if freed else key))

    def _device_class_changed(self, old: Object | None, new: Object | None) -> None:
        body = _either(old, new)
        devices = self.snapshot.surroundings.devices
        version = devices.resources_version
        made = DeviceClass(body.get("spec") or {}, body["metadata"].get("creationTimestamp") or "")
        if devices.set_class(name_of(body), made if new else None):
            if version != devices.resources_version:
                # Nodes may have now, or have no longer, what pods ask for.
                self.snapshot.nodes_version += 1
            self.happened(Happening(Kind.DEVICE_CLASS_CHANGED))

    def _slice_changed(self, old: Object | None, new: Object | None) -> None:
        name = name_of(_either(old, new))
        if self.snapshot.surroundings.devices.set_slice(name, new["spec"] if new else None):
            self.happened(Happening(Kind.DEVICES_CHANGED))

    def _taint_rule_changed(self, old: Object | None, new: Object | None) -> None:
        name = name_of(_either(old, new))
        if self.snapshot.surroundings.devices.set_rule(name, new["spec"] if new else None):
            self.happened(Happening(Kind.DEVICES_CHANGED))


def view_of_lists(lists: Mapping[Resource, Iterable[Object]]) -> ClusterView:
    """Of a cluster that stands still: for questions from outside the scheduler. Objects must have their kind."""
    view = ClusterView((DEFAULT_NAME,), SchedulingQueue(), SystemClock(), Random(0), lambda: None, taint_rules=True)
    for resource, handler in view.handlers().items():
        for body in lists.get(resource, ()):
            handler(None, body)
    return view


def _either(old: Object | None, new: Object | None) -> Object:
    body = new if new is not None else old
    assert body is not None, "an informer event has an object"
    return body


def _nominated(body: Object) -> str:
    return (body.get("status") or {}).get("nominatedNodeName") or ""


def _differ(old: Object, new: Object) -> bool:
    """In what the scheduler reads of a pod."""
    before, after = old["metadata"], new["metadata"]
    return (
        before.get("uid") != after.get("uid")
        or before.get("labels") != after.get("labels")
        or ("deletionTimestamp" in before) != ("deletionTimestamp" in after)
        # A change of the status leaves the very same spec, which comparing would walk through.
        or (old["spec"] is not new["spec"] and bool(old["spec"] != new["spec"]))
    )
