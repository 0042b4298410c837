"""Mistakes in webhook configurations, policies and bindings are told when they are written."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.unit.api.harness import Api
from tests.unit.webhooks.servers import dynamic_api
from twinplane.kubeclient.contract import Object

GROUP = "/apis/admissionregistration.k8s.io/v1"
RULE = {"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}
VALIDATIONS = {"validations": [{"expression": "true"}]}
MUTATION = {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": "Object{}"}}


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    async with dynamic_api() as made:
        yield made


def policy(**spec: Any) -> Object:
    return {"metadata": {"name": "p"}, "spec": {"matchConstraints": {"resourceRules": [RULE]}, **spec}}


async def causes(api: Api, plural: str, body: Object) -> list[tuple[str, str]]:
    status = await api.json("POST", f"{GROUP}/{plural}", body, expect=422)
    return [(each["field"], each["message"]) for each in status["details"]["causes"]]


@pytest.mark.parametrize(
    ("spec", "field", "words"),
    [
        (
            {"validations": [{"expression": "object.x +"}]},
            "spec.validations[0].expression",
            "compilation failed: ERROR",
        ),
        ({"validations": [{"expression": "1"}]}, "spec.validations[0].expression", "must evaluate to bool"),
        ({}, "spec.validations", "must contain at least one item"),
        (
            {"validations": [{"expression": "true", "messageExpression": "1"}]},
            *("spec.validations[0].messageExpression", "must evaluate to string"),
        ),
        (
            {"auditAnnotations": [{"key": "k", "valueExpression": "1"}]},
            *("spec.auditAnnotations[0].valueExpression", "must evaluate to one of [string null]"),
        ),
        ({**VALIDATIONS, "matchConstraints": {}}, "spec.matchConstraints.resourceRules", "Required value"),
        (
            {**VALIDATIONS, "variables": [{"name": "x", "expression": "nosuch"}]},
            *("spec.variables[0].expression", "undeclared reference to 'nosuch'"),
        ),
        (
            {"validations": [{"expression": "object.spec.replicas <= params.max"}]},
            *("spec.validations[0].expression", "undeclared reference to 'params"),
        ),
        (
            {**VALIDATIONS, "matchConditions": [{"name": "c", "expression": "'x'"}]},
            *("spec.matchConditions[0].expression", "must evaluate to bool"),
        ),
    ],
)
async def test_validating_policies(api: Api, spec: Any, field: str, words: str) -> None:
    found = await causes(api, "validatingadmissionpolicies", policy(**spec))
    assert found[0][0] == field
    assert words in found[0][1]


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"mutations": [], "reinvocationPolicy": "Never"}, "spec.mutations"),
        ({"mutations": [MUTATION]}, "spec.reinvocationPolicy"),
        ({"mutations": [{"patchType": "X"}], "reinvocationPolicy": "Never"}, "spec.mutations[0].patchType"),
        (
            {"mutations": [{"patchType": "JSONPatch"}], "reinvocationPolicy": "Never"},
            "spec.mutations[0].jsonPatch",
        ),
    ],
)
async def test_mutating_policies(api: Api, spec: Any, field: str) -> None:
    found = await causes(api, "mutatingadmissionpolicies", policy(**spec))
    assert field in [path for path, _ in found]


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"policyName": "p"}, "spec.validationActions"),
        ({"policyName": "p", "validationActions": ["Deny", "Warn"]}, "spec.validationActions"),
        ({"policyName": "p", "validationActions": ["Audit", "Audit"]}, "spec.validationActions[1]"),
        ({"policyName": "p", "validationActions": ["Shout"]}, "spec.validationActions[0]"),
        ({"validationActions": ["Deny"]}, "spec.policyName"),
        (
            {"policyName": "p", "validationActions": ["Deny"], "paramRef": {"name": "x", "selector": {}}},
            "spec.paramRef",
        ),
    ],
)
async def test_bindings(api: Api, spec: Any, field: str) -> None:
    found = await causes(api, "validatingadmissionpolicybindings", {"metadata": {"name": "b"}, "spec": spec})
    assert field in [path for path, _ in found]


@pytest.mark.parametrize("plural", ["validatingwebhookconfigurations", "mutatingwebhookconfigurations"])
async def test_match_conditions_of_webhooks(api: Api, plural: str) -> None:
    webhook = {
        "name": "a.example.com",
        "clientConfig": {"url": "https://127.0.0.1:1/"},
        "rules": [RULE],
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        "matchConditions": [{"name": "bad", "expression": "... [] bad expression"}],
    }
    ((field, message),) = await causes(api, plural, {"metadata": {"name": "w"}, "webhooks": [webhook]})
    assert field == "webhooks[0].matchConditions[0].expression"
    assert "compilation failed" in message
