"""Reading claims, volumes and storage classes, for every controller that deals with them. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from twinplane.kubeclient import quantity
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.meta import annotations_of, created_at, name_of, namespace_of, uid_of

BIND_COMPLETED = "pv.kubernetes.io/bind-completed"
BOUND_BY_CONTROLLER = "pv.kubernetes.io/bound-by-controller"
PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"
STORAGE_PROVISIONER = "volume.kubernetes.io/storage-provisioner"
BETA_STORAGE_PROVISIONER = "volume.beta.kubernetes.io/storage-provisioner"
STORAGE_RESIZER = "volume.kubernetes.io/storage-resizer"
SELECTED_NODE = "volume.kubernetes.io/selected-node"
BETA_CLASS = "volume.beta.kubernetes.io/storage-class"
DEFAULT_CLASS = ("storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class")
MIGRATED_PROVISIONERS = {
    "kubernetes.io/aws-ebs": "ebs.csi.aws.com",
    "kubernetes.io/gce-pd": "pd.csi.storage.gke.io",
    "kubernetes.io/azure-disk": "disk.csi.azure.com",
    "kubernetes.io/azure-file": "file.csi.azure.com",
    "kubernetes.io/cinder": "cinder.csi.openstack.org",
    "kubernetes.io/vsphere-volume": "csi.vsphere.vmware.com",
    "kubernetes.io/portworx-volume": "pxd.portworx.com",
}
"""In-tree provisioners whose work a CSI driver does."""


def class_of(body: Object) -> str:
    """Of a claim or a volume; empty for none."""
    legacy = annotations_of(body).get(BETA_CLASS)
    return legacy if legacy is not None else str((body.get("spec") or {}).get("storageClassName") or "")


def has_class(claim: Object) -> bool:
    """An empty class is a choice, too: no dynamic provisioning."""
    return BETA_CLASS in annotations_of(claim) or claim["spec"].get("storageClassName") is not None


def default_class(classes: Iterable[Object]) -> Object | None:
    """The youngest of those that are marked as default; of equals the first by name."""
    marked = [body for body in classes if any(annotations_of(body).get(key) == "true" for key in DEFAULT_CLASS)]
    return min(marked, key=lambda body: (-created_at(body), name_of(body)), default=None)


def waits_for_consumer(storage_class: Object | None) -> bool:
    return storage_class is not None and storage_class.get("volumeBindingMode") == "WaitForFirstConsumer"


def volume_mode(body: Object) -> str:
    return str(body["spec"].get("volumeMode") or "Filesystem")


def requested(claim: Object) -> int:
    """In bytes."""
    amount = ((claim["spec"].get("resources") or {}).get("requests") or {}).get("storage", 0)
    return quantity.whole(amount)


def capacity(volume: Object) -> int:
    return quantity.whole((volume["spec"].get("capacity") or {}).get("storage", 0))


def access_modes(body: Object) -> frozenset[str]:
    return frozenset(body["spec"].get("accessModes") or ())


def claim_reference(volume: Object) -> dict[str, Any] | None:
    reference: dict[str, Any] | None = volume["spec"].get("claimRef")
    return reference


def is_bound_to(volume: Object, claim: Object) -> bool:
    """Also true of a volume that its owner keeps for the claim (no uid yet)."""
    reference = claim_reference(volume)
    if reference is None:
        return False
    same = (reference.get("namespace"), reference.get("name")) == (namespace_of(claim), name_of(claim))
    return same and reference.get("uid") in (None, "", uid_of(claim))


def provisioner_of(storage_class: Object) -> str:
    name = str(storage_class.get("provisioner", ""))
    return MIGRATED_PROVISIONERS.get(name, name)


def claims_of(pod: Object) -> list[str]:
    """Names of the claims that a pod mounts, those of its ephemeral volumes included."""
    found = []
    for volume in pod["spec"].get("volumes") or []:
        if volume.get("persistentVolumeClaim"):
            found.append(str(volume["persistentVolumeClaim"].get("claimName", "")))
        elif volume.get("ephemeral"):
            found.append(f"{name_of(pod)}-{volume['name']}")
    return found


BY_CLAIM = "claim"


def by_claim(pod: Object) -> Iterable[str]:
    """Index of pods by `namespace/claim`."""
    return [f"{namespace_of(pod)}/{claim}" for claim in claims_of(pod)]
