"""What a Service of type LoadBalancer asks for: its annotations, read once. Pure.

Two controllers read such Services on EKS. The AWS cloud provider takes those without a class: Classic by default, NLB
by `aws-load-balancer-type: nlb`. The AWS Load Balancer Controller takes `external`, `nlb-ip` and its own class; its
defaults differ (an internal scheme, for one). Both live here, and `kind` says whose rules apply.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from twinplane.controlplane.cloudcontroller.aws import Unbuildable
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.meta import annotations_of

PREFIX = "service.beta.kubernetes.io/aws-load-balancer-"
CONTROLLER_CLASS = "service.k8s.aws/nlb"
EXTERNAL_TYPES = ("external", "nlb-ip")

Kind = Literal["classic", "nlb", "external"]


@dataclass(frozen=True)
class Settings:
    kind: Kind
    scheme: str
    target_type: str = "instance"
    backend_protocol: str = ""
    certificates: tuple[str, ...] = ()
    tls_ports: frozenset[str] | None = None
    """Port numbers and names of `ssl-ports`; None means all."""
    ssl_policy: str = ""
    proxy_protocol: bool = False
    cross_zone: bool | None = None
    idle_timeout: int | None = None
    draining_timeout: int | None = None
    tags: dict[str, str] = field(default_factory=dict)
    subnets: tuple[str, ...] = ()
    security_groups: tuple[str, ...] = ()
    extra_security_groups: tuple[str, ...] = ()
    name: str = ""
    node_labels: dict[str, str] = field(default_factory=dict)
    health_check: dict[str, str] = field(default_factory=dict)
    """protocol, port, path, interval, timeout, healthy-threshold, unhealthy-threshold, success-codes, as written."""
    attributes: dict[str, str] = field(default_factory=dict)
    target_group_attributes: dict[str, str] = field(default_factory=dict)


HEALTH_CHECK = (
    "protocol",
    "port",
    "path",
    "interval",
    "timeout",
    "healthy-threshold",
    "unhealthy-threshold",
    "success-codes",
)


def kind_of(service: Object) -> Kind | None:
    """None for a Service that is not ours: another type, or another class."""
    spec = service.get("spec", {})
    if spec.get("type") != "LoadBalancer":
        return None
    kind = annotations_of(service).get(PREFIX + "type", "")
    load_balancer_class = spec.get("loadBalancerClass")
    if load_balancer_class is not None:
        return "external" if load_balancer_class == CONTROLLER_CLASS else None
    if kind in EXTERNAL_TYPES:
        return "external"
    return "nlb" if kind == "nlb" else "classic"


def read(service: Object) -> Settings | None:
    """Raises `Unbuildable` for an annotation that makes no sense."""
    kind = kind_of(service)
    if kind is None:
        return None
    annotations = annotations_of(service)

    def text(name: str) -> str:
        return str(annotations.get(PREFIX + name, "")).strip()

    ports = text("ssl-ports")
    return Settings(
        kind=kind,
        scheme=_scheme(kind, text("scheme"), text("internal")),
        target_type=_target_type(kind, text("type"), text("nlb-target-type")),
        backend_protocol=text("backend-protocol").lower(),
        certificates=items(text("ssl-cert")),
        tls_ports=None if ports in ("", "*") else frozenset(items(ports.lower())),
        ssl_policy=text("ssl-negotiation-policy"),
        proxy_protocol=text("proxy-protocol") == "*",
        cross_zone=_boolean("cross-zone-load-balancing-enabled", text("cross-zone-load-balancing-enabled")),
        idle_timeout=_number("connection-idle-timeout", text("connection-idle-timeout")),
        draining_timeout=_draining(text("connection-draining-enabled"), text("connection-draining-timeout")),
        tags=pairs(text("additional-resource-tags")),
        subnets=items(text("subnets")),
        security_groups=items(text("security-groups")),
        extra_security_groups=items(text("extra-security-groups")),
        name=text("name"),
        node_labels=pairs(text("target-node-labels")),
        health_check={name: text(f"healthcheck-{name}") for name in HEALTH_CHECK if text(f"healthcheck-{name}")},
        attributes=pairs(text("attributes")),
        target_group_attributes=pairs(text("target-group-attributes")),
    )


def items(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def pairs(text: str) -> dict[str, str]:
    """`Key1=Val1,Key2=Val2`; a key without a value is kept with an empty one, as the cloud provider does."""
    found = {}
    for part in items(text):
        key, _, value = part.partition("=")
        if key.strip():
            found[key.strip()] = value.strip()
    return found


def _scheme(kind: Kind, scheme: str, internal: str) -> str:
    if scheme in ("internal", "internet-facing"):
        return scheme
    if scheme:
        raise Unbuildable(f"unknown scheme: {scheme}")
    if internal:
        return "internet-facing" if internal == "false" else "internal"
    return "internal" if kind == "external" else "internet-facing"


def _target_type(kind: Kind, type: str, target_type: str) -> str:
    if kind != "external":
        return "instance"
    if type == "nlb-ip" or target_type in ("ip", "nlb-ip"):
        return "ip"
    if target_type not in ("", "instance"):
        raise Unbuildable(f'unsupported target type "{target_type}" for load balancer type "{type}"')
    return "instance"


def _boolean(name: str, text: str) -> bool | None:
    if text not in ("", "true", "false"):
        raise Unbuildable(f"error parsing service annotation: {PREFIX}{name}={text}")
    return None if text == "" else text == "true"


def _number(name: str, text: str) -> int | None:
    if text and not text.isdigit():
        raise Unbuildable(f"error parsing service annotation: {PREFIX}{name}={text}")
    return int(text) if text else None


def _draining(enabled: str, timeout: str) -> int | None:
    if not _boolean("connection-draining-enabled", enabled):
        return None
    return _number("connection-draining-timeout", timeout) or 300


def number_setting(settings: Settings, name: str, default: int) -> int:
    found = _number(f"healthcheck-{name}", settings.health_check.get(name, ""))
    return default if found is None else found


def is_tls(settings: Settings, port: dict[str, Any]) -> bool:
    if not settings.certificates:
        return False
    ports = settings.tls_ports
    return ports is None or str(port["port"]) in ports or str(port.get("name", "")).lower() in ports


def serves_locally(service: Object) -> bool:
    """externalTrafficPolicy Local with the node port that says whether a node has an endpoint."""
    spec = service.get("spec", {})
    return spec.get("externalTrafficPolicy") == "Local" and bool(spec.get("healthCheckNodePort"))
