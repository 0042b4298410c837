"""TaintNodesByCondition: a new node takes no pods before the node controller has seen it ready."""

from __future__ import annotations

from twinplane.controlplane.admission.contract import AdmissionRequest
from twinplane.controlplane.admission.plugin import Plugin, concerns, entries, spec_of
from twinplane.kubeclient.resources import NODES

NOT_READY = {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}


class TaintNodesByCondition(Plugin):
    name = "TaintNodesByCondition"
    by_type = True

    def handles(self, request: AdmissionRequest) -> bool:
        return concerns(request, NODES, "CREATE")

    async def admit(self, request: AdmissionRequest) -> None:
        spec = spec_of(request)
        taints = entries(spec, "taints")
        if not any(taint.get("key") == NOT_READY["key"] and taint.get("effect") == "NoSchedule" for taint in taints):
            spec["taints"] = [*taints, dict(NOT_READY)]
