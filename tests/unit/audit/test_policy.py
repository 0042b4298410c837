"""Audit policies: which rule is the first that matches, and files that are none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from twinplane.controlplane.api.routing import route
from twinplane.controlplane.audit.policy import EKS_POLICY, BadPolicy, Policy
from twinplane.controlplane.auth.contract import UserInfo

ALICE = UserInfo("alice", ("developers", "system:authenticated"))


def policy(*rules: Any, **more: Any) -> Policy:
    return Policy.of({"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": list(rules), **more})


@pytest.mark.parametrize(
    ("rule", "method", "path", "expected"),
    [
        ({}, "GET", "/api/v1/pods", True),
        ({"users": ["bob"]}, "GET", "/api/v1/pods", False),
        ({"userGroups": ["developers", "x"]}, "GET", "/api/v1/pods", True),
        ({"verbs": ["list"]}, "GET", "/api/v1/pods", True),
        ({"verbs": ["watch"]}, "GET", "/api/v1/pods", False),
        ({"namespaces": ["a"]}, "GET", "/api/v1/namespaces/a/pods", True),
        ({"namespaces": [""]}, "GET", "/api/v1/nodes", True),
        ({"namespaces": ["a"]}, "GET", "/healthz", False),
        ({"resources": [{"group": ""}]}, "GET", "/apis/apps/v1/deployments", False),
        ({"resources": [{"group": "apps"}]}, "GET", "/apis/apps/v1/deployments", True),
        ({"resources": [{"resources": ["pods"]}]}, "GET", "/api/v1/namespaces/a/pods/x/log", False),
        ({"resources": [{"resources": ["pods/log"]}]}, "GET", "/api/v1/namespaces/a/pods/x/log", True),
        ({"resources": [{"resources": ["pods/*"]}]}, "GET", "/api/v1/namespaces/a/pods/x/log", True),
        ({"resources": [{"resources": ["*/log"]}]}, "GET", "/api/v1/namespaces/a/pods/x/log", True),
        ({"resources": [{"resources": ["*"]}]}, "GET", "/api/v1/namespaces/a/pods/x/log", True),
        (
            {"resources": [{"resources": ["pods"], "resourceNames": ["y"]}]},
            *("GET", "/api/v1/namespaces/a/pods/x", False),
        ),
        ({"nonResourceURLs": ["/healthz*"]}, "GET", "/healthz/ping", True),
        ({"nonResourceURLs": ["/healthz*"]}, "GET", "/api/v1/pods", False),
    ],
)
def test_rules(rule: Any, method: str, path: str, expected: bool) -> None:
    decided = policy({"level": "Metadata", **rule}).decide(ALICE, route(method, path, {}))
    assert (decided is not None) is expected


def test_the_first_rule_counts_and_stages_add_up() -> None:
    rules = ({"level": "None", "verbs": ["list"]}, {"level": "Request", "omitStages": ["Panic"]})
    made = policy(*rules, omitStages=["RequestReceived"], omitManagedFields=True)
    assert made.decide(ALICE, route("GET", "/api/v1/pods", {})) is None
    decided = made.decide(ALICE, route("POST", "/api/v1/namespaces/a/pods", {}))
    assert decided is not None
    assert (decided.keeps_request, decided.keeps_response, decided.omits_managed_fields) == (True, False, True)
    assert decided.omitted_stages == {"RequestReceived", "Panic"}


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "kind: Policy",
        "{apiVersion: audit.k8s.io/v1, kind: Policy}",
        "{apiVersion: audit.k8s.io/v1, kind: Policy, rules: [{level: Much}]}",
        "{apiVersion: audit.k8s.io/v1, kind: Policy, rules: [7]}",
        "{apiVersion: audit.k8s.io/v1, kind: Policy, rules: [{level: None, omitStages: [Never]}]}",
        "{apiVersion: audit.k8s.io/v1, kind: Policy, rules: [{level: None, namespaces: [a], nonResourceURLs: [/x]}]}",
        "{",
    ],
)
def test_what_is_no_policy(tmp_path: Path, text: str) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(text)
    with pytest.raises(BadPolicy):
        Policy.load(path)


def test_a_policy_file(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(yaml.safe_dump({"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": [{"level": "None"}]}))
    assert Policy.load(path).decide(ALICE, route("GET", "/x", {})) is None


@pytest.mark.parametrize(
    ("user", "method", "path", "expected"),
    [
        (ALICE, "POST", "/apis/apps/v1/namespaces/a/deployments", "RequestResponse"),
        (ALICE, "GET", "/apis/apps/v1/namespaces/a/deployments", "Request"),
        (ALICE, "GET", "/api/v1/namespaces/a/secrets/x", "Metadata"),
        (ALICE, "PATCH", "/api/v1/namespaces/kube-system/configmaps/aws-auth", "RequestResponse"),
        (ALICE, "GET", "/healthz", None),
        (ALICE, "POST", "/api/v1/namespaces/a/events", None),
        (UserInfo("system:node:x", ("system:nodes",)), "PATCH", "/api/v1/nodes/x/status", "Request"),
        (ALICE, "POST", "/apis/example.com/v1/things", "Metadata"),
    ],
)
def test_the_policy_of_eks(user: UserInfo, method: str, path: str, expected: str | None) -> None:
    decided = Policy.load(EKS_POLICY).decide(user, route(method, path, {}))
    assert (decided.level if decided else None) == expected
