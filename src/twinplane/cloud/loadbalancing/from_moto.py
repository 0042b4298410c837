"""Reads moto's ELB and ELBv2 state into the records of `contract`.

Only reads. moto creates a backend the moment somebody names it (and imports half of EC2 to do so), so an account that
never used load balancers is recognised without touching them. Whoever owns moto runs `read` in moto's thread.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import Any

from twinplane.cloud.loadbalancing.contract import (
    DEFAULT_PRIORITY,
    Action,
    Certificate,
    Condition,
    HealthCheck,
    Kind,
    Listener,
    LoadBalancer,
    Rule,
    Snapshot,
    Target,
    TargetGroup,
)

KINDS: dict[str, Kind] = {"application": "application", "network": "network"}
INTERFACES_OF = "ELB "
"""The description of a load balancer's network interfaces begins so (`cloud.aws.balancers` makes them)."""
CLASSIC_PROTOCOLS = {"SSL": "TLS"}


class MotoReader:
    """`read()` is the snapshot of one account in one region."""

    def __init__(self, account_id: str, region: str) -> None:
        self._account_id = account_id
        self._addresses: dict[str, tuple[str, ...]] = {}
        self._region = region

    def read(self) -> Snapshot:
        self._addresses = self._interface_addresses()
        balancers: list[LoadBalancer] = []
        groups: dict[str, TargetGroup] = {}
        for classic in _values(self._backend("moto.elb.models", "elb_backends"), "load_balancers"):
            balancer, own = self._classic(classic)
            balancers.append(balancer)
            groups.update(own)
        elbv2 = self._backend("moto.elbv2.models", "elbv2_backends")
        for group in _values(elbv2, "target_groups"):
            groups[group.arn] = _target_group(group)
        balancers += [self._elbv2(found) for found in _values(elbv2, "load_balancers") if found.type in KINDS]
        return Snapshot(tuple(balancers), groups)

    def _interface_addresses(self) -> dict[str, tuple[str, ...]]:
        """Description of the interfaces (`ELB app/NAME/ID`) -> their addresses."""
        found: dict[str, list[tuple[str, str]]] = {}
        for interface in _values(self._backend("moto.ec2.models", "ec2_backends"), "enis"):
            if interface.description.startswith(INTERFACES_OF):
                entry = (interface.subnet.id, interface.private_ip_address)
                found.setdefault(interface.description, []).append(entry)
        return {text: tuple(address for _, address in sorted(entries)) for text, entries in found.items()}

    def _backend(self, module: str, attribute: str, region: str = "") -> Any:
        """The existing backend or None; never makes one."""
        backends = getattr(sys.modules.get(module), attribute, None)
        if backends is None or self._account_id not in list(backends.keys()):
            return None
        regional = backends[self._account_id]
        region = region or self._region
        return regional[region] if region in list(regional.keys()) else None

    def _classic(self, found: Any) -> tuple[LoadBalancer, dict[str, TargetGroup]]:
        arn = f"arn:aws:elasticloadbalancing:{self._region}:{self._account_id}:loadbalancer/{found.name}"
        groups: dict[str, TargetGroup] = {}
        listeners = []
        for listener in list(found.listeners):
            group = _classic_target_group(arn, found, listener)
            groups[group.arn] = group
            protocol = listener.protocol.upper()
            listeners.append(
                Listener(
                    int(listener.load_balancer_port),
                    CLASSIC_PROTOCOLS.get(protocol, protocol),
                    (Rule(DEFAULT_PRIORITY, (), Action("forward", ((group.arn, 1),))),),
                    self._certificates([listener.ssl_certificate_id]),
                )
            )
        settings = found.attributes.get("connection_settings") or {}
        timeout = settings.get("idle_timeout") or settings.get("IdleTimeout") or 60
        balancer = LoadBalancer(
            arn,
            found.name,
            "classic",
            found.dns_name,
            found.scheme,
            found.vpc_id or "",
            tuple(sorted(found.availability_zones)),
            tuple(listeners),
            float(timeout),
            self._addresses.get(f"{INTERFACES_OF}{found.name}", ()),
        )
        return balancer, groups

    def _elbv2(self, found: Any) -> LoadBalancer:
        return LoadBalancer(
            found.arn,
            found.name,
            KINDS[found.type],
            found.dns_name,
            found.scheme or "internet-facing",
            found.vpc_id or "",
            tuple(sorted(subnet.availability_zone for subnet in list(found.subnets))),
            tuple(self._listener(listener) for listener in list(found.listeners.values())),
            float(found.attrs.get("idle_timeout.timeout_seconds") or (350 if found.type == "network" else 60)),
            self._addresses.get(INTERFACES_OF + found.arn.split("loadbalancer/", 1)[-1], ()),
        )

    def _listener(self, found: Any) -> Listener:
        rules = [_rule(rule.priority, rule.conditions, rule.actions) for rule in list(found.rules.values())]
        rules.sort(key=lambda rule: rule.priority)
        certificates = self._certificates(list(found.certificates))
        return Listener(int(found.port), found.protocol, tuple(rules), certificates)

    def _certificates(self, arns: Iterable[str | None]) -> tuple[Certificate, ...]:
        found = (self._certificate(arn) for arn in arns if arn)
        return tuple(certificate for certificate in found if certificate is not None)

    def _certificate(self, arn: str) -> Certificate | None:
        if ":iam:" in arn:
            backend = self._backend("moto.iam.models", "iam_backends", "aws")
            for entry in _values(backend, "certificates"):
                if entry.arn == arn:
                    chain = f"{entry.cert_body.strip()}\n{(entry.cert_chain or '').strip()}".strip()
                    return Certificate(chain + "\n", entry.private_key)
            return None
        for entry in _values(self._backend("moto.acm.models", "acm_backends"), "_certificates"):
            if entry.arn == arn:
                # moto's chain ends in a root that did not sign this certificate, so only the leaf is served.
                return Certificate(_text(entry.cert), _text(entry.key))
        return None


