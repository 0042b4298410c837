"""LimitRanger: a namespace's LimitRanges give containers default resources and hold pods and claims to bounds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

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
from twinplane.kubeclient.meta import is_deleting
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
        wanted = (
            concerns(request, PODS, "CREATE")
            or concerns(request, PODS, "UPDATE", subresource="resize")
            or concerns(request, PERSISTENT_VOLUME_CLAIMS, "CREATE", "UPDATE")
        )
        if not wanted or (request.old is not None and is_deleting(request.old)):
            return False
        return bool(self._reader.list(LIMIT_RANGES, request.namespace))

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


class _Asked(NamedTuple):
    amounts: Amounts
    texts: dict[str, Any]
    """By resource, as the first container that names it writes it: amounts are told in the same family of suffixes."""

    def shown(self, name: str) -> str:
        given = self.texts.get(name)
        return quantity.render(self.amounts[name], quantity.format_of(given) if given is not None else "DecimalSI")


def _asked(holders: list[Object], kind: str, found: Amounts | None = None) -> _Asked:
    """Of one container, or of several, whose sum is given."""
    listed = [(holder.get("resources") or {}).get(kind) or {} for holder in holders]
    texts = {name: text for each in reversed(listed) for name, text in each.items()}
    return _Asked(amounts(texts) if found is None else found, texts)


def _pod_errors(spec: Object, item: Object) -> Iterator[str]:
    containers = entries(spec, "containers", "initContainers")
    if item.get("type") == "Container":
        for container in containers:
            yield from _bounds(item, _asked([container], "requests"), _asked([container], "limits"))
    elif item.get("type") == "Pod":
        requests = _asked([spec, *containers], "requests", total(spec, "requests"))
        yield from _bounds(item, requests, _asked([spec, *containers], "limits", total(spec, "limits")))


def _bounds(item: Object, requests: _Asked, limits: _Asked) -> Iterator[str]:
    kind = item["type"]
    for name, text in _sorted(item, "min"):
        head = f"minimum {name} usage per {kind} is {text}"
        yield from _below(head, amount(text), name, requests, limits)
    for name, text in _sorted(item, "max"):
        head = f"maximum {name} usage per {kind} is {text}"
        yield from _above(head, amount(text), name, requests, limits)
    for name, text in _sorted(item, "maxLimitRequestRatio"):
        head = f"{name} max limit to request ratio per {kind} is {text}"
        yield from _ratio(head, amount(text), requests.amounts.get(name), limits.amounts.get(name))


def _sorted(item: Object, field: str) -> list[tuple[str, Any]]:
    return sorted((item.get(field) or {}).items())


def _below(head: str, bound: quantity.Value, name: str, requests: _Asked, limits: _Asked) -> Iterator[str]:
    if name not in requests.amounts:
        yield f"{head}.  No request is specified"
    elif requests.amounts[name] < bound:
        yield f"{head}, but request is {requests.shown(name)}"
    elif name in limits.amounts and limits.amounts[name] < bound:
        yield f"{head}, but limit is {limits.shown(name)}"


def _above(head: str, bound: quantity.Value, name: str, requests: _Asked, limits: _Asked) -> Iterator[str]:
    if name not in limits.amounts:
        yield f"{head}.  No limit is specified"
    elif limits.amounts[name] > bound:
        yield f"{head}, but limit is {limits.shown(name)}"
    elif name in requests.amounts and requests.amounts[name] > bound:
        yield f"{head}, but request is {requests.shown(name)}"


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
    requests = _asked([spec], "requests")
    for field, word in (("min", "minimum"), ("max", "maximum")):
        for name, text in _sorted(item, field):
            head = f"{word} {name} usage per PersistentVolumeClaim is {text}"
            asked = requests.amounts.get(name)
            if asked is None:
                yield f"{head}.  No request is specified"
            elif asked < amount(text) if field == "min" else asked > amount(text):
                yield f"{head}, but request is {requests.shown(name)}"
