"""Keeps as many pods as `spec.replicas` says: for ReplicaSets, and for ReplicationControllers by the same code."""

from __future__ import annotations

from collections.abc import Sequence

from twinplane.controlplane.controllers.contract import Context, Enqueue, Key
from twinplane.controlplane.controllers.expectations import TIMEOUT_SECONDS, Expectations
from twinplane.controlplane.controllers.ownership import Ownership, key_of
from twinplane.controlplane.controllers.podcontrol import PodControl, gathered, is_namespace_terminating, slow_start
from twinplane.controlplane.controllers.pods import available_in, is_active, is_terminal, pod_from_template
from twinplane.controlplane.controllers.replicaset.kinds import REPLICA_SET_KIND, ReplicaKind
from twinplane.controlplane.controllers.replicaset.ranking import to_delete
from twinplane.controlplane.controllers.replicaset.status import counts_terminating, status_of
from twinplane.controlplane.controllers.status import write_status
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.indexes import controlled
from twinplane.kubeclient.meta import controller_of, is_deleting, uid_of
from twinplane.kubeclient.resources import PODS

BURST = 500
"""Pods made or deleted in one reconcile."""


class ReplicaSetController:
    workers = 8

    def __init__(self, context: Context, kind: ReplicaKind) -> None:
        self.name = kind.name
        self._kind = kind
        self._counts_leaving = kind is REPLICA_SET_KIND and counts_terminating(context.options)
        self._client = context.client
        self._clock = context.clock
        self._owners = context.informers.of(kind.resource)
        self._pods = context.informers.of(PODS)
        self._expectations = Expectations(context.clock)
        self._control = PodControl(context.client, context.events)
        self._ownership = Ownership(
            context.client, self._owners, self._pods, selector=kind.selector, expectations=self._expectations
        )
        self._owners.add_index("controller", _controller_uid)

    def watch(self, enqueue: Enqueue) -> None:
        def handle(old: Object | None, new: Object | None) -> None:
            changed = new or old
            assert changed is not None
            if new is None:
                self._expectations.forget(key_of(changed))
            enqueue(key_of(changed))

        self._owners.add_handler(handle)
        self._ownership.watch(enqueue)

    async def reconcile(self, key: Key) -> float | None:
        owner = self._owners.get(key.name, key.namespace)
        if owner is None:
            return None
        settled = self._expectations.satisfied(key)
        # Before the claim, which waits: pods that come meanwhile are counted by a later reconcile, never twice.
        claimed = await self._ownership.claim(owner)
        pods = [pod for pod in claimed if is_active(pod)]
        surplus = len(pods) - owner["spec"].get("replicas", 1)
        failure = None
        if settled and surplus and not is_deleting(owner):
            failure = await self._manage(key, owner, pods, surplus)
        now = self._clock.now()
        leaving = sum(is_deleting(pod) and not is_terminal(pod) for pod in claimed) if self._counts_leaving else None
        status = status_of(owner, pods, failure, surplus, now, terminating=leaving)
        await write_status(self._client, self._kind.resource, owner, status)
        if failure is not None:
            raise failure
        if not self._expectations.satisfied(key):
            return TIMEOUT_SECONDS
        return self._next_available(owner, pods, now)

    async def _manage(self, key: Key, owner: Object, pods: Sequence[Object], surplus: int) -> BaseException | None:
        if surplus < 0:
            return await self._create(key, owner, min(-surplus, BURST))
        doomed = to_delete(pods, self._related(owner, pods), min(surplus, BURST), self._clock.now())
        self._expectations.expect(key, deletions=[uid_of(pod) for pod in doomed])
        failures = await gathered([self._delete(key, pod, owner) for pod in doomed])
        return failures[0] if failures else None

    async def _create(self, key: Key, owner: Object, count: int) -> BaseException | None:
        pod = pod_from_template(owner["spec"]["template"], owner, self._kind.resource)
        self._expectations.expect(key, creations=count)
        made, failure = await slow_start(count, lambda _: self._control.create(pod, owner))
        if made < count:
            self._expectations.creation_observed(key, count - made)
        if isinstance(failure, ApiError) and is_namespace_terminating(failure):
            return None
        return failure

    async def _delete(self, key: Key, pod: Object, owner: Object) -> None:
        try:
            gone = not await self._control.delete(pod, owner)
        except BaseException:
            self._expectations.deletion_observed(key, uid_of(pod))
            raise
        if gone:
            self._expectations.deletion_observed(key, uid_of(pod))

    def _related(self, owner: Object, pods: Sequence[Object]) -> Sequence[Object]:
        """Active pods of all ReplicaSets of the same Deployment: old and new ones share nodes."""
        reference = controller_of(owner)
        if reference is None:
            return pods
        siblings = self._owners.by_index("controller", reference["uid"])
        return [pod for sibling in siblings for pod in controlled(self._pods, sibling) if is_active(pod)]

    def _next_available(self, owner: Object, pods: Sequence[Object], now: float) -> float | None:
        min_ready = owner["spec"].get("minReadySeconds", 0)
        if not min_ready:
            return None
        waits = [available_in(pod, min_ready, now) for pod in pods]
        return min((wait for wait in waits if wait is not None and wait > 0), default=None)


def _controller_uid(body: Object) -> tuple[str, ...]:
    reference = controller_of(body)
    return (reference["uid"],) if reference else ()