def _values(backend: Any, attribute: str) -> list[Any]:
    return list(getattr(backend, attribute).values()) if backend is not None else []


def _text(pem: bytes | str) -> str:
    return pem.decode() if isinstance(pem, bytes) else pem


def _classic_target_group(arn: str, found: Any, listener: Any) -> TargetGroup:
    protocol = str(getattr(listener, "instance_protocol", "") or listener.protocol).upper()
    port = int(listener.instance_port)
    attributes = {"proxy_protocol_v1.enabled": "true"} if _has_proxy_protocol(found, port) else {}
    return TargetGroup(
        arn=f"{arn}/{int(listener.load_balancer_port)}",
        name=found.name,
        # ELB has accepted HTTPS and SSL in front while moto reports the listener's protocol for the instances as well;
        # what ends at the load balancer goes on in the clear, as the cloud provider configures it.
        protocol={"HTTPS": "HTTP", "SSL": "TCP"}.get(protocol, protocol),
        port=port,
        vpc_id=found.vpc_id or "",
        targets=tuple(sorted({Target(instance, port) for instance in list(found.instance_ids)})),
        health_check=_classic_health_check(found.health_check, port),
        attributes=attributes,
    )


def _has_proxy_protocol(found: Any, instance_port: int) -> bool:
    names = {policy.policy_name for policy in found.policies if policy.policy_type_name == "ProxyProtocolPolicyType"}
    return any(
        int(backend.instance_port) == instance_port and names.intersection(backend.policy_names)
        for backend in list(found.backends)
    )


def _classic_health_check(found: Any, instance_port: int) -> HealthCheck:
    """`Target` reads `TCP:30080` or `HTTP:30080/healthz`; without one ELB opens a TCP connection."""
    if found is None:
        return HealthCheck("TCP", instance_port, "/", 30, 5, 10, 2)
    protocol, _, rest = str(found.target).partition(":")
    port, slash, path = rest.partition("/")
    return HealthCheck(
        "TLS" if protocol == "SSL" else protocol,
        int(port),
        slash + path,
        float(found.interval),
        float(found.timeout),
        int(found.healthy_threshold),
        int(found.unhealthy_threshold),
    )


def _target_group(found: Any) -> TargetGroup:
    targets = (Target(str(entry["Id"]), int(entry.get("Port") or found.port)) for entry in list(found.targets.values()))
    matcher = getattr(found, "matcher", None) or {}
    port = str(found.health_check_port or "traffic-port")
    return TargetGroup(
        arn=found.arn,
        name=found.name,
        protocol=found.protocol or "HTTP",
        port=int(found.port or 80),
        vpc_id=found.vpc_id or "",
        target_type=found.target_type,
        targets=tuple(sorted(targets)),
        health_check=HealthCheck(
            found.health_check_protocol or found.protocol or "HTTP",
            int(port) if port.isdigit() else None,
            found.health_check_path or "/",
            float(found.health_check_interval_seconds),
            float(found.health_check_timeout_seconds),
            int(found.healthy_threshold_count),
            int(found.unhealthy_threshold_count),
            str(matcher.get("HttpCode") or matcher.get("GrpcCode") or "200"),
            bool(found.health_check_enabled),
        ),
        attributes={key: str(value) for key, value in list(found.attributes.items())},
        protocol_version=found.protocol_version or "",
    )


def _rule(priority: Any, conditions: Iterable[Mapping[str, Any]], actions: Iterable[Any]) -> Rule:
    number = DEFAULT_PRIORITY if priority == "default" else int(priority)
    described = [action.data for action in actions]
    described.sort(key=lambda action: int(action.get("Order") or 0))
    # Whatever comes first decides: an authentication that cannot run must not be skipped.
    action = _action(described[0]) if described else Action("fixed-response", settings={"StatusCode": "503"})
    return Rule(number, tuple(_condition(condition) for condition in conditions), action)


def _action(data: Mapping[str, Any]) -> Action:
    kind = str(data.get("Type"))
    if kind == "forward":
        groups = (data.get("ForwardConfig") or {}).get("TargetGroups") or []
        weighted = tuple((entry["TargetGroupArn"], int(entry.get("Weight", 1))) for entry in groups)
        return Action(kind, weighted or ((data["TargetGroupArn"], 1),))
    settings = data.get("RedirectConfig") or data.get("FixedResponseConfig") or {}
    return Action(kind, settings={key: str(value) for key, value in settings.items()})


CONDITION_CONFIGS = {
    "host-header": "HostHeaderConfig",
    "path-pattern": "PathPatternConfig",
    "http-header": "HttpHeaderConfig",
    "http-request-method": "HttpRequestMethodConfig",
    "query-string": "QueryStringConfig",
    "source-ip": "SourceIpConfig",
}


def _condition(data: Mapping[str, Any]) -> Condition:
    field = str(data.get("Field", ""))
    config = data.get(CONDITION_CONFIGS.get(field, "")) or {}
    values = config.get("Values") or data.get("Values") or []
    if field == "query-string":
        return Condition(field, pairs=tuple((pair.get("Key") or "", pair["Value"]) for pair in values))
    return Condition(field, tuple(values), str(config.get("HttpHeaderName") or ""))
