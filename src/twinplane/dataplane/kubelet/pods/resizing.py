"""In-place resize: what containers have been given, against what their pods ask for now. Source: KEP-1287.

What was given is kept on disk, as upstream keeps its actuated state: the runtime does not tell what it set.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from twinplane.dataplane.kubelet.containers.cgroups import Cgroups
from twinplane.dataplane.kubelet.containers.resources import Amounts, container_resources, pod_requests
from twinplane.dataplane.kubelet.events import PodEvents
from twinplane.dataplane.kubelet.node.facts import NodeFacts
from twinplane.dataplane.kubelet.pods.spec import Container, containers_of, init_containers_of, is_sidecar
from twinplane.dataplane.kubelet.pods.state import PodState
from twinplane.dataplane.kubelet.sources.disk import DiskTable
from twinplane.dataplane.kubelet.status.conditions import Verdict
from twinplane.dataplane.runtime.contract import Runtime, RuntimeFailure
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.meta import uid_of
from twinplane.kubeclient.quantity import milli, whole

Given = dict[str, dict[str, Any]]
"""By container: the resources, as in the spec, with which it was started or resized."""
RESIZABLE = ("cpu", "memory")


class Resizer:
    """`others` are the requests of the node's other pods that are not over."""

    def __init__(
        self,
        runtime: Runtime,
        *,
        cgroups: Cgroups,
        events: PodEvents,
        node: NodeFacts,
        disk: DiskTable,
        others: Callable[[str], list[Amounts]],
    ) -> None:
        self._runtime = runtime
        self._cgroups = cgroups
        self._events = events
        self._node = node
        self._disk = disk
        self._others = others
        self._given: dict[str, Given] = {uid: given for uid, given in disk.items() if isinstance(given, dict)}
        self._failures: dict[str, str] = {}

    def actual(self, uid: str) -> Given:
        return self._given.get(uid, {})

    def forget(self, uid: str) -> None:
        self._given.pop(uid, None)
        self._failures.pop(uid, None)
        self._disk.remove(uid)

    def started(self, uid: str, container: Container) -> None:
        """With these resources: the pod may ask for others by the time the container is seen to run."""
        given = self._given.setdefault(uid, {})
        given[container["name"]] = container.get("resources") or {}
        self._disk.put(uid, given)

    def wanted(self, pod: Object, state: PodState) -> tuple[dict[str, str], dict[str, Verdict]]:
        """By container `update` or `restart`, and the conditions that tell of a resize."""
        uid = uid_of(pod)
        given = self._given.setdefault(uid, {})
        changes: dict[str, str] = {}
        for container in _resizable(pod):
            name = container["name"]
            current = state.latest(name)
            asked = container.get("resources") or {}
            if current is None or not current.running:
                # `started` has said what the next one has, before it is seen to run.
                continue
            if name not in given:
                given[name] = asked
            elif given[name] != asked:
                changes[name] = _way(container, given[name])
        if any(given.values()):
            self._disk.put(uid, given)
        if not changes:
            self._failures.pop(uid, None)
            return {}, {}
        refusal = self._refusal(pod)
        if refusal is not None:
            return {}, {"PodResizePending": (True, *refusal)}
        failure = self._failures.get(uid, "")
        return changes, {"PodResizeInProgress": (True, "Error" if failure else "", failure)}

    async def resize(self, pod: Object, container: Container, state: PodState) -> None:
        uid, name = uid_of(pod), container["name"]
        current = state.latest(name)
        if current is None:
            return
        resources = container_resources(pod, container, self._node.memory_capacity, unified=self._cgroups.unified)
        if not resources.cpu_quota:
            # Zero would leave the old limit in place.
            resources.cpu_quota = -1
        self._cgroups.apply(pod)
        try:
            await self._runtime.update_container_resources(current.id, resources)
        except RuntimeFailure as error:
            self._failures[uid] = str(error)
            self._events.warning(pod, "ResizeError", f"Error resizing container {name}: {error}", container)
            return
        self._failures.pop(uid, None)
        self._given[uid][name] = container.get("resources") or {}
        self._disk.put(uid, self._given[uid])

    def _refusal(self, pod: Object) -> tuple[str, str] | None:
        """Reason and message when the node cannot give it: never (Infeasible), or not now (Deferred)."""
        asked, others = pod_requests(pod), self._others(uid_of(pod))
        for name in RESIZABLE:
            there = _allocatable(self._node.allocatable, name)
            amount = asked.get(name, 0)
            if amount > there:
                text = f"Node didn't have enough capacity: {name}, requested: {amount}, capacity: {there}"
                return "Infeasible", text
            used = sum(other.get(name, 0) for other in others)
            if amount + used > there:
                text = f"resource: {name}, requested: {amount}, used: {used}, capacity: {there}"
                return "Deferred", f"Node didn't have enough resource: {text.removeprefix('resource: ')}"
        return None


def _resizable(pod: Object) -> list[Container]:
    return [*containers_of(pod), *(item for item in init_containers_of(pod) if is_sidecar(item))]


def _allocatable(allocatable: Mapping[str, str], name: str) -> int:
    text = allocatable.get(name, "0")
    return milli(text) if name == "cpu" else whole(text)


def _way(container: Container, before: dict[str, Any]) -> str:
    """Whether the change of one of the resources asks for a restart."""
    asked = container.get("resources") or {}
    policies = {item["resourceName"]: item.get("restartPolicy") for item in container.get("resizePolicy") or ()}
    for name in RESIZABLE:
        changed = any(
            (before.get(kind) or {}).get(name) != (asked.get(kind) or {}).get(name) for kind in ("requests", "limits")
        )
        if changed and policies.get(name) == "RestartContainer":
            return "restart"
    return "update"
