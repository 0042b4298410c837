"""From load balancers to Envoy's listeners, clusters, endpoints and routes. Pure: values in, values out.

The loop resolves targets and chooses addresses before, and writes the result after. HTTP routes and endpoints are
resources of their own (RDS, EDS) because they change often, and a listener or cluster that changes loses connections.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

from twinplane.cloud.loadbalancing.clusters import (
    EXTENSIONS,
    Resolved,
    assignment,
    cluster,
    cluster_name,
    config_source,
    cookie_policies,
    health_target,
    is_sticky,
    resource_path,
    seconds,
    socket_address,
)
from twinplane.cloud.loadbalancing.contract import (
    Action,
    Kind,
    Listener,
    LoadBalancer,
    Snapshot,
    SocketAddress,
    Target,
    TargetGroup,
)
from twinplane.cloud.loadbalancing.routes import Network, routes, sources

Resource = dict[str, Any]
Bindings = Mapping[str, Mapping[int, SocketAddress]]
"""Load balancer ARN -> listener port -> where to listen. A listener without one is left out."""
Edges = Mapping[str, Sequence[str]]
"""Load balancer ARN -> addresses of this host that stand for its network interfaces; none where no VPC is made."""

SECURE = ("HTTPS", "TLS")
CLIENT_KEEP_ALIVE = "3600s"
FAULT_TITLES = {502: "Bad Gateway", 503: "Service Temporarily Unavailable", 504: "Gateway Time-out"}
OWN_FAULTS = ["UH", "UF", "UO", "NR", "NC", "UT", "UC", "URX", "LR", "SI"]
"""Envoy's flags of answers that the load balancer gives because a target did not."""


@dataclass(frozen=True, slots=True)
class Resources:
    """What Envoy is to serve, by xDS type; endpoints and routes by name."""

    listeners: tuple[Resource, ...] = ()
    clusters: tuple[Resource, ...] = ()
    endpoints: Mapping[str, Resource] = field(default_factory=dict)
    routes: Mapping[str, Resource] = field(default_factory=dict)


def used_groups(snapshot: Snapshot) -> dict[str, LoadBalancer]:
    """Target groups that a listener forwards to -> the load balancer: in AWS there is only one."""
    return {
        arn: balancer
        for balancer in snapshot.load_balancers
        for listener in balancer.listeners
        for rule in listener.rules
        for arn, _ in rule.action.target_groups
        if arn in snapshot.target_groups
    }


def wanted_targets(snapshot: Snapshot) -> set[tuple[str, Target]]:
    """What has to be resolved before `build`: (VPC id, target), health-check ports included."""
    groups = [snapshot.target_groups[arn] for arn in used_groups(snapshot)]
    return {
        (group.vpc_id, port)
        for group in groups
        for target in group.targets
        for port in (target, health_target(group, target))
    }


def build(
    snapshot: Snapshot, bindings: Bindings, resolved: Resolved, directory: PurePath, edges: Edges | None = None
) -> Resources:
    """`directory` is where endpoint (eds/) and route (rds/) files will be."""
    edges = edges or {}
    groups = used_groups(snapshot)
    listeners: list[Resource] = []
    route_tables: dict[str, Resource] = {}
    for balancer in snapshot.load_balancers:
        for listener in balancer.listeners:
            where = bindings.get(balancer.arn, {}).get(listener.port)
            if where is not None:
                made, tables = _listener(balancer, listener, where, snapshot.target_groups, directory)
                listeners += made
                listeners += [
                    _at_edge(resource, address, listener.port)
                    for address in edges.get(balancer.arn, ())
                    for resource in made
                ]
                route_tables.update(tables)
    ordered = sorted(groups.items(), key=lambda item: item[0])
    return Resources(
        tuple(listeners),
        tuple(
            cluster(snapshot.target_groups[arn], balancer.kind, directory / "eds", _source(edges, balancer))
            for arn, balancer in ordered
        ),
        {cluster_name(arn): assignment(snapshot.target_groups[arn], resolved) for arn, _ in ordered},
        route_tables,
    )


def _at_edge(listener: Resource, address: str, port: int) -> Resource:
    """The same at an interface of the load balancer. The host may get the address a moment later: hence freebind."""
    protocol = listener["address"]["socket_address"].get("protocol", "TCP")
    where = socket_address((address, port), protocol)
    return listener | {"name": f"{listener['name']}@{address}", "address": where, "freebind": True}


