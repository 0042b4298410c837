"""NamespaceLifecycle: nothing is created in a namespace that is absent or terminating; three may not be deleted."""

from __future__ import annotations

from twinplane.controlplane.admission.contract import AdmissionRequest, ObjectReader
from twinplane.controlplane.admission.plugin import Plugin, concerns, refuse
from twinplane.kubeclient.contract import KubeClient, Object
from twinplane.kubeclient.errors import ApiError, not_found
from twinplane.kubeclient.resources import NAMESPACES

IMMORTAL = frozenset(("default", "kube-system", "kube-public"))
_REVIEWS = frozenset(("localsubjectaccessreviews",))


class NamespaceLifecycle(Plugin):
    name = "NamespaceLifecycle"
    by_type = True
    reads = (NAMESPACES,)

    def __init__(self, reader: ObjectReader, client: KubeClient) -> None:
        self._reader = reader
        self._client = client

    def handles(self, request: AdmissionRequest) -> bool:
        if request.operation == "CREATE":
            return bool(request.namespace) and request.resource.namespaced and request.resource.plural not in _REVIEWS
        return concerns(request, NAMESPACES, "DELETE")

    async def admit(self, request: AdmissionRequest) -> None:
        if request.operation == "DELETE":
            if request.name in IMMORTAL:
                raise refuse(request, "this namespace may not be deleted")
            return
        namespace = await self._namespace(request.namespace)
        if namespace["metadata"].get("deletionTimestamp"):
            raise _terminating(request)

    async def _namespace(self, name: str) -> Object:
        """From memory; what memory does not have yet may still be in the store."""
        found = self._reader.get(NAMESPACES, name)
        if found is not None:
            return found
        try:
            return await self._client.get(NAMESPACES, name)
        except ApiError as error:
            if error.code == 404:
                raise not_found("", "namespaces", name) from None
            raise


def _terminating(request: AdmissionRequest) -> ApiError:
    namespace = request.namespace
    error = refuse(request, f"unable to create new content in namespace {namespace} because it is being terminated")
    cause = {
        "reason": "NamespaceTerminating",
        "message": f"namespace {namespace} is being terminated",
        "field": "metadata.namespace",
    }
    error.details = {**(error.details or {}), "causes": [cause]}
    return error
