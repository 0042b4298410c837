"""From target groups to Envoy clusters and their endpoints. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import PurePath
from typing import Any

from twinplane.cloud.loadbalancing.contract import HealthCheck, Kind, SocketAddress, Target, TargetGroup

Resource = dict[str, Any]
Resolved = Mapping[tuple[str, Target], list[SocketAddress]]
"""(VPC id, target) -> where it is reached."""

EXTENSIONS = "type.googleapis.com/envoy.extensions"
UNLIMITED = 1 << 20
CHECKS_A_SECOND = 25
"""How many health checks a target group may cause; bigger groups are checked less often, so that idle stays idle."""
RECHECK = 2.0
"""Seconds between checks of a target that is not healthy. ELB would use the interval, and let a developer wait."""
ALGORITHMS = {"round_robin": "ROUND_ROBIN", "least_outstanding_requests": "LEAST_REQUEST", "weighted_random": "RANDOM"}


def cluster_name(arn: str) -> str:
    """`targetgroup/NAME/ID`, as people know it from the ARN."""
    return arn.rsplit(":", 1)[-1]


def resource_path(directory: PurePath, name: str) -> str:
    return str(directory / f"{hashlib.sha256(name.encode()).hexdigest()[:20]}.json")


def config_source(path: str) -> Resource:
    return {"path_config_source": {"path": path}, "resource_api_version": "V3"}


def cluster(group: TargetGroup, kind: Kind, endpoints: PurePath, source: str = "") -> Resource:
    """`kind` of the load balancer that uses it: it decides how connections are spread. `source` is the address that
    connections come from, by which security groups know the load balancer; empty for any."""
    name = cluster_name(group.arn)
    resource: Resource = {
        "name": name,
        "type": "EDS",
        "eds_cluster_config": {"eds_config": config_source(resource_path(endpoints, name)), "service_name": name},
        "connect_timeout": "5s",
        "lb_policy": _lb_policy(group, kind),
        # Only when no target at all is healthy is traffic sent to all of them (fail open), as ALB and NLB do.
        "common_lb_config": {"healthy_panic_threshold": {"value": 1}},
        # A deregistered target gets no new connection even while its health check passes.
        "ignore_health_on_host_removal": True,
        "circuit_breakers": {
            "thresholds": [
                {
                    "max_connections": UNLIMITED,
                    "max_pending_requests": UNLIMITED,
                    "max_requests": UNLIMITED,
                    "max_retries": UNLIMITED,
                }
            ]
        },
    }
    if source:
        address = {"address": source, "port_value": 0}
        resource["upstream_bind_config"] = {"source_address": address, "freebind": True}
    if group.health_check.enabled:
        resource["health_checks"] = [_health_check(group)]
    transport = _transport(group)
    if transport:
        resource["transport_socket"] = transport
    if group.protocol in ("HTTP", "HTTPS"):
        resource["typed_extension_protocol_options"] = {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": _http_options(group)
        }
    return resource


def assignment(group: TargetGroup, resolved: Resolved) -> Resource:
    """The cluster's endpoints: where its targets are reached, and where they are asked for their health."""
    endpoints = [endpoint for target in group.targets for endpoint in _endpoints(group, target, resolved)]
    return {
        "@type": "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
        "cluster_name": cluster_name(group.arn),
        "endpoints": [{"lb_endpoints": endpoints}] if endpoints else [],
    }


def health_target(group: TargetGroup, target: Target) -> Target:
    return Target(target.id, group.health_check.port or target.port)


def _endpoints(group: TargetGroup, target: Target, resolved: Resolved) -> Iterable[Resource]:
    checked = resolved.get((group.vpc_id, health_target(group, target)), [])
    for index, address in enumerate(resolved.get((group.vpc_id, target), [])):
        endpoint: Resource = {"address": socket_address(address)}
        if index < len(checked) and checked[index] != address:
            endpoint["health_check_config"] = {"address": socket_address(checked[index])}
        yield {"endpoint": endpoint}


def socket_address(address: SocketAddress, protocol: str = "TCP") -> Resource:
    host, port = address
    where: Resource = {"address": host, "port_value": port}
    return {"socket_address": where if protocol == "TCP" else where | {"protocol": protocol}}


def is_sticky(group: TargetGroup) -> bool:
    return group.attributes.get("stickiness.enabled") == "true"


