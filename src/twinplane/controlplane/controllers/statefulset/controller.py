"""Keeps the numbered pods of StatefulSets, with the claims that go with each number."""

from __future__ import annotations

from twinplane.controlplane.controllers.contract import Context, Enqueue, Key
from twinplane.controlplane.controllers.ownership import Ownership, key_of
from twinplane.controlplane.controllers.podcontrol import is_namespace_terminating
from twinplane.controlplane.controllers.pods import available_in
from twinplane.controlplane.controllers.revisions import RevisionHistory, template_of
from twinplane.controlplane.controllers.statefulset import identity, rollout
from twinplane.controlplane.controllers.status import write_status
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.meta import is_deleting, name_of, namespace_of, owner_references, uid_of
from twinplane.kubeclient.resources import PERSISTENT_VOLUME_CLAIMS, PODS, STATEFUL_SETS


class StatefulSetController:
    name = "statefulset-controller"
    workers = 5

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._clock = context.clock
        self._events = context.events
        self._stateful_sets = context.informers.of(STATEFUL_SETS)
        self._claims = context.informers.of(PERSISTENT_VOLUME_CLAIMS)
        self._history = RevisionHistory(context, STATEFUL_SETS)
        self._ownership = Ownership(context.client, self._stateful_sets, context.informers.of(PODS))

    def watch(self, enqueue: Enqueue) -> None:
        def changed(old: Object | None, new: Object | None) -> None:
            if new is not None:
                enqueue(key_of(new))

        self._stateful_sets.add_handler(changed)
        self._ownership.watch(enqueue)
        self._history.watch(enqueue)

    async def reconcile(self, key: Key) -> float | None:
        stateful_set = self._stateful_sets.get(key.name, key.namespace)
        if stateful_set is None or is_deleting(stateful_set):
            return None
        update, others = await self._history.current(stateful_set)
        current = self._current(stateful_set, update, others)
        pods = {}
        for pod in await self._ownership.claim(stateful_set):
            ordinal = identity.ordinal_of(stateful_set, pod)
            if ordinal is not None:
                pods[ordinal] = pod
        now = self._clock.now()
        view = rollout.View(stateful_set, pods, name_of(current), name_of(update), now)
        try:
            await self._apply(view, {name_of(entry): entry for entry in (*others, current, update)})
        finally:
            status = rollout.status_of(view, name_of(current), name_of(update))
            await write_status(self._client, STATEFUL_SETS, stateful_set, status)
        in_use = {identity.revision_of(pod) for pod in pods.values()} | {name_of(current)}
        await self._history.clean_up(stateful_set, others, in_use)
        return self._next_available(view)

    @staticmethod
    def _current(stateful_set: Object, update: Object, others: list[Object]) -> Object:
        """The revision that the last finished rollout ended with."""
        name = (stateful_set.get("status") or {}).get("currentRevision")
        return next((entry for entry in others if name_of(entry) == name), update)

    async def _apply(self, view: rollout.View, revisions: dict[str, Object]) -> None:
        stateful_set = view.stateful_set
        plan = rollout.planned(view)
        await self._tend_claims(view)
        for ordinal in plan.create:
            revision = revisions[view.revision_for(ordinal)]
            await self._create(stateful_set, revision, ordinal)
        for pod in plan.recreate:
            what = "Failed" if pod["status"]["phase"] == "Failed" else "Succeeded"
            where = f"{namespace_of(pod)}/{name_of(pod)}"
            reason = "RecreatingFailedPod" if what == "Failed" else "RecreatingTerminatedPod"
            kind = "Warning" if what == "Failed" else "Normal"
            message = (
                f"StatefulSet {namespace_of(stateful_set)}/{name_of(stateful_set)} is recreating {what} Pod {where}"
            )
            self._events.event(stateful_set, kind, reason, message)
            await self._delete(stateful_set, pod)
        for pod in plan.delete:
            await self._delete(stateful_set, pod)

    async def _create(self, stateful_set: Object, revision: Object, ordinal: int) -> None:
        for template in identity.claim_templates(stateful_set):
            await self._create_claim(stateful_set, template, ordinal)
        pod = identity.pod_for(stateful_set, template_of(revision), name_of(revision), ordinal)
        name = name_of(pod)
        try:
            await self._client.create(PODS, pod, namespace_of(stateful_set))
        except ApiError as error:
            # The name is ours alone: a pod that the cache does not show yet is the one we want.
            if error.reason == "AlreadyExists" or is_namespace_terminating(error):
                return
            message = f"create Pod {name} in StatefulSet {name_of(stateful_set)} failed error: {error.message}"
            self._events.event(stateful_set, "Warning", "FailedCreate", message)
            raise
        message = f"create Pod {name} in StatefulSet {name_of(stateful_set)} successful"
        self._events.event(stateful_set, "Normal", "SuccessfulCreate", message)

    async def _create_claim(self, stateful_set: Object, template: Object, ordinal: int) -> None:
        claim = identity.claim_for(stateful_set, template, ordinal)
        if self._claims.get(name_of(claim), namespace_of(stateful_set)) is not None:
            return
        name = name_of(stateful_set)
        what = f"create Claim {name_of(claim)} Pod {name}-{ordinal} in StatefulSet {name}"
        try:
            await self._client.create(PERSISTENT_VOLUME_CLAIMS, claim, namespace_of(stateful_set))
        except ApiError as error:
            if error.reason == "AlreadyExists" or is_namespace_terminating(error):
                return
            self._events.event(stateful_set, "Warning", "FailedCreate", f"{what} failed error: {error.message}")
            raise
        self._events.event(stateful_set, "Normal", "SuccessfulCreate", f"{what} success")

    async def _tend_claims(self, view: rollout.View) -> None:
        """Bring the owners of all claims in line with the retention policy, before any pod goes."""
        stateful_set = view.stateful_set
        for ordinal, pod in view.pods.items():
            for template in identity.claim_templates(stateful_set):
                name = identity.claim_name(stateful_set, template, ordinal)
                claim = self._claims.get(name, namespace_of(pod))
                if claim is None:
                    continue
                owners = identity.owners_of_claim(stateful_set, claim, pod, condemned=ordinal not in view.wanted)
                if owners != owner_references(claim):
                    patch = {"metadata": {"uid": uid_of(claim), "ownerReferences": owners or None}}
                    await self._client.patch(PERSISTENT_VOLUME_CLAIMS, name, patch, namespace_of(pod))

    async def _delete(self, stateful_set: Object, pod: Object) -> None:
        what = f"delete Pod {name_of(pod)} in StatefulSet {name_of(stateful_set)}"
        try:
            await self._client.delete(PODS, name_of(pod), namespace_of(pod), uid=uid_of(pod))
        except ApiError as error:
            if error.code == 404:
                return
            self._events.event(stateful_set, "Warning", "FailedDelete", f"{what} failed error: {error.message}")
            raise
        self._events.event(stateful_set, "Normal", "SuccessfulDelete", f"{what} successful")

    @staticmethod
    def _next_available(view: rollout.View) -> float | None:
        min_ready = int(view.stateful_set["spec"].get("minReadySeconds", 0))
        if not min_ready:
            return None
        waits = [available_in(pod, min_ready, view.now) for pod in view.pods.values()]
        return min((wait for wait in waits if wait is not None and wait > 0), default=None)
