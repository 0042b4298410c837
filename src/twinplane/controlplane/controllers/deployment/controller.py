"""Rolls Deployments out: one ReplicaSet a template, replicas moved between them as the strategy permits.

`kubectl rollout undo` needs nothing here: it writes an old template into the Deployment, whose ReplicaSet is found
again and gets the next revision.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from twinplane.controlplane.controllers.contract import Context, Enqueue, Key
from twinplane.controlplane.controllers.deployment import replica_sets as sets
from twinplane.controlplane.controllers.deployment import rolling, status
from twinplane.controlplane.controllers.deployment.rolling import replicas_of
from twinplane.controlplane.controllers.ownership import Ownership, key_of
from twinplane.controlplane.controllers.podcontrol import is_namespace_terminating
from twinplane.controlplane.controllers.pods import is_terminal
from twinplane.controlplane.controllers.status import write_status
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.indexes import add_controller_indexes, controlled
from twinplane.kubeclient.meta import (
    annotations_of,
    conditions_of,
    controller_of,
    copied,
    is_controlled_by,
    is_deleting,
    name_of,
    namespace_of,
)
from twinplane.kubeclient.resources import DEPLOYMENTS, PODS, REPLICA_SETS


@dataclass
class _Rollout:
    """One reconcile: the Deployment as read, and what is to be written of it."""

    deployment: Object
    conditions: status.Conditions
    new: Object | None
    old: list[Object]
    now: float
    annotated: bool = False
    """The Deployment's annotations are to be written."""

    @property
    def every(self) -> list[Object]:
        return [*self.old, self.new] if self.new is not None else list(self.old)

    def progressing(self, state: str, reason: str, message: str) -> None:
        if status.deadline_of(self.deployment) is not None:
            verdict = status.Verdict(state, reason, message)
            status.set_condition(self.conditions, status.PROGRESSING, verdict, self.now)