def cookie_policies(group: TargetGroup) -> list[Resource]:
    """Stickiness of an ALB target group: a cookie of ours (AWSALB), or hashing on the application's."""
    if not is_sticky(group):
        return []
    if group.attributes.get("stickiness.type") == "app_cookie":
        name = group.attributes.get("stickiness.app_cookie.cookie_name", "")
        return [{"cookie": {"name": name}, "terminal": True}] if name else []
    seconds = group.attributes.get("stickiness.lb_cookie.duration_seconds", "86400")
    return [{"cookie": {"name": "AWSALB", "path": "/", "ttl": f"{int(seconds)}s"}, "terminal": True}]


def _lb_policy(group: TargetGroup, kind: Kind) -> str:
    if is_sticky(group):
        return "MAGLEV"
    if kind == "network":
        # NLB hashes the flow, source port included: for a client that is a new choice with every connection.
        return "RANDOM"
    return ALGORITHMS.get(group.attributes.get("load_balancing.algorithm.type", ""), "ROUND_ROBIN")


def _health_check(group: TargetGroup) -> Resource:
    check = group.health_check
    slowest = len(group.targets) / CHECKS_A_SECOND
    recheck = max(min(check.interval, RECHECK), slowest)
    interval = max(check.interval, slowest)
    resource: Resource = {
        "timeout": seconds(check.timeout),
        "interval": seconds(interval),
        "no_traffic_interval": seconds(interval),
        "no_traffic_healthy_interval": seconds(interval),
        "unhealthy_interval": seconds(recheck),
        "unhealthy_edge_interval": seconds(recheck),
        "interval_jitter": seconds(min(interval, 10.0) / 10),
        "healthy_threshold": 1,
        "unhealthy_threshold": check.unhealthy_threshold,
    }
    secure = group.protocol in ("HTTPS", "TLS")
    if check.protocol in ("HTTP", "HTTPS") and (check.protocol == "HTTPS") == secure:
        return resource | {"http_health_check": _http_check(check, group)}
    return resource | {"tcp_health_check": {}}


def _http_check(check: HealthCheck, group: TargetGroup) -> Resource:
    matcher = "200-499" if group.protocol_version == "GRPC" else check.matcher
    resource: Resource = {
        "host": "elb-health-checker",
        "path": check.path,
        "expected_statuses": [{"start": low, "end": high + 1} for low, high in status_ranges(matcher)],
        "request_headers_to_add": [
            {
                "header": {"key": "user-agent", "value": "ELB-HealthChecker/2.0"},
                "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
            }
        ],
    }
    if group.protocol_version in ("HTTP2", "GRPC"):
        resource["codec_client_type"] = "HTTP2"
    return resource


def status_ranges(matcher: str) -> list[tuple[int, int]]:
    """`200,301-302` as inclusive ranges; what is no code is left out, and nothing left means 200."""
    ranges = []
    for part in matcher.split(","):
        low, _, high = part.strip().partition("-")
        if low.isdigit() and (high or low).isdigit():
            first, last = int(low), int(high or low)
            if 100 <= first <= last <= 599:
                ranges.append((first, last))
    return ranges or [(200, 200)]


def seconds(value: float) -> str:
    return f"{value:.3f}".rstrip("0").rstrip(".") + "s"


def _http_options(group: TargetGroup) -> Resource:
    http2 = group.protocol_version in ("HTTP2", "GRPC")
    return {
        "@type": f"{EXTENSIONS}.upstreams.http.v3.HttpProtocolOptions",
        "common_http_protocol_options": {"idle_timeout": "60s"},
        "explicit_http_config": {"http2_protocol_options" if http2 else "http_protocol_options": {}},
    }


def _transport(group: TargetGroup) -> Resource:
    raw: Resource = {
        "name": "envoy.transport_sockets.raw_buffer",
        "typed_config": {"@type": f"{EXTENSIONS}.transport_sockets.raw_buffer.v3.RawBuffer"},
    }
    transport: Resource = {}
    if group.protocol in ("HTTPS", "TLS"):
        # ELB encrypts towards targets and does not verify them.
        transport = {
            "name": "envoy.transport_sockets.tls",
            "typed_config": {"@type": f"{EXTENSIONS}.transport_sockets.tls.v3.UpstreamTlsContext"},
        }
    for version in ("v1", "v2"):
        if group.attributes.get(f"proxy_protocol_{version}.enabled") == "true":
            return {
                "name": "envoy.transport_sockets.upstream_proxy_protocol",
                "typed_config": {
                    "@type": f"{EXTENSIONS}.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport",
                    "config": {"version": version.upper()},
                    "transport_socket": transport or raw,
                },
            }
    return transport
