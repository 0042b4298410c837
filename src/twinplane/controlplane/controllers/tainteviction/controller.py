"""Deletes pods from nodes with NoExecute taints, when their tolerations end.

The time runs from the taint's `timeAdded`, which the node lifecycle controller writes; for a taint without one (as
`kubectl taint` leaves it) it runs from when it was first seen here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from twinplane.clock import rfc3339
from twinplane.controlplane.controllers.contract import Context, Enqueue, Key
from twinplane.controlplane.controllers.ownership import key_of
from twinplane.controlplane.controllers.pods import is_terminal
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.indexes import BY_NODE, by_node
from twinplane.kubeclient.meta import conditions_of, is_deleting, name_of, namespace_of, time_of, uid_of, with_condition
from twinplane.kubeclient.node_fit import Taint, Toleration, taints_of, tolerates
from twinplane.kubeclient.resources import NODES, PODS


class TaintEvictionController:
    name = "taint-eviction-controller"
    workers = 8

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._clock = context.clock
        self._events = context.events
        self._nodes = context.informers.of(NODES)
        self._pods = context.informers.of(PODS)
        self._pods.add_index(BY_NODE, by_node)
        self._first_seen: dict[str, dict[str, float]] = {}
        """By node and taint key."""
        self._expected: set[str] = set()
        """uids of pods whose time runs."""

    def watch(self, enqueue: Enqueue) -> None:
        def node_changed(old: Object | None, new: Object | None) -> None:
            before = _no_execute(old) if old is not None else []
            after = _no_execute(new) if new is not None else []
            if new is None and old is not None:
                self._first_seen.pop(name_of(old), None)
            if new is not None and before != after:
                self._note(name_of(new), after)
                for pod in self._pods.by_index(BY_NODE, name_of(new)):
                    enqueue(key_of(pod))

        def pod_changed(old: Object | None, new: Object | None) -> None:
            if new is None:
                self._expected.discard(uid_of(old or {"metadata": {}}))
                return
            if not new["spec"].get("nodeName"):
                return
            if old is None or _relevant(old) != _relevant(new):
                node = self._nodes.get(new["spec"]["nodeName"])
                if node is not None and _no_execute(node):
                    enqueue(key_of(new))

        self._nodes.add_handler(node_changed)
        self._pods.add_handler(pod_changed)

    def _note(self, node: str, taints: Sequence[Taint]) -> None:
        now = self._clock.now()
        known = self._first_seen.pop(node, {})
        if taints:
            self._first_seen[node] = {taint["key"]: known.get(taint["key"], now) for taint in taints}

    async def reconcile(self, key: Key) -> float | None:
        pod = self._pods.get(key.name, key.namespace)
        if pod is None or is_deleting(pod):
            return None
        node = self._nodes.get(pod["spec"].get("nodeName", ""))
        if node is None:
            return None
        now = self._clock.now()
        left = seconds_left(
            _no_execute(node), pod["spec"].get("tolerations") or [], self._first_seen.get(name_of(node), {}), now
        )
        if left is None:
            if uid_of(pod) in self._expected:
                self._expected.discard(uid_of(pod))
                self._tell(pod, "Cancelling deletion of")
            return None
        if left > 0:
            self._expected.add(uid_of(pod))
            return left
        self._expected.discard(uid_of(pod))
        await self._evict(pod, now)
        return None

    def _tell(self, pod: Object, what: str) -> None:
        self._events.event(pod, "Normal", "TaintManagerEviction", f"{what} Pod {namespace_of(pod)}/{name_of(pod)}")

    async def _evict(self, pod: Object, now: float) -> None:
        self._tell(pod, "Marking for deletion")
        try:
            if not is_terminal(pod):
                await self._mark(pod, now)
            await self._client.delete(PODS, name_of(pod), namespace_of(pod), uid=uid_of(pod))
        except ApiError as error:
            if error.code != 404:
                raise

    async def _mark(self, pod: Object, now: float) -> None:
        condition = {
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "DeletionByTaintManager",
            "message": "Taint manager: deleting due to NoExecute taint",
            "lastTransitionTime": rfc3339(now),
        }
        patch = {"status": {"conditions": with_condition(conditions_of(pod), condition)}}
        await self._client.patch(PODS, name_of(pod), patch, namespace_of(pod), subresource="status")


def seconds_left(
    taints: Sequence[Taint], tolerations: Sequence[Toleration], first_seen: Mapping[str, float], now: float
) -> float | None:
    """Until the pod must go: 0 or less is now, None is never."""
    waits: list[float] = []
    for taint in taints:
        # Of several tolerations for one taint the first counts, as upstream's GetMatchingTolerations has it.
        tolerating = next((toleration for toleration in tolerations if tolerates(toleration, taint)), None)
        if tolerating is None:
            return 0.0
        bound = tolerating.get("tolerationSeconds")
        if bound is not None:
            since = time_of(taint.get("timeAdded")) or first_seen.get(taint["key"], now)
            waits.append(since + max(0, bound) - now)
    return min(waits, default=None)


def _no_execute(node: Object) -> list[dict[str, object]]:
    return [taint for taint in taints_of(node) if taint["effect"] == "NoExecute"]


def _relevant(pod: Object) -> tuple[object, object]:
    return pod["spec"].get("nodeName"), pod["spec"].get("tolerations")