def _source(edges: Edges, balancer: LoadBalancer) -> str:
    """Where connections to targets come from: one of the load balancer's interfaces, all of which have its groups."""
    return next(iter(edges.get(balancer.arn, ())), "")


def _listener(
    balancer: LoadBalancer,
    listener: Listener,
    where: SocketAddress,
    groups: Mapping[str, TargetGroup],
    directory: PurePath,
) -> tuple[list[Resource], dict[str, Resource]]:
    name = f"{balancer.kind}/{balancer.name}:{listener.port}"
    if listener.protocol in SECURE and not listener.certificates:
        return [], {}
    made: list[Resource] = []
    tables: dict[str, Resource] = {}
    if listener.protocol in ("HTTP", "HTTPS"):
        chains, tables = _http_chains(name, balancer, listener, groups, directory)
        made.append(_stream_listener(name, where, chains))
    elif listener.protocol != "UDP":
        chain = {"filters": [_tcp_proxy(name, balancer, listener, groups)]} | _transport(listener)
        made.append(_stream_listener(name, where, [chain]))
    if listener.protocol in ("UDP", "TCP_UDP"):
        made += _udp_listener(f"{name}/udp", listener, where, groups)
    return made, tables


def _stream_listener(name: str, where: SocketAddress, chains: list[Resource]) -> Resource:
    return {
        "@type": "type.googleapis.com/envoy.config.listener.v3.Listener",
        "name": name,
        "address": socket_address(where),
        "filter_chains": chains,
        # Beside the reservation that keeps the port from other regions (`addresses.reserve`).
        "enable_reuse_port": True,
    }


def _default_action(listener: Listener) -> Action:
    return listener.rules[-1].action


def _forwarded(listener: Listener, groups: Mapping[str, TargetGroup]) -> list[tuple[str, int]]:
    return [(arn, weight) for arn, weight in _default_action(listener).target_groups if arn in groups and weight > 0]


def _tcp_proxy(name: str, balancer: LoadBalancer, listener: Listener, groups: Mapping[str, TargetGroup]) -> Resource:
    config: Resource = {
        "@type": f"{EXTENSIONS}.filters.network.tcp_proxy.v3.TcpProxy",
        "stat_prefix": name,
        "idle_timeout": seconds(balancer.idle_timeout),
    }
    forwarded = _forwarded(listener, groups)
    if len(forwarded) > 1:
        weighted = [{"name": cluster_name(arn), "weight": weight} for arn, weight in forwarded]
        config["weighted_clusters"] = {"clusters": weighted}
    else:
        config["cluster"] = cluster_name(forwarded[0][0]) if forwarded else "none"
    if any(is_sticky(groups[arn]) for arn, _ in forwarded):
        config["hash_policy"] = [{"source_ip": {}}]
    return {"name": "envoy.filters.network.tcp_proxy", "typed_config": config}


def _udp_listener(
    name: str, listener: Listener, where: SocketAddress, groups: Mapping[str, TargetGroup]
) -> list[Resource]:
    forwarded = _forwarded(listener, groups)
    if not forwarded:
        return []
    route = {
        "name": "route",
        "typed_config": {
            "@type": f"{EXTENSIONS}.filters.udp.udp_proxy.v3.Route",
            "cluster": cluster_name(forwarded[0][0]),
        },
    }
    proxy = {
        "@type": f"{EXTENSIONS}.filters.udp.udp_proxy.v3.UdpProxyConfig",
        "stat_prefix": name,
        "idle_timeout": "120s",
        "matcher": {"on_no_match": {"action": route}},
    }
    return [
        {
            "@type": "type.googleapis.com/envoy.config.listener.v3.Listener",
            "name": name,
            "address": socket_address(where, "UDP"),
            "udp_listener_config": {},
            "listener_filters": [{"name": "envoy.filters.udp_listener.udp_proxy", "typed_config": proxy}],
        }
    ]


