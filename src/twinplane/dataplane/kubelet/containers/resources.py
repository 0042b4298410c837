"""What containers ask for and may use, and what that is in cgroups. Pure.

Sources: kubelet `cm/helpers_linux.go`, `qos/policy.go`, `component-helpers/resource`; in-place resize KEP-1287.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from cri_api.v1 import api_pb2 as cri

from twinplane.dataplane.kubelet.pods.spec import Container, containers_of, init_containers_of, is_critical, is_sidecar
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.quantity import milli, parse, whole

Amounts = dict[str, int]
"""CPU in thousandths of a core, everything else in units."""

PERIOD_MICROSECONDS = 100_000
MINIMUM_QUOTA = 1000
MINIMUM_SHARES = 2
MAXIMUM_SHARES = 262_144
GUARANTEED_OOM = -997
BEST_EFFORT_OOM = 1000
COMPUTE = ("cpu", "memory")


def amounts(quantities: Mapping[str, Any] | None) -> Amounts:
    found = quantities or {}
    return {name: milli(value) if name == "cpu" else whole(value) for name, value in found.items()}


def requests(container: Container) -> Amounts:
    resources = container.get("resources") or {}
    return amounts(resources.get("limits")) | amounts(resources.get("requests"))


def limits(container: Container) -> Amounts:
    return amounts((container.get("resources") or {}).get("limits"))


def pod_requests(pod: Object) -> Amounts:
    """Main containers and sidecars together, or the largest init container with the sidecars before it; overhead."""
    total = _pod_total(pod, [requests(container) for container in containers_of(pod)], requests)
    own = (pod["spec"].get("resources") or {}).get("requests")
    return _plus(total | amounts(own), amounts(pod["spec"].get("overhead")))


def pod_limits(pod: Object) -> Amounts:
    total = _pod_total(pod, [limits(container) for container in containers_of(pod)], limits)
    own = (pod["spec"].get("resources") or {}).get("limits")
    total |= amounts(own)
    overhead = amounts(pod["spec"].get("overhead"))
    return {name: amount + overhead.get(name, 0) for name, amount in total.items()}


def _pod_total(pod: Object, main: Iterable[Amounts], amounts_of: Any) -> Amounts:
    total: Amounts = {}
    for found in main:
        total = _plus(total, found)
    sidecars: Amounts = {}
    largest: Amounts = {}
    for container in init_containers_of(pod):
        found = amounts_of(container)
        if is_sidecar(container):
            total, sidecars = _plus(total, found), _plus(sidecars, found)
            found = sidecars
        else:
            found = _plus(found, sidecars)
        largest = _most(largest, found)
    return _most(total, largest)


def _plus(one: Amounts, other: Amounts) -> Amounts:
    return {name: one.get(name, 0) + other.get(name, 0) for name in {**one, **other}}


def _most(one: Amounts, other: Amounts) -> Amounts:
    return {name: max(one.get(name, 0), other.get(name, 0)) for name in {**one, **other}}


def qos_class(pod: Object) -> str:
    """Guaranteed when every container limits CPU and memory to what it requests, BestEffort when none says anything."""
    known = (pod.get("status") or {}).get("qosClass")
    if known:
        return str(known)
    wanted = [container.get("resources") or {} for container in (*containers_of(pod), *init_containers_of(pod))]
    pairs = [(item.get("requests") or {}, item.get("limits") or {}) for item in wanted]
    if pod["spec"].get("resources"):
        own = pod["spec"]["resources"]
        pairs = [(own.get("requests") or {}, own.get("limits") or {})]
    if not any(_compute(requested) or _compute(limited) for requested, limited in pairs):
        return "BestEffort"
    guaranteed = all(
        name in limited and parse(limited[name]) == parse(requested.get(name, limited[name]))
        for requested, limited in pairs
        for name in COMPUTE
    )
    return "Guaranteed" if guaranteed else "Burstable"


def _compute(quantities: Mapping[str, Any]) -> bool:
    return any(name in quantities and parse(quantities[name]) for name in COMPUTE)


# -- cgroups ---------------------------------------------------------------------------------------------------------


def shares(cpu: int) -> int:
    """cpu.shares of a request in thousandths of a core."""
    return min(max(cpu * 1024 // 1000, MINIMUM_SHARES), MAXIMUM_SHARES)


def quota(cpu: int) -> int:
    """Microseconds of each 100 ms; 0 for no limit."""
    return max(cpu * PERIOD_MICROSECONDS // 1000, MINIMUM_QUOTA) if cpu else 0


def cpu_weight(cpu_shares: int) -> int:
    """cgroup v2's weight of v1's shares."""
    return 1 + ((cpu_shares - 2) * 9999) // 262_142


def oom_score(pod: Object, container: Container, memory_capacity: int) -> int:
    if is_critical(pod) or qos_class(pod) == "Guaranteed":
        return GUARANTEED_OOM
    if qos_class(pod) == "BestEffort":
        return BEST_EFFORT_OOM
    asked = requests(container).get("memory", 0)
    if is_sidecar(container):
        asked = max(asked, min(requests(main).get("memory", 0) for main in containers_of(pod)))
    score = 1000 - 1000 * asked // max(memory_capacity, 1)
    return min(max(score, 1000 + GUARANTEED_OOM), BEST_EFFORT_OOM - 1)


def container_resources(
    pod: Object, container: Container, memory_capacity: int, *, unified: bool
) -> cri.LinuxContainerResources:
    """`unified` is cgroup v2, where one process's end by OOM is the whole container's."""
    asked, limited = requests(container), limits(container)
    made = cri.LinuxContainerResources(
        cpu_shares=shares(asked.get("cpu", 0)),
        cpu_period=PERIOD_MICROSECONDS,
        cpu_quota=quota(limited.get("cpu", 0)),
        memory_limit_in_bytes=limited.get("memory", 0),
        oom_score_adj=oom_score(pod, container, memory_capacity),
    )
    if unified:
        made.unified["memory.oom.group"] = "1"
    return made
