"""DefaultTolerationSeconds: pods stay five minutes on a node that is not ready or unreachable, unless they say more."""

from __future__ import annotations

from twinplane.controlplane.admission.contract import AdmissionRequest
from twinplane.controlplane.admission.plugin import Plugin, concerns, entries, spec_of
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.resources import PODS

TAINTS = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
SECONDS = 300


class DefaultTolerationSeconds(Plugin):
    name = "DefaultTolerationSeconds"
    by_type = True
    reads = ()

    def handles(self, request: AdmissionRequest) -> bool:
        return concerns(request, PODS, "CREATE", "UPDATE")

    async def admit(self, request: AdmissionRequest) -> None:
        spec = spec_of(request)
        tolerations = entries(spec, "tolerations")
        missing = [taint for taint in TAINTS if not any(_tolerates(each, taint) for each in tolerations)]
        if missing:
            spec["tolerations"] = [*tolerations, *(_toleration(taint) for taint in missing)]


def _tolerates(toleration: Object, taint: str) -> bool:
    return toleration.get("key") in (taint, None, "") and toleration.get("effect") in ("NoExecute", None, "")


def _toleration(taint: str) -> Object:
    return {"key": taint, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": SECONDS}
