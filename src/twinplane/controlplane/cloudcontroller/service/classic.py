"""Classic Load Balancers: what a Service wants, and the calls that make the one in AWS so. Pure.

Facts of the cloud provider's `aws_loadbalancer.go`: how names, listeners and health checks are made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from twinplane.controlplane.cloudcontroller.aws import Aws, AwsError, Step, Unbuildable, tag_dict, tag_list
from twinplane.controlplane.cloudcontroller.service.settings import Settings, is_tls, number_setting, serves_locally
from twinplane.kubeclient.contract import Object

TLS_FRONTS = {"https": "HTTPS", "http": "HTTPS", "ssl": "SSL", "tcp": "SSL"}
"""Backend protocol -> protocol of a listener that has a certificate."""
PROXY_POLICY = "k8s-proxyprotocol-enabled"
NOT_FOUND = ("LoadBalancerNotFound", "AccessPointNotFound")


@dataclass(frozen=True)
class Listener:
    port: int
    protocol: str
    instance_port: int
    instance_protocol: str
    certificate: str = ""

    def parameters(self) -> dict[str, Any]:
        entry = {
            "LoadBalancerPort": self.port,
            "Protocol": self.protocol,
            "InstancePort": self.instance_port,
            "InstanceProtocol": self.instance_protocol,
        }
        return entry | {"SSLCertificateId": self.certificate} if self.certificate else entry


@dataclass(frozen=True)
class ClassicModel:
    name: str
    scheme: str
    subnets: tuple[str, ...]
    security_groups: tuple[str, ...]
    listeners: tuple[Listener, ...]
    instances: frozenset[str]
    health_check: Mapping[str, Any]
    tags: Mapping[str, str] = field(default_factory=dict)
    attributes: Mapping[str, Any] = field(default_factory=dict)
    proxy_protocol: bool = False


@dataclass(frozen=True)
class ObservedClassic:
    dns_name: str
    settings: Mapping[str, Any]
    tags: Mapping[str, str]
    attributes: Mapping[str, Any]


def listeners(service: Object, settings: Settings) -> tuple[Listener, ...]:
    return tuple(_listener(port, settings) for port in service["spec"].get("ports", []))


def _listener(port: dict[str, Any], settings: Settings) -> Listener:
    if port.get("protocol", "TCP") != "TCP":
        raise Unbuildable("Only TCP LoadBalancer is supported for AWS ELB")
    if not port.get("nodePort"):
        raise Unbuildable(f"port {port['port']} has no node port")
    backend = settings.backend_protocol
    front, back, certificate = "TCP", "TCP", ""
    if is_tls(settings, port):
        if backend and backend not in TLS_FRONTS:
            raise Unbuildable(f"Invalid backend protocol {backend} for {settings.certificates[0]}")
        front, back, certificate = TLS_FRONTS[backend or "tcp"], (backend or "tcp").upper(), settings.certificates[0]
    elif backend == "http":
        front = back = "HTTP"
    return Listener(int(port["port"]), front, int(port["nodePort"]), back, certificate)


def health_check(service: Object, settings: Settings) -> dict[str, Any]:
    """On the first node port, or with externalTrafficPolicy Local on the port that knows of local endpoints."""
    if serves_locally(service):
        target = f"HTTP:{service['spec']['healthCheckNodePort']}/healthz"
    else:
        protocol = settings.health_check.get("protocol", "TCP").upper()
        port = settings.health_check.get("port", "traffic-port")
        if port == "traffic-port":
            port = str(service["spec"]["ports"][0]["nodePort"])
        path = settings.health_check.get("path", "/") if protocol in ("HTTP", "HTTPS") else ""
        target = f"{protocol}:{port}{path}"
    return {
        "Target": target,
        "Interval": number_setting(settings, "interval", 10),
        "Timeout": number_setting(settings, "timeout", 5),
        "HealthyThreshold": number_setting(settings, "healthy-threshold", 2),
        "UnhealthyThreshold": number_setting(settings, "unhealthy-threshold", 6),
    }


def attributes(settings: Settings) -> dict[str, Any]:
    draining = settings.draining_timeout
    return {
        "CrossZoneLoadBalancing": {"Enabled": bool(settings.cross_zone)},
        "ConnectionDraining": {"Enabled": draining is not None, "Timeout": 300 if draining is None else draining},
        "ConnectionSettings": {"IdleTimeout": 60 if settings.idle_timeout is None else settings.idle_timeout},
    }


async def observe(aws: Aws, name: str) -> ObservedClassic | None:
    try:
        found = await aws.listed("elb", "describe_load_balancers", "LoadBalancerDescriptions", LoadBalancerNames=[name])
    except AwsError as error:
        if error.code in NOT_FOUND:
            return None
        raise
    if not found:
        return None
    tags = await aws.call("elb", "describe_tags", LoadBalancerNames=[name])
    present = await aws.call("elb", "describe_load_balancer_attributes", LoadBalancerName=name)
    descriptions = tags.get("TagDescriptions") or [{"Tags": []}]
    return ObservedClassic(
        found[0]["DNSName"], found[0], tag_dict(descriptions[0].get("Tags", [])), present["LoadBalancerAttributes"]
    )


def plan(wanted: ClassicModel | None, name: str, observed: ObservedClassic | None) -> list[Step]:
    if wanted is None:
        return [_step("delete_load_balancer", name)] if observed else []
    if observed is None:
        return _create(wanted)
    settings = observed.settings
    if settings.get("Scheme", "internet-facing") != wanted.scheme:
        return [_step("delete_load_balancer", name), *_create(wanted)]
    steps = _subnets(wanted, settings)
    if set(settings.get("SecurityGroups", [])) != set(wanted.security_groups):
        groups = list(wanted.security_groups)
        steps.append(_step("apply_security_groups_to_load_balancer", name, SecurityGroups=groups))
    steps += _listener_steps(wanted, settings)
    if dict((settings.get("HealthCheck") or {}).items()) != dict(wanted.health_check):
        steps.append(_step("configure_health_check", name, HealthCheck=dict(wanted.health_check)))
    missing = {key: value for key, value in wanted.tags.items() if observed.tags.get(key) != value}
    if missing:
        steps.append(Step("elb", "add_tags", {"LoadBalancerNames": [name], "Tags": tag_list(missing)}))
    if any(not _includes(observed.attributes.get(key), value) for key, value in wanted.attributes.items()):
        steps.append(_attributes(wanted))
    return steps + _instances(wanted, {entry["InstanceId"] for entry in settings.get("Instances", [])})


def _step(operation: str, name: str, **parameters: Any) -> Step:
    return Step("elb", operation, {"LoadBalancerName": name, **parameters})


def _create(wanted: ClassicModel) -> list[Step]:
    create = _step(
        "create_load_balancer",
        wanted.name,
        Listeners=[listener.parameters() for listener in wanted.listeners],
        Subnets=list(wanted.subnets),
        SecurityGroups=list(wanted.security_groups),
        Tags=tag_list(dict(wanted.tags)),
        Scheme=wanted.scheme,
    )
    check = _step("configure_health_check", wanted.name, HealthCheck=dict(wanted.health_check))
    steps = [create, check, _attributes(wanted)]
    if wanted.proxy_protocol:
        steps += _proxy_protocol(wanted)
    return steps + _instances(wanted, set())


def _attributes(wanted: ClassicModel) -> Step:
    return _step("modify_load_balancer_attributes", wanted.name, LoadBalancerAttributes=dict(wanted.attributes))


def _proxy_protocol(wanted: ClassicModel) -> list[Step]:
    policy = _step(
        "create_load_balancer_policy",
        wanted.name,
        PolicyName=PROXY_POLICY,
        PolicyTypeName="ProxyProtocolPolicyType",
        PolicyAttributes=[{"AttributeName": "ProxyProtocol", "AttributeValue": "true"}],
    )
    return [policy] + [
        _step(
            "set_load_balancer_policies_for_backend_server",
            wanted.name,
            InstancePort=port,
            PolicyNames=[PROXY_POLICY],
        )
        for port in sorted({listener.instance_port for listener in wanted.listeners})
    ]


def _includes(present: Any, wanted: Any) -> bool:
    if isinstance(wanted, Mapping):
        if wanted.get("Enabled") is False:
            return not (present or {}).get("Enabled")
        return isinstance(present, Mapping) and all(_includes(present.get(key), value) for key, value in wanted.items())
    return bool(present == wanted)


def _subnets(wanted: ClassicModel, settings: Mapping[str, Any]) -> list[Step]:
    present = set(settings.get("Subnets", []))
    added, gone = sorted(set(wanted.subnets) - present), sorted(present - set(wanted.subnets))
    steps = []
    if added:
        steps.append(_step("attach_load_balancer_to_subnets", wanted.name, Subnets=added))
    if gone:
        steps.append(_step("detach_load_balancer_from_subnets", wanted.name, Subnets=gone))
    return steps


def _listener_steps(wanted: ClassicModel, settings: Mapping[str, Any]) -> list[Step]:
    """One call a port: a changed listener is taken away and made again, as ELB has no way to modify one."""
    present = {
        entry["Listener"]["LoadBalancerPort"]: entry["Listener"] for entry in settings.get("ListenerDescriptions", [])
    }
    by_port = {listener.port: listener for listener in wanted.listeners}
    fresh = [listener for port, listener in by_port.items() if not _same(listener, present.get(port))]
    gone = [port for port in present if port not in by_port or by_port[port] in fresh]
    steps = [_step("delete_load_balancer_listeners", wanted.name, LoadBalancerPorts=[port]) for port in sorted(gone)]
    if fresh:
        made = [listener.parameters() for listener in fresh]
        steps.append(_step("create_load_balancer_listeners", wanted.name, Listeners=made))
    return steps


def _same(listener: Listener, present: Mapping[str, Any] | None) -> bool:
    # InstanceProtocol is left out: it follows from the rest, and not every implementation keeps it.
    return present is not None and (
        present["Protocol"].upper(),
        int(present["InstancePort"]),
        present.get("SSLCertificateId") or "",
    ) == (listener.protocol, listener.instance_port, listener.certificate)


def _instances(wanted: ClassicModel, present: set[str]) -> list[Step]:
    steps = []
    for operation, changed in (
        ("register_instances_with_load_balancer", wanted.instances - present),
        ("deregister_instances_from_load_balancer", present - wanted.instances),
    ):
        if changed:
            instances = [{"InstanceId": instance} for instance in sorted(changed)]
            steps.append(_step(operation, wanted.name, Instances=instances))
    return steps
