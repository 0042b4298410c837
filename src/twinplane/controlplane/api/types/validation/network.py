"""Ingresses, ingress classes, network policies, endpoint slices, service CIDRs."""

from __future__ import annotations

import ipaddress
from typing import Any

from twinplane.controlplane.api.types.validation import names
from twinplane.controlplane.api.types.validation.context import Context, Visitor
from twinplane.controlplane.api.types.validation.fields import Errors, duplicate, forbidden, invalid, required
from twinplane.kubeclient.contract import Object

Spec = dict[str, Any]
_BAD_SEQUENCES = ("//", "/./", "/../", "%2f", "%2F")
_BAD_SUFFIXES = ("/..", "/.")
_ENDPOINT_LIMIT = 1000
_CLASS_ANNOTATION = "kubernetes.io/ingress.class"


def ingress_spec(spec: Spec, path: str, context: Context) -> None:
    errors = context.errors
    if not spec.get("rules") and not spec.get("defaultBackend"):
        errors.append(invalid(path, spec.get("rules"), "either `defaultBackend` or `rules` must be specified"))
    for index, rule in enumerate(spec.get("rules") or ()):
        host, at = rule.get("host", ""), f"{path}.rules[{index}]"
        if host:
            _validate_host(host, f"{at}.host", errors)
        http = rule.get("http")
        if http is not None and not http.get("paths"):
            errors.append(required(f"{at}.http.paths"))
    for index, entry in enumerate(spec.get("tls") or ()):
        for position, host in enumerate(entry.get("hosts") or ()):
            check = names.wildcard_subdomain if "*" in host else names.dns_subdomain
            errors.texts(f"{path}.tls[{index}].hosts[{position}]", host, check(host))
    if spec.get("ingressClassName") is not None:
        name = spec["ingressClassName"]
        errors.texts(f"{path}.ingressClassName", name, names.dns_subdomain(name))


def _validate_host(host: str, path: str, errors: Errors) -> None:
    if not names.ip_address(host):
        errors.append(invalid(path, host, "must be a DNS name, not an IP address"))
    elif "*" in host:
        errors.texts(path, host, names.wildcard_subdomain(host))
    else:
        errors.texts(path, host, names.dns_subdomain(host))


def ingress(body: Object, path: str, context: Context) -> None:
    annotations = (body.get("metadata") or {}).get("annotations") or {}
    name = (body.get("spec") or {}).get("ingressClassName")
    if context.old is None and _CLASS_ANNOTATION in annotations and name and name != annotations[_CLASS_ANNOTATION]:
        detail = "must match `ingressClassName` when both are specified"
        at = f"metadata.annotations.{_CLASS_ANNOTATION}"
        context.errors.append(invalid(at, annotations[_CLASS_ANNOTATION], detail))


def ingress_path(value: Spec, path: str, context: Context) -> None:
    errors, text, kind = context.errors, value.get("path", ""), value.get("pathType", "")
    if not kind:
        errors.append(required(f"{path}.pathType", "pathType must be specified"))
    if kind in ("Exact", "Prefix"):
        if not text.startswith("/"):
            errors.append(invalid(f"{path}.path", text, "must be an absolute path"))
        for part in _BAD_SEQUENCES:
            if part in text:
                errors.append(invalid(f"{path}.path", text, f"must not contain '{part}'"))
        for part in _BAD_SUFFIXES:
            if text.endswith(part):
                errors.append(invalid(f"{path}.path", text, f"cannot end with '{part}'"))
    elif text and not text.startswith("/"):
        errors.append(invalid(f"{path}.path", text, "must be an absolute path"))
    if not value.get("backend"):
        errors.append(required(f"{path}.backend", "must specify `service` or `resource`"))


def ingress_backend(value: Spec, path: str, context: Context) -> None:
    errors, service = context.errors, value.get("service")
    if service is not None and value.get("resource") is not None:
        errors.append(invalid(path, "", "cannot set both resource and service backends"))
    if service is None:
        return
    if service.get("name"):
        errors.texts(f"{path}.service.name", service["name"], names.dns_1035_label(service["name"]))
    port = service.get("port") or {}
    number, name = port.get("number", 0), port.get("name", "")
    if number and name:
        errors.append(invalid(path, "", "cannot set both port name & port number"))
    elif number:
        errors.port(f"{path}.service.port.number", number)
    elif name:
        errors.texts(f"{path}.service.port.name", name, names.port_name(name))
    else:
        errors.append(required(path, "port name or number is required"))


def network_policy_spec(spec: Spec, path: str, context: Context) -> None:
    errors = context.errors
    kinds = spec.get("policyTypes") or ()
    if len(kinds) > 2:
        errors.append(invalid(f"{path}.policyTypes", kinds, "may not specify more than two policyTypes"))
    for index, kind in enumerate(kinds):
        errors.choose(f"{path}.policyTypes[{index}]", kind, ("Egress", "Ingress"))


