"""Eyes on the runtime: which pods have changed (each second), and what one pod is made of now.

containerd tells of changes only from 1.7 on, so all is listed each second, which is two cheap calls; after its own
actions a worker looks at once. What a status says cannot change while its state stays, so it is asked for once.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from cri_api.v1 import api_pb2 as cri

from twinplane.dataplane.kubelet.pods.state import (
    POD_NAME_LABEL,
    POD_NAMESPACE_LABEL,
    POD_UID_LABEL,
    ContainerState,
    PodState,
    SandboxState,
    container_state,
    pod_state,
    sandbox_state,
)
from twinplane.dataplane.kubelet.pods.termination_message import termination_message
from twinplane.dataplane.runtime.contract import Runtime, RuntimeFailure

RELIST_SECONDS: Final = 1.0
Fingerprint = frozenset[tuple[str, int]]


class Observer:
    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._containers: dict[str, tuple[int, ContainerState]] = {}
        """By id, with CRI's state when it was asked for."""
        self._sandboxes: dict[str, tuple[int, SandboxState]] = {}
        self._seen: dict[str, Fingerprint] = {}
        self.names: dict[str, tuple[str, str]] = {}
        """Namespace and name of each pod that the runtime knows, by uid."""

    async def relist(self) -> set[str]:
        """UIDs of the pods that have changed since the last time. Raises `RuntimeFailure`."""
        sandboxes = await self._runtime.list_pod_sandboxes()
        containers = await self._runtime.list_containers()
        found: dict[str, set[tuple[str, int]]] = {}
        names: dict[str, tuple[str, str]] = {}
        items: list[cri.PodSandbox | cri.Container] = [*sandboxes, *containers]
        for item in items:
            uid = item.labels.get(POD_UID_LABEL, "")
            if uid:
                found.setdefault(uid, set()).add((item.id, item.state))
                names[uid] = (item.labels.get(POD_NAMESPACE_LABEL, ""), item.labels.get(POD_NAME_LABEL, ""))
        now = {uid: frozenset(states) for uid, states in found.items()}
        changed = {uid for uid in now.keys() | self._seen.keys() if now.get(uid) != self._seen.get(uid)}
        self._seen, self.names = now, names
        self._forget({item.id for item in containers}, {item.id for item in sandboxes})
        return changed

    async def observe(self, uid: str) -> PodState:
        """Raises `RuntimeFailure`."""
        labels = {POD_UID_LABEL: uid}
        sandboxes = await self._runtime.list_pod_sandboxes(cri.PodSandboxFilter(label_selector=labels))
        containers = await self._runtime.list_containers(cri.ContainerFilter(label_selector=labels))
        boxes = [await self._sandbox(item) for item in sandboxes]
        states = [await self._container(item) for item in containers]
        return pod_state((box for box in boxes if box), (state for state in states if state))

    async def _sandbox(self, item: cri.PodSandbox) -> SandboxState | None:
        known = self._sandboxes.get(item.id)
        if known is not None and known[0] == item.state and (known[1].ips or known[1].host_network):
            return known[1]
        try:
            status = (await self._runtime.pod_sandbox_status(item.id)).status
        except RuntimeFailure as error:
            if error.not_found:
                return None
            raise
        made = sandbox_state(status)
        self._sandboxes[item.id] = (status.state, made)
        return made

    async def _container(self, item: cri.Container) -> ContainerState | None:
        known = self._containers.get(item.id)
        if known is not None and known[0] == item.state:
            return known[1]
        try:
            status = (await self._runtime.container_status(item.id)).status
        except RuntimeFailure as error:
            if error.not_found:
                return None
            raise
        made = container_state(status, item.pod_sandbox_id)
        if made.state == "exited":
            text = made.message + termination_message(status)
            made = replace(made, message=text)
        self._containers[item.id] = (status.state, made)
        return made

    def _forget(self, containers: set[str], sandboxes: set[str]) -> None:
        for key in self._containers.keys() - containers:
            del self._containers[key]
        for key in self._sandboxes.keys() - sandboxes:
            del self._sandboxes[key]
