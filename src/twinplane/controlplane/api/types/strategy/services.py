"""Services: values that were allocated for one stay with it, and fields that its type does not have go.

Addresses and node ports are allocated by the API server after this; here it is only decided which are kept. Rules of
kubernetes/pkg/registry/core/service (`patchAllocatedValues`, `dropTypeDependentFields`).
"""

from __future__ import annotations

from typing import Any

from twinplane.controlplane.api.types.strategy.equality import same
from twinplane.kubeclient.contract import Object

Spec = dict[str, Any]
HEADLESS = "None"


def needs_cluster_address(spec: Spec) -> bool:
    return bool(spec.get("type", "ClusterIP") != "ExternalName")


def needs_node_port(spec: Spec) -> bool:
    if spec.get("type") == "NodePort":
        return True
    return spec.get("type") == "LoadBalancer" and spec.get("allocateLoadBalancerNodePorts", True) is not False


def needs_health_check_port(spec: Spec) -> bool:
    return spec.get("type") == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local"


def create_service(service: Object) -> None:
    spec = service.setdefault("spec", {})
    service["status"] = {"loadBalancer": {}}
    _normalize_addresses(spec)


def update_service(service: Object, old: Object) -> None:
    spec, before = service.setdefault("spec", {}), old.get("spec") or {}
    if needs_cluster_address(before) and needs_cluster_address(spec):
        if not spec.get("clusterIP") and before.get("clusterIP"):
            spec["clusterIP"] = before["clusterIP"]
        if not spec.get("clusterIPs") and before.get("clusterIPs") and spec["clusterIP"] == before["clusterIP"]:
            spec["clusterIPs"] = before["clusterIPs"]
        for field in ("ipFamilies", "ipFamilyPolicy"):
            if field in before:
                spec.setdefault(field, before[field])
    if needs_node_port(before) and needs_node_port(spec):
        _keep_node_ports(spec, before)
    if needs_health_check_port(before) and needs_health_check_port(spec) and before.get("healthCheckNodePort"):
        spec.setdefault("healthCheckNodePort", before["healthCheckNodePort"])
    _drop_dependent(spec, before)
    _normalize_addresses(spec)


def _keep_node_ports(spec: Spec, before: Spec) -> None:
    known = {_port_key(port): port.get("nodePort") for port in before.get("ports") or ()}
    used = {port.get("nodePort") for port in spec.get("ports") or ()}
    for port in spec.get("ports") or ():
        previous = known.get(_port_key(port))
        if not port.get("nodePort") and previous and previous not in used:
            port["nodePort"] = previous


def _port_key(port: dict[str, Any]) -> tuple[Any, Any]:
    return port.get("port"), port.get("protocol", "TCP")


def _drop_dependent(spec: Spec, before: Spec) -> None:
    """A value nobody changed goes when the type it belonged to went."""
    if needs_cluster_address(before) and not needs_cluster_address(spec):
        for field in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"):
            if same(spec.get(field), before.get(field)):
                spec.pop(field, None)
    if needs_node_port(before) and not needs_node_port(spec):
        old_ports = {_port_key(port): port.get("nodePort") for port in before.get("ports") or ()}
        for port in spec.get("ports") or ():
            if port.get("nodePort") == old_ports.get(_port_key(port)):
                port.pop("nodePort", None)
    for field, applies in _BY_TYPE:
        if applies(before) and not applies(spec) and same(spec.get(field), before.get(field)):
            spec.pop(field, None)


def _is_load_balancer(spec: Spec) -> bool:
    return spec.get("type") == "LoadBalancer"


def _is_external(spec: Spec) -> bool:
    return spec.get("type") in ("NodePort", "LoadBalancer") or bool(spec.get("externalIPs"))


_BY_TYPE = (
    ("healthCheckNodePort", needs_health_check_port),
    ("allocateLoadBalancerNodePorts", _is_load_balancer),
    ("loadBalancerClass", _is_load_balancer),
    ("externalTrafficPolicy", _is_external),
)


def _normalize_addresses(spec: Spec) -> None:
    """`clusterIP` and the first of `clusterIPs` are one value; single-stack IPv4 unless asked otherwise."""
    if not needs_cluster_address(spec):
        return
    if spec.get("clusterIP") and not spec.get("clusterIPs"):
        spec["clusterIPs"] = [spec["clusterIP"]]
    elif spec.get("clusterIPs") and not spec.get("clusterIP"):
        spec["clusterIP"] = spec["clusterIPs"][0]
    spec.setdefault("ipFamilies", ["IPv6" if ":" in str(spec.get("clusterIP", "")) else "IPv4"])
    spec.setdefault("ipFamilyPolicy", "SingleStack")
