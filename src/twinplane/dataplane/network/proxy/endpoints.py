"""Which endpoints of a Service port a node uses: pure, as upstream's `CategorizeEndpoints`.

Ready ones, those near by when all say whom they are for, terminating ones that still serve when nothing else does, and
the node's own for traffic policy Local.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from twinplane.dataplane.network.proxy.objects import Endpoint, Port, Service, Slice


class Place(NamedTuple):
    node: str
    zone: str = ""


class Chosen(NamedTuple):
    """Targets are `ADDRESS . PORT`, sorted."""

    cluster: tuple[str, ...]
    local: tuple[str, ...]
    any: bool
    """There is an endpoint somewhere, if not for all traffic of this node."""


def choose(service: Service, port: Port, slices: Iterable[Slice], place: Place) -> Chosen:
    found = endpoints_of(port, slices)
    uses_cluster = not service.internal_local or _is_external(service)
    uses_local = service.internal_local or service.external_local
    cluster = _cluster(found, place) if uses_cluster else ()
    local = _serving({target: item for target, item in found.items() if item.node == place.node}) if uses_local else ()
    serving = any(item.ready or (item.serving and item.terminating) for item in found.values())
    return Chosen(tuple(sorted(cluster)), tuple(sorted(local)), serving)


def endpoints_of(port: Port, slices: Iterable[Slice]) -> dict[str, Endpoint]:
    """Target -> endpoint. One that is in several slices counts once, ready if it is anywhere."""
    found: dict[str, Endpoint] = {}
    for item in slices:
        numbers = [entry.port for entry in item.ports if (entry.name, entry.protocol) == (port.name, port.protocol)]
        for number in numbers[:1]:
            for endpoint in item.endpoints:
                target = f"{endpoint.address} . {number}"
                if target not in found or (endpoint.ready and not found[target].ready):
                    found[target] = endpoint
    return found


def local_ready(slices: Iterable[Slice], node: str) -> int:
    """Endpoints of all ports on a node, for `healthCheckNodePort`."""
    ready = {
        endpoint.address for item in slices for endpoint in item.endpoints if endpoint.node == node and endpoint.ready
    }
    return len(ready)


def _is_external(service: Service) -> bool:
    return bool(service.external_ips or service.ingress_ips or any(port.node_port for port in service.ports))


def _serving(endpoints: Mapping[str, Endpoint]) -> Iterable[str]:
    """Ready ones, else terminating ones that serve."""
    ready = [target for target, item in endpoints.items() if item.ready]
    return ready or [target for target, item in endpoints.items() if item.serving and item.terminating]


def _cluster(endpoints: Mapping[str, Endpoint], place: Place) -> Iterable[str]:
    ready = {target: item for target, item in endpoints.items() if item.ready}
    if all(item.nodes for item in ready.values()):
        near = [target for target, item in ready.items() if place.node in item.nodes]
        if near:
            return near
    if place.zone and all(item.zones for item in ready.values()):
        near = [target for target, item in ready.items() if place.zone in item.zones]
        if near:
            return near
    return _serving(endpoints)
