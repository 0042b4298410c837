"""Rules as data: what Envoy would decide is computed here from the routes, and compared with what ELB documents."""

from __future__ import annotations

import fnmatch
import re
from ipaddress import ip_address
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.loadbalancing.examples import rule
from twinplane.cloud.loadbalancing.clusters import cluster_name
from twinplane.cloud.loadbalancing.contract import DEFAULT_PRIORITY, Action, Condition
from twinplane.cloud.loadbalancing.routes import Network, routes, sources, wildcard


def fixed(status: int) -> Action:
    return Action("fixed-response", settings={"StatusCode": str(status)})


def chosen(found: list[dict[str, Any]], path: str = "/", **headers: str) -> int:
    """The status of the first route that matches, as Envoy evaluates them."""
    seen = {":path": path, ":method": "GET", ":authority": "shop.example.com"}
    seen |= {key.replace("__", ":").replace("_", "-"): value for key, value in headers.items()}
    for route in found:
        if _matches(route["match"], seen):
            return int(route["direct_response"]["status"])
    raise AssertionError("no route, not even a default one")


def _matches(match: dict[str, Any], headers: dict[str, str]) -> bool:
    plain = headers[":path"].partition("?")[0]
    if "path" in match and match["path"] != plain:
        return False
    if "prefix" in match and not plain.startswith(match["prefix"]):
        return False
    if "safe_regex" in match and not re.fullmatch(match["safe_regex"]["regex"], plain):
        return False
    return all(
        re.fullmatch(matcher["string_match"]["safe_regex"]["regex"], headers.get(matcher["name"], ""))
        for matcher in match.get("headers", [])
    )


def table(*conditions: Condition, source: Network | None = None) -> list[dict[str, Any]]:
    rules = [rule(1, fixed(201), *conditions), rule(DEFAULT_PRIORITY, fixed(404))]
    return routes(rules, source, cluster_name, lambda arn: [])


@pytest.mark.parametrize(
    ("condition", "request_", "expected"),
    [
        (Condition("path-pattern", ("/a/*",)), {"path": "/a/b?x=1"}, 201),
        (Condition("path-pattern", ("/a/*",)), {"path": "/a"}, 404),
        (Condition("path-pattern", ("/a",)), {"path": "/a?x"}, 201),
        (Condition("path-pattern", ("/A",)), {"path": "/a"}, 404),
        (Condition("path-pattern", ("/img/*.g?f", "/b")), {"path": "/img/x/y.gif"}, 201),
        (Condition("path-pattern", ("/a.b",)), {"path": "/aXb"}, 404),
        (Condition("host-header", ("*.EXAMPLE.com",)), {"__authority": "a.example.com:8080"}, 201),
        (Condition("host-header", ("*.example.com",)), {"__authority": "example.com"}, 404),
        (Condition("http-header", ("be*",), header="X-Stage"), {"x_stage": "BETA"}, 201),
        (Condition("http-header", ("be*",), header="X-Stage"), {}, 404),
        (Condition("http-request-method", ("GET", "HEAD")), {"__method": "HEAD"}, 201),
        (Condition("http-request-method", ("GET",)), {"__method": "GETX"}, 404),
        (Condition("query-string", pairs=(("v", "1*"),)), {"path": "/?a=b&V=12"}, 201),
        (Condition("query-string", pairs=(("v", "1"),)), {"path": "/?vv=1"}, 404),
        (Condition("query-string", pairs=(("v", "1"),)), {"path": "/?v=12"}, 404),
        (Condition("query-string", pairs=(("", "x"),)), {"path": "/?a=b&c=x"}, 201),
        (Condition("query-string", pairs=(("a", "*"),)), {"path": "/?b=1&c=2"}, 404),
    ],
)
def test_conditions(condition: Condition, request_: dict[str, str], expected: int) -> None:
    assert chosen(table(condition), **request_) == expected


def test_all_conditions_must_hold() -> None:
    found = table(Condition("path-pattern", ("/a",)), Condition("host-header", ("a.example",)))
    assert chosen(found, "/a", __authority="a.example") == 201
    assert chosen(found, "/a", __authority="b.example") == 404
    assert chosen(found, "/b", __authority="a.example") == 404


