"""Services, endpoints, ingresses and network policies as `kubectl get` shows them."""

from __future__ import annotations

from typing import Any

from twinplane.controlplane.api.types.printing.column import (
    NONE,
    UNSET,
    Printer,
    age,
    labels_text,
    name,
    printer,
    selector_text,
    spec,
    status,
)
from twinplane.kubeclient.contract import Object

_SHOWN_ENDPOINTS = 3


def service(body: Object, now: float) -> list[Any]:
    wanted = spec(body)
    addresses = wanted.get("clusterIPs") or [wanted.get("clusterIP") or NONE]
    return [
        name(body),
        wanted.get("type", ""),
        addresses[0],
        _external_address(body),
        ",".join(_port(port) for port in wanted.get("ports") or ()) or NONE,
        age(body, now),
        labels_text(wanted.get("selector")),
    ]


def _port(port: dict[str, Any]) -> str:
    node_port = f":{port['nodePort']}" if port.get("nodePort") else ""
    return f"{port.get('port', 0)}{node_port}/{port.get('protocol', 'TCP')}"


def _external_address(body: Object) -> str:
    wanted = spec(body)
    external = list(wanted.get("externalIPs") or ())
    if wanted.get("type") == "ExternalName":
        return str(wanted.get("externalName", ""))
    if wanted.get("type") != "LoadBalancer":
        return ",".join(external) or NONE
    return ",".join([*_balancer_addresses(status(body)), *external]) or "<pending>"


def _balancer_addresses(current: dict[str, Any]) -> list[str]:
    entries = (current.get("loadBalancer") or {}).get("ingress") or ()
    return [entry.get("ip") or entry.get("hostname", "") for entry in entries]


def endpoints(body: Object, now: float) -> list[Any]:
    shown = [
        f"{address['ip']}:{port['port']}"
        for subset in body.get("subsets") or ()
        for port in subset.get("ports") or ()
        for address in subset.get("addresses") or ()
    ]
    if not shown:
        shown = [address["ip"] for subset in body.get("subsets") or () for address in subset.get("addresses") or ()]
    return [name(body), _some(shown, " + {} more..."), age(body, now)]


def _some(values: list[str], more: str) -> str:
    rest = len(values) - _SHOWN_ENDPOINTS
    text = ",".join(values[:_SHOWN_ENDPOINTS]) or NONE
    return text + more.format(rest) if rest > 0 else text


def endpoint_slice(body: Object, now: float) -> list[Any]:
    ports = [str(port["port"]) if port.get("port") else "*" for port in body.get("ports") or ()]
    addresses = [entry for endpoint in body.get("endpoints") or () for entry in endpoint.get("addresses") or ()]
    return [
        name(body),
        body.get("addressType", ""),
        _some(ports, " + {} more...") if ports else UNSET,
        _some(addresses, " + {} more...") if addresses else UNSET,
        age(body, now),
    ]


def ingress(body: Object, now: float) -> list[Any]:
    wanted = spec(body)
    hosts = [rule["host"] for rule in wanted.get("rules") or () if rule.get("host")]
    return [
        name(body),
        wanted.get("ingressClassName") or NONE,
        _some(hosts, " + {} more...") if hosts else "*",
        ",".join(_balancer_addresses(status(body))),
        "80, 443" if wanted.get("tls") else "80",
        age(body, now),
    ]


def ingress_class(body: Object, now: float) -> list[Any]:
    parameters = spec(body).get("parameters")
    shown = NONE
    if parameters:
        group = f".{parameters['apiGroup']}" if parameters.get("apiGroup") else ""
        shown = f"{parameters.get('kind', '')}{group}/{parameters.get('name', '')}"
    return [name(body), spec(body).get("controller", ""), shown, age(body, now)]


def network_policy(body: Object, now: float) -> list[Any]:
    return [name(body), selector_text(spec(body).get("podSelector")), age(body, now)]


def ip_address(body: Object, now: float) -> list[Any]:
    parent = spec(body).get("parentRef") or {}
    parts = [parent.get("resource", ""), parent.get("group", "")]
    kind = ".".join(part for part in parts if part)
    where = "/".join(part for part in (kind, parent.get("namespace", ""), parent.get("name", "")) if part)
    return [name(body), where or NONE]


def service_cidr(body: Object, now: float) -> list[Any]:
    return [name(body), ",".join(spec(body).get("cidrs") or ()), age(body, now)]


PRINTERS: dict[tuple[str, str], Printer] = {
    ("", "Endpoints"): printer("Name,Endpoints,Age", endpoints),
    ("", "Service"): printer("Name,Type,Cluster-IP,External-IP,Port(s),Age", service, "Selector"),
    ("discovery.k8s.io", "EndpointSlice"): printer("Name,AddressType,Ports,Endpoints,Age", endpoint_slice),
    ("networking.k8s.io", "IPAddress"): printer("Name,ParentRef", ip_address),
    ("networking.k8s.io", "Ingress"): printer("Name,Class,Hosts,Address,Ports,Age", ingress),
    ("networking.k8s.io", "IngressClass"): printer("Name,Controller,Parameters,Age", ingress_class),
    ("networking.k8s.io", "NetworkPolicy"): printer("Name,Pod-Selector,Age", network_policy),
    ("networking.k8s.io", "ServiceCIDR"): printer("Name,CIDRs,Age", service_cidr),
}
