"""One pod of every DaemonSet on every node that fits."""

from __future__ import annotations

from collections.abc import Sequence

from twinplane.controlplane.controllers.contract import Context, Enqueue, Key
from twinplane.controlplane.controllers.daemonset import rollout
from twinplane.controlplane.controllers.daemonset.placement import Fit, by_node, fit, node_of, pod_for
from twinplane.controlplane.controllers.expectations import TIMEOUT_SECONDS, Expectations
from twinplane.controlplane.controllers.ownership import Ownership, key_of
from twinplane.controlplane.controllers.podcontrol import PodControl, gathered, is_namespace_terminating, slow_start
from twinplane.controlplane.controllers.pods import available_in, phase_of
from twinplane.controlplane.controllers.revisions import HASH_LABEL, RevisionHistory, hash_of
from twinplane.controlplane.controllers.status import write_status
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.meta import is_deleting, labels_of, name_of, namespace_of, uid_of
from twinplane.kubeclient.node_fit import taints_of
from twinplane.kubeclient.resources import DAEMON_SETS, NODES, PODS

BURST = 250
FAILED_BACKOFF_SECONDS = (1.0, 900.0)


class DaemonSetController:
    name = "daemonset-controller"
    workers = 2

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._clock = context.clock
        self._events = context.events
        self._daemon_sets = context.informers.of(DAEMON_SETS)
        self._nodes = context.informers.of(NODES)
        self._expectations = Expectations(context.clock)
        self._control = PodControl(context.client, context.events)
        self._history = RevisionHistory(context, DAEMON_SETS)
        self._ownership = Ownership(
            context.client, self._daemon_sets, context.informers.of(PODS), expectations=self._expectations
        )
        self._fits: dict[str, tuple[int, dict[str, tuple[str, Fit]]]] = {}
        """By uid of the DaemonSet: its generation, and by node the node's version and what came of it."""
        self._failures: dict[tuple[str, str], tuple[int, float]] = {}
        """By DaemonSet and node: how often its pod failed in a row, and when the last one was replaced."""

    def watch(self, enqueue: Enqueue) -> None:
        def daemon_set_changed(old: Object | None, new: Object | None) -> None:
            changed = new or old
            assert changed is not None
            if new is None:
                self._forget(changed)
            enqueue(key_of(changed))

        def node_changed(old: Object | None, new: Object | None) -> None:
            if old is not None and new is not None and _same_for_fit(old, new):
                return
            for daemon_set in self._daemon_sets.list():
                if new is None or old is None or fit(daemon_set, old) != fit(daemon_set, new):
                    enqueue(key_of(daemon_set))

        self._daemon_sets.add_handler(daemon_set_changed)
        self._ownership.watch(enqueue)
        self._history.watch(enqueue)
        self._nodes.add_handler(node_changed)

    def _forget(self, daemon_set: Object) -> None:
        self._expectations.forget(key_of(daemon_set))
        self._fits.pop(uid_of(daemon_set), None)
        for at in [at for at in self._failures if at[0] == uid_of(daemon_set)]:
            del self._failures[at]

    async def reconcile(self, key: Key) -> float | None:
        daemon_set = self._daemon_sets.get(key.name, key.namespace)
        if daemon_set is None or is_deleting(daemon_set):
            return None
        selector = daemon_set["spec"].get("selector") or {}
        if not selector.get("matchLabels") and not selector.get("matchExpressions"):
            message = "This daemon set is selecting all pods. A non-empty selector is required."
            self._events.event(daemon_set, "Warning", "SelectingAll", message)
            return None
        revision, old_revisions = await self._history.current(daemon_set)
        settled = self._expectations.satisfied(key)
        view = await self._view(daemon_set, hash_of(revision))
        failure, again = await self._act(key, view) if settled else (None, TIMEOUT_SECONDS)
        if settled:
            in_use = {labels_of(pod).get(HASH_LABEL, "") for pods in view.pods.values() for pod in pods}
            await self._history.clean_up(daemon_set, old_revisions, in_use)
        await write_status(self._client, DAEMON_SETS, daemon_set, rollout.status_of(view))
        if failure is not None:
            raise failure
        waits = [again, self._next_available(view)]
        return min((wait for wait in waits if wait is not None), default=None)

    async def _view(self, daemon_set: Object, hashed: str) -> rollout.View:
        pods = by_node(await self._ownership.claim(daemon_set))
        return rollout.View(daemon_set, hashed, self._fits_of(daemon_set), pods, self._clock.now())

    def _fits_of(self, daemon_set: Object) -> dict[str, Fit]:
        """Nodes change rarely and are many: what was found for a version of a node holds."""
        uid, generation = uid_of(daemon_set), daemon_set["metadata"].get("generation", 0)
        known_generation, known = self._fits.get(uid, (0, {}))
        if known_generation != generation:
            known = {}
        result: dict[str, tuple[str, Fit]] = {}
        for node in self._nodes.list():
            name, version = name_of(node), node["metadata"]["resourceVersion"]
            entry = known.get(name)
            result[name] = entry if entry is not None and entry[0] == version else (version, fit(daemon_set, node))
        self._fits[uid] = (generation, result)
        return {name: found for name, (_, found) in result.items()}

    async def _act(self, key: Key, view: rollout.View) -> tuple[BaseException | None, float | None]:
        plan = rollout.manage(view)
        again = self._replace_finished(view, plan)
        if not plan.create and not plan.delete and rollout.is_rolling(view.daemon_set):
            plan = rollout.roll(view)
        return await self._apply(key, view, plan), again

    def _replace_finished(self, view: rollout.View, plan: rollout.Plan) -> float | None:
        """Move finished pods whose back-off is over to the deletions; returns when the next one's is."""
        first, longest = FAILED_BACKOFF_SECONDS
        waits = []
        for pod in plan.finished:
            at = uid_of(view.daemon_set), node_of(pod)
            count, since = self._failures.get(at, (0, 0.0))
            pause = min(first * 2 ** max(count - 1, 0), longest) if count else 0.0
            if view.now - since > 2 * longest:
                count = 0
            if since + pause > view.now:
                waits.append(since + pause - view.now)
                continue
            self._failures[at] = (count + 1, view.now)
            self._tell_finished(view.daemon_set, pod)
            plan.delete.append(pod)
        return min(waits, default=None)

    def _tell_finished(self, daemon_set: Object, pod: Object) -> None:
        where = f"daemon pod {namespace_of(pod)}/{name_of(pod)} on node {pod['spec'].get('nodeName', '')}"
        if phase_of(pod) == "Failed":
            message = f"Found failed {where}, will try to kill it"
            self._events.event(daemon_set, "Warning", "FailedDaemonPod", message)
        else:
            message = f"Found succeeded {where}, will try to delete it"
            self._events.event(daemon_set, "Normal", "SucceededDaemonPod", message)

    async def _apply(self, key: Key, view: rollout.View, plan: rollout.Plan) -> BaseException | None:
        create, delete = plan.create[:BURST], plan.delete[:BURST]
        if not create and not delete:
            return None
        self._expectations.expect(key, creations=len(create), deletions=[uid_of(pod) for pod in delete])
        made, failure = await slow_start(len(create), lambda number: self._create(view, create[number]))
        if made < len(create):
            self._expectations.creation_observed(key, len(create) - made)
        if isinstance(failure, ApiError) and is_namespace_terminating(failure):
            failure = None
        failures = await gathered([self._delete(key, pod, view.daemon_set) for pod in delete])
        return failure or (failures[0] if failures else None)

    async def _create(self, view: rollout.View, node: str) -> None:
        await self._control.create(pod_for(view.daemon_set, node, view.hash), view.daemon_set)

    async def _delete(self, key: Key, pod: Object, daemon_set: Object) -> None:
        try:
            gone = not await self._control.delete(pod, daemon_set)
        except BaseException:
            self._expectations.deletion_observed(key, uid_of(pod))
            raise
        if gone:
            self._expectations.deletion_observed(key, uid_of(pod))

    @staticmethod
    def _next_available(view: rollout.View) -> float | None:
        if not view.min_ready:
            return None
        pods: Sequence[Object] = [pod for found in view.pods.values() for pod in found]
        waits = [available_in(pod, view.min_ready, view.now) for pod in pods]
        return min((wait for wait in waits if wait is not None and wait > 0), default=None)


def _same_for_fit(old: Object, new: Object) -> bool:
    return dict(labels_of(old)) == dict(labels_of(new)) and taints_of(old) == taints_of(new)
