"""An audit.k8s.io/v1 Policy: the first rule that matches a request says how much of it is kept. Pure.

Semantics are those of apiserver `pkg/audit/policy` (checker.go).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twinplane.controlplane.api.routing import Route
from twinplane.controlplane.auth.contract import UserInfo
from twinplane.controlplane.auth.rules import url_matches

LEVELS = ("None", "Metadata", "Request", "RequestResponse")
STAGES = ("RequestReceived", "ResponseStarted", "ResponseComplete", "Panic")
EKS_POLICY = Path(__file__).with_name("eks.yaml")
"""What EKS keeps of its clusters."""


class BadPolicy(ValueError):
    """A file that is no audit policy."""


@dataclass(frozen=True, slots=True)
class Decision:
    level: str
    omitted_stages: frozenset[str]
    omits_managed_fields: bool

    @property
    def keeps_request(self) -> bool:
        return self.level in ("Request", "RequestResponse")

    @property
    def keeps_response(self) -> bool:
        return self.level == "RequestResponse"


@dataclass(frozen=True, slots=True)
class Rule:
    decision: Decision
    users: frozenset[str]
    groups: frozenset[str]
    verbs: frozenset[str]
    namespaces: frozenset[str]
    resources: tuple[Mapping[str, Any], ...]
    urls: tuple[str, ...]

    def matches(self, user: UserInfo, route: Route) -> bool:
        if self.users and user.name not in self.users:
            return False
        if self.groups and self.groups.isdisjoint(user.groups):
            return False
        if self.verbs and route.verb not in self.verbs:
            return False
        if self.namespaces or self.resources:
            return route.is_resource and self._is_about(route)
        if self.urls:
            return not route.is_resource and any(url_matches(url, route.path) for url in self.urls)
        return True

    def _is_about(self, route: Route) -> bool:
        if self.namespaces and route.namespace not in self.namespaces:
            return False
        return not self.resources or any(_names(each, route) for each in self.resources)


def _names(entry: Mapping[str, Any], route: Route) -> bool:
    if (entry.get("group") or "") != route.group:
        return False
    resources = entry.get("resources") or ()
    if not resources:
        return True
    names = entry.get("resourceNames") or ()
    if names and route.name not in names:
        return False
    whole = f"{route.resource}/{route.subresource}" if route.subresource else route.resource
    wanted = {"*", whole}
    if route.subresource:
        wanted |= {f"*/{route.subresource}", f"{route.resource}/*"}
    return not wanted.isdisjoint(resources)


@dataclass(frozen=True, slots=True)
class Policy:
    rules: tuple[Rule, ...]

    @classmethod
    def of(cls, body: Any) -> Policy:
        """Raises `BadPolicy`."""
        if not isinstance(body, dict) or body.get("kind") != "Policy" or body.get("apiVersion") != "audit.k8s.io/v1":
            raise BadPolicy("no Policy of audit.k8s.io/v1")
        stages = _stages(body.get("omitStages"), "omitStages")
        omits = bool(body.get("omitManagedFields"))
        rules = body.get("rules")
        if not isinstance(rules, list) or not rules:
            raise BadPolicy("rules: loaded illegal policy with 0 rules")
        return cls(tuple(_rule(each, f"rules[{index}]", stages, omits) for index, each in enumerate(rules)))

    @classmethod
    def load(cls, path: Path) -> Policy:
        """Raises `BadPolicy` and OSError."""
        import yaml

        try:
            return cls.of(yaml.safe_load(path.read_text()))
        except yaml.YAMLError as error:
            raise BadPolicy(str(error)) from None

    def decide(self, user: UserInfo, route: Route) -> Decision | None:
        """None when nothing is kept."""
        for rule in self.rules:
            if rule.matches(user, route):
                return None if rule.decision.level == "None" else rule.decision
        return None


def _rule(body: Any, path: str, stages: frozenset[str], omits: bool) -> Rule:
    if not isinstance(body, dict):
        raise BadPolicy(f"{path}: must be an object")
    level = body.get("level")
    if level not in LEVELS:
        raise BadPolicy(f"{path}.level: Unsupported value: {level!r}: supported values: {', '.join(LEVELS)}")
    resources, urls = body.get("resources") or (), body.get("nonResourceURLs") or ()
    if urls and (resources or body.get("namespaces")):
        raise BadPolicy(f"{path}.nonResourceURLs: rules cannot apply to both regular resources and non-resource URLs")
    own = body.get("omitManagedFields")
    omitted = stages | _stages(body.get("omitStages"), f"{path}.omitStages")
    return Rule(
        Decision(level, omitted, omits if own is None else bool(own)),
        frozenset(body.get("users") or ()),
        frozenset(body.get("userGroups") or ()),
        frozenset(body.get("verbs") or ()),
        frozenset(body.get("namespaces") or ()),
        tuple(resources),
        tuple(urls),
    )


def _stages(given: Sequence[str] | None, path: str) -> frozenset[str]:
    for stage in given or ():
        if stage not in STAGES:
            raise BadPolicy(f"{path}: Unsupported value: {stage!r}: supported values: {', '.join(STAGES)}")
    return frozenset(given or ())
