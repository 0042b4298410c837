"""Flows that need no proxy: only a network load balancer's, only to real nodes, only to who is healthy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import PurePath
from typing import Any

import pytest

from tests.unit.loadbalancing.examples import VPC, alb, listener, nlb, target_group
from twinplane.cloud.loadbalancing.clusters import cluster_name
from twinplane.cloud.loadbalancing.contract import LoadBalancer, Snapshot, SocketAddress, Target, TargetGroup
from twinplane.cloud.loadbalancing.flows import flows
from twinplane.cloud.loadbalancing.rules import build

TARGETS = [Target("i-1", 30080), Target("i-2", 30080)]
REAL = {(VPC, target): [(f"100.64.0.{number}", 30080)] for number, target in enumerate(TARGETS, 5)}
BOTH = (("100.64.0.5", 30080), ("100.64.0.6", 30080))


def held(balancer: LoadBalancer) -> LoadBalancer:
    return replace(balancer, addresses=("10.0.1.9", "10.0.2.9"))


def of(balancer: LoadBalancer, group: TargetGroup) -> Snapshot:
    return Snapshot((held(balancer),), {group.arn: group})


def test_every_interface_hands_on_to_the_healthy() -> None:
    group = target_group("web", "TCP_UDP", TARGETS)
    snapshot = of(nlb("net", [listener(53, "TCP_UDP", group)]), group)
    keys = {(VPC, address, protocol, 53) for address in ("10.0.1.9", "10.0.2.9") for protocol in ("tcp", "udp")}
    health = {cluster_name(group.arn): {BOTH[0]: "healthy", BOTH[1]: "unhealthy"}}
    assert flows(snapshot, REAL, health) == dict.fromkeys(keys, BOTH[:1])
    # Nobody healthy: all are asked, as ELB does.
    assert flows(snapshot, REAL, {}) == dict.fromkeys(keys, BOTH)


@pytest.mark.parametrize(
    "attributes", [{"proxy_protocol_v2__enabled": "true"}, {"stickiness__enabled": "true"}], ids=["proxy", "sticky"]
)
def test_what_needs_a_proxy_has_one(attributes: dict[str, Any]) -> None:
    group = target_group("web", "TCP", TARGETS, **attributes)
    assert flows(of(nlb("net", [listener(80, "TCP", group)]), group), REAL, {}) == {}


def test_tls_http_and_simulated_targets_have_one() -> None:
    group = target_group("web", "TCP", TARGETS)
    http = target_group("web", "HTTP", TARGETS)
    simulated: dict[tuple[str, Target], list[SocketAddress]] = {**REAL, (VPC, TARGETS[0]): [("127.64.0.1", 41000)]}
    assert flows(of(nlb("net", [listener(443, "TLS", group)]), group), REAL, {}) == {}
    assert flows(of(alb("app", [listener(80, "HTTP", http)]), http), REAL, {}) == {}
    assert flows(of(nlb("net", [listener(80, "TCP", group)]), group), simulated, {}) == {}


def test_interfaces_are_where_envoy_listens_and_connects_from() -> None:
    group = target_group("shop", "HTTP", TARGETS)
    balancer = held(alb("app", [listener(80, "HTTP", group)]))
    snapshot = Snapshot((balancer,), {group.arn: group})
    bindings = {balancer.arn: {80: ("127.90.0.1", 10080)}}
    made = build(snapshot, bindings, REAL, PurePath("/e"), {balancer.arn: ["100.64.0.9", "100.65.0.9"]})
    where = [found["address"]["socket_address"] for found in made.listeners]
    assert [(found["address"], found["port_value"]) for found in where] == [
        ("127.90.0.1", 10080),
        ("100.64.0.9", 80),
        ("100.65.0.9", 80),
    ]
    assert len({found["name"] for found in made.listeners}) == 3
    (cluster,) = made.clusters
    assert cluster["upstream_bind_config"]["source_address"]["address"] == "100.64.0.9"
    alone = build(snapshot, bindings, REAL, PurePath("/e"))
    assert len(alone.listeners) == 1
    assert "upstream_bind_config" not in alone.clusters[0]
