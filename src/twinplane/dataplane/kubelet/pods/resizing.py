"""In-place resize: what containers have been given, against what their pods have been allotted. Source: KEP-1287.

What was given is kept on disk, as upstream keeps its actuated state: the runtime does not tell what it set. Whether a
pod may have what it asks for is decided in `allocation.py`; pods come here as they have been allotted.
"""

from __future__ import annotations

from typing import Any

from twinplane.dataplane.kubelet.containers.cgroups import Cgroups
from twinplane.dataplane.kubelet.containers.resources import container_resources
from twinplane.dataplane.kubelet.events import PodEvents, resize_message
from twinplane.dataplane.kubelet.node.facts import NodeFacts
from twinplane.dataplane.kubelet.pods.spec import Container, containers_of, init_containers_of, is_sidecar
from twinplane.dataplane.kubelet.pods.state import PodState
from twinplane.dataplane.kubelet.sources.disk import DiskTable
from twinplane.dataplane.kubelet.status.conditions import Verdict
from twinplane.dataplane.runtime.contract import Runtime, RuntimeFailure
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.meta import uid_of

Given = dict[str, dict[str, Any]]
"""By container: the resources, as in the spec, with which it was started or resized."""
RESIZABLE = ("cpu", "memory")


class Resizer:
    def __init__(
        self, runtime: Runtime, *, cgroups: Cgroups, events: PodEvents, node: NodeFacts, disk: DiskTable
    ) -> None:
        self._runtime = runtime
        self._cgroups = cgroups
        self._events = events
        self._node = node
        self._disk = disk
        self._given: dict[str, Given] = {uid: given for uid, given in disk.items() if isinstance(given, dict)}
        self._failures: dict[str, str] = {}
        self._begun: dict[str, int] = {}
        """The generation of a resize that is under way, by uid."""

    def actual(self, uid: str) -> Given:
        return self._given.get(uid, {})

    def forget(self, uid: str) -> None:
        self._given.pop(uid, None)
        self._failures.pop(uid, None)
        self._begun.pop(uid, None)
        self._disk.remove(uid)

    def begin(self, uid: str, generation: int) -> None:
        """The pod has been allotted other resources."""
        self._failures.pop(uid, None)
        self._begun[uid] = generation

    def started(self, uid: str, container: Container) -> None:
        """With these resources: the pod may ask for others by the time the container is seen to run."""
        given = self._given.setdefault(uid, {})
        given[container["name"]] = container.get("resources") or {}
        self._disk.put(uid, given)

    def wanted(self, pod: Object, state: PodState) -> tuple[dict[str, str], dict[str, Verdict]]:
        """By container `update` or `restart`, and the condition that tells of it."""
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
        generation = self._begun.get(uid, int(pod["metadata"].get("generation") or 0))
        if not changes:
            self._failures.pop(uid, None)
            if self._begun.pop(uid, None) is not None:
                message = resize_message("Pod resize completed", pod, generation)
                self._events.normal(pod, "ResizeCompleted", message)
            return {}, {}
        self._begun[uid] = generation
        failure = self._failures.get(uid, "")
        return changes, {"PodResizeInProgress": (True, "Error" if failure else "", failure)}

    async def resize(self, pod: Object, container: Container, state: PodState) -> bool:
        """False when the runtime would not."""
        uid, name = uid_of(pod), container["name"]
        current = state.latest(name)
        if current is None:
            return True
        resources = container_resources(pod, container, self._node.memory_capacity, unified=self._cgroups.unified)
        if not resources.cpu_quota:
            # Zero would leave the old limit in place.
            resources.cpu_quota = -1
        self._cgroups.apply(pod)
        try:
            await self._runtime.update_container_resources(current.id, resources)
        except RuntimeFailure as error:
            if self._failures.get(uid) != str(error):
                generation = self._begun.get(uid, 0)
                message = resize_message("Pod resize error", pod, generation, str(error))
                self._events.warning(pod, "ResizeError", message)
            self._failures[uid] = str(error)
            return False
        self._failures.pop(uid, None)
        self._given[uid][name] = container.get("resources") or {}
        self._disk.put(uid, self._given[uid])
        return True


def _resizable(pod: Object) -> list[Container]:
    return [*containers_of(pod), *(item for item in init_containers_of(pod) if is_sidecar(item))]


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
