"""One RBAC PolicyRule compiled for matching, and whether some rules cover others.

The wildcard semantics are upstream's (`pkg/apis/rbac/v1/evaluation_helpers.go`,
`k8s.io/component-helpers/auth/rbac/validation`). Used by `rbac`, `access_policies` and the escalation check.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from twinplane.controlplane.auth.contract import Attributes

PolicyRule = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Rule:
    verbs: frozenset[str]
    groups: frozenset[str]
    resources: frozenset[str]
    names: frozenset[str]
    urls: tuple[str, ...]

    @classmethod
    def of(cls, rule: PolicyRule) -> Rule:
        return cls(
            frozenset(rule.get("verbs") or ()),
            frozenset(rule.get("apiGroups") or ()),
            frozenset(rule.get("resources") or ()),
            frozenset(rule.get("resourceNames") or ()),
            tuple(rule.get("nonResourceURLs") or ()),
        )

    def allows(self, request: Attributes) -> bool:
        if request.verb not in self.verbs and "*" not in self.verbs:
            return False
        if request.path:
            return any(url_matches(url, request.path) for url in self.urls)
        if request.group not in self.groups and "*" not in self.groups:
            return False
        if not self._resource(request.resource, request.subresource):
            return False
        return not self.names or request.name in self.names

    def _resource(self, resource: str, subresource: str) -> bool:
        if "*" in self.resources:
            return True
        if not subresource:
            return resource in self.resources
        return f"{resource}/{subresource}" in self.resources or f"*/{subresource}" in self.resources


def url_matches(pattern: str, path: str) -> bool:
    if pattern in ("*", path):
        return True
    return pattern.endswith("*") and path.startswith(pattern.rstrip("*"))


def compiled(rules: Iterable[PolicyRule] | None) -> tuple[Rule, ...]:
    return tuple(Rule.of(rule) for rule in rules or ())


def covers(owned: Sequence[PolicyRule], wanted: Sequence[PolicyRule]) -> list[PolicyRule]:
    """The parts of `wanted` that no rule of `owned` covers: empty when the owner may grant them all."""
    owners = compiled(owned)
    return [part for rule in wanted for part in _parts(rule) if not any(_covers(owner, part) for owner in owners)]


def _parts(rule: PolicyRule) -> Iterator[PolicyRule]:
    """A rule taken apart: one verb on one resource (and name) of one group, or on one URL."""
    verbs = rule.get("verbs") or ()
    for group, resource, verb in product(rule.get("apiGroups") or (), rule.get("resources") or (), verbs):
        part: PolicyRule = {"apiGroups": [group], "resources": [resource], "verbs": [verb]}
        names: Sequence[str] = rule.get("resourceNames") or ()
        yield from ({**part, "resourceNames": [name]} for name in names) if names else (part,)
    for url, verb in product(rule.get("nonResourceURLs") or (), verbs):
        yield {"nonResourceURLs": [url], "verbs": [verb]}


def _covers(owner: Rule, part: PolicyRule) -> bool:
    if "*" not in owner.verbs and part["verbs"][0] not in owner.verbs:
        return False
    if "nonResourceURLs" in part:
        return any(url_matches(url, part["nonResourceURLs"][0]) for url in owner.urls)
    if "*" not in owner.groups and part["apiGroups"][0] not in owner.groups:
        return False
    if not _covers_resource(owner.resources, part["resources"][0]):
        return False
    return not owner.names or not owner.names.isdisjoint(part.get("resourceNames") or ())


def _covers_resource(owned: frozenset[str], wanted: str) -> bool:
    if "*" in owned or wanted in owned:
        return True
    _, slash, subresource = wanted.partition("/")
    return bool(slash) and f"*/{subresource}" in owned


def compact(parts: Iterable[PolicyRule]) -> list[PolicyRule]:
    """Parts of the same resource as one rule with all their verbs, in order of appearance."""
    merged: dict[tuple[str, ...], PolicyRule] = {}
    for part in parts:
        key = tuple(json.dumps(part.get(field)) for field in ("apiGroups", "resources", "resourceNames"))
        if "nonResourceURLs" in part:
            key = ("url", part["nonResourceURLs"][0], part["verbs"][0])
        if key in merged:
            merged[key]["verbs"] += [verb for verb in part["verbs"] if verb not in merged[key]["verbs"]]
        else:
            merged[key] = {**part, "verbs": list(part["verbs"])}
    return list(merged.values())


def described(rule: PolicyRule) -> str:
    """As upstream's messages print a rule: `{APIGroups:[""], Resources:["pods"], Verbs:["get"]}`."""
    fields = (
        ("APIGroups", "apiGroups"),
        ("Resources", "resources"),
        ("NonResourceURLs", "nonResourceURLs"),
        ("ResourceNames", "resourceNames"),
        ("Verbs", "verbs"),
    )
    return "{" + ", ".join(f"{name}:{go_strings(rule[key])}" for name, key in fields if rule.get(key)) + "}"


def go_strings(values: Iterable[str]) -> str:
    """Go's `%q` of a string slice: `["a" "b"]`."""
    return "[" + " ".join(json.dumps(value, ensure_ascii=False) for value in values) + "]"
