"""What a pod asks for and what a node has: the arithmetic of requests.

Sources: k8s.io/component-helpers `resource.PodRequests` (containers add up, init containers take the maximum, sidecars
add to both, overhead on top, pod-level resources win) and the scheduler's `NodeInfo`, where a container without a
request weighs 100m CPU and 200 MB for scoring only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from twinplane.kubeclient.device_claims import IMPLICIT_RESOURCE
from twinplane.kubeclient.quantity import milli, whole

DEFAULT_MILLI_CPU = 100
DEFAULT_MEMORY_BYTES = 200 * 1024 * 1024

Amounts = dict[str, int]
"""Resource name -> amount; CPU in thousandths of a core, everything else in units."""


@dataclass(frozen=True, slots=True)
class Requests:
    amounts: Mapping[str, int]
    """Without zero entries."""
    scored_cpu: int
    """Thousandths of a core, with the default for containers that ask for none."""
    scored_memory: int
    """Bytes, likewise."""


class ExtendedUse(NamedTuple):
    """One container's request for an extended resource, which a device may have to stand for."""

    resource: str
    amount: int
    container: str
    place: int
    """Of the container among init containers and containers."""
    passing: bool
    """An init container that ends before the next one starts."""
    request: str
    """The name under which it is asked of a claim."""


def amounts_of(quantities: Mapping[str, Any] | None) -> Amounts:
    return {
        name: milli(quantity) if name == "cpu" else whole(quantity) for name, quantity in (quantities or {}).items()
    }


def pod_requests(spec: Mapping[str, Any]) -> Requests:
    plain = _total(spec, {})
    scored = _total(spec, {"cpu": DEFAULT_MILLI_CPU, "memory": DEFAULT_MEMORY_BYTES})
    return Requests(
        amounts={name: amount for name, amount in plain.items() if amount},
        scored_cpu=scored.get("cpu", 0),
        scored_memory=scored.get("memory", 0),
    )


def extended_uses(spec: Mapping[str, Any]) -> tuple[ExtendedUse, ...]:
    first = spec.get("initContainers") or ()
    found: list[ExtendedUse] = []
    for index, container in enumerate((*first, *(spec.get("containers") or ()))):
        requests = (container.get("resources") or {}).get("requests")
        if not requests:
            continue
        passing = index < len(first) and container.get("restartPolicy") != "Always"
        for position, name in enumerate(sorted(requests)):
            if is_extended(name) and (amount := whole(requests[name])):
                request = f"container-{index}-request-{position}"
                found.append(ExtendedUse(name, amount, container.get("name") or "", index, passing, request))
    return tuple(found)


def is_extended(name: str) -> bool:
    """A resource that is not Kubernetes' own; the implicit one of a DeviceClass is extended as well."""
    return ("/" in name and "kubernetes.io/" not in name) or name.startswith(IMPLICIT_RESOURCE)


def _total(spec: Mapping[str, Any], defaults: Amounts) -> Amounts:
    total: Amounts = {}
    for container in spec.get("containers") or ():
        _add(total, _container(container, defaults))
    sidecars: Amounts = {}
    peak: Amounts = {}
    for container in spec.get("initContainers") or ():
        own = _container(container, defaults)
        if container.get("restartPolicy") == "Always":
            _add(sidecars, own)
            _raise(peak, sidecars)
        else:
            _raise(peak, _sum((own, sidecars)))
    _add(total, sidecars)
    _raise(total, peak)
    total.update(amounts_of((spec.get("resources") or {}).get("requests")))
    _add(total, amounts_of(spec.get("overhead")))
    return total


def _container(container: Mapping[str, Any], defaults: Amounts) -> Amounts:
    return {**defaults, **amounts_of((container.get("resources") or {}).get("requests"))}


def _add(total: Amounts, more: Mapping[str, int]) -> None:
    for name, amount in more.items():
        total[name] = total.get(name, 0) + amount


def _raise(total: Amounts, floor: Mapping[str, int]) -> None:
    for name, amount in floor.items():
        if amount > total.get(name, 0):
            total[name] = amount


def _sum(parts: Iterable[Mapping[str, int]]) -> Amounts:
    total: Amounts = {}
    for part in parts:
        _add(total, part)
    return total
