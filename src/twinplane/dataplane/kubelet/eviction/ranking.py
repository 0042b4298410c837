"""Which pod goes, and what it is told. Pure (kubelet `eviction/helpers.go`, messages included)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from twinplane.dataplane.kubelet.eviction.thresholds import MEMORY, PIDS, STORAGE, Observation, Threshold
from twinplane.dataplane.kubelet.pods.spec import SYSTEM_CRITICAL_PRIORITY, is_mirror, is_sidecar, is_static
from twinplane.dataplane.kubelet.stats.sampling import ContainerSample, PodSample
from twinplane.dataplane.kubelet.stats.summary import ephemeral
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.quantity import parse, render


@dataclass(frozen=True, slots=True)
class Candidate:
    """A pod and what it uses; `sample` is None while nothing is known."""

    pod: Object
    sample: PodSample | None


def is_critical(pod: Object) -> bool:
    """Never evicted."""
    return is_static(pod) or is_mirror(pod) or int(pod["spec"].get("priority") or 0) >= SYSTEM_CRITICAL_PRIORITY


def ranked(candidates: Iterable[Candidate], resource: str) -> list[Candidate]:
    """The one to be evicted first comes first."""
    return sorted(candidates, key=_KEYS.get(resource, _by_disk))


def _by_memory(candidate: Candidate) -> tuple[Any, ...]:
    if candidate.sample is None:
        return (False, False, 0, 0)
    used, requested = candidate.sample.group.usage.working_set, request(candidate.pod, MEMORY)
    return (True, used <= requested, _priority(candidate.pod), requested - used)


def _by_disk(candidate: Candidate) -> tuple[Any, ...]:
    if candidate.sample is None:
        return (False, False, 0, 0)
    used, requested = ephemeral(candidate.sample).bytes, request(candidate.pod, STORAGE)
    return (True, used <= requested, _priority(candidate.pod), requested - used)


def _by_inodes(candidate: Candidate) -> tuple[Any, ...]:
    if candidate.sample is None:
        return (False, False, 0, 0)
    used = ephemeral(candidate.sample).inodes
    return (True, not used, _priority(candidate.pod), -used)


def _by_processes(candidate: Candidate) -> tuple[Any, ...]:
    used = candidate.sample.group.usage.threads if candidate.sample is not None else 0
    return (_priority(candidate.pod), candidate.sample is not None, -used)


_KEYS: Mapping[str, Callable[[Candidate], tuple[Any, ...]]] = {
    MEMORY: _by_memory,
    STORAGE: _by_disk,
    PIDS: _by_processes,
    "inodes": _by_inodes,
}


def _priority(pod: Object) -> int:
    return int(pod["spec"].get("priority") or 0)


def request(pod: Object, resource: str) -> int:
    """What a pod requests: the sum of its containers, or the most that an init container needs, and overhead."""
    spec = pod["spec"]
    whole = ((spec.get("resources") or {}).get("requests") or {}).get(resource)
    if whole is not None:
        return int(parse(whole))
    sidecars, highest = 0, 0
    for item in spec.get("initContainers") or ():
        own = _requested(item, resource)
        if is_sidecar(item):
            sidecars += own
            own = 0
        highest = max(highest, sidecars + own)
    running = sidecars + sum(_requested(item, resource) for item in spec.get("containers") or ())
    return max(running, highest) + int(parse((spec.get("overhead") or {}).get(resource, 0)))


def _requested(container: Mapping[str, Any], resource: str) -> int:
    return int(parse(((container.get("resources") or {}).get("requests") or {}).get(resource, 0)))


# -- what the user is told ---------------------------------------------------------------------------------------------


def message(candidate: Candidate, threshold: Threshold, observed: Observation) -> str:
    resource = threshold.resource
    least = _binary(threshold.amount.of(observed.capacity))
    text = f"The node was low on resource: {resource}. "
    text += f"Threshold quantity: {least}, available: {_available(observed.available, resource)}. "
    if candidate.sample is None:
        return text
    spec = candidate.pod["spec"]
    sidecars = [item for item in spec.get("initContainers") or () if is_sidecar(item)]
    containers = {item["name"]: item for item in (*spec.get("containers", ()), *sidecars)}
    for sample in candidate.sample.containers:
        used = _used(sample, resource)
        container = containers.get(sample.name)
        if used is None or container is None:
            continue
        requested = ((container.get("resources") or {}).get("requests") or {}).get(resource, "0")
        if used > parse(requested):
            text += (
                f"Container {sample.name} was using {_kibibytes(used)}, request is {requested}, "
                f"has larger consumption of {resource}. "
            )
    return text


def _used(sample: ContainerSample, resource: str) -> int | None:
    if resource == MEMORY:
        return sample.group.usage.working_set
    return sample.layer.bytes + sample.log.bytes if resource == STORAGE else None


def _available(value: int, resource: str) -> str:
    return _kibibytes(value) if resource in (MEMORY, STORAGE) else str(value)


def _kibibytes(value: int) -> str:
    return render(value, "BinarySI")


def _binary(value: int) -> str:
    return render(value, "BinarySI")
