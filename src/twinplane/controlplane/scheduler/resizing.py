"""What a pod counts with while it is resized in place: the most of what it asks for, was allotted and has now.

A pod that shrinks keeps its room until the kubelet has taken it back; one that cannot grow (Infeasible) does not count
with what it will not get. Source: component-helpers `determineEffectiveRequests`. Pods that were never resized are told
by a comparison, and cost no more.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.meta import condition_of
from twinplane.kubeclient.quantity import parse

Container = Mapping[str, Any]
"""Or a pod's spec or status, which have the same fields for the pod as a whole."""


def as_counted(body: Object) -> Object:
    """`body` itself where status and spec agree, otherwise a pod that asks for what this one counts with."""
    status = body.get("status") or {}
    if not status.get("containerStatuses"):
        return body
    spec = body["spec"]
    differing = {name: told for name, (asked, told) in _reported(spec, status).items() if _differs(asked, told)}
    whole = bool((spec.get("resources") or {}).get("requests") and status.get("resources") and _differs(spec, status))
    if not differing and not whole:
        return body
    hopeless = (condition_of(body, "PodResizePending") or {}).get("reason") == "Infeasible"
    made = dict(spec)
    for field in ("containers", "initContainers"):
        if spec.get(field):
            made[field] = [
                _counted(each, differing[each["name"]], hopeless=hopeless) if each["name"] in differing else each
                for each in spec[field]
            ]
    return {**body, "spec": _counted(made, status, hopeless=hopeless) if whole else made}


def _reported(spec: Mapping[str, Any], status: Mapping[str, Any]) -> dict[str, tuple[Container, Container]]:
    """Name of each container that can be resized -> the container, and what its node says of it."""
    sidecars = (each for each in spec.get("initContainers") or () if each.get("restartPolicy") == "Always")
    containers = {each["name"]: each for each in (*(spec.get("containers") or ()), *sidecars)}
    return {
        each["name"]: (containers[each["name"]], each)
        for field in ("containerStatuses", "initContainerStatuses")
        for each in status.get(field) or ()
        if "resources" in each and each["name"] in containers
    }


def _differs(asked: Container, told: Container) -> bool:
    wanted = (asked.get("resources") or {}).get("requests") or {}
    actual = (told["resources"] or {}).get("requests") or {}
    return bool(wanted != actual or wanted != (told.get("allocatedResources") or {}))


def _counted(asked: Container, told: Container, *, hopeless: bool) -> dict[str, Any]:
    resources = asked.get("resources") or {}
    sources: list[Mapping[str, Any]] = [] if hopeless else [resources.get("requests") or {}]
    sources.append((told["resources"] or {}).get("requests") or {})
    sources.append(told.get("allocatedResources") or {})
    most: dict[str, Any] = {}
    for source in sources:
        for name, amount in source.items():
            if name not in most or parse(amount) > parse(most[name]):
                most[name] = amount
    return {**asked, "resources": {**resources, "requests": most}}
