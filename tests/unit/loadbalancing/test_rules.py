"""The rule builder: a golden Envoy configuration, and what holds for any.

`TWINPLANE_GOLDEN=write` rewrites the golden file; review it as a diff.
"""

from __future__ import annotations

import json
import os
from pathlib import Path, PurePath
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.loadbalancing.examples import VPC, alb, classic, listener, nlb, rule, target_group
from twinplane.cloud.loadbalancing.clusters import cluster, status_ranges
from twinplane.cloud.loadbalancing.contract import (
    Action,
    Condition,
    HealthCheck,
    Kind,
    LoadBalancer,
    Snapshot,
    SocketAddress,
    Target,
    TargetGroup,
)
from twinplane.cloud.loadbalancing.rules import Resources, build, used_groups, wanted_targets

GOLDEN = Path(__file__).parent / "golden.json"
DIRECTORY = PurePath("/data/envoy")


def built(snapshot: Snapshot) -> Resources:
    """Every listener at its own port, every target at a loopback address of its own."""
    bindings: dict[str, dict[int, SocketAddress]] = {
        balancer.arn: {entry.port: (f"127.90.0.{number}", entry.port) for entry in balancer.listeners}
        for number, balancer in enumerate(snapshot.load_balancers, 1)
    }
    resolved = {key: [(f"127.64.0.{n}", 41000)] for n, key in enumerate(sorted(wanted_targets(snapshot)), 1)}
    return build(snapshot, bindings, resolved, DIRECTORY)


def example() -> Snapshot:
    targets = [Target("i-1", 30080), Target("i-2", 30080)]
    web = target_group("web", "TCP", targets, HealthCheck("HTTP", 32001, "/healthz", 10, 6, 3, 3, "200-399"))
    shop = target_group("shop", "HTTP", [Target("10.0.0.9", 8080)], HealthCheck("HTTP", None, "/ready", 15, 5, 2, 2))
    shop_rules = (
        rule(1, Action("forward", ((shop.arn, 1),)), Condition("host-header", ("a.example.com",))),
        rule(2, Action("fixed-response", settings={"StatusCode": "410"}), Condition("source-ip", ("10.0.0.0/8",))),
    )
    balancers = (
        classic("old", [listener(80, "TCP", web)]),
        nlb("net", [listener(80, "TCP", web), listener(53, "UDP", web)]),
        alb("app", [listener(80, "HTTP", shop, *shop_rules)]),
    )
    return Snapshot(balancers, {group.arn: group for group in (web, shop)})


def test_golden() -> None:
    resources = built(example())
    content = {
        "listeners": resources.listeners,
        "clusters": resources.clusters,
        "endpoints": resources.endpoints,
        "routes": resources.routes,
    }
    text = json.dumps(content, indent=1) + "\n"
    if os.environ.get("TWINPLANE_GOLDEN") == "write":
        GOLDEN.write_text(text)
    assert json.loads(GOLDEN.read_text()) == json.loads(text)


def _clusters_named(value: Any) -> set[str]:
    """Every cluster that any listener or route forwards to."""
    if isinstance(value, dict):
        found = {value["cluster"]} if isinstance(value.get("cluster"), str) else set()
        found |= {entry["name"] for entry in value["clusters"]} if isinstance(value.get("clusters"), list) else set()
        return found.union(*(_clusters_named(entry) for entry in value.values()))
    if isinstance(value, list | tuple):
        return set[str]().union(*(_clusters_named(entry) for entry in value))
    return set()


names = st.sampled_from(["one", "two", "three"])
ports = st.sampled_from([80, 81, 443])


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    targets = st.lists(st.builds(Target, st.sampled_from(["i-1", "i-2", "10.0.0.3"]), ports), unique=True)
    groups: dict[str, TargetGroup] = {}
    balancers: list[LoadBalancer] = []
    for name in draw(st.lists(names, unique=True)):
        kind = draw(st.sampled_from([classic, nlb, alb]))
        listeners = []
        for port in draw(st.lists(ports, unique=True)):
            protocol = "HTTP" if kind is alb else draw(st.sampled_from(["TCP", "UDP", "TCP_UDP", "TLS"]))
            group = target_group(f"{name}-{port}", "HTTP" if protocol == "HTTP" else "TCP", draw(targets))
            if draw(st.booleans()):
                groups[group.arn] = group
            listeners.append(listener(port, protocol, group))
        balancers.append(kind(name, listeners))
    return Snapshot(tuple(balancers), groups)


@given(snapshots())
def test_what_is_forwarded_to_exists_and_is_built_the_same_again(snapshot: Snapshot) -> None:
    resources = built(snapshot)
    present = {entry["name"] for entry in resources.clusters}
    assert present == set(resources.endpoints)
    assert len(present) == len(used_groups(snapshot))
    forwarded = _clusters_named(resources.listeners)
    assert forwarded <= present | {"none"}
    seen = [entry["name"] for entry in resources.listeners]
    assert len(seen) == len(set(seen))
    assert json.dumps(resources.listeners) == json.dumps(built(snapshot).listeners)
    for endpoints in resources.endpoints.values():
        for locality in endpoints["endpoints"]:
            assert locality["lb_endpoints"]


@pytest.mark.parametrize(
    ("kind", "attributes", "policy"),
    [
        ("classic", {}, "ROUND_ROBIN"),
        ("application", {}, "ROUND_ROBIN"),
        ("application", {"load_balancing__algorithm__type": "least_outstanding_requests"}, "LEAST_REQUEST"),
        ("network", {}, "RANDOM"),
        ("network", {"stickiness__enabled": "true", "stickiness__type": "source_ip"}, "MAGLEV"),
    ],
)
def test_how_connections_are_spread(kind: Kind, attributes: dict[str, str], policy: str) -> None:
    group = target_group("web", "TCP", [], None, **attributes)
    assert cluster(group, kind, DIRECTORY)["lb_policy"] == policy


def test_a_big_group_is_checked_less_often() -> None:
    check = HealthCheck("TCP", None, "/", 10, 5, 2, 6)
    small = cluster(target_group("a", "TCP", [Target("i-1", 80)], check), "classic", DIRECTORY)["health_checks"][0]
    assert (small["interval"], small["unhealthy_interval"]) == ("10s", "2s")
    many = [Target(f"i-{number}", 80) for number in range(5000)]
    big = cluster(target_group("b", "TCP", many, check), "classic", DIRECTORY)["health_checks"][0]
    assert (big["interval"], big["unhealthy_interval"]) == ("200s", "200s")


@pytest.mark.parametrize(
    ("matcher", "ranges"),
    [
        ("200", [(200, 200)]),
        ("200,301-302", [(200, 200), (301, 302)]),
        ("200-399", [(200, 399)]),
        ("", [(200, 200)]),
        ("nonsense,999", [(200, 200)]),
    ],
)
def test_status_ranges(matcher: str, ranges: list[tuple[int, int]]) -> None:
    assert status_ranges(matcher) == ranges


def test_a_listener_without_a_place_is_left_out() -> None:
    snapshot = example()
    assert build(snapshot, {}, {}, DIRECTORY).listeners == ()
    assert wanted_targets(snapshot) >= {(VPC, Target("i-1", 30080)), (VPC, Target("i-1", 32001))}
