"""What a node has to say to a change of a pod that runs on it: upstream's NodeDeclaredFeatureValidator and
PodResizeValidator. A resize that the node can never make is refused at once instead of staying infeasible.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil

from twinplane.controlplane.admission.contract import AdmissionRequest, ObjectReader
from twinplane.controlplane.admission.plugin import Plugin, concerns, refuse, spec_of
from twinplane.controlplane.admission.pod_resources import amounts, total
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.declared_features import needed_to_become
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.resources import NODES, PODS


class _Resize(Plugin):
    """Of pods that are on a node: nothing that needs a node's consent can be changed elsewhere."""

    by_type = True

    def __init__(self, reader: ObjectReader) -> None:
        self._reader = reader

    def handles(self, request: AdmissionRequest) -> bool:
        return concerns(request, PODS, "UPDATE", subresource="resize")

    def _node(self, request: AdmissionRequest) -> Object | None:
        """None for a pod that has no node yet. Raises `ApiError` for one that is gone."""
        name = spec_of(request).get("nodeName")
        if not name:
            return None
        found = self._reader.get(NODES, name)
        if found is None:
            raise refuse(request, f'node "{name}" not found')
        return found


class NodeDeclaredFeatureValidator(_Resize):
    name = "NodeDeclaredFeatureValidator"

    async def validate(self, request: AdmissionRequest) -> None:
        before = (request.old or {}).get("spec") or {}
        needed = needed_to_become(before, spec_of(request))
        node = self._node(request) if needed else None
        if node is None:
            return
        declared = (node.get("status") or {}).get("declaredFeatures") or ()
        missing = [feature for feature in needed if feature not in declared]
        if missing:
            where = f'which are not available on node "{node["metadata"]["name"]}"'
            raise refuse(request, f"pod update requires features {', '.join(missing)} {where}")


class PodResizeValidator(_Resize):
    name = "PodResizeValidator"

    async def validate(self, request: AdmissionRequest) -> None:
        node = self._node(request)
        if node is None:
            return
        system = (node["metadata"].get("labels") or {}).get("kubernetes.io/os", "linux")
        if system != "linux":
            name = node["metadata"]["name"]
            why = f'pod resize is only supported on linux nodes, node "{name}" is "{system}"'
            raise _caused(refuse(request, why), "UnsupportedPlatform")
        short = list(_shortages(spec_of(request), (node.get("status") or {}).get("allocatable")))
        if short:
            why = f"node didn't have enough allocatable resources: {'; '.join(short)}"
            raise _caused(refuse(request, why), "NodeCapacity")


def _shortages(spec: Object, allocatable: object) -> Iterator[str]:
    asked, there = total(spec, "requests"), amounts(allocatable)
    for name, scale in (("cpu", 1000), ("memory", 1)):
        requested, available = asked.get(name, 0) * scale, there.get(name, 0) * scale
        if requested > available:
            yield f"{name}, requested: {ceil(requested)}, allocatable: {ceil(available)}"


def _caused(error: ApiError, reason: str) -> ApiError:
    error.details = {**(error.details or {}), "causes": [{"reason": reason}]}
    return error
