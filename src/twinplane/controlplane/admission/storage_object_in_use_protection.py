"""StorageObjectInUseProtection: volumes and claims get the finalizer that keeps them while they are in use."""

from __future__ import annotations

from twinplane.controlplane.admission.contract import AdmissionRequest
from twinplane.controlplane.admission.plugin import Plugin, metadata_of
from twinplane.kubeclient.resources import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES

FINALIZERS = {
    ("", PERSISTENT_VOLUMES.plural): "kubernetes.io/pv-protection",
    ("", PERSISTENT_VOLUME_CLAIMS.plural): "kubernetes.io/pvc-protection",
    ("storage.k8s.io", "volumeattributesclasses"): "kubernetes.io/vac-protection",
}


class StorageObjectInUseProtection(Plugin):
    name = "StorageObjectInUseProtection"
    by_type = True

    def handles(self, request: AdmissionRequest) -> bool:
        return (
            request.operation == "CREATE"
            and not request.subresource
            and (request.resource.group, request.resource.plural) in FINALIZERS
        )

    async def admit(self, request: AdmissionRequest) -> None:
        metadata = metadata_of(request)
        finalizer = FINALIZERS[request.resource.group, request.resource.plural]
        finalizers = metadata.get("finalizers") or []
        if finalizer not in finalizers:
            metadata["finalizers"] = [*finalizers, finalizer]
