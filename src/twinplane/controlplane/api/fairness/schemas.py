"""FlowSchemas compiled for matching, and the limits of priority levels. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from twinplane.controlplane.api.routing import Route
from twinplane.controlplane.auth.contract import UserInfo
from twinplane.controlplane.auth.rules import url_matches
from twinplane.kubeclient.contract import Object

_ACCOUNT = "system:serviceaccount:"


@dataclass(frozen=True, slots=True)
class Queuing:
    queues: int
    hand_size: int
    length_limit: int


@dataclass(frozen=True, slots=True)
class Limits:
    """Of a priority level. `shares` of all seats are its own; `lendable` (0 to 1) of them may be borrowed.

    `borrowing` limits what it may take on top, as a part of its own seats; None is no limit. `queuing` is None when
    requests that find no seat are rejected at once.
    """

    is_exempt: bool
    shares: int
    lendable: float
    borrowing: float | None
    queuing: Queuing | None

    @classmethod
    def of(cls, body: Object) -> Limits:
        spec = body.get("spec") or {}
        if spec.get("type") == "Exempt":
            return cls(True, 0, 0.0, None, None)
        limited = spec.get("limited") or {}
        shares = limited.get("nominalConcurrencyShares")
        response = limited.get("limitResponse") or {}
        queuing = None
        if response.get("type") == "Queue":
            given = response.get("queuing") or {}
            queues = max(1, given.get("queues") or 64)
            hand = min(queues, max(1, given.get("handSize") or 8))
            queuing = Queuing(queues, hand, max(1, given.get("queueLengthLimit") or 50))
        borrowing = limited.get("borrowingLimitPercent")
        return cls(
            False,
            30 if shares is None else shares,
            (limited.get("lendablePercent") or 0) / 100,
            None if borrowing is None else borrowing / 100,
            queuing,
        )


@dataclass(frozen=True, slots=True)
class Schema:
    name: str
    uid: str
    precedence: int
    level: str
    distinguisher: str
    rules: tuple[Mapping[str, Any], ...]

    @classmethod
    def of(cls, body: Object) -> Schema:
        metadata, spec = body["metadata"], body.get("spec") or {}
        return cls(
            metadata["name"],
            metadata.get("uid", ""),
            spec.get("matchingPrecedence") or 1000,
            (spec.get("priorityLevelConfiguration") or {}).get("name", ""),
            (spec.get("distinguisherMethod") or {}).get("type", ""),
            tuple(spec.get("rules") or ()),
        )

    def matches(self, user: UserInfo, route: Route) -> bool:
        return any(
            any(_is_meant(subject, user) for subject in rule.get("subjects") or ()) and _covers(rule, route)
            for rule in self.rules
        )

    def flow_of(self, user: UserInfo, route: Route) -> str:
        """What tells flows apart: the user, the namespace, or nothing."""
        return {"ByUser": user.name, "ByNamespace": route.namespace}.get(self.distinguisher, "")


def in_order(schemas: Iterable[Schema]) -> list[Schema]:
    """The first that matches counts: lower precedence first, then by name."""
    return sorted(schemas, key=lambda schema: (schema.precedence, schema.name))


def _is_meant(subject: Mapping[str, Any], user: UserInfo) -> bool:
    match subject.get("kind"):
        case "User":
            return (subject.get("user") or {}).get("name") in ("*", user.name)
        case "Group":
            name = (subject.get("group") or {}).get("name")
            return name == "*" or name in user.groups
        case "ServiceAccount":
            account = subject.get("serviceAccount") or {}
            prefix = f"{_ACCOUNT}{account.get('namespace', '')}:"
            return user.name.startswith(prefix) and account.get("name") in ("*", user.name.removeprefix(prefix))
    return False


def _covers(rule: Mapping[str, Any], route: Route) -> bool:
    if route.is_resource:
        return any(_covers_resource(each, route) for each in rule.get("resourceRules") or ())
    return any(
        _among(route.verb, each.get("verbs"))
        and any(url_matches(url, route.path) for url in each.get("nonResourceURLs") or ())
        for each in rule.get("nonResourceRules") or ()
    )


def _covers_resource(rule: Mapping[str, Any], route: Route) -> bool:
    resource = f"{route.resource}/{route.subresource}" if route.subresource else route.resource
    if not (
        _among(route.verb, rule.get("verbs"))
        and _among(route.group, rule.get("apiGroups"))
        and _among(resource, rule.get("resources"))
    ):
        return False
    if not route.namespace:
        return bool(rule.get("clusterScope"))
    return _among(route.namespace, rule.get("namespaces"))


def _among(value: str, allowed: Any) -> bool:
    return bool(allowed) and ("*" in allowed or value in allowed)


def hand_of(schema: str, flow: str, queuing: Queuing) -> tuple[int, ...]:
    """The queues that a flow may use: as many different ones as its hand holds, dealt by a hash of its name."""
    digest = hashlib.sha256(f"{schema}\0{flow}".encode()).digest()
    value = int.from_bytes(digest, "big")
    hand: list[int] = []
    for dealt in range(queuing.hand_size):
        value, card = divmod(value, queuing.queues - dealt)
        for lower in sorted(hand):
            card += lower <= card
        hand.append(card)
    return tuple(hand)