def _http_chains(
    name: str, balancer: LoadBalancer, listener: Listener, groups: Mapping[str, TargetGroup], directory: PurePath
) -> tuple[list[Resource], dict[str, Resource]]:
    """A filter chain for every network that a source-ip condition names, and one for everybody else."""
    networks: Iterable[Network | None] = [None, *sources(listener.rules)]
    chains = []
    tables = {}
    for network in networks:
        table_name = f"{name}/{network}" if network else name
        tables[table_name] = _route_table(table_name, listener, network, groups)
        source = config_source(resource_path(directory / "rds", table_name))
        chain: Resource = {"name": table_name, "filters": [_connection_manager(table_name, balancer, source)]}
        if network:
            prefix = {"address_prefix": str(network.network_address), "prefix_len": network.prefixlen}
            chain["filter_chain_match"] = {"source_prefix_ranges": [prefix]}
        chains.append(chain | _transport(listener))
    return chains, tables


def _route_table(name: str, listener: Listener, network: Network | None, groups: Mapping[str, TargetGroup]) -> Resource:
    def sticky(arn: str) -> list[Resource]:
        return cookie_policies(groups[arn]) if arn in groups else []

    port = {"header": {"key": "x-forwarded-port", "value": str(listener.port)}}
    client = {"header": {"key": "x-forwarded-for", "value": "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%"}}
    return {
        "@type": "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
        "name": name,
        "virtual_hosts": [
            {
                "name": "all",
                "domains": ["*"],
                "routes": routes(listener.rules, network, cluster_name, sticky),
                "retry_policy": {"retry_on": "connect-failure,refused-stream,reset-before-request", "num_retries": 2},
            }
        ],
        "request_headers_to_add": [
            port | {"append_action": "OVERWRITE_IF_EXISTS_OR_ADD"},
            client | {"append_action": "APPEND_IF_EXISTS_OR_ADD"},
        ],
        # Envoy's own view of the client is nothing that a target behind ELB sees.
        "request_headers_to_remove": ["x-envoy-internal", "x-envoy-external-address"],
    }


def _connection_manager(name: str, balancer: LoadBalancer, source: Resource) -> Resource:
    router = {"@type": f"{EXTENSIONS}.filters.http.router.v3.Router", "suppress_envoy_headers": True}
    config = {
        "@type": f"{EXTENSIONS}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": name,
        "rds": {"route_config_name": name, "config_source": source},
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": router}],
        # Sets X-Forwarded-Proto. Envoy itself would append an address of the host for every loopback client, so
        # X-Forwarded-For is up to the route table.
        "use_remote_address": True,
        "skip_xff_append": True,
        "generate_request_id": False,
        "server_header_transformation": "PASS_THROUGH",
        "stream_idle_timeout": seconds(balancer.idle_timeout),
        "common_http_protocol_options": {"idle_timeout": CLIENT_KEEP_ALIVE},
        "http_protocol_options": {"accept_http_10": True, "default_host_for_http_10": balancer.dns_name},
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "local_reply_config": _local_replies(balancer.kind),
    }
    return {"name": "envoy.filters.network.http_connection_manager", "typed_config": config}


def _local_replies(kind: Kind) -> Resource:
    """Answers that the load balancer gives itself look like those of ELB."""
    server: Resource = {
        "header": {"key": "server", "value": "awselb/2.0" if kind == "application" else "awselb"},
        "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
    }
    return {"mappers": [_local_reply(status, title, server) for status, title in FAULT_TITLES.items()]}


def _local_reply(status: int, title: str, server: Resource) -> Resource:
    page = (
        f"<html>\r\n<head><title>{status} {title}</title></head>\r\n"
        f"<body>\r\n<center><h1>{status} {title}</h1></center>\r\n</body>\r\n</html>\r\n"
    )
    code = {"status_code_filter": {"comparison": {"op": "EQ", "value": {"default_value": status, "runtime_key": "_"}}}}
    own = {"response_flag_filter": {"flags": OWN_FAULTS}}
    return {
        "filter": {"and_filter": {"filters": [code, own]}},
        "headers_to_add": [server],
        "body_format_override": {"text_format_source": {"inline_string": page}, "content_type": "text/html"},
    }


def _transport(listener: Listener) -> Resource:
    if listener.protocol not in SECURE:
        return {}
    certificates = [
        {
            "certificate_chain": {"inline_string": certificate.chain},
            "private_key": {"inline_string": certificate.private_key},
        }
        for certificate in listener.certificates
    ]
    context: Resource = {"tls_certificates": certificates}
    if listener.protocol == "HTTPS":
        context["alpn_protocols"] = ["h2", "http/1.1"]
    return {
        "transport_socket": {
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": f"{EXTENSIONS}.transport_sockets.tls.v3.DownstreamTlsContext",
                "common_tls_context": context,
            },
        }
    }
