"""Services. Upstream: kubernetes/pkg/apis/core/validation `ValidateService`."""

from __future__ import annotations

from typing import Any

from twinplane.controlplane.api.types.validation import names
from twinplane.controlplane.api.types.validation.containers import validate_port_reference
from twinplane.controlplane.api.types.validation.context import Context, Visitor
from twinplane.controlplane.api.types.validation.fields import Errors, duplicate, forbidden, invalid, required
from twinplane.controlplane.api.types.validation.metadata import validate_labels

Spec = dict[str, Any]
_CLIENT_IP_LIMIT = 86400


def service_spec(spec: Spec, path: str, context: Context) -> None:
    errors, kind = context.errors, spec.get("type", "ClusterIP")
    headless = spec.get("clusterIP") == "None"
    if kind not in ("ExternalName",) and not headless and not spec.get("ports"):
        errors.append(required(f"{path}.ports"))
    if kind == "ExternalName":
        _validate_external_name(spec, path, errors)
    if kind == "LoadBalancer" and headless:
        errors.append(invalid(f"{path}.clusterIPs[0]", "None", "may not be set to 'None' for LoadBalancer services"))
    if kind == "NodePort" and headless:
        errors.append(invalid(f"{path}.clusterIPs[0]", "None", "may not be set to 'None' for NodePort services"))
    _validate_ports(spec, path, errors)
    validate_labels(spec.get("selector"), f"{path}.selector", errors)
    _validate_addresses(spec, path, errors)
    _validate_affinity(spec, path, errors)
    _validate_load_balancing(spec, path, errors)


def _validate_external_name(spec: Spec, path: str, errors: Errors) -> None:
    name = spec.get("externalName", "").rstrip(".")
    if errors.need(f"{path}.externalName", name):
        errors.texts(f"{path}.externalName", name, names.dns_subdomain(name))
    if spec.get("clusterIP"):
        detail = "may not be set for ExternalName services"
        errors.append(forbidden(f"{path}.clusterIPs", detail))


def _validate_ports(spec: Spec, path: str, errors: Errors) -> None:
    ports = spec.get("ports") or ()
    kind, seen_names, seen_ports, seen_node_ports = spec.get("type", "ClusterIP"), set(), set(), set()
    for index, port in enumerate(ports):
        at, name = f"{path}.ports[{index}]", port.get("name", "")
        if not name:
            if len(ports) > 1:
                errors.append(required(f"{at}.name"))
        else:
            errors.texts(f"{at}.name", name, names.dns_label(name))
            if name in seen_names:
                errors.append(duplicate(f"{at}.name", name))
            seen_names.add(name)
        number, protocol = port.get("port", 0), port.get("protocol", "TCP")
        errors.port(f"{at}.port", number)
        validate_port_reference(port.get("targetPort", number), f"{at}.targetPort", errors)
        if (protocol, number) in seen_ports:
            errors.append(duplicate(at, {"port": number, "protocol": protocol}))
        seen_ports.add((protocol, number))
        node_port = port.get("nodePort", 0)
        if not node_port:
            continue
        if kind in ("ClusterIP", "ExternalName"):
            errors.append(forbidden(f"{at}.nodePort", f"may not be used when `type` is '{kind}'"))
        elif (protocol, node_port) in seen_node_ports:
            errors.append(duplicate(f"{at}.nodePort", node_port))
        seen_node_ports.add((protocol, node_port))


def _validate_addresses(spec: Spec, path: str, errors: Errors) -> None:
    addresses = spec.get("clusterIPs") or ([spec["clusterIP"]] if spec.get("clusterIP") else [])
    for index, address in enumerate(addresses):
        if address != "None":
            errors.texts(f"{path}.clusterIPs[{index}]", address, names.ip_address(address))
        elif len(addresses) > 1:
            detail = (
                "may not contain 'None' together with other addresses" if index else "'None' must be the only value"
            )
            errors.append(invalid(f"{path}.clusterIPs[{index}]", address, detail))
    if spec.get("clusterIP") and addresses and spec["clusterIP"] != addresses[0]:
        detail = "first value must match `clusterIP`"
        errors.append(invalid(f"{path}.clusterIPs[0]", addresses[0], detail))
    for index, address in enumerate(spec.get("externalIPs") or ()):
        errors.texts(f"{path}.externalIPs[{index}]", address, names.ip_address(address))
    for index, family in enumerate(spec.get("ipFamilies") or ()):
        errors.choose(f"{path}.ipFamilies[{index}]", family, ("IPv4", "IPv6"))


def _validate_affinity(spec: Spec, path: str, errors: Errors) -> None:
    client = (spec.get("sessionAffinityConfig") or {}).get("clientIP") or {}
    seconds = client.get("timeoutSeconds")
    if spec.get("sessionAffinity") == "ClientIP" and seconds is not None and not 0 < seconds <= _CLIENT_IP_LIMIT:
        detail = f"must be greater than 0 and less than {_CLIENT_IP_LIMIT}"
        errors.append(invalid(f"{path}.sessionAffinityConfig.clientIP.timeoutSeconds", seconds, detail))
    if spec.get("sessionAffinity", "None") == "None" and spec.get("sessionAffinityConfig"):
        detail = "must not be set when session affinity is None"
        errors.append(forbidden(f"{path}.sessionAffinityConfig", detail))


def _validate_load_balancing(spec: Spec, path: str, errors: Errors) -> None:
    is_load_balancer = spec.get("type") == "LoadBalancer"
    for index, block in enumerate(spec.get("loadBalancerSourceRanges") or ()):
        if not is_load_balancer:
            detail = "may only be used when `type` is 'LoadBalancer'"
            errors.append(forbidden(f"{path}.LoadBalancerSourceRanges[{index}]", detail))
        errors.texts(f"{path}.LoadBalancerSourceRanges[{index}]", block, names.cidr(block.strip()))
    if spec.get("loadBalancerClass"):
        if is_load_balancer:
            text = spec["loadBalancerClass"]
            errors.texts(f"{path}.loadBalancerClass", text, names.qualified_name(text))
        else:
            errors.append(forbidden(f"{path}.loadBalancerClass", "may only be used when `type` is 'LoadBalancer'"))
    if "allocateLoadBalancerNodePorts" in spec and not is_load_balancer:
        detail = "may only be used when `type` is 'LoadBalancer'"
        errors.append(forbidden(f"{path}.allocateLoadBalancerNodePorts", detail))
    external = spec.get("type") in ("NodePort", "LoadBalancer") or spec.get("externalIPs")
    if spec.get("externalTrafficPolicy") and not external:
        detail = "may only be set for externally-accessible services"
        errors.append(invalid(f"{path}.externalTrafficPolicy", spec["externalTrafficPolicy"], detail))


VALIDATORS: dict[str, Visitor] = {"core.v1.ServiceSpec": service_spec}
