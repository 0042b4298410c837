"""RuntimeClass: a pod's runtime class brings its overhead, node selector and tolerations."""

from __future__ import annotations

from twinplane.controlplane.admission.contract import AdmissionRequest, ObjectReader
from twinplane.controlplane.admission.plugin import Plugin, amount, concerns, entries, refuse, spec_of
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.resources import PODS, RUNTIME_CLASSES


class RuntimeClass(Plugin):
    name = "RuntimeClass"
    by_type = True
    reads = (RUNTIME_CLASSES,)

    def __init__(self, reader: ObjectReader) -> None:
        self._reader = reader

    def handles(self, request: AdmissionRequest) -> bool:
        return concerns(request, PODS, "CREATE")

    async def admit(self, request: AdmissionRequest) -> None:
        spec = spec_of(request)
        found = self._class(request, spec)
        if found is None:
            return
        overhead = (found.get("overhead") or {}).get("podFixed")
        if overhead and not spec.get("overhead"):
            spec["overhead"] = dict(overhead)
        scheduling = found.get("scheduling") or {}
        _merge_selector(request, spec, scheduling.get("nodeSelector") or {})
        tolerations = entries(spec, "tolerations")
        more = [dict(each) for each in scheduling.get("tolerations") or () if each not in tolerations]
        if more:
            spec["tolerations"] = [*tolerations, *more]

    async def validate(self, request: AdmissionRequest) -> None:
        spec = spec_of(request)
        found = self._class(request, spec)
        given = spec.get("overhead") or {}
        if found is None:
            if given and not spec.get("runtimeClassName"):
                raise refuse(
                    request, "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead"
                )
            return
        wanted = (found.get("overhead") or {}).get("podFixed") or {}
        if given and not wanted:
            raise refuse(request, "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead")
        if {key: amount(value) for key, value in given.items()} != {
            key: amount(value) for key, value in wanted.items()
        }:
            raise refuse(request, "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead")

    def _class(self, request: AdmissionRequest, spec: Object) -> Object | None:
        name = spec.get("runtimeClassName")
        if not name:
            return None
        found = self._reader.get(RUNTIME_CLASSES, name)
        if found is None:
            raise refuse(request, f'pod rejected: RuntimeClass "{name}" not found')
        return found


def _merge_selector(request: AdmissionRequest, spec: Object, wanted: dict[str, str]) -> None:
    if not wanted:
        return
    selector = dict(spec.get("nodeSelector") or {})
    for key, value in wanted.items():
        if selector.setdefault(key, value) != value:
            why = f"conflict: runtimeClass.scheduling.nodeSelector[{key}] = {value}; pod.spec.nodeSelector[{key}]"
            raise refuse(request, f"{why} = {selector[key]}")
    spec["nodeSelector"] = selector
