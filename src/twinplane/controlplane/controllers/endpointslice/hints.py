"""Which clients an endpoint is meant for: `spec.trafficDistribution`, and the older topology-aware routing. Pure.

A hint names the zones (and the node) whose proxies shall prefer the endpoint. Traffic distribution keeps each endpoint
to where it is. Topology-aware routing (`service.kubernetes.io/topology-mode: Auto`) gives every zone as many endpoints
as its part of all CPUs asks for, and gives no hints where there are too few for that.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from math import ceil
from typing import Any

from twinplane.controlplane.controllers.endpointslice.slices import Endpoint, identity_of
from twinplane.kubeclient import quantity
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.meta import annotations_of, condition_is, labels_of

ZONE = "topology.kubernetes.io/zone"
TOPOLOGY_MODES = ("service.kubernetes.io/topology-mode", "service.kubernetes.io/topology-aware-hints")
OVERLOAD = 1.2
"""How many times its part of the traffic an endpoint may get."""
_CONTROL_PLANE = ("node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master")


def is_topology_aware(service: Object) -> bool:
    """The annotation comes before the field."""
    return any(annotations_of(service).get(key) in ("Auto", "auto") for key in TOPOLOGY_MODES)


def add_hints(service: Object, endpoints: Iterable[Endpoint], cpu_parts: Mapping[str, float]) -> None:
    """Into fresh endpoints, all of one port set. `cpu_parts` is what `parts_of_zones` says."""
    ready = [endpoint for endpoint in endpoints if endpoint["conditions"]["ready"]]
    if is_topology_aware(service):
        for endpoint, zone in _allocated(ready, cpu_parts):
            endpoint["hints"] = {"forZones": [{"name": zone}]}
        return
    distribution = service["spec"].get("trafficDistribution")
    if not distribution:
        return
    for endpoint in ready:
        hints: dict[str, Any] = {}
        if endpoint.get("zone"):
            hints["forZones"] = [{"name": endpoint["zone"]}]
        if distribution == "PreferSameNode" and endpoint.get("nodeName"):
            hints["forNodes"] = [{"name": endpoint["nodeName"]}]
        if hints:
            endpoint["hints"] = hints


def parts_of_zones(nodes: Iterable[Object]) -> dict[str, float]:
    """Zone -> its part of the CPUs of all nodes that are ready; empty when a node's zone or CPUs are not known."""
    cpus: dict[str, int] = defaultdict(int)
    for node in nodes:
        if any(role in labels_of(node) for role in _CONTROL_PLANE) or not condition_is(node, "Ready"):
            continue
        zone = labels_of(node).get(ZONE)
        cpu = ((node.get("status") or {}).get("allocatable") or {}).get("cpu")
        if not zone or not cpu:
            return {}
        cpus[zone] += quantity.milli(cpu)
    total = sum(cpus.values())
    return {zone: amount / total for zone, amount in cpus.items()} if total else {}


def _allocated(ready: list[Endpoint], parts: Mapping[str, float]) -> list[tuple[Endpoint, str]]:
    """Each endpoint with the zone it serves: its own, but for those that a zone with too few gets from others."""
    if len(parts) < 2 or len(ready) < len(parts) or any(endpoint.get("zone") not in parts for endpoint in ready):
        return []
    of_zone: dict[str, list[Endpoint]] = {zone: [] for zone in sorted(parts)}
    for endpoint in sorted(ready, key=identity_of):
        of_zone[endpoint["zone"]].append(endpoint)
    least = {zone: ceil(part * len(ready) / OVERLOAD - 1e-9) for zone, part in parts.items()}
    for zone, own in of_zone.items():
        while len(own) < least[zone]:
            donor = max(of_zone, key=lambda other: len(of_zone[other]) - least[other])
            if len(of_zone[donor]) <= least[donor]:
                return []
            own.append(of_zone[donor].pop())
    return [(endpoint, zone) for zone, own in of_zone.items() for endpoint in own]
