"""kube-proxy of every simulated node: from an address and a port to the pod that answers there.

Pure lookups over informers; nothing is kept but an index of node ports and the sessions of Services with ClientIP
affinity. Rules: kube-proxy `CategorizeEndpoints` (ready endpoints, else terminating ones that still serve;
externalTrafficPolicy Local keeps to the node's own).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from random import Random
from typing import Any, NamedTuple

from twinplane.clock import Clock
from twinplane.dataplane.simulation.nodes import SimulatedNode
from twinplane.dataplane.simulation.pods import SimulatedPod
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.informer_contract import Informer
from twinplane.kubeclient.meta import labels_of, name_of, namespace_of

NODE_PORT = "nodePort"
HEALTH_PORT = "healthCheckNodePort"
SERVICE = "service"
SERVICE_LABEL = "kubernetes.io/service-name"
SESSIONS_MAX = 10_000
AFFINITY_SECONDS = 10_800.0


class Backend(NamedTuple):
    address: str
    port: int


class PodTarget(NamedTuple):
    pod: SimulatedPod
    port: int


class HealthTarget(NamedTuple):
    """The health check port of a Service with externalTrafficPolicy Local."""

    namespace: str
    service: str
    local_endpoints: int


Target = PodTarget | HealthTarget


class ServiceRouter:
    def __init__(
        self,
        services: Informer,
        slices: Informer,
        pod_at: Callable[[str], SimulatedPod | None],
        clock: Clock,
        random: Random,
    ) -> None:
        self._services = services
        self._slices = slices
        self._pod_at = pod_at
        self._clock = clock
        self._random = random
        self._sessions: OrderedDict[tuple[str, str, int, str], tuple[Backend, float]] = OrderedDict()
        services.add_index(NODE_PORT, _node_ports)
        services.add_index(HEALTH_PORT, lambda body: _texts(body["spec"].get("healthCheckNodePort")))
        slices.add_index(SERVICE, lambda body: (f"{namespace_of(body)}/{labels_of(body).get(SERVICE_LABEL, '')}",))

    def node_port(self, node: SimulatedNode, port: int, client: str) -> Target | None:
        """What answers at a node's own address, apart from pods on its network."""
        for service in self._services.by_index(NODE_PORT, str(port)):
            item = next(item for item in service["spec"]["ports"] if item.get("nodePort") == port)
            return self._choose(service, item, node.name, client)
        for service in self._services.by_index(HEALTH_PORT, str(port)):
            local = self._ready(service, None, node.name)
            return HealthTarget(namespace_of(service), name_of(service), len(local))
        return None

    def _choose(self, service: Object, item: dict[str, Any], node: str, client: str) -> PodTarget | None:
        spec = service["spec"]
        local = spec.get("externalTrafficPolicy") == "Local"
        backends = self._ready(service, item, node if local else None)
        if not backends:
            return None
        backend = self._random.choice(backends)
        if spec.get("sessionAffinity") == "ClientIP":
            session = (namespace_of(service), name_of(service), item["port"], client)
            backend = self._remembered(session, backend, backends, _affinity_seconds(spec))
        pod = self._pod_at(backend.address)
        return PodTarget(pod, backend.port) if pod is not None else None

    def _remembered(
        self, session: tuple[str, str, int, str], drawn: Backend, backends: list[Backend], seconds: float
    ) -> Backend:
        now = self._clock.now()
        known = self._sessions.pop(session, None)
        backend = known[0] if known is not None and known[1] > now and known[0] in backends else drawn
        self._sessions[session] = (backend, now + seconds)
        if len(self._sessions) > SESSIONS_MAX:
            self._sessions.popitem(last=False)
        return backend

    def _ready(self, service: Object, item: dict[str, Any] | None, node: str | None) -> list[Backend]:
        """Endpoints for a Service port (any port when None), on one node when named."""
        ready: list[Backend] = []
        fallback: list[Backend] = []
        name = item.get("name") or "" if item is not None else None
        for slice_ in self._slices.by_index(SERVICE, f"{namespace_of(service)}/{name_of(service)}"):
            number = _slice_port(slice_, name)
            if number is None:
                continue
            for endpoint in slice_.get("endpoints") or ():
                if node is not None and endpoint.get("nodeName") != node:
                    continue
                conditions = endpoint.get("conditions") or {}
                backend = Backend(endpoint["addresses"][0], number)
                if conditions.get("ready", True):
                    ready.append(backend)
                elif conditions.get("serving") and conditions.get("terminating"):
                    fallback.append(backend)
        return sorted(set(ready or fallback))


def _affinity_seconds(spec: dict[str, Any]) -> float:
    configured = ((spec.get("sessionAffinityConfig") or {}).get("clientIP") or {}).get("timeoutSeconds")
    return float(configured or AFFINITY_SECONDS)


def _slice_port(slice_: Object, name: str | None) -> int | None:
    for port in slice_.get("ports") or ():
        if name is None or (port.get("name") or "") == name:
            return int(port["port"]) if port.get("port") else None
    return None


def _node_ports(body: Object) -> Iterable[str]:
    return [str(item["nodePort"]) for item in body["spec"].get("ports") or () if item.get("nodePort")]


def _texts(number: int | None) -> Iterable[str]:
    return (str(number),) if number else ()
