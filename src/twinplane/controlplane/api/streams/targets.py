"""What a proxy subresource names, `[SCHEME:]NAME[:PORT]`, looked up as upstream's ResourceLocation does."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from twinplane.controlplane.api.objects.selection import Selection
from twinplane.controlplane.api.runtime import Call
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.errors import ApiError, bad_request, not_found
from twinplane.kubeclient.resources import ENDPOINT_SLICES, NODES, PODS, SERVICES

SERVICE_LABEL = "kubernetes.io/service-name"
_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Target:
    """Where a proxied request goes. Without a host it is the kubelet of the node itself."""

    scheme: str
    host: str
    port: int
    node: Object | None
    """The node by way of which the address is reached; None when nothing is known of one."""

    @property
    def authority(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"


def target_of(call: Call) -> Target:
    """Raises BadRequest, NotFound and ServiceUnavailable in upstream's words."""
    kind = call.type.resource.kind.lower()
    parts = call.name.split(":")
    scheme, name, port = {1: ("", *parts, ""), 2: ("", *parts), 3: tuple(parts)}.get(len(parts), ("", "", ""))
    if not name or scheme not in ("", "http", "https"):
        raise bad_request(f'invalid {kind} request "{call.name}"')
    return _LOCATIONS[kind](call, scheme, name, port)


def _pod(call: Call, scheme: str, name: str, port: str) -> Target:
    entry = call.runtime.cache.get(PODS, call.namespace, name)
    if entry is None:
        raise not_found("", "pods", name)
    pod = entry.object
    scheme = scheme or "http"
    if not port:
        declared = (item["ports"][0]["containerPort"] for item in pod["spec"]["containers"] if item.get("ports"))
        port = str(next(declared, _DEFAULT_PORTS[scheme]))
    address = (pod.get("status") or {}).get("podIP") or ""
    _check_proxyable(address)
    return Target(scheme, address, _number(port), _node(call, pod["spec"].get("nodeName")))


def _service(call: Call, scheme: str, name: str, port: str) -> Target:
    entry = call.runtime.cache.get(SERVICES, call.namespace, name)
    if entry is None:
        raise not_found("", "services", name)
    if port.isdecimal():
        ports = entry.object["spec"].get("ports") or ()
        named = next((item.get("name", "") for item in ports if item["port"] == int(port)), None)
        if named is None:
            raise ApiError("ServiceUnavailable", f'no service port {port} found for service "{name}"')
        port = named
    backends = list(_backends(call, name, port))
    if not backends:
        raise ApiError("ServiceUnavailable", f'no endpoints available for service "{call.name}"')
    address, number, node = call.runtime.random.choice(backends)
    _check_proxyable(address)
    return Target(scheme or "http", address, number, _node(call, node))


def _backends(call: Call, service: str, port: str) -> Iterator[tuple[str, int, str | None]]:
    """Ready endpoints of the Service's port of that name."""
    selection = Selection(call.namespace, labels=((SERVICE_LABEL, service),))
    for entry in call.runtime.cache.collection(ENDPOINT_SLICES).select(selection):
        slice_ = entry.object
        if (slice_["metadata"].get("labels") or {}).get(SERVICE_LABEL) != service:
            continue
        for offered in slice_.get("ports") or ():
            if (offered.get("name") or "") == port and offered.get("port"):
                yield from _ready(slice_, offered["port"])


def _ready(slice_: dict[str, Any], port: int) -> Iterator[tuple[str, int, str | None]]:
    for endpoint in slice_.get("endpoints") or ():
        if (endpoint.get("conditions") or {}).get("ready", True):
            yield endpoint["addresses"][0], port, endpoint.get("nodeName")


def _of_node(call: Call, scheme: str, name: str, port: str) -> Target:
    node = _node(call, name)
    if node is None:
        raise not_found("", "nodes", name)
    status = node.get("status") or {}
    kubelet = ((status.get("daemonEndpoints") or {}).get("kubeletEndpoint") or {}).get("Port")
    if not port or port == str(kubelet):
        return Target("https", "", 443, node)
    addresses = {entry["type"]: entry["address"] for entry in status.get("addresses") or ()}
    address = addresses.get("InternalIP", "")
    _check_proxyable(address)
    return Target(scheme or "http", address, _number(port), node)


def _node(call: Call, name: str | None) -> Object | None:
    entry = call.runtime.cache.get(NODES, "", name) if name else None
    return entry.object if entry is not None else None


def _check_proxyable(address: str) -> None:
    """No way through the API server to itself or to the metadata service of its host."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        raise bad_request("address not allowed") from None
    if ip.is_loopback or ip.is_link_local or ip.is_multicast or ip.is_unspecified:
        raise bad_request("address not allowed")


def _number(port: str) -> int:
    if not port.isdecimal() or not 0 < int(port) < 65536:
        raise bad_request(f'invalid port "{port}"')
    return int(port)


_LOCATIONS = {"pod": _pod, "service": _service, "node": _of_node}
