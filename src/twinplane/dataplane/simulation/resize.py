"""In-place resizing of a pod's containers, as the kubelet judges it. Pure.

A resize that the node cannot hold beside its other pods is deferred until there is room; all others take effect at
once. Order, messages and reasons: kubelet `allocation/allocation_manager.go`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from twinplane.dataplane.simulation.kubelet_admission import requests_of
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.quantity import milli, whole

Resources = Mapping[str, Any]
RESIZABLE = ("cpu", "memory")


class Pending(NamedTuple):
    """A resize that has not taken effect."""

    message: str
    since: float
    reason: str = "Deferred"


def resources_of(body: Object) -> dict[str, Resources]:
    """By container, sidecars and init containers included."""
    return {
        item["name"]: item.get("resources") or {}
        for name in ("containers", "initContainers")
        for item in body["spec"].get(name) or ()
    }


def turn(body: Object, held: Mapping[str, int], qos: str, since: float) -> tuple[bool, int, bool, float]:
    """To sort by: what asks for no more than it holds comes first, then higher priority, Guaranteed pods, the longest
    deferred."""
    asked = requests_of(body)
    more = any(asked.get(name, 0) > held.get(name, 0) for name in RESIZABLE)
    return more, -int(body["spec"].get("priority") or 0), qos != "Guaranteed", since


def shortage(body: Object, others: Iterable[Mapping[str, int]], allocatable: Mapping[str, Any]) -> str | None:
    """None for a resize that can be done now; `others` are the requests of the node's other pods."""
    held = list(others)
    for name, amount in requests_of(body).items():
        if name not in RESIZABLE:
            continue
        there = milli(allocatable.get(name, "0")) if name == "cpu" else whole(allocatable.get(name, "0"))
        used = sum(other.get(name, 0) for other in held)
        if used + amount > there:
            return f"Node didn't have enough resource: {name}, requested: {amount}, used: {used}, capacity: {there}"
    return None


def restarted(body: Object, before: Mapping[str, Resources]) -> list[str]:
    """The containers whose policy for a resource that changes is to start anew."""
    found = []
    for item in [*(body["spec"].get("containers") or ()), *(body["spec"].get("initContainers") or ())]:
        old, new = before.get(item["name"]) or {}, item.get("resources") or {}
        policies = {entry["resourceName"]: entry["restartPolicy"] for entry in item.get("resizePolicy") or ()}
        changed = (name for name in RESIZABLE if _amounts(old, name) != _amounts(new, name))
        if any(policies.get(name) == "RestartContainer" for name in changed):
            found.append(item["name"])
    return found


def _amounts(resources: Resources, name: str) -> tuple[Any, Any]:
    return (resources.get("requests") or {}).get(name), (resources.get("limits") or {}).get(name)
