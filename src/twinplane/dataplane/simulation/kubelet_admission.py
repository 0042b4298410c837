"""Whether a node takes a pod that was bound to it: the kubelet's own last check.

Pods of a DaemonSet or with `nodeName` set by hand never met the scheduler; the node refuses what it cannot hold, and
the pod fails with a reason such as OutOfpods or NodePorts. Messages: kubelet `lifecycle.InsufficientResourceError`,
`PredicateFailureError` and the eviction manager's `Admit`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.quantity import milli, whole

ANY_ADDRESS = "0.0.0.0"
CRITICAL_PRIORITY = 2_000_000_000
PRESSURES = ("DiskPressure", "MemoryPressure", "PIDPressure")
MEMORY_TAINT = "node.kubernetes.io/memory-pressure"


class HostPort(NamedTuple):
    protocol: str
    address: str
    port: int


class Refusal(NamedTuple):
    reason: str
    message: str


def requests_of(body: Object) -> dict[str, int]:
    """CPU in thousandths, the rest in units: containers together, or the largest init container."""
    spec = body["spec"]
    total: dict[str, int] = {}
    for container in spec.get("containers") or ():
        for name, amount in _amounts(container).items():
            total[name] = total.get(name, 0) + amount
    for container in spec.get("initContainers") or ():
        sidecar = container.get("restartPolicy") == "Always"
        for name, amount in _amounts(container).items():
            total[name] = total.get(name, 0) + amount if sidecar else max(total.get(name, 0), amount)
    return total


def refusal(
    requests: Mapping[str, int], others: Iterable[Mapping[str, int]], allocatable: Mapping[str, Any]
) -> Refusal | None:
    """`requests` are the pod's (`requests_of`), `others` those of the pods that the node holds."""
    held = list(others)
    pods = int(allocatable.get("pods", 0))
    if len(held) >= pods:
        return _out_of("pods", 1, len(held), pods)
    for name, amount in requests.items():
        if "/" in name and name not in allocatable:
            # An extended resource that others keep account of: the kubelet knows nothing of it.
            continue
        there = milli(allocatable.get(name, "0")) if name == "cpu" else whole(allocatable.get(name, "0"))
        used = sum(other.get(name, 0) for other in held)
        if amount and used + amount > there:
            return _out_of(name, amount, used, there)
    return None


def is_critical(body: Object) -> bool:
    """For the system: the kubelet takes it under any pressure, and does not evict it."""
    return (body["spec"].get("priority") or 0) >= CRITICAL_PRIORITY


def under_pressure(body: Object, qos_class: str, conditions: Collection[str]) -> Refusal | None:
    """`conditions` of the node are bad. Memory alone keeps away only who asks for none and does not tolerate that."""
    found = [name for name in PRESSURES if name in conditions]
    if not found or is_critical(body):
        return None
    if found == ["MemoryPressure"] and (qos_class != "BestEffort" or _tolerates_memory_pressure(body)):
        return None
    return Refusal("Evicted", f"The node had condition: [{' '.join(found)}]. ")


def _tolerates_memory_pressure(body: Object) -> bool:
    return any(
        (item.get("key") or MEMORY_TAINT) == MEMORY_TAINT
        and (item.get("effect") or "NoSchedule") == "NoSchedule"
        and (item.get("operator") == "Exists" or not item.get("value"))
        for item in body["spec"].get("tolerations") or ()
    )


def port_conflict(body: Object, others: Iterable[Object]) -> Refusal | None:
    """Whether another pod of the node has one of its host ports: the same protocol and port, at the same address."""
    wanted = _host_ports(body)
    if not wanted or not any(_overlap(one, two) for other in others for two in _host_ports(other) for one in wanted):
        return None
    message = "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports"
    return Refusal("NodePorts", message)


def _overlap(one: HostPort, two: HostPort) -> bool:
    same_place = one.address == two.address or ANY_ADDRESS in (one.address, two.address)
    return same_place and (one.protocol, one.port) == (two.protocol, two.port)


def _host_ports(body: Object) -> list[HostPort]:
    return [
        HostPort(port.get("protocol") or "TCP", port.get("hostIP") or ANY_ADDRESS, int(port["hostPort"]))
        for container in body["spec"].get("containers") or ()
        for port in container.get("ports") or ()
        if port.get("hostPort")
    ]


def _out_of(name: str, requested: int, used: int, there: int) -> Refusal:
    text = f"resource: {name}, requested: {requested}, used: {used}, capacity: {there}"
    return Refusal(f"OutOf{name}", f"Node didn't have enough {text}")


def _amounts(container: Mapping[str, Any]) -> dict[str, int]:
    requests = (container.get("resources") or {}).get("requests") or {}
    return {name: milli(amount) if name == "cpu" else whole(amount) for name, amount in requests.items()}
