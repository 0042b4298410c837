"""PersistentVolumeClaimResize: a claim grows only when it is bound and its storage class allows expansion."""

from __future__ import annotations

from twinplane.controlplane.admission.contract import AdmissionRequest, ObjectReader
from twinplane.controlplane.admission.plugin import Plugin, amount, body_of, concerns, refuse
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.resources import PERSISTENT_VOLUME_CLAIMS, STORAGE_CLASSES


class PersistentVolumeClaimResize(Plugin):
    name = "PersistentVolumeClaimResize"
    by_type = True

    def __init__(self, reader: ObjectReader) -> None:
        self._reader = reader

    def handles(self, request: AdmissionRequest) -> bool:
        return concerns(request, PERSISTENT_VOLUME_CLAIMS, "UPDATE")

    async def validate(self, request: AdmissionRequest) -> None:
        old = request.old or {}
        before, after = _requested(old), _requested(body_of(request))
        if before is None or after is None or amount(after) <= amount(before):
            return
        if (old.get("status") or {}).get("phase") != "Bound":
            raise refuse(request, "Only bound persistent volume claims can be expanded")
        name = (old.get("spec") or {}).get("storageClassName") or ""
        found = self._reader.get(STORAGE_CLASSES, name) if name else None
        if found is None or not found.get("allowVolumeExpansion"):
            raise refuse(
                request,
                "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must "
                "support resize",
            )


def _requested(claim: Object) -> object:
    return (((claim.get("spec") or {}).get("resources") or {}).get("requests") or {}).get("storage")
