"""PodNodeSelector (off unless asked for, as upstream): a namespace's annotation decides where its pods may run."""

from __future__ import annotations

from twinplane.controlplane.admission.contract import AdmissionRequest, ObjectReader
from twinplane.controlplane.admission.plugin import Plugin, annotation, concerns, refuse, spec_of
from twinplane.kubeclient.resources import NAMESPACES, PODS

ANNOTATION = "scheduler.alpha.kubernetes.io/node-selector"


class PodNodeSelector(Plugin):
    name = "PodNodeSelector"
    by_type = True
    reads = (NAMESPACES,)

    def __init__(self, reader: ObjectReader) -> None:
        self._reader = reader

    def handles(self, request: AdmissionRequest) -> bool:
        return concerns(request, PODS, "CREATE")

    async def admit(self, request: AdmissionRequest) -> None:
        namespace = self._reader.get(NAMESPACES, request.namespace) or {}
        wanted = _selector(annotation(namespace, ANNOTATION) or "")
        if not wanted:
            return
        spec = spec_of(request)
        selector = dict(spec.get("nodeSelector") or {})
        if any(selector.get(key, value) != value for key, value in wanted.items()):
            raise refuse(request, "pod node label selector conflicts with its namespace node label selector")
        spec["nodeSelector"] = selector | wanted


def _selector(text: str) -> dict[str, str]:
    """`key=value,key=value`."""
    pairs = (pair.partition("=") for pair in text.split(",") if "=" in pair)
    return {key.strip(): value.strip() for key, _, value in pairs}