class DeploymentController:
    name = "deployment-controller"
    workers = 8

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._clock = context.clock
        self._events = context.events
        self._deployments = context.informers.of(DEPLOYMENTS)
        self._replica_sets = context.informers.of(REPLICA_SETS)
        self._pods = context.informers.of(PODS)
        self._ownership = Ownership(context.client, self._deployments, self._replica_sets)
        add_controller_indexes(self._pods)

    def watch(self, enqueue: Enqueue) -> None:
        def deployment_changed(old: Object | None, new: Object | None) -> None:
            changed = new or old
            assert changed is not None
            enqueue(key_of(changed))

        def pod_changed(old: Object | None, new: Object | None) -> None:
            # Only Recreate waits for pods themselves: the new ones come when the last old one is gone or finished.
            if old is None or (new is not None and is_terminal(new) == is_terminal(old)):
                return
            deployment = self._deployment_of_pod(old)
            if deployment is not None and not rolling.is_rolling(deployment):
                enqueue(key_of(deployment))

        self._deployments.add_handler(deployment_changed)
        self._pods.add_handler(pod_changed)
        self._ownership.watch(enqueue)

    def _deployment_of_pod(self, pod: Object) -> Object | None:
        reference = controller_of(pod)
        if reference is None or reference["kind"] != REPLICA_SETS.kind:
            return None
        replica_set = self._replica_sets.get(reference["name"], namespace_of(pod))
        return self._ownership.owner_of(replica_set) if replica_set is not None else None

    async def reconcile(self, key: Key) -> float | None:
        deployment = self._deployments.get(key.name, key.namespace)
        if deployment is None:
            return None
        selector = deployment["spec"].get("selector") or {}
        if not selector.get("matchLabels") and not selector.get("matchExpressions"):
            message = "This deployment is selecting all pods. A non-empty selector is required."
            self._events.event(deployment, "Warning", "SelectingAll", message)
            return None
        conditions = {condition["type"]: condition for condition in conditions_of(deployment)}
        new, old = sets.split(deployment, await self._ownership.claim(deployment))
        rollout = _Rollout(deployment, conditions, new, old, self._clock.now())
        if is_deleting(deployment):
            return await self._write(rollout, judge=False)
        self._note_pause(rollout)
        if deployment["spec"].get("paused") or self._was_scaled(rollout):
            return await self._scale_only(rollout)
        if rolling.is_rolling(deployment):
            await self._roll(rollout)
        else:
            await self._recreate(rollout)
        return await self._write(rollout)

    # -- the cases -----------------------------------------------------------------------------------------------

    def _note_pause(self, rollout: _Rollout) -> None:
        current = rollout.conditions.get(status.PROGRESSING)
        if current is not None and current.get("reason") == status.TIMED_OUT:
            return
        was_paused = current is not None and current.get("reason") == "DeploymentPaused"
        paused = bool(rollout.deployment["spec"].get("paused"))
        if paused and not was_paused:
            rollout.progressing("Unknown", "DeploymentPaused", "Deployment is paused")
        elif was_paused and not paused:
            rollout.progressing("Unknown", "DeploymentResumed", "Deployment is resumed")

    @staticmethod
    def _was_scaled(rollout: _Rollout) -> bool:
        """`spec.replicas` is not what the ReplicaSets were last scaled for."""
        wanted = str(replicas_of(rollout.deployment))
        desired = (annotations_of(entry).get(rolling.DESIRED_REPLICAS) for entry in rolling.active(rollout.every))
        return any(entry is not None and entry != wanted for entry in desired)

    async def _scale_only(self, rollout: _Rollout) -> float | None:
        deployment = rollout.deployment
        if rollout.new is not None:
            await self._adjust_new(rollout, rollout.new)
        for replica_set, size in rolling.scale_all(deployment, rollout.new, rollout.old):
            await self._scale(rollout, replica_set, size, remember=True)
        if deployment["spec"].get("paused"):
            await self._clean_up(rollout)
        return await self._write(rollout, judge=False)

    async def _roll(self, rollout: _Rollout) -> None:
        deployment = rollout.deployment
        new = await self._new_replica_set(rollout)
        if new is None:
            return
        wanted = replicas_of(deployment)
        current = replicas_of(new)
        size = wanted if current > wanted else rolling.new_size(deployment, rollout.every, current)
        if await self._scale(rollout, new, size):
            return
        plan = rolling.scale_down_old(deployment, new, rollout.old)
        for replica_set, size in plan:
            await self._scale(rollout, replica_set, size)
        if not plan:
            await self._clean_up_if_complete(rollout)

    async def _recreate(self, rollout: _Rollout) -> None:
        stopped = [await self._scale(rollout, entry, 0) for entry in rolling.active(rollout.old)]
        if any(stopped) or self._old_pods_left(rollout.old):
            if rollout.new is not None:
                await self._adjust_new(rollout, rollout.new)
            return
        new = await self._new_replica_set(rollout)
        if new is not None:
            await self._scale(rollout, new, replicas_of(rollout.deployment))
            await self._clean_up_if_complete(rollout)

    def _old_pods_left(self, old: Sequence[Object]) -> bool:
        """Pods that are on their way out still count: the new ones must not meet them."""
        return any(not is_terminal(pod) for entry in old for pod in controlled(self._pods, entry))

    # -- the new ReplicaSet --------------------------------------------------------------------------------------

    async def _new_replica_set(self, rollout: _Rollout) -> Object | None:
        """Found or made; None when its namespace goes away."""
        if rollout.new is not None:
            await self._adjust_new(rollout, rollout.new)
            if status.PROGRESSING not in rollout.conditions:
                rollout.progressing("True", "FoundNewReplicaSet", f'Found new replica set "{name_of(rollout.new)}"')
        else:
            await self._make_new(rollout)
        return rollout.new

    async def _adjust_new(self, rollout: _Rollout, new: Object) -> None:
        """Revision, inherited annotations and minReadySeconds of the ReplicaSet; the revision of the Deployment."""
        deployment = rollout.deployment
        annotations = sets.inherited(deployment, new, sets.next_revision(rollout.old))
        min_ready = deployment["spec"].get("minReadySeconds", 0)
        if annotations != annotations_of(new) or new["spec"].get("minReadySeconds", 0) != min_ready:
            new = copied(new)
            new["metadata"]["annotations"] = annotations
            new["spec"]["minReadySeconds"] = min_ready
            rollout.new = new = await self._client.update(REPLICA_SETS, new)
        self._set_revision(rollout, sets.revision_of(new))

    @staticmethod
    def _set_revision(rollout: _Rollout, revision: int) -> None:
        """Of the Deployment: an annotation that travels with the status, so that it makes no new generation."""
        if sets.revision_of(rollout.deployment) == revision:
            return
        deployment = rollout.deployment
        annotations = {**annotations_of(deployment), sets.REVISION: str(revision)}
        rollout.deployment = {**deployment, "metadata": {**deployment["metadata"], "annotations": annotations}}
        rollout.annotated = True

    async def _make_new(self, rollout: _Rollout) -> None:
        deployment = rollout.deployment
        revision = sets.next_revision(rollout.old)
        made = sets.made_for(deployment, rolling.new_size(deployment, rollout.old, 0), revision)
        name = name_of(made)
        try:
            rollout.new = await self._client.create(REPLICA_SETS, made, namespace_of(deployment))
        except ApiError as error:
            if error.reason == "AlreadyExists":
                await self._resolve_collision(rollout, name)
            elif is_namespace_terminating(error):
                return
            else:
                message = f'Failed to create new replica set "{name}": {error.message}'
                self._events.event(deployment, "Warning", "ReplicaSetCreateError", message)
                rollout.progressing("False", "ReplicaSetCreateError", message)
                await self._write(rollout, judge=False)
                raise
        else:
            if replicas_of(made):
                self._tell_scaled(deployment, name, 0, replicas_of(made))
            rollout.progressing("True", "NewReplicaSetCreated", f'Created new replica set "{name}"')
        self._set_revision(rollout, revision)

    async def _resolve_collision(self, rollout: _Rollout, name: str) -> None:
        """The name is taken: by our own, not seen yet, or by a stranger, which calls for another hash."""
        deployment = rollout.deployment
        there = await self._client.get(REPLICA_SETS, name, namespace_of(deployment))
        if is_controlled_by(there, deployment) and sets.same_template(deployment, there):
            rollout.new = there
            return
        before = deployment.get("status") or {}
        await write_status(
            self._client, DEPLOYMENTS, deployment, {**before, "collisionCount": before.get("collisionCount", 0) + 1}
        )
        raise ApiError("AlreadyExists", f'replicasets.apps "{name}" already exists')

    # -- writing -------------------------------------------------------------------------------------------------

    async def _scale(self, rollout: _Rollout, replica_set: Object, size: int, *, remember: bool = False) -> bool:
        """True when the size changed. The annotations for proportional scaling go with it; `remember` writes them also
        where the size stays."""
        before = replicas_of(replica_set)
        remembered = sets.sizes(rollout.deployment)
        annotations = annotations_of(replica_set)
        if before == size and (not remember or remembered.items() <= annotations.items()):
            return False
        changed = copied(replica_set)
        changed["spec"]["replicas"] = size
        changed["metadata"]["annotations"] = {**annotations, **remembered}
        updated = await self._client.update(REPLICA_SETS, changed)
        if rollout.new is replica_set:
            rollout.new = updated
        else:
            rollout.old = [updated if entry is replica_set else entry for entry in rollout.old]
        if before != size:
            self._tell_scaled(rollout.deployment, name_of(replica_set), before, size)
        return before != size

    def _tell_scaled(self, deployment: Object, name: str, before: int, after: int) -> None:
        direction = "up" if after > before else "down"
        message = f"Scaled {direction} replica set {name} from {before} to {after}"
        self._events.event(deployment, "Normal", "ScalingReplicaSet", message)

    async def _clean_up_if_complete(self, rollout: _Rollout) -> None:
        counts = status.counted(rollout.deployment, rollout.every, rollout.new, dict(rollout.conditions), rollout.now)
        if status.is_complete(rollout.deployment, counts):
            await self._clean_up(rollout)

    async def _clean_up(self, rollout: _Rollout) -> None:
        for replica_set in sets.surplus_history(rollout.deployment, rollout.old):
            try:
                await self._client.delete(REPLICA_SETS, name_of(replica_set), namespace_of(replica_set))
            except ApiError as error:
                if error.code != 404:
                    raise

    async def _write(self, rollout: _Rollout, *, judge: bool = True) -> float | None:
        deployment, conditions = rollout.deployment, rollout.conditions
        result = status.counted(deployment, rollout.every, rollout.new, conditions, rollout.now)
        if judge:
            status.judge_progress(deployment, result, rollout.new, conditions, rollout.now)
            status.copy_failure(rollout.every, rollout.new, conditions)
        result["conditions"] = list(conditions.values())
        await write_status(self._client, DEPLOYMENTS, deployment, result, changed=rollout.annotated)
        return status.seconds_to_deadline(deployment, result, conditions, rollout.now) if judge else None
