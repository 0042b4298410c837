"""DefaultStorageClass and DefaultIngressClass: what names no class gets the one that is marked as default."""

from __future__ import annotations

from collections.abc import Sequence

from twinplane.controlplane.admission.contract import AdmissionRequest, ObjectReader
from twinplane.controlplane.admission.plugin import Plugin, annotation, body_of, concerns, spec_of
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.resources import (
    INGRESS_CLASSES,
    INGRESSES,
    PERSISTENT_VOLUME_CLAIMS,
    STORAGE_CLASSES,
)

_STORAGE_DEFAULTS = (
    "storageclass.kubernetes.io/is-default-class",
    "storageclass.beta.kubernetes.io/is-default-class",
)
_STORAGE_BETA = "volume.beta.kubernetes.io/storage-class"
_INGRESS_LEGACY = "kubernetes.io/ingress.class"
_INGRESS_DEFAULT = "ingressclass.kubernetes.io/is-default-class"


class DefaultStorageClass(Plugin):
    name = "DefaultStorageClass"
    by_type = True

    def __init__(self, reader: ObjectReader) -> None:
        self._reader = reader

    def handles(self, request: AdmissionRequest) -> bool:
        return concerns(request, PERSISTENT_VOLUME_CLAIMS, "CREATE")

    async def admit(self, request: AdmissionRequest) -> None:
        body, spec = body_of(request), spec_of(request)
        # An empty name is a choice of its own: no class, a volume made by hand.
        if spec.get("storageClassName") is not None or annotation(body, _STORAGE_BETA) is not None:
            return
        name = _default(self._reader.list(STORAGE_CLASSES), _STORAGE_DEFAULTS)
        if name:
            spec["storageClassName"] = name


class DefaultIngressClass(Plugin):
    name = "DefaultIngressClass"
    by_type = True

    def __init__(self, reader: ObjectReader) -> None:
        self._reader = reader

    def handles(self, request: AdmissionRequest) -> bool:
        return concerns(request, INGRESSES, "CREATE")

    async def admit(self, request: AdmissionRequest) -> None:
        body, spec = body_of(request), spec_of(request)
        if spec.get("ingressClassName") is not None or annotation(body, _INGRESS_LEGACY) is not None:
            return
        name = _default(self._reader.list(INGRESS_CLASSES), (_INGRESS_DEFAULT,))
        if name:
            spec["ingressClassName"] = name


def _default(classes: Sequence[Object], annotations: Sequence[str]) -> str:
    """The newest that is marked as default, and the first by name among equals; empty when there is none."""
    made: dict[str, str] = {
        each["metadata"]["name"]: str(each["metadata"].get("creationTimestamp", ""))
        for each in classes
        if any(annotation(each, key) == "true" for key in annotations)
    }
    newest = max(made.values(), default="")
    return min((name for name, at in made.items() if at == newest), default="")
