"""PodTopologyLabels: a pod that gets a node has that node's zone and region among its labels, whatever it said itself.

Containers read them through the downward API. They come with the binding, whose labels `verbs.pods` gives to the pod,
or at once for a pod that is created with its node. Nobody owns them (managed fields), as upstream.
"""

from __future__ import annotations

from collections.abc import Hashable

from twinplane.controlplane.admission.contract import AdmissionRequest, ObjectReader
from twinplane.controlplane.admission.plugin import Plugin, concerns
from twinplane.kubeclient.resources import NODES, PODS
from twinplane.kubeclient.topology import topology_of

BINDING = "binding"


class PodTopologyLabels(Plugin):
    name = "PodTopologyLabels"
    by_type = True
    reads = ()
    """Nearly all pods are made without a node: the node's labels are `state`, so that heartbeats change nothing."""

    def __init__(self, reader: ObjectReader) -> None:
        self._reader = reader

    def handles(self, request: AdmissionRequest) -> bool:
        return request.subresource in ("", BINDING) and concerns(
            request, PODS, "CREATE", subresource=request.subresource
        )

    async def admit(self, request: AdmissionRequest) -> None:
        copied = self._labels(request)
        if copied and request.object is not None:
            metadata = request.object["metadata"]
            metadata["labels"] = {**(metadata.get("labels") or {}), **copied}

    async def state(self, request: AdmissionRequest) -> Hashable:
        return tuple(self._labels(request).items())

    def _labels(self, request: AdmissionRequest) -> dict[str, str]:
        """Empty for pods without a node, and for nodes that are not there (yet)."""
        body = request.object or {}
        if request.subresource == BINDING:
            target = body.get("target") or {}
            node = target.get("name") if target.get("kind") == "Node" else ""
        else:
            node = (body.get("spec") or {}).get("nodeName")
        return topology_of(self._reader.labels(NODES, node)) if node else {}
