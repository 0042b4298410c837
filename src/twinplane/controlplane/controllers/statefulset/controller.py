"""Keeps the numbered pods of StatefulSets, with the claims that go with each number."""

from __future__ import annotations

from twinplane.controlplane.controllers.contract import Context, Enqueue, Key
from twinplane.controlplane.controllers.ownership import Ownership, key_of
from twinplane.controlplane.controllers.podcontrol import is_namespace_terminating
from twinplane.controlplane.controllers.pods import available_in, phase_of
from twinplane.controlplane.controllers.revisions import RevisionHistory, template_of
from twinplane.controlplane.controllers.statefulset import identity, rollout
from twinplane.controlplane.controllers.status import write_status
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.meta import is_deleting, name_of, namespace_of, owner_references, uid_of
from twinplane.kubeclient.resources import PERSISTENT_VOLUME_CLAIMS, PODS, STATEFUL_SETS

STALE_CLAIM_SECONDS = 5.0
"""Between looks at a claim that goes with an earlier pod: nobody tells when it is gone."""


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
            wait = await self._apply(view, {name_of(entry): entry for entry in (*others, current, update)})
        finally:
            status = rollout.status_of(view, name_of(current), name_of(update))
            await write_status(self._client, STATEFUL_SETS, stateful_set, status)
        in_use = {identity.revision_of(pod) for pod in pods.values()} | {name_of(current)}
        await self._history.clean_up(stateful_set, others, in_use)
        return wait or self._next_available(view)

    @staticmethod
    def _current(stateful_set: Object, update: Object, others: list[Object]) -> Object:
        """The revision that the last finished rollout ended with."""
        name = (stateful_set.get("status") or {}).get("currentRevision")
        return next((entry for entry in others if name_of(entry) == name), update)

    async def _apply(self, view: rollout.View, revisions: dict[str, Object]) -> float | None:
        """Seconds after which to look for what was waited for."""
        wait: float | None = None
        stateful_set = view.stateful_set
        plan = rollout.planned(view)
        await self._tend_claims(view)
        for ordinal in plan.create:
            if any(identity.is_stale_claim(stateful_set, claim, ordinal) for claim in self._claims_of(view, ordinal)):
                wait = STALE_CLAIM_SECONDS
            else:
                await self._create(stateful_set, revisions[view.revision_for(ordinal)], ordinal)
        for pod in (*plan.recreate, *plan.delete):
            await self._delete(stateful_set, pod)
        return wait

    def _claims_of(self, view: rollout.View, ordinal: int) -> list[Object]:
        """Those that are there."""
        names = [
            identity.claim_name(view.stateful_set, template, ordinal)
            for template in identity.claim_templates(view.stateful_set)
        ]
        found = (self._claims.get(name, namespace_of(view.stateful_set)) for name in names)
        return [claim for claim in found if claim is not None]

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
            self._tell_failure(stateful_set, name, error.message)
            raise
        message = f"Create Pod {name} in StatefulSet {name_of(stateful_set)} successful"
        self._events.event(stateful_set, "Normal", "SuccessfulCreate", message)

    def _tell_failure(self, stateful_set: Object, pod: str, why: str) -> None:
        message = f"Create Pod {pod} in StatefulSet {name_of(stateful_set)} failed error: {why}"
        self._events.event(stateful_set, "Warning", "FailedCreate", message)

    async def _create_claim(self, stateful_set: Object, template: Object, ordinal: int) -> None:
        """Raises `ApiError` also for a claim that is on its way out: the pod would be left without it."""
        claim = identity.claim_for(stateful_set, template, ordinal)
        name = name_of(stateful_set)
        there = self._claims.get(name_of(claim), namespace_of(stateful_set))
        if there is not None and is_deleting(there):
            why = f"pvc {name_of(claim)} is being deleted"
            self._tell_failure(stateful_set, f"{name}-{ordinal}", why)
            raise ApiError("Conflict", why)
        if there is not None:
            return
        what = f"Create Claim {name_of(claim)}"
        whose = f"Pod {name}-{ordinal} in StatefulSet {name}"
        try:
            await self._client.create(PERSISTENT_VOLUME_CLAIMS, claim, namespace_of(stateful_set))
        except ApiError as error:
            if error.reason == "AlreadyExists" or is_namespace_terminating(error):
                return
            message = f"{what} for {whose} failed error: {error.message}"
            self._events.event(stateful_set, "Warning", "FailedCreate", message)
            raise
        self._events.event(stateful_set, "Normal", "SuccessfulCreate", f"{what} {whose} success")

    async def _tend_claims(self, view: rollout.View) -> None:
        """Bring the owners of all claims in line with the retention policy, before any pod goes; pods that cannot
        start get the claims that they lack."""
        stateful_set = view.stateful_set
        templates = identity.claim_templates(stateful_set)
        for ordinal, pod in view.pods.items() if templates else ():
            if phase_of(pod) == "Pending" and ordinal in view.wanted and not is_deleting(pod):
                for template in templates:
                    name = identity.claim_name(stateful_set, template, ordinal)
                    if self._claims.get(name, namespace_of(stateful_set)) is None:
                        await self._create_claim(stateful_set, template, ordinal)
            for claim in self._claims_of(view, ordinal):
                owners = identity.owners_of_claim(stateful_set, claim, pod, condemned=ordinal not in view.wanted)
                if owners.references != owner_references(claim):
                    await self._set_owners(stateful_set, claim, owners)

    async def _set_owners(self, stateful_set: Object, claim: Object, owners: identity.Owners) -> None:
        name = name_of(claim)
        if owners.conflict:
            # Upstream's spelling.
            why = "has a conflicting OwnerReference that acts as a manging controller"
            message = f"PersistentVolumeClaim {name} {why}, the retention policy is ignored for this claim"
            self._events.event(stateful_set, "Warning", "ConflictingController", message)
        patch = {"metadata": {"uid": uid_of(claim), "ownerReferences": owners.references or None}}
        await self._client.patch(PERSISTENT_VOLUME_CLAIMS, name, patch, namespace_of(claim))

    async def _delete(self, stateful_set: Object, pod: Object) -> None:
        what = f"Delete Pod {name_of(pod)} in StatefulSet {name_of(stateful_set)}"
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