@given(st.text("ab*?./", max_size=8), st.text("ab./*", max_size=8))
def test_wildcards_are_those_of_a_shell(pattern: str, text: str) -> None:
    assert bool(re.fullmatch(wildcard(pattern), text)) == fnmatch.fnmatchcase(text, pattern)


@given(
    st.lists(
        st.tuples(st.integers(1, 50000), st.sampled_from(["/a", "/b", "/a*", "/*"])), unique_by=lambda pair: pair[0]
    ),
    st.sampled_from(["/a", "/b", "/ab", "/c"]),
)
def test_the_lowest_priority_that_matches_wins(written: list[tuple[int, str]], path: str) -> None:
    rules = [rule(number, fixed(200 + at), Condition("path-pattern", (p,))) for at, (number, p) in enumerate(written)]
    found = routes([rule(DEFAULT_PRIORITY, fixed(599)), *rules], None, cluster_name, lambda arn: [])
    matching = [(number, at) for at, (number, p) in enumerate(written) if fnmatch.fnmatchcase(path, p)]
    assert chosen(found, path) == (200 + min(matching)[1] if matching else 599)


@given(
    st.lists(st.sampled_from(["10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "127.0.0.1/32", "0.0.0.0/0"]), max_size=3),
    st.sampled_from(["10.9.9.9", "10.1.9.9", "10.1.2.9", "127.0.0.1", "8.8.8.8"]),
)
def test_the_smallest_named_network_decides_for_all_that_contain_it(allowed: list[str], client: str) -> None:
    rules = [
        rule(1, fixed(201), Condition("source-ip", tuple(allowed))),
        rule(2, fixed(202), Condition("source-ip", ("10.1.0.0/16",))),
        rule(DEFAULT_PRIORITY, fixed(404)),
    ]
    address = ip_address(client)
    named = sources(rules)
    containing = [network for network in named if address in network]
    smallest = max(containing, key=lambda network: network.prefixlen, default=None)
    expected = 404
    if address in next(network for network in sources([rules[1]])):
        expected = 202
    if any(address in network for network in sources(rules[:1])):
        expected = 201
    assert chosen(routes(rules, smallest, cluster_name, lambda arn: [])) == expected


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"StatusCode": "HTTP_302", "Host": "new.example"}, {"host_redirect": "new.example"}),
        ({"Protocol": "#{protocol}", "Port": "8443"}, {"port_redirect": 8443}),
        ({"Path": "/maintenance"}, {"path_redirect": "/maintenance"}),
        ({"Path": "/#{path}", "Query": ""}, {"strip_query": True}),
        ({"Path": "/maintenance", "Query": "why=x"}, {"path_redirect": "/maintenance?why=x"}),
    ],
)
def test_redirects(settings: dict[str, str], expected: dict[str, Any]) -> None:
    (route,) = routes([rule(1, Action("redirect", settings=settings))], None, cluster_name, lambda arn: [])
    assert {key: value for key, value in route["redirect"].items() if key != "response_code"} == expected


def test_weights_of_zero_get_nothing_and_only_zeros_are_unavailable() -> None:
    arns = ["x:targetgroup/a/1", "x:targetgroup/b/2", "x:targetgroup/c/3"]
    weighted = tuple(zip(arns, (1, 0, 3), strict=True))
    (route,) = routes([rule(1, Action("forward", weighted))], None, cluster_name, lambda arn: [])
    clusters = route["route"]["weighted_clusters"]["clusters"]
    assert [(entry["name"], entry["weight"]) for entry in clusters] == [("targetgroup/a/1", 1), ("targetgroup/c/3", 3)]
    (route,) = routes([rule(1, Action("forward", ((arns[0], 0),)))], None, cluster_name, lambda arn: [])
    assert route["direct_response"]["status"] == 503


def test_an_action_without_a_data_path_says_so_and_lets_nobody_through() -> None:
    (route,) = routes([rule(1, Action("authenticate-oidc"))], None, cluster_name, lambda arn: [])
    assert route["direct_response"]["status"] == 501


@given(st.text(min_size=1, max_size=12))
def test_any_pattern_is_a_regular_expression_that_matches_itself(text: str) -> None:
    literal = text.replace("*", "").replace("?", "")
    assert re.fullmatch(wildcard(literal), literal, re.DOTALL)
    assert quote(literal) or not literal
