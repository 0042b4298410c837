"""From ALB rules to Envoy routes. Pure.

Each condition becomes one matcher, because the values inside one are alternatives and Envoy ANDs its matchers. Envoy
cannot route on the peer's address, so `source-ip` is decided one level up: `sources` lists the networks that rules
name, the rule builder makes a filter chain for each, and `routes` is asked once a chain.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any

from twinplane.cloud.loadbalancing.contract import Action, Condition, Rule

Network = IPv4Network | IPv6Network
Resource = dict[str, Any]
ClusterNames = Callable[[str], str]
"""Target group ARN -> Envoy cluster name."""

REDIRECT_CODES = {"HTTP_301": "MOVED_PERMANENTLY", "HTTP_302": "FOUND"}
ANY_PORT = r"(?::[0-9]+)?"


def wildcard(pattern: str) -> str:
    """An AWS pattern (`*` any characters, `?` exactly one) as an RE2 expression."""
    return "".join({"*": ".*", "?": "."}.get(character) or re.escape(character) for character in pattern)


def alternatives(patterns: Iterable[str]) -> str:
    expressions = [wildcard(pattern) for pattern in patterns]
    return expressions[0] if len(expressions) == 1 else "(?:" + "|".join(expressions) + ")"


def sources(rules: Iterable[Rule]) -> list[Network]:
    """The networks that any source-ip condition names, without a duplicate."""
    found = {
        ip_network(value, strict=False)
        for rule in rules
        for condition in rule.conditions
        if condition.field == "source-ip"
        for value in condition.values
    }
    return sorted(found, key=lambda network: (network.version, int(network.network_address), network.prefixlen))


def routes(
    rules: Iterable[Rule], source: Network | None, clusters: ClusterNames, sticky: StickyPolicy
) -> list[Resource]:
    """In order of priority. `source` is the smallest named network that the client is in; None: it is in none."""
    return [
        {"match": _match(rule.conditions)} | _action(rule.action, clusters, sticky)
        for rule in sorted(rules, key=lambda rule: rule.priority)
        if all(_includes(condition, source) for condition in rule.conditions if condition.field == "source-ip")
    ]


StickyPolicy = Callable[[str], list[Resource]]
"""Target group ARN -> hash policies that keep a client at a target (cookies); empty when it is not sticky."""


def _includes(condition: Condition, source: Network | None) -> bool:
    if source is None:
        return False
    allowed = (ip_network(value, strict=False) for value in condition.values)
    # Networks nest or are disjoint, so the smallest one that a client is in decides for all that contain it.
    return any(
        network.version == source.version
        and network.prefixlen <= source.prefixlen
        and source.network_address in network
        for network in allowed
    )


def _match(conditions: tuple[Condition, ...]) -> Resource:
    paths = [condition for condition in conditions if condition.field == "path-pattern"]
    headers = [
        matcher
        for condition in conditions
        if condition.field in HEADER_MATCHERS
        for matcher in [HEADER_MATCHERS[condition.field](condition)]
    ]
    # A rule has one path condition; should a second one appear, it still must hold.
    headers += [_header(":path", alternatives(more.values) + r"(?:\?.*)?") for more in paths[1:]]
    match = _path(paths[0].values) if paths else {"prefix": "/"}
    return match | {"headers": headers} if headers else match


def _path(patterns: tuple[str, ...]) -> Resource:
    if len(patterns) == 1:
        pattern = patterns[0]
        if not set("*?").intersection(pattern):
            return {"path": pattern}
        if pattern.startswith("/") and pattern.endswith("*") and not set("*?").intersection(pattern[:-1]):
            return {"prefix": pattern[:-1]}
    return {"safe_regex": {"regex": alternatives(patterns)}}


def _header(name: str, regex: str) -> Resource:
    return {"name": name, "string_match": {"safe_regex": {"regex": regex}}}


def _host(condition: Condition) -> Resource:
    return _header(":authority", "(?i)" + alternatives(condition.values) + ANY_PORT)


def _http_header(condition: Condition) -> Resource:
    return _header(condition.header.lower(), "(?i)" + alternatives(condition.values))


def _method(condition: Condition) -> Resource:
    return _header(":method", "|".join(re.escape(value) for value in condition.values))


def _query(condition: Condition) -> Resource:
    pairs = [
        (wildcard(key) if key else "[^&=]*") + "=" + wildcard(value).replace(".*", "[^&]*")
        for key, value in condition.pairs
    ]
    return _header(":path", r"(?i)[^?]*\?(?:.*&)?(?:" + "|".join(pairs) + ")(?:&.*)?")


HEADER_MATCHERS: dict[str, Callable[[Condition], Resource]] = {
    "host-header": _host,
    "http-header": _http_header,
    "http-request-method": _method,
    "query-string": _query,
}


def _action(action: Action, clusters: ClusterNames, sticky: StickyPolicy) -> Resource:
    if action.type == "forward":
        return _forward(action, clusters, sticky)
    if action.type == "redirect":
        return {"redirect": _redirect(action)}
    if action.type == "fixed-response":
        return _fixed_response(action)
    return _fixed_response(
        Action(
            "fixed-response",
            settings={"StatusCode": "501", "MessageBody": f"{action.type} is not available on this load balancer\n"},
        )
    )


def _forward(action: Action, clusters: ClusterNames, sticky: StickyPolicy) -> Resource:
    weighted = [(arn, weight) for arn, weight in action.target_groups if weight > 0]
    if not weighted:
        return _fixed_response(Action("fixed-response", settings={"StatusCode": "503"}))
    # No limit on a whole response (timeout 0): ELB only knows the idle timeout, which the listener has.
    route: Resource = {"timeout": "0s"}
    if len(weighted) == 1:
        route["cluster"] = clusters(weighted[0][0])
    else:
        entries = [{"name": clusters(arn), "weight": weight} for arn, weight in weighted]
        route["weighted_clusters"] = {"clusters": entries}
    policies = [policy for arn, _ in weighted for policy in sticky(arn)]
    if policies:
        route["hash_policy"] = policies
    return {"route": route}


def _fixed_response(action: Action) -> Resource:
    response: Resource = {"status": int(action.settings.get("StatusCode", "503"))}
    body = action.settings.get("MessageBody", "")
    if body:
        response["body"] = {"inline_string": body}
    content_type = action.settings.get("ContentType") or "text/plain; charset=utf-8"
    header = {"header": {"key": "content-type", "value": content_type.replace("%", "%%")}}
    return {
        "direct_response": response,
        "response_headers_to_add": [header | {"append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}],
    }


def _redirect(action: Action) -> Resource:
    """`#{...}` placeholders stand for the request's own; Envoy keeps a part by not naming it."""
    settings = action.settings
    redirect: Resource = {"response_code": REDIRECT_CODES.get(settings.get("StatusCode", ""), "FOUND")}
    protocol, host, port = (settings.get(name, "") for name in ("Protocol", "Host", "Port"))
    if protocol and not protocol.startswith("#{"):
        redirect["scheme_redirect"] = protocol.lower()
    if host and host != "#{host}":
        redirect["host_redirect"] = host
    if port.isdigit():
        redirect["port_redirect"] = int(port)
    path, query = settings.get("Path") or "/#{path}", settings.get("Query", "#{query}")
    tail = "" if query in ("", "#{query}") else "?" + query.replace("#{query}", "")
    if path != "/#{path}" and "#{path}" not in path:
        redirect["path_redirect"] = path + tail
    elif path != "/#{path}" or tail:
        substitution = path.replace("\\", r"\\").replace("#{path}", r"\1") + tail.replace("\\", r"\\")
        redirect["regex_rewrite"] = {"pattern": {"regex": "^/(.*)$"}, "substitution": substitution}
    if query == "":
        redirect["strip_query"] = True
    return redirect
