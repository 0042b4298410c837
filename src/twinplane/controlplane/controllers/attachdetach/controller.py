"""Asks for the disks of pods to be attached to their nodes, and detached when no pod there needs them.

A VolumeAttachment is the request; the attacher of the CSI driver answers in its status. One key is one node: what its
pods need is compared with the attachments that name it. A disk that the kubelet still has mounted is left alone, for
six minutes at most if the node is lost.
"""

from __future__ import annotations

from collections.abc import Callable

from twinplane.controlplane.controllers.attachdetach.attachments import (
    Disk,
    attached,
    disk_of,
    in_use,
    is_healthy,
    is_out_of_service,
    needs_volumes,
)
from twinplane.controlplane.controllers.contract import Context, Enqueue, Key
from twinplane.controlplane.controllers.persistentvolume.volumes import BY_CLAIM, by_claim, claims_of
from twinplane.controlplane.controllers.status import write_status
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.indexes import BY_NODE, by_node
from twinplane.kubeclient.meta import is_deleting, name_of, namespace_of
from twinplane.kubeclient.resources import (
    CSI_DRIVERS,
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    PODS,
    VOLUME_ATTACHMENTS,
)

UNMOUNT_SECONDS = 360.0
"""After that long a disk is taken from a node that is not ready."""
RETRY_SECONDS = 15.0
BY_VOLUME = "volume"


