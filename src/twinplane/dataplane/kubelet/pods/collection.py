"""The pods of this node: a worker each, fed by the sources, woken by the runtime; and what others may see of them.

Implements `RunningPods`. Sources call `apply` and `remove`; the runtime's changes come by `look`. What no source knows
but runs (or is mounted) is stopped and taken away, once the sources are complete.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from twinplane.dataplane.kubelet.admission import NodeState, refusal
from twinplane.dataplane.kubelet.contract import log_directory, pod_directory
from twinplane.dataplane.kubelet.pods.allocation import (
    FIRST_RETRY_SECONDS,
    RETRY_SECONDS,
    resources_of,
)
from twinplane.dataplane.kubelet.pods.launching import remove_log_links
from twinplane.dataplane.kubelet.pods.observer import RELIST_SECONDS
from twinplane.dataplane.kubelet.pods.spec import is_finished, is_static
from twinplane.dataplane.kubelet.pods.worker import PodWorker, WorkerParts
from twinplane.dataplane.kubelet.sources.disk import DiskTable
from twinplane.dataplane.kubelet.sources.references import References
from twinplane.dataplane.kubelet.status.conditions import Verdict
from twinplane.dataplane.kubelet.status.writer import StatusWriter
from twinplane.dataplane.runtime.contract import RuntimeFailure
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.meta import is_deleting, uid_of

log = logging.getLogger(__name__)

ORPHAN_SECONDS = 30.0
EVICTION_GRACE_SECONDS = 1.0
"""The node needs at once what the pod has."""
KEPT_STATUS = ("startTime", "qosClass")


class Pods:
    """`node_state` is what admission checks against, without the pods."""

    def __init__(
        self,
        *,
        writer: StatusWriter,
        references: References,
        checkpoints: DiskTable,
        node_state: Callable[[], NodeState],
    ) -> None:
        self._writer = writer
        self._references = references
        self._checkpoints = checkpoints
        self._node_state = node_state
        self._parts: WorkerParts | None = None
        self._workers: dict[str, PodWorker] = {}
        self._names: dict[tuple[str, str], str] = {}
        self._gone: set[str] = set()
        """Taken away here, and not yet from the API server."""
        self._group: asyncio.TaskGroup | None = None
        self.complete = False
        """All sources have been read, so what none of them has is not to run."""
        self.relisted_at = 0.0
        self.runtime_error = ""

    def equip(self, parts: WorkerParts) -> None:
        """Before `run`: workers report back to this collection, so one of the two must come first."""
        self._parts = parts

    async def run(self) -> None:
        """Workers, relist and orphans, until cancelled."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            for worker in self._workers.values():
                group.create_task(worker.run(), name=f"pod {worker.uid}")
            group.create_task(self._relist(), name="relist")
            group.create_task(self._clear_orphans(), name="orphans")
            group.create_task(self._retry_resizes_at_times(), name="deferred resizes")

    # -- RunningPods ---------------------------------------------------------------------------------------------

    def pods(self) -> list[Object]:
        """As they have been allotted: by that they are judged when the node runs short."""
        return [self._allotted(worker.pod) for worker in self._workers.values() if not worker.removed]

    def pod(self, namespace: str, name: str) -> Object | None:
        worker = self._workers.get(self._names.get((namespace, name), ""))
        return worker.pod if worker is not None else None

    def container_id(self, uid: str, container: str) -> str | None:
        worker = self._workers.get(uid)
        found = worker.state.latest(container) if worker is not None else None
        return found.id if found is not None else None

    def sandbox_id(self, uid: str) -> str | None:
        worker = self._workers.get(uid)
        sandbox = (worker.state.ready_sandbox or worker.state.sandbox) if worker is not None else None
        return sandbox.id if sandbox is not None else None

    async def evict(self, pod: Object, message: str, reason: str = "Evicted") -> None:
        worker = self._workers.get(uid_of(pod))
        if worker is None:
            return
        disruption: dict[str, Verdict] = {"DisruptionTarget": (True, "TerminationByKubelet", message)}
        worker.fail(reason, message, EVICTION_GRACE_SECONDS, disruption)
        await worker.finished.wait()

    # -- sources -------------------------------------------------------------------------------------------------

    def known(self, uid: str) -> bool:
        return uid in self._workers or uid in self._gone

    def uids(self) -> list[str]:
        return [uid for uid, worker in self._workers.items() if not worker.removed]

    def remembered(self) -> list[Object]:
        """The pods that this node had, from its disk."""
        return [pod for _, pod in self._checkpoints.items() if isinstance(pod, dict) and "spec" in pod]

    def apply(self, pod: Object, *, admitted: bool = False) -> None:
        """New or changed. `admitted` skips the check of a pod that had passed it."""
        uid = uid_of(pod)
        if uid in self._gone:
            return
        worker = self._workers.get(uid)
        self._references.register(pod)
        if worker is not None:
            resized = resources_of(worker.pod) != resources_of(pod)
            worker.update(pod)
            if resized:
                self.retry_resizes()
        else:
            self._add(pod, admitted=admitted)
        self._checkpoint(self._workers[uid].pod)

    def refresh(self, uid: str) -> None:
        """A ConfigMap or Secret that it names has changed."""
        if uid in self._workers:
            self._workers[uid].refresh()

    def remove(self, uid: str, last: Object | None = None) -> None:
        """No source has it any longer; `last` is how it was in the end."""
        self._gone.discard(uid)
        self._checkpoints.remove(uid)
        worker = self._workers.get(uid)
        if worker is None:
            self._writer.forget(uid)
            return
        if last is not None:
            worker.update(last)
        worker.remove()

    def _add(self, pod: Object, *, admitted: bool) -> None:
        assert self._parts is not None
        worker = PodWorker(pod, self._parts)
        status = pod.get("status") or {}
        if not (admitted or status.get("startTime") or is_deleting(pod)):
            held = (other.pod for other in self._workers.values() if not (other.ending or is_finished(other.pod)))
            found = refusal(pod, self._node_state()._replace(pods=[self._allotted(other) for other in held]))
            if found is not None:
                self._parts.events.warning(pod, found.reason, found.message)
                worker.fail(found.reason, f"Pod was rejected: {found.message}", None, {})
        if worker.failed is None:
            self._parts.allocations.admit(pod)
        if is_deleting(pod):
            worker.ending = True
        self._start(worker)

    def _start(self, worker: PodWorker) -> None:
        self._workers[worker.uid] = worker
        self._names[worker.title] = worker.uid
        worker.wake()
        if self._group is not None:
            self._group.create_task(worker.run(), name=f"pod {worker.uid}")

    def _checkpoint(self, pod: Object) -> None:
        if is_static(pod):
            return
        metadata = {
            key: pod["metadata"][key] for key in pod["metadata"] if key not in ("managedFields", "resourceVersion")
        }
        status = {key: value for key, value in (pod.get("status") or {}).items() if key in KEPT_STATUS}
        if is_finished(pod):
            status["phase"] = pod["status"]["phase"]
        self._checkpoints.put(uid_of(pod), {**pod, "metadata": metadata, "status": status})

    # -- resizes -------------------------------------------------------------------------------------------------

    def _allotted(self, pod: Object) -> Object:
        assert self._parts is not None
        return self._parts.allocations.of(pod)

    def retry_resizes(self) -> None:
        """There may be room for a resize that waits. Not before all pods are known: one of them may have that room."""
        assert self._parts is not None
        if self.complete:
            pods = [worker.pod for worker in self._workers.values()]
            for uid in self._parts.allocations.retry(pods, self._node_state()):
                if uid in self._workers:
                    self._workers[uid].wake()

    async def _retry_resizes_at_times(self) -> None:
        await asyncio.sleep(FIRST_RETRY_SECONDS)
        while True:
            self.retry_resizes()
            await asyncio.sleep(RETRY_SECONDS)

    # -- workers -------------------------------------------------------------------------------------------------

    def stopped(self, uid: str) -> None:
        """What the pod had is free."""
        assert self._parts is not None
        self._parts.allocations.forget(uid)
        self.retry_resizes()

    def ended(self, uid: str) -> None:
        """A worker's last word: nothing of its pod is left in the runtime, nothing is mounted."""
        worker = self._workers.pop(uid)
        if self._names.get(worker.title) == uid:
            del self._names[worker.title]
        self._references.unregister(uid)
        self._checkpoints.remove(uid)
        shutil.rmtree(log_directory(*worker.title, uid), ignore_errors=True)
        remove_log_links(worker.pod)
        _remove_directory(uid)
        if worker.removed:
            self._writer.forget(uid)
        else:
            self._gone.add(uid)
            self._writer.delete(uid)

    def report(self, uid: str, status: dict[str, Any]) -> None:
        self._writer.set(uid, status)

    # -- the runtime ---------------------------------------------------------------------------------------------

    async def _relist(self) -> None:
        assert self._parts is not None
        while True:
            try:
                changed = await self._parts.observer.relist()
            except RuntimeFailure as error:
                self.runtime_error = str(error)
            else:
                self.runtime_error = ""
                self.relisted_at = self._parts.clock.now()
                for uid in changed:
                    if uid in self._workers:
                        self._workers[uid].wake()
            await asyncio.sleep(RELIST_SECONDS)

    async def _clear_orphans(self) -> None:
        """What runs or is mounted and belongs to no pod: its pod was deleted while the agent was away."""
        assert self._parts is not None
        while True:
            await asyncio.sleep(RELIST_SECONDS)
            if not self.complete or self.runtime_error:
                continue
            for uid, (namespace, name) in list(self._parts.observer.names.items()):
                if uid not in self._workers:
                    self._adopt_to_remove(uid, namespace, name)
            for uid in {*await self._parts.volumes.left_behind(), *self._parts.cgroups.uids()}:
                if uid not in self._workers:
                    await self._parts.volumes.unmount(uid)
                    self._parts.cgroups.remove(uid)
                    _remove_directory(uid)
            await asyncio.sleep(ORPHAN_SECONDS)

    def _adopt_to_remove(self, uid: str, namespace: str, name: str) -> None:
        assert self._parts is not None
        log.info("pod %s/%s (%s) has been deleted: stopping what is left of it", namespace, name, uid)
        metadata = {"uid": uid, "namespace": namespace, "name": name}
        pod: Object = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": []}}
        worker = PodWorker({**pod, "status": {"phase": "Failed"}}, self._parts)
        worker.remove()
        self._workers[uid] = worker
        worker.wake()
        if self._group is not None:
            self._group.create_task(worker.run(), name=f"orphan {uid}")


def _remove_directory(uid: str) -> None:
    """What the pod loop has put there; volumes are gone by now, and what is not is never walked into."""
    directory = pod_directory(uid)
    shutil.rmtree(directory / "containers", ignore_errors=True)
    with suppress(OSError):
        (directory / "etc-hosts").unlink()
    for name in ("volumes", "volume-subpaths", "plugins", ""):
        with suppress(OSError):
            (directory / name).rmdir()
