"""Decisions made true: bindings, the PodScheduled condition, the removal of preemption's victims, events.

Called by the loop's workers, many at once. Raises nothing for a pod that is gone; other refusals of a binding are the
caller's to act on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any

from twinplane.clock import Clock, rfc3339
from twinplane.controlplane.controllers.contract import EventRecorder
from twinplane.controlplane.scheduler.planner import Decision
from twinplane.controlplane.scheduler.shape import Pod
from twinplane.kubeclient.contract import KubeClient, Object
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.meta import condition_of
from twinplane.kubeclient.resources import PODS

log = logging.getLogger(__name__)


class DecisionWriter:
    def __init__(
        self,
        client: KubeClient,
        clock: Clock,
        events: Mapping[str, EventRecorder],
        lookup: Callable[[str, str], Object | None],
    ) -> None:
        """`events` by the scheduler's name; `lookup` is the pod informer's: (name, namespace) -> pod."""
        self._client = client
        self._clock = clock
        self._events = events
        self._lookup = lookup

    async def bind(self, pod: Pod, node: str) -> None:
        """Raises `ApiError` as the API server answers."""
        body = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": pod.name, "namespace": pod.namespace, "uid": pod.uid},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        }
        await self._client.create(PODS, body, pod.namespace, name=pod.name, subresource="binding")
        self._event(pod, "Normal", "Scheduled", f"Successfully assigned {pod.key} to {node}", pod.scheduler)

    async def nominate(self, pod: Pod, node: str) -> None:
        """Says where a pod will be, while it waits for its volumes or devices: autoscalers of nodes read it."""
        if pod.nominated != node:
            await self._patch_status(pod, {"nominatedNodeName": node})

    def waits_for_devices(self, pod: Pod, node: str) -> None:
        why = f"waiting for binding conditions for device on node {node}"
        self._event(pod, "Normal", "BindingConditionsPending", why, pod.scheduler)

    async def report(self, decision: Decision, *, reason: str = "Unschedulable") -> None:
        """Tell the user why a pod found no node, and make room when preemption found any to make."""
        pod = decision.pod
        self._event(pod, "Warning", "FailedScheduling", decision.message, pod.scheduler)
        # Side by side, as upstream's: each takes two writes, and the pod waits for the last of them.
        await asyncio.gather(*(self._evict(victim, pod, decision.nominated or "") for victim in decision.victims))
        current = self._lookup(pod.name, pod.namespace)
        if current is None:
            return
        status = self._status(current, decision, reason)
        if status:
            await self._patch_status(pod, status)

    def _status(self, current: Object, decision: Decision, reason: str) -> dict[str, Any]:
        """What must change in the pod's status, nothing when it says so already."""
        changes: dict[str, Any] = {}
        old = condition_of(current, "PodScheduled") or {}
        new = {"type": "PodScheduled", "status": "False", "reason": reason, "message": decision.message}
        new |= _observed(current)
        if {key: old.get(key) for key in new} != new:
            since = old.get("lastTransitionTime") if old.get("status") == "False" else None
            new["lastTransitionTime"] = since or rfc3339(self._clock.now())
            changes["conditions"] = [new]
        nominated = (current.get("status") or {}).get("nominatedNodeName", "")
        if (decision.nominated or "") != nominated:
            changes["nominatedNodeName"] = decision.nominated
        return changes

    async def _evict(self, victim: Pod, preemptor: Pod, node: str) -> None:
        if victim.shape.terminating:
            return
        if not victim.node:
            # It holds only a promise of the node: the promise is withdrawn.
            await self._patch_status(victim, {"nominatedNodeName": None})
            return
        condition = {
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "PreemptionByScheduler",
            "message": f"{preemptor.scheduler}: preempting to accommodate a higher priority pod",
            "lastTransitionTime": rfc3339(self._clock.now()),
            **_observed(self._lookup(victim.name, victim.namespace) or {}),
        }
        await self._patch_status(victim, {"conditions": [condition]})
        try:
            await self._client.delete(PODS, victim.name, victim.namespace, uid=victim.uid, wants_answer=False)
        except ApiError as error:
            if error.code not in (404, 409):
                raise
            return
        self._event(
            victim, "Normal", "Preempted", f"Preempted by pod {preemptor.uid} on node {node}", preemptor.scheduler
        )

    async def _patch_status(self, pod: Pod, status: dict[str, Any]) -> None:
        try:
            await self._client.patch(
                PODS,
                pod.name,
                {"metadata": {"uid": pod.uid}, "status": status},
                pod.namespace,
                subresource="status",
                patch_type="application/strategic-merge-patch+json",
                wants_answer=False,
            )
        except ApiError as error:
            if error.code not in (404, 409):
                raise
            log.debug("status of pod %s: %s", pod.key, error)

    def _event(self, pod: Pod, type: str, reason: str, message: str, scheduler: str) -> None:
        regarding = self._lookup(pod.name, pod.namespace)
        if regarding is None:
            metadata = {"name": pod.name, "namespace": pod.namespace, "uid": pod.uid}
            regarding = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata}
        self._events[scheduler].event(regarding, type, reason, message)


def _observed(pod: Object) -> dict[str, Any]:
    """Of which generation a condition speaks."""
    generation = (pod.get("metadata") or {}).get("generation")
    return {"observedGeneration": generation} if generation else {}