def network_policy_port(value: Spec, path: str, context: Context) -> None:
    errors, port, end = context.errors, value.get("port"), value.get("endPort")
    if isinstance(port, int):
        errors.port(f"{path}.port", port)
    elif isinstance(port, str):
        errors.texts(f"{path}.port", port, names.port_name(port))
    if end is None:
        return
    if not isinstance(port, int):
        detail = "may not be specified when `port` is " + ("not specified" if port is None else "non-numeric")
        errors.append(invalid(f"{path}.endPort", end, detail))
    elif end < port:
        errors.append(invalid(f"{path}.endPort", end, "must be greater than or equal to `port`"))


def network_policy_peer(value: Spec, path: str, context: Context) -> None:
    if not value.keys() & {"podSelector", "namespaceSelector", "ipBlock"}:
        context.errors.append(required(path, "must specify a peer"))
    if "ipBlock" in value and value.keys() & {"podSelector", "namespaceSelector"}:
        context.errors.append(forbidden(path, "may not specify both ipBlock and another peer"))


def ip_block(value: Spec, path: str, context: Context) -> None:
    errors, block = context.errors, value.get("cidr", "")
    if not block:
        return
    problems = names.cidr(block)
    errors.texts(f"{path}.cidr", block, problems)
    for index, entry in enumerate(value.get("except") or ()):
        at = f"{path}.except[{index}]"
        wrong = names.cidr(entry)
        errors.texts(at, entry, wrong)
        if not problems and not wrong and not _is_strict_subset(entry, block):
            errors.append(invalid(at, entry, "must be a strict subset of `cidr`"))


def _is_strict_subset(inner: str, outer: str) -> bool:
    small = ipaddress.ip_network(inner, strict=False)
    large = ipaddress.ip_network(outer, strict=False)
    inside = small.version == large.version and small.network_address in large
    return inside and small.prefixlen > large.prefixlen


def endpoint_slice(body: Object, path: str, context: Context) -> None:
    errors, family = context.errors, body.get("addressType", "")
    endpoints, ports = body.get("endpoints") or (), body.get("ports") or ()
    if not family:
        errors.append(required("addressType"))
    if len(endpoints) > _ENDPOINT_LIMIT:
        error = forbidden("endpoints", "")
        error.type, error.detail = "FieldValueTooMany", f"must have at most {_ENDPOINT_LIMIT} items"
        errors.append(error)
    for index, endpoint in enumerate(endpoints):
        addresses = endpoint.get("addresses") or ()
        if not addresses:
            errors.append(required(f"endpoints[{index}].addresses", "must contain at least 1 address"))
        for position, address in enumerate(addresses):
            check = names.dns_subdomain if family == "FQDN" else names.ip_address
            errors.texts(f"endpoints[{index}].addresses[{position}]", address, check(address))
    seen: set[str] = set()
    for index, port in enumerate(ports):
        name = port.get("name", "")
        if name:
            errors.texts(f"ports[{index}].name", name, names.dns_label(name))
        if name in seen:
            errors.append(duplicate(f"ports[{index}].name", name))
        seen.add(name)


def ingress_class_spec(spec: Spec, path: str, context: Context) -> None:
    controller = spec.get("controller", "")
    if context.errors.need(f"{path}.controller", controller):
        domain, slash, rest = controller.partition("/")
        if not slash or not rest or names.dns_subdomain(domain):
            detail = 'must be a domain-prefixed path (such as "acme.io/foo")'
            context.errors.append(invalid(f"{path}.controller", controller, detail))


def service_cidr_spec(spec: Spec, path: str, context: Context) -> None:
    if not spec.get("cidrs"):
        context.errors.append(required(f"{path}.cidrs", "at least one CIDR required"))
    for index, block in enumerate(spec.get("cidrs") or ()):
        context.errors.texts(f"{path}.cidrs[{index}]", block, names.cidr(block))


VALIDATORS: dict[str, Visitor] = {
    "discovery.v1.EndpointSlice": endpoint_slice,
    "networking.v1.HTTPIngressPath": ingress_path,
    "networking.v1.IPBlock": ip_block,
    "networking.v1.Ingress": ingress,
    "networking.v1.IngressBackend": ingress_backend,
    "networking.v1.IngressClassSpec": ingress_class_spec,
    "networking.v1.IngressSpec": ingress_spec,
    "networking.v1.NetworkPolicyPeer": network_policy_peer,
    "networking.v1.NetworkPolicyPort": network_policy_port,
    "networking.v1.NetworkPolicySpec": network_policy_spec,
    "networking.v1.ServiceCIDRSpec": service_cidr_spec,
}
