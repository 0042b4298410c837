"""ExtendedResourceToleration (off unless asked for, as upstream): pods tolerate taints named as their requests."""

from __future__ import annotations

from twinplane.controlplane.admission.contract import AdmissionRequest
from twinplane.controlplane.admission.plugin import Plugin, concerns, entries, spec_of
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.resources import PODS


class ExtendedResourceToleration(Plugin):
    name = "ExtendedResourceToleration"
    by_type = True
    reads = ()

    def handles(self, request: AdmissionRequest) -> bool:
        return concerns(request, PODS, "CREATE", "UPDATE")

    async def admit(self, request: AdmissionRequest) -> None:
        spec = spec_of(request)
        tolerations = entries(spec, "tolerations")
        known = {each.get("key") for each in tolerations if each.get("operator") == "Exists"}
        more = [{"key": name, "operator": "Exists"} for name in sorted(_extended(spec) - known)]
        if more:
            spec["tolerations"] = [*tolerations, *more]


def _extended(spec: Object) -> set[str]:
    names: set[str] = set()
    for container in entries(spec, "initContainers", "containers"):
        names.update((container.get("resources") or {}).get("requests") or ())
    return {name for name in names if "/" in name and not name.partition("/")[0].endswith("kubernetes.io")}
