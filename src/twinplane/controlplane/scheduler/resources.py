"""What a pod asks for and what a node has: the arithmetic of requests.

Sources: k8s.io/component-helpers `resource.PodRequests` (containers add up, init containers take the maximum, sidecars
add to both, overhead on top, pod-level resources win) and the scheduler's `NodeInfo`, where a container without a
request weighs 100m CPU and 200 MB for scoring only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

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
