"""Network Load Balancers: the ELBv2 stack that a Service wants. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from twinplane.controlplane.cloudcontroller.aws import Unbuildable
from twinplane.controlplane.cloudcontroller.elbv2.model import (
    CLUSTER_TAG,
    ListenerModel,
    Stack,
    TargetGroupModel,
    TargetKey,
    forward,
    resource_name,
)
from twinplane.controlplane.cloudcontroller.network import ClusterNetwork
from twinplane.controlplane.cloudcontroller.service.settings import Settings, is_tls, number_setting, serves_locally
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.meta import name_of, namespace_of, uid_of

CROSS_ZONE = "load_balancing.cross_zone.enabled"


def owner_tags(service: Object, settings_kind: str, cluster: str) -> dict[str, str]:
    """Tags of everything that is made for a Service, by which it is found again."""
    full_name = f"{namespace_of(service)}/{name_of(service)}"
    if settings_kind == "external":
        return {CLUSTER_TAG: cluster, "service.k8s.aws/stack": full_name}
    return {f"kubernetes.io/cluster/{cluster}": "owned", "kubernetes.io/service-name": full_name}


@dataclass(frozen=True)
class Surroundings:
    """What a Service finds in its cluster and VPC."""

    network: ClusterNetwork
    subnets: tuple[str, ...]
    security_groups: tuple[str, ...]
    instances: frozenset[str]
    """Targets of type instance."""
    slices: tuple[Object, ...] = ()
    """EndpointSlices of the Service: targets of type ip."""


def stack(service: Object, settings: Settings, name: str, around: Surroundings) -> Stack:
    tags = settings.tags | owner_tags(service, settings.kind, around.network.cluster)
    groups, listeners = [], []
    for port in service["spec"].get("ports", []):
        group = _target_group(service, port, settings, around, tags)
        groups.append(group)
        protocol = "TLS" if is_tls(settings, port) else port.get("protocol", "TCP")
        certificates = settings.certificates if protocol == "TLS" else ()
        listener = ListenerModel(
            int(port["port"]), protocol, (forward(group),), (), certificates, settings.ssl_policy, tags
        )
        listeners.append(listener)
    return Stack(
        name=name,
        type="network",
        scheme=settings.scheme,
        subnets=around.subnets,
        security_groups=around.security_groups,
        tags=tags,
        attributes={CROSS_ZONE: str(bool(settings.cross_zone)).lower()} | settings.attributes,
        listeners=tuple(listeners),
        target_groups=tuple(groups),
    )


def _target_group(
    service: Object, port: Mapping[str, Any], settings: Settings, around: Surroundings, tags: Mapping[str, str]
) -> TargetGroupModel:
    protocol = str(port.get("protocol", "TCP"))
    if settings.target_type == "instance":
        if not port.get("nodePort"):
            raise Unbuildable(f"port {port['port']} has no node port")
        number = int(port["nodePort"])
        targets = frozenset((instance, number) for instance in around.instances)
    else:
        number = _container_port(port)
        targets = ip_targets(around.slices, str(port.get("name", "")))
    identity = (uid_of(service), str(port["port"]), protocol, settings.target_type, str(number))
    return TargetGroupModel(
        name=resource_name(namespace_of(service), name_of(service), around.network.cluster, *identity),
        protocol=protocol,
        port=number,
        vpc_id=around.network.vpc_id,
        target_type=settings.target_type,
        health_check=_health_check(service, settings),
        targets=targets,
        tags=tags,
        attributes={"proxy_protocol_v2.enabled": str(settings.proxy_protocol).lower()}
        | settings.target_group_attributes,
    )


def _container_port(port: Mapping[str, Any]) -> int:
    """The group's port for ip targets, each of which has its own: the target port, or 1 when that is a name."""
    target = port.get("targetPort", port["port"])
    return target if isinstance(target, int) else 1


def ip_targets(slices: Iterable[Object], port_name: str) -> frozenset[TargetKey]:
    """Addresses and ports of the ready endpoints behind one port of a Service."""
    return frozenset(
        (str(address), int(port["port"]))
        for entry in slices
        if entry.get("addressType", "IPv4") == "IPv4"
        for port in entry.get("ports") or []
        if (port.get("name") or "") == port_name and port.get("port")
        for endpoint in entry.get("endpoints") or []
        if (endpoint.get("conditions") or {}).get("ready", True)
        for address in endpoint.get("addresses", [])[:1]
    )


def _health_check(service: Object, settings: Settings) -> dict[str, Any]:
    external = settings.kind == "external"
    local = serves_locally(service) and settings.target_type == "instance"
    protocol = settings.health_check.get("protocol", "HTTP" if local else "TCP").upper()
    port = settings.health_check.get("port", str(service["spec"]["healthCheckNodePort"]) if local else "traffic-port")
    check: dict[str, Any] = {
        "HealthCheckProtocol": protocol,
        "HealthCheckPort": port,
        "HealthCheckIntervalSeconds": number_setting(settings, "interval", 10 if external or local else 30),
        "HealthCheckTimeoutSeconds": number_setting(settings, "timeout", 6 if protocol in ("HTTP", "HTTPS") else 10),
        "HealthyThresholdCount": number_setting(settings, "healthy-threshold", 3),
        "UnhealthyThresholdCount": number_setting(settings, "unhealthy-threshold", 3),
    }
    if protocol in ("HTTP", "HTTPS"):
        check["HealthCheckPath"] = settings.health_check.get("path", "/healthz" if local else "/")
        check["Matcher"] = {"HttpCode": settings.health_check.get("success-codes", "200-399")}
    return check
