"""LimitRanger: a namespace's LimitRanges give containers default resources and hold pods and claims to bounds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from twinplane.controlplane.admission.contract import AdmissionRequest, ObjectReader
from twinplane.controlplane.admission.plugin import (
    Plugin,
    amount,
    concerns,
    entries,
    metadata_of,
    part,
    refuse,
    spec_of,
)
from twinplane.controlplane.admission.pod_resources import Amounts, amounts, total
from twinplane.kubeclient import quantity
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.resources import LIMIT_RANGES, PERSISTENT_VOLUME_CLAIMS, PODS

ANNOTATION = "kubernetes.io/limit-ranger"
_CONTAINERS = (("containers", "container"), ("initContainers", "init container"))


class LimitRanger(Plugin):
    name = "LimitRanger"
    waits_for = (LIMIT_RANGES,)
    reads = (LIMIT_RANGES,)

    def __init__(self, reader: ObjectReader) -> None:
        self._reader = reader

    def handles(self, request: AdmissionRequest) -> bool:
        wanted = concerns(request, PODS, "CREATE") or concerns(request, PERSISTENT_VOLUME_CLAIMS, "CREATE", "UPDATE")
        return wanted and bool(self._reader.list(LIMIT_RANGES, request.namespace))

    async def admit(self, request: AdmissionRequest) -> None:
        if request.resource.plural == PODS.plural:
            for limit_range in self._ranges(request):
                _set_defaults(request, limit_range)

    async def validate(self, request: AdmissionRequest) -> None:
        spec = spec_of(request)
        check = _pod_errors if request.resource.plural == PODS.plural else _claim_errors
        for limit_range in self._ranges(request):
            errors = [error for item in _items(limit_range) for error in check(spec, item)]
            if errors:
                raise refuse(request, errors[0] if len(errors) == 1 else "[" + ", ".join(errors) + "]")

    def _ranges(self, request: AdmissionRequest) -> list[Object]:
        listed = self._reader.list(LIMIT_RANGES, request.namespace)
        return sorted(listed, key=lambda each: str(each["metadata"]["name"]))


def _items(limit_range: Object) -> list[Object]:
    return entries(limit_range.get("spec") or {}, "limits")


def _set_defaults(request: AdmissionRequest, limit_range: Object) -> None:
    requests: Object = {}
    limits: Object = {}
    for item in _items(limit_range):
        if item.get("type") == "Container":
            requests |= item.get("defaultRequest") or {}
            limits |= item.get("default") or {}
    done: list[str] = []
    for field, label in _CONTAINERS:
        for container in entries(spec_of(request), field):
            for kind, word, defaults in (("limits", "limit", limits), ("requests", "request", requests)):
                missing = _set_missing(container, kind, defaults)
                if missing:
                    done.append(f"{', '.join(missing)} {word} for {label} {container.get('name', '')}")
    if done:
        part(metadata_of(request), "annotations")[ANNOTATION] = "LimitRanger plugin set: " + "; ".join(done)


def _set_missing(container: Object, kind: str, defaults: Object) -> list[str]:
    if not defaults:
        return []
    listed = part(part(container, "resources"), kind)
    missing = sorted(name for name in defaults if name not in listed)
    listed |= {name: defaults[name] for name in missing}
    return missing


def _pod_errors(spec: Object, item: Object) -> Iterator[str]:
    if item.get("type") == "Container":
        for container in entries(spec, "containers", "initContainers"):
            resources = container.get("resources") or {}
            yield from _bounds(item, amounts(resources.get("requests")), amounts(resources.get("limits")))
    elif item.get("type") == "Pod":
        yield from _bounds(item, total(spec, "requests"), total(spec, "limits"))


def _bounds(item: Object, requests: Amounts, limits: Amounts) -> Iterator[str]:
    kind = item["type"]
    for name, text in _sorted(item, "min"):
        head = f"minimum {name} usage per {kind} is {text}"
        yield from _below(head, amount(text), name, requests, limits)
    for name, text in _sorted(item, "max"):
        head = f"maximum {name} usage per {kind} is {text}"
        yield from _above(head, amount(text), name, requests, limits)
    for name, text in _sorted(item, "maxLimitRequestRatio"):
        head = f"{name} max limit to request ratio per {kind} is {text}"
        yield from _ratio(head, amount(text), requests.get(name), limits.get(name))


def _sorted(item: Object, field: str) -> list[tuple[str, Any]]:
    return sorted((item.get(field) or {}).items())


def _below(head: str, bound: quantity.Value, name: str, requests: Amounts, limits: Amounts) -> Iterator[str]:
    if name not in requests:
        yield f"{head}.  No request is specified"
    elif requests[name] < bound:
        yield f"{head}, but request is {quantity.render(requests[name])}"
    elif name in limits and limits[name] < bound:
        yield f"{head}, but limit is {quantity.render(limits[name])}"


def _above(head: str, bound: quantity.Value, name: str, requests: Amounts, limits: Amounts) -> Iterator[str]:
    if name not in limits:
        yield f"{head}.  No limit is specified"
    elif limits[name] > bound:
        yield f"{head}, but limit is {quantity.render(limits[name])}"
    elif name in requests and requests[name] > bound:
        yield f"{head}, but request is {quantity.render(requests[name])}"


def _ratio(
    head: str, bound: quantity.Value, request: quantity.Value | None, limit: quantity.Value | None
) -> Iterator[str]:
    if not request:
        yield f"{head}, but no request is specified or request is 0"
    elif not limit:
        yield f"{head}, but no limit is specified or limit is 0"
    elif limit / request > bound:
        yield f"{head}, but provided ratio is {float(limit / request):f}"


def _claim_errors(spec: Object, item: Object) -> Iterator[str]:
    if item.get("type") != "PersistentVolumeClaim":
        return
    requests = amounts((spec.get("resources") or {}).get("requests"))
    for field, word in (("min", "minimum"), ("max", "maximum")):
        for name, text in _sorted(item, field):
            head = f"{word} {name} usage per PersistentVolumeClaim is {text}"
            if name not in requests:
                yield f"{head}.  No request is specified"
            elif (requests[name] < amount(text)) if field == "min" else (requests[name] > amount(text)):
                yield f"{head}, but request is {quantity.render(requests[name])}"
