"""Which volumes have to be attached to which nodes, and how attachments are named. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from typing import Any, NamedTuple

from twinplane.controlplane.controllers.persistentvolume.volumes import access_modes
from twinplane.controlplane.controllers.pods import is_terminal
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.meta import condition_of, name_of

EBS = "ebs.csi.aws.com"
OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"
KEEP_TERMINATED = "volumes.kubernetes.io/keep-terminated-pod-volumes"


class Disk(NamedTuple):
    """What a CSI driver attaches."""

    driver: str
    handle: str
    volume: str
    """Name of the PersistentVolume."""
    shared: bool
    """It may be attached to several nodes."""

    @property
    def unique_name(self) -> str:
        """As nodes list it in `status.volumesAttached` and `volumesInUse`."""
        return f"kubernetes.io/csi/{self.driver}^{self.handle}"

    def attachment_name(self, node: str) -> str:
        return f"csi-{sha256(f'{self.handle}{self.driver}{node}'.encode()).hexdigest()}"


def disk_of(volume: Object) -> Disk | None:
    """None for what no driver attaches (NFS, host paths)."""
    spec = volume["spec"]
    shared = bool(access_modes(volume) & {"ReadWriteMany", "ReadOnlyMany"})
    csi: dict[str, Any] | None = spec.get("csi")
    if csi is not None:
        return Disk(csi["driver"], csi["volumeHandle"], name_of(volume), shared)
    in_tree = spec.get("awsElasticBlockStore")
    if in_tree is not None:
        return Disk(EBS, str(in_tree["volumeID"]).rpartition("/")[2], name_of(volume), shared)
    return None


def needs_volumes(pod: Object) -> bool:
    return bool(pod["spec"].get("nodeName")) and not is_terminal(pod)


def is_healthy(node: Object) -> bool:
    ready = condition_of(node, "Ready")
    return ready is not None and ready["status"] == "True"


def is_out_of_service(node: Object) -> bool:
    return any(taint["key"] == OUT_OF_SERVICE for taint in node["spec"].get("taints") or [])


def in_use(node: Object) -> list[str]:
    return (node.get("status") or {}).get("volumesInUse") or []


def attached(disks: Iterable[Disk]) -> list[dict[str, str]]:
    """`status.volumesAttached`."""
    return [{"name": disk.unique_name, "devicePath": ""} for disk in sorted(disks, key=lambda disk: disk.unique_name)]
