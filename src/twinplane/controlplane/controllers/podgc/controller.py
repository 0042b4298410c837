"""Pods that nobody else removes: of nodes that are gone, finished ones beyond a number, deleted ones never bound.

Upstream looks at all pods every twenty seconds. Here events say when to look (a node goes, a pod finishes), with the
same delay before a node counts as gone, so an idle cluster costs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twinplane.clock import Clock, rfc3339
from twinplane.controlplane.controllers.contract import Context, Enqueue, Key
from twinplane.controlplane.controllers.ownership import key_of
from twinplane.controlplane.controllers.pods import is_terminal
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.indexes import BY_NODE, by_node
from twinplane.kubeclient.meta import (
    conditions_of,
    created_at,
    is_deleting,
    name_of,
    namespace_of,
    uid_of,
    with_condition,
)
from twinplane.kubeclient.resources import NODES, PODS

QUARANTINE_SECONDS = 40.0
"""How long a node must have been absent."""
TERMINATED_MAX = 12500
CHECK_SECONDS = 20.0
OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"
_SURPLUS = Key("", "", "terminated")
_TERMINATED = "terminated"
_NODE_GONE = {
    "type": "DisruptionTarget",
    "status": "True",
    "reason": "DeletionByPodGC",
    "message": "PodGC: node no longer exists",
}


class PodGarbageCollector:
    """Option `terminated-pod-gc-threshold`."""

    name = "pod-garbage-collector-controller"
    workers = 4

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._clock: Clock = context.clock
        self._threshold = int(context.options.get("terminated-pod-gc-threshold", TERMINATED_MAX))
        self._pods = context.informers.of(PODS)
        self._nodes = context.informers.of(NODES)
        self._pods.add_index(BY_NODE, by_node)
        self._pods.add_index(_TERMINATED, lambda pod: (_TERMINATED,) if is_terminal(pod) else ())
        self._missing_since: dict[str, float] = {}

    def watch(self, enqueue: Enqueue) -> None:
        def pod_changed(old: Object | None, new: Object | None) -> None:
            if new is None:
                return
            node = new["spec"].get("nodeName")
            if node and self._nodes.get(node) is None:
                enqueue(Key("", node, "node"))
            if is_terminal(new) and (old is None or not is_terminal(old)):
                enqueue(_SURPLUS)
            if is_deleting(new) and not node:
                enqueue(Key(*key_of(new)[:2], "pod"))
            if node and is_deleting(new) and (old is None or not is_deleting(old)):
                holder = self._nodes.get(node)
                if holder is not None and _is_out_of_service(holder):
                    # Taint eviction deletes the pods after the taint was seen: their node is looked at once more.
                    enqueue(Key("", node, "node"))

        def node_changed(old: Object | None, new: Object | None) -> None:
            changed = new or old
            assert changed is not None
            if new is None or _is_out_of_service(new):
                enqueue(Key("", name_of(changed), "node"))

        self._nodes.add_handler(node_changed)
        self._pods.add_handler(pod_changed)

    async def reconcile(self, key: Key) -> float | None:
        if key == _SURPLUS:
            return await self._collect_terminated()
        if key.kind == "pod":
            return await self._collect_unscheduled(key)
        node = self._nodes.get(key.name)
        if node is not None:
            self._missing_since.pop(key.name, None)
            if _is_out_of_service(node):
                await self._collect_out_of_service(key.name)
            return None
        return await self._collect_of_missing_node(key.name)

    async def _collect_terminated(self) -> float | None:
        """The oldest finished pods beyond the threshold."""
        finished = self._pods.by_index(_TERMINATED, _TERMINATED)
        surplus = len(finished) - self._threshold
        if self._threshold > 0 and surplus > 0:
            oldest = sorted(finished, key=lambda pod: (created_at(pod), name_of(pod)))[:surplus]
            for pod in oldest:
                if not is_deleting(pod):
                    await self._remove(pod)
        return None

    async def _collect_unscheduled(self, key: Key) -> float | None:
        pod = self._pods.get(key.name, key.namespace)
        if pod is not None and is_deleting(pod) and not pod["spec"].get("nodeName"):
            await self._mark_failed(pod)
            await self._remove(pod)
        return None

    async def _collect_out_of_service(self, node: str) -> None:
        for pod in self._pods.by_index(BY_NODE, node):
            if is_deleting(pod):
                await self._mark_failed(pod)
                await self._remove(pod)

    async def _collect_of_missing_node(self, node: str) -> float | None:
        pods = self._pods.by_index(BY_NODE, node)
        if not pods:
            self._missing_since.pop(node, None)
            return None
        since = self._missing_since.setdefault(node, self._clock.now())
        left = since + QUARANTINE_SECONDS - self._clock.now()
        if left > 0:
            return left
        if await self._node_exists(node):
            return CHECK_SECONDS
        for pod in pods:
            await self._mark_failed(pod, why=_NODE_GONE)
            await self._remove(pod)
        return CHECK_SECONDS

    async def _node_exists(self, name: str) -> bool:
        try:
            await self._client.get(NODES, name)
        except ApiError as error:
            if error.code == 404:
                return False
            raise
        return True

    async def _mark_failed(self, pod: Object, *, why: Mapping[str, str] | None = None) -> None:
        """A pod that did not finish by itself is Failed, for Jobs with a pod failure policy."""
        if is_terminal(pod):
            return
        status: dict[str, Any] = {"phase": "Failed"}
        if why is not None:
            condition = {**why, "lastTransitionTime": rfc3339(self._clock.now())}
            status["conditions"] = with_condition(conditions_of(pod), condition)
        try:
            await self._client.patch(PODS, name_of(pod), {"status": status}, namespace_of(pod), subresource="status")
        except ApiError as error:
            if error.code != 404:
                raise

    async def _remove(self, pod: Object) -> None:
        try:
            await self._client.delete(PODS, name_of(pod), namespace_of(pod), grace_period_seconds=0, uid=uid_of(pod))
        except ApiError as error:
            if error.code not in (404, 409):
                raise


def _is_out_of_service(node: Object) -> bool:
    taints = node["spec"].get("taints") or []
    ready = any(entry["type"] == "Ready" and entry["status"] == "True" for entry in conditions_of(node))
    return not ready and any(taint["key"] == OUT_OF_SERVICE for taint in taints)
