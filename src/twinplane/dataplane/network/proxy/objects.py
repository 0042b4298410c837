"""Services and EndpointSlices as kube-proxy keeps them: a few fields of each, in tuples.

`service_of` and `slice_of` are transforms of informers: what they return takes the object's place in memory. IPv4 only,
as the node's network is.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Network
from typing import Any, NamedTuple

from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.meta import labels_of, name_of, namespace_of

SERVICE_LABEL = "kubernetes.io/service-name"
PROXY_LABEL = "service.kubernetes.io/service-proxy-name"
HEADLESS_LABEL = "service.kubernetes.io/headless"
AFFINITY_SECONDS = 10_800

PARSED = "parsed"
"""Key under which an informer's object holds its tuple."""


class Port(NamedTuple):
    name: str
    protocol: str
    """tcp, udp or sctp."""
    port: int
    node_port: int = 0


class Service(NamedTuple):
    namespace: str
    name: str
    cluster_ip: str
    ports: tuple[Port, ...]
    external_ips: tuple[str, ...] = ()
    ingress_ips: tuple[str, ...] = ()
    source_ranges: tuple[str, ...] = ()
    """Empty for all."""
    internal_local: bool = False
    external_local: bool = False
    affinity_seconds: int = 0
    """0 for none."""
    health_port: int = 0

    @property
    def key(self) -> str:
        return f"{self.namespace}/{self.name}"


class Endpoint(NamedTuple):
    address: str
    node: str
    ready: bool = True
    serving: bool = True
    terminating: bool = False
    zones: tuple[str, ...] = ()
    """Hints."""
    nodes: tuple[str, ...] = ()
    """Hints."""


class Slice(NamedTuple):
    service: str
    ports: tuple[Port, ...]
    endpoints: tuple[Endpoint, ...]


def service_of(body: Object) -> Object:
    return _kept(body, _service(body))


def slice_of(body: Object) -> Object:
    return _kept(body, _slice(body))


def _kept(body: Object, parsed: Service | Slice | None) -> Object:
    metadata = body["metadata"]
    return {
        "apiVersion": body["apiVersion"],
        "kind": body["kind"],
        "metadata": {
            name: metadata[name] for name in ("name", "namespace", "uid", "resourceVersion") if name in metadata
        },
        PARSED: parsed,
    }


def _service(body: Object) -> Service | None:
    """None for what kube-proxy leaves alone: headless ones, external names, those of another proxy."""
    spec: Mapping[str, Any] = body["spec"]
    addresses = spec.get("clusterIPs") or [spec.get("clusterIP") or ""]
    cluster_ip = next(iter(_ipv4(addresses)), "")
    if not cluster_ip or spec.get("type") == "ExternalName" or PROXY_LABEL in labels_of(body):
        return None
    ports = tuple(
        Port(item.get("name") or "", _protocol(item), int(item["port"]), int(item.get("nodePort") or 0))
        for item in spec.get("ports") or ()
    )
    affinity = ((spec.get("sessionAffinityConfig") or {}).get("clientIP") or {}).get("timeoutSeconds")
    external = any(port.node_port for port in ports) or spec.get("externalIPs") or spec.get("type") == "LoadBalancer"
    return Service(
        namespace_of(body),
        name_of(body),
        cluster_ip,
        ports,
        _ipv4(spec.get("externalIPs") or ()),
        _ingress(body),
        _ranges(spec.get("loadBalancerSourceRanges") or ()),
        spec.get("internalTrafficPolicy") == "Local",
        bool(external) and spec.get("externalTrafficPolicy") == "Local",
        int(affinity or AFFINITY_SECONDS) if spec.get("sessionAffinity") == "ClientIP" else 0,
        int(spec.get("healthCheckNodePort") or 0),
    )


def _ingress(body: Object) -> tuple[str, ...]:
    """Addresses of load balancers that send packets as they came (ipMode VIP)."""
    items = ((body.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
    return _ipv4(item.get("ip") or "" for item in items if item.get("ipMode", "VIP") == "VIP")


def _ipv4(addresses: Iterable[str]) -> tuple[str, ...]:
    return tuple(address for address in addresses if address.count(".") == 3 and address != "None")


def _ranges(texts: Iterable[str]) -> tuple[str, ...]:
    found = []
    for text in texts:
        try:
            found.append(str(IPv4Network(text.strip(), strict=False)))
        except ValueError:
            continue
    # Ranges of the other family only: nothing of this one may pass.
    return tuple(found) or (("255.255.255.255/32",) if texts else ())


def _slice(body: Object) -> Slice | None:
    service = labels_of(body).get(SERVICE_LABEL)
    if not service or body.get("addressType") != "IPv4" or HEADLESS_LABEL in labels_of(body):
        return None
    ports = tuple(
        Port(item.get("name") or "", _protocol(item), int(item["port"]))
        for item in body.get("ports") or ()
        if item.get("port")
    )
    endpoints = tuple(_endpoint(item) for item in body.get("endpoints") or () if item.get("addresses"))
    return Slice(sys.intern(f"{namespace_of(body)}/{service}"), ports, endpoints)


def _endpoint(item: Mapping[str, Any]) -> Endpoint:
    conditions = item.get("conditions") or {}
    hints = item.get("hints") or {}
    ready = conditions.get("ready")
    serving = conditions.get("serving")
    ready = ready is None or bool(ready)
    return Endpoint(
        str(item["addresses"][0]),
        sys.intern(str(item.get("nodeName") or "")),
        ready,
        ready if serving is None else bool(serving),
        bool(conditions.get("terminating")),
        tuple(sys.intern(str(zone["name"])) for zone in hints.get("forZones") or ()),
        tuple(sys.intern(str(node["name"])) for node in hints.get("forNodes") or ()),
    )


def _protocol(item: Mapping[str, Any]) -> str:
    return sys.intern(str(item.get("protocol") or "TCP").lower())
