"""FlowSchemas and PriorityLevelConfigurations: what upstream refuses, in its words, and what every cluster has."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.types import objects
from tests.unit.types.conftest import Change, Writer
from twinplane.controlplane.api.fairness import bootstrap

GROUP = "flowcontrol.apiserver.k8s.io/v1"
RULE = {
    "subjects": [{"kind": "User", "user": {"name": "jane"}}],
    "resourceRules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"], "namespaces": ["*"]}],
    "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["/healthz", "/apis/*"]}],
}
SCHEMA = objects.make(
    GROUP,
    "FlowSchema",
    spec={"matchingPrecedence": 500, "priorityLevelConfiguration": {"name": "level"}, "rules": [RULE]},
)
LEVEL = objects.make(
    GROUP,
    "PriorityLevelConfiguration",
    spec={"type": "Limited", "limited": {"limitResponse": {"type": "Queue", "queuing": {"queues": 64}}}},
)


def test_good_ones(writer: Writer) -> None:
    assert writer.create(SCHEMA)[1] == []
    assert writer.create(LEVEL)[1] == []
    for each in (*bootstrap.MANDATORY_LEVELS, *bootstrap.MANDATORY_SCHEMAS):
        assert writer.create({"apiVersion": GROUP, **each})[1] == []
    for each in (*bootstrap.SUGGESTED_LEVELS, *bootstrap.SUGGESTED_SCHEMAS):
        assert writer.create({"apiVersion": GROUP, **each})[1] == []


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("spec.matchingPrecedence", -1, "spec.matchingPrecedence: Invalid value: -1: must be a positive value"),
        (
            "spec.matchingPrecedence",
            10001,
            "spec.matchingPrecedence: Invalid value: 10001: must not be greater than 10000",
        ),
        (
            "spec.matchingPrecedence",
            1,
            ("spec.matchingPrecedence: Invalid value: 1: only the schema named 'exempt' may have matchingPrecedence 1"),
        ),
        (
            "spec.priorityLevelConfiguration.name",
            "",
            "spec.priorityLevelConfiguration.name: Required value: must reference a priority level",
        ),
        (
            "spec.rules.0.subjects",
            [],
            "spec.rules[0].subjects: Required value: subjects must contain at least one value",
        ),
        (
            "spec.rules.0.subjects",
            [{"kind": "User", "group": {"name": "g"}}],
            "spec.rules[0].subjects[0].user: Required value: user is required when subject kind is 'User'",
        ),
        (
            "spec.rules.0.subjects",
            [{"kind": "User", "user": {"name": "u"}, "group": {"name": "g"}}],
            "spec.rules[0].subjects[0].group: Forbidden: group is forbidden when subject kind is not 'Group'",
        ),
        (
            "spec.rules.0.subjects",
            [{"kind": "ServiceAccount", "serviceAccount": {"name": "*"}}],
            (
                "spec.rules[0].subjects[0].serviceAccount.namespace: Required value: must specify namespace for "
                "service account"
            ),
        ),
        (
            "spec.rules.0.resourceRules.0.verbs",
            ["*", "get"],
            (
                'spec.rules[0].resourceRules[0].verbs: Invalid value: ["*","get"]: if \'*\' is present, must not '
                "specify other verbs"
            ),
        ),
        (
            "spec.rules.0.resourceRules.0.namespaces",
            [],
            (
                "spec.rules[0].resourceRules[0].namespaces: Required value: resource rules that are not cluster "
                "scoped must supply at least one namespace"
            ),
        ),
        (
            "spec.rules.0.nonResourceRules.0.nonResourceURLs",
            ["/a*"],
            (
                'spec.rules[0].nonResourceRules[0].nonResourceURLs[0]: Invalid value: "/a*": wildcard can only do '
                "suffix matching"
            ),
        ),
    ],
)
def test_flow_schemas(writer: Writer, changed: Change, path: str, value: Any, expected: str) -> None:
    assert expected in writer.create(changed(SCHEMA, path, value))[1]


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("spec.type", "Exempt", "spec.limited: Forbidden: must be nil if the type is not Limited"),
        ("spec.exempt", {}, "spec.exempt: Forbidden: must be nil if the type is Limited"),
        (
            "spec.limited.lendablePercent",
            101,
            "spec.limited.lendablePercent: Invalid value: 101: must be between 0 and 100, inclusive",
        ),
        (
            "spec.limited.limitResponse.type",
            "Reject",
            ("spec.limited.limitResponse.queuing: Forbidden: must be nil if limited.limitResponse.type is not Limited"),
        ),
        (
            "spec.limited.limitResponse.queuing.handSize",
            65,
            ("spec.limited.limitResponse.queuing.handSize: Invalid value: 65: should not be greater than queues (64)"),
        ),
        (
            "spec.limited.limitResponse.queuing.handSize",
            12,
            (
                "spec.limited.limitResponse.queuing.handSize: Invalid value: 12: required entropy bits of deckSize 64 "
                "and handSize 12 should not be greater than 60"
            ),
        ),
    ],
)
def test_priority_levels(writer: Writer, changed: Change, path: str, value: Any, expected: str) -> None:
    assert expected in writer.create(changed(LEVEL, path, value))[1]


def test_what_every_cluster_has_does_not_change(writer: Writer, changed: Change) -> None:
    levels = {each["metadata"]["name"]: {"apiVersion": GROUP, **each} for each in bootstrap.MANDATORY_LEVELS}
    shares = changed(levels["catch-all"], "spec.limited.nominalConcurrencyShares", 7)
    assert any("spec of 'catch-all' must equal the fixed value" in each for each in writer.create(shares)[1])
    assert writer.create(changed(levels["exempt"], "spec.exempt.lendablePercent", 10))[1] == []