class AttachDetachController:
    name = "attachdetach-controller"
    workers = 4

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._clock = context.clock
        self._events = context.events
        self._pods = context.informers.of(PODS)
        self._nodes = context.informers.of(NODES)
        self._claims = context.informers.of(PERSISTENT_VOLUME_CLAIMS)
        self._volumes = context.informers.of(PERSISTENT_VOLUMES)
        self._drivers = context.informers.of(CSI_DRIVERS)
        self._attachments = context.informers.of(VOLUME_ATTACHMENTS)
        self._pods.add_index(BY_NODE, by_node)
        self._pods.add_index(BY_CLAIM, by_claim)
        self._attachments.add_index(BY_NODE, by_node)
        self._attachments.add_index(BY_VOLUME, lambda body: (_source(body),))
        self._unneeded: dict[str, float] = {}
        """Attachment -> since when no pod of its node needs it."""

    def watch(self, enqueue: Enqueue) -> None:
        def node(name: str) -> None:
            if name:
                enqueue(Key("", name))

        def pod_changed(old: Object | None, new: Object | None) -> None:
            body = new or old
            if body is None or not claims_of(body):
                return
            if old is None or new is None or needs_volumes(old) != needs_volumes(new):
                node(body["spec"].get("nodeName", ""))

        def node_changed(old: Object | None, new: Object | None) -> None:
            if old is None or new is None or _relevant(old) != _relevant(new):
                node(name_of(new or old or {"metadata": {}}))

        def attachment_changed(old: Object | None, new: Object | None) -> None:
            body = new or old
            assert body is not None
            node(body["spec"]["nodeName"])
            if new is None:
                self._unneeded.pop(name_of(body), None)
                self._offer(_source(body), node)

        self._pods.add_handler(pod_changed)
        self._nodes.add_handler(node_changed)
        self._attachments.add_handler(attachment_changed)
        self._watch_storage(node)

    def _watch_storage(self, node: Callable[[str], None]) -> None:
        """A claim that becomes bound lets pods have their disk."""

        def claim_changed(old: Object | None, new: Object | None) -> None:
            if new is not None and (old is None or _bound(old) != _bound(new)):
                for pod in self._pods.by_index(BY_CLAIM, f"{namespace_of(new)}/{name_of(new)}"):
                    node(pod["spec"].get("nodeName", ""))

        def volume_changed(old: Object | None, new: Object | None) -> None:
            if new is not None and (old is None or old["spec"].get("claimRef") != new["spec"].get("claimRef")):
                self._offer(name_of(new), node)

        self._claims.add_handler(claim_changed)
        self._volumes.add_handler(volume_changed)

    def _offer(self, volume_name: str, node: Callable[[str], None]) -> None:
        """Tell the nodes whose pods may wait for a disk."""
        volume = self._volumes.get(volume_name)
        reference = (volume or {"spec": {}})["spec"].get("claimRef")
        if reference:
            for pod in self._pods.by_index(BY_CLAIM, f"{reference.get('namespace', '')}/{reference['name']}"):
                node(pod["spec"].get("nodeName", ""))

    async def reconcile(self, key: Key) -> float | None:
        needed = self._needed(key.name)
        node = self._nodes.get(key.name)
        waits = [await self._detach(entry, node, needed) for entry in self._attachments.by_index(BY_NODE, key.name)]
        if node is not None:
            waits += [await self._attach(disk, key.name, pods) for disk, pods in needed.items()]
            await self._report(node)
        return min((wait for wait in waits if wait is not None), default=None)

    def _needed(self, node: str) -> dict[Disk, list[Object]]:
        """Disk -> the pods on the node that mount it."""
        found: dict[Disk, list[Object]] = {}
        for pod in self._pods.by_index(BY_NODE, node):
            if not needs_volumes(pod):
                continue
            for name in claims_of(pod):
                disk = self._disk(namespace_of(pod), name)
                if disk is not None:
                    found.setdefault(disk, []).append(pod)
        return found

    def _disk(self, namespace: str, claim_name: str) -> Disk | None:
        claim = self._claims.get(claim_name, namespace)
        bound = claim is not None and (claim.get("status") or {}).get("phase") == "Bound"
        volume = self._volumes.get(claim["spec"].get("volumeName", "")) if claim is not None and bound else None
        disk = disk_of(volume) if volume is not None else None
        if disk is None:
            return None
        driver = self._drivers.get(disk.driver)
        if driver is not None and driver["spec"].get("attachRequired") is False:
            return None
        return disk

    # -- attaching -----------------------------------------------------------------------------------------------

    async def _attach(self, disk: Disk, node: str, pods: list[Object]) -> float | None:
        name = disk.attachment_name(node)
        present = self._attachments.get(name)
        if present is not None:
            self._tell_failure(disk, pods, present)
            return None
        others = [entry for entry in self._attachments.by_index(BY_VOLUME, disk.volume) if name_of(entry) != name]
        if others and not disk.shared:
            self._refuse(disk, pods, others)
            return RETRY_SECONDS
        source = {"persistentVolumeName": disk.volume}
        spec = {"attacher": disk.driver, "nodeName": node, "source": source}
        try:
            await self._client.create(VOLUME_ATTACHMENTS, {"metadata": {"name": name}, "spec": spec})
        except ApiError as error:
            if error.reason != "AlreadyExists":
                message = f'AttachVolume.Attach failed for volume "{disk.volume}" : {error.message}'
                self._tell(pods, "Warning", "FailedAttachVolume", message)
                raise
        return None

    def _tell_failure(self, disk: Disk, pods: list[Object], attachment: Object) -> None:
        status = attachment.get("status") or {}
        failure = (status.get("attachError") or {}).get("message")
        if failure and not status.get("attached"):
            message = f'AttachVolume.Attach failed for volume "{disk.volume}" : {failure}'
            self._tell(pods, "Warning", "FailedAttachVolume", message)

    def _refuse(self, disk: Disk, pods: list[Object], others: list[Object]) -> None:
        names = sorted(
            name_of(pod)
            for entry in others
            for pod in self._needed(entry["spec"]["nodeName"]).get(disk, [])
            if namespace_of(pod) == namespace_of(pods[0])
        )
        if names:
            why = f"Volume is already used by pod(s) {', '.join(names)}"
        else:
            why = "Volume is already exclusively attached to one node and can't be attached to another"
        self._tell(pods, "Warning", "FailedAttachVolume", f'Multi-Attach error for volume "{disk.volume}" {why}')

    def _tell(self, pods: list[Object], type: str, reason: str, message: str) -> None:
        for pod in pods:
            self._events.event(pod, type, reason, message)

    async def _report(self, node: Object) -> None:
        """Tell the kubelet, which waits for it, and the pods."""
        disks = []
        for entry in self._attachments.by_index(BY_NODE, name_of(node)):
            volume = self._volumes.get(_source(entry))
            disk = disk_of(volume) if volume is not None else None
            if disk is not None and (entry.get("status") or {}).get("attached") and not is_deleting(entry):
                disks.append(disk)
        before = (node.get("status") or {}).get("volumesAttached") or []
        now = attached(disks)
        if now == before:
            return
        status = {**(node.get("status") or {}), "volumesAttached": now}
        if not now:
            del status["volumesAttached"]
        await write_status(self._client, NODES, node, status)
        known = {entry["name"] for entry in before}
        needed = self._needed(name_of(node))
        for disk in disks:
            if disk.unique_name not in known:
                message = f'AttachVolume.Attach succeeded for volume "{disk.volume}" '
                self._tell(needed.get(disk, []), "Normal", "SuccessfulAttachVolume", message)

    # -- detaching -----------------------------------------------------------------------------------------------

    async def _detach(self, entry: Object, node: Object | None, needed: dict[Disk, list[Object]]) -> float | None:
        name = name_of(entry)
        volume = self._volumes.get(_source(entry))
        disk = disk_of(volume) if volume is not None else None
        if disk is None or name != disk.attachment_name(entry["spec"]["nodeName"]):
            # Somebody else's, who asked for it for reasons of their own.
            return None
        if is_deleting(entry) or disk in needed:
            self._unneeded.pop(name, None)
            return None
        since = self._unneeded.setdefault(name, self._clock.now())
        wait = self._patience(node, disk, since)
        if wait is not None and wait > 0:
            return wait
        try:
            await self._client.delete(VOLUME_ATTACHMENTS, name)
        except ApiError as error:
            if error.code != 404:
                raise
        return None

    def _patience(self, node: Object | None, disk: Disk | None, since: float) -> float | None:
        """Seconds for which a disk that nobody needs is left to a node that still has it mounted."""
        if node is None or disk is None or disk.unique_name not in in_use(node) or is_out_of_service(node):
            return None
        if is_healthy(node):
            # The kubelet will say when it is done, which is an event.
            return UNMOUNT_SECONDS
        return since + UNMOUNT_SECONDS - self._clock.now()


def _source(attachment: Object) -> str:
    return str(attachment["spec"]["source"].get("persistentVolumeName", ""))


def _bound(claim: Object) -> tuple[object, ...]:
    return claim["spec"].get("volumeName"), (claim.get("status") or {}).get("phase")


def _relevant(node: Object) -> tuple[object, ...]:
    attached_now = (node.get("status") or {}).get("volumesAttached")
    return in_use(node), attached_now, is_healthy(node), is_out_of_service(node)
