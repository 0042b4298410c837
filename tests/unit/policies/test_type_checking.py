"""`status.typeChecking`: the words of each warning, and what is no mistake."""

from __future__ import annotations

from typing import Any

import pytest

from twinplane import testing
from twinplane.controlplane.admission.policies.type_checking import TypeChecker
from twinplane.controlplane.admission.policies.validating import POLICIES
from twinplane.controlplane.admission.webhooks.expressions import Compiler
from twinplane.controlplane.api.types.registry import built_in_types
from twinplane.controlplane.auth.authorization import UnionAuthorizer
from twinplane.kubeclient.contract import Object, Resource
from twinplane.kubeclient.meta import conditions_of

DEFINITIONS = Resource("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", False)
DEPLOYMENTS = ("apps", "v1", "deployments")


def policy(*expressions: str, of: tuple[str, str, str] = DEPLOYMENTS, **spec: Any) -> Object:
    group, version, plural = of
    rule = {"apiGroups": [group], "apiVersions": [version], "resources": [plural], "operations": ["*"]}
    validations = [{"expression": text} for text in expressions]
    return {
        "metadata": {"name": "p"},
        "spec": {"matchConstraints": {"resourceRules": [rule]}, "validations": validations, **spec},
    }


@pytest.fixture(scope="module")
def checker() -> TypeChecker:
    return TypeChecker(built_in_types("1.36"), Compiler(UnionAuthorizer(())))


def test_warnings_read_as_upstreams(checker: TypeChecker) -> None:
    assert checker.warnings(policy("object.spec.replicas > '1'", "true", "object.spec.maxRetries < 10")) == [
        {
            "fieldRef": "spec.validations[0].expression",
            "warning": (
                "apps/v1, Kind=Deployment: compilation failed: ERROR: <input>:1:22: found no matching overload for "
                "'_>_' applied to '(int, string)'\n | object.spec.replicas > '1'\n | .....................^\n"
            ),
        },
        {
            "fieldRef": "spec.validations[2].expression",
            "warning": (
                "apps/v1, Kind=Deployment: compilation failed: ERROR: <input>:1:12: undefined field 'maxRetries'\n"
                " | object.spec.maxRetries < 10\n | ...........^\n"
            ),
        },
    ]


@pytest.mark.parametrize(
    "text",
    [
        "object.spec.replicas <= 3 && oldObject.spec.replicas <= object.spec.replicas",
        "has(object.spec.replicas) && object.metadata.name.startsWith('a')",
        "object.metadata.?labels['app'].orValue('') == 'object.spec.none'",
        "object.spec.template.spec.containers.all(c, c.image.contains('/') && c.none == 1)",
        "object.spec.strategy.rollingUpdate.maxSurge == '25%' || object.spec.strategy.rollingUpdate.maxSurge == 1",
        "object.metadata.labels.app == 'x' && object.kind == 'Deployment'",
        "object.metadata.creationTimestamp < timestamp('2030-01-01T00:00:00Z')",
        "variables.n + 1 > 2 && params.data.x == 'y'",
        "authorizer.group('').resource('pods').check('get').allowed() && request.operation == 'CREATE'",
    ],
)
def test_what_fits_is_not_warned_of(checker: TypeChecker, text: str) -> None:
    variables = [{"name": "n", "expression": "object.spec.replicas"}]
    kind = {"apiVersion": "v1", "kind": "ConfigMap"}
    assert checker.warnings(policy(text, variables=variables, paramKind=kind)) == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("has(object.spec.none)", "undefined field 'none'"),
        ("object.none.x == 1", "undefined field 'none'"),
        ("params.none == 1", "undefined field 'none'"),
        ("variables.n == 'x'", "applied to '(int, string)'"),
        ("object.metadata.labels.app == 1", "applied to '(string, int)'"),
        ("object.spec.template.spec.hostNetwork == 'x'", "applied to '(bool, string)'"),
    ],
)
def test_what_does_not_fit(checker: TypeChecker, text: str, problem: str) -> None:
    variables = [{"name": "n", "expression": "object.spec.replicas"}]
    kind = {"apiVersion": "v1", "kind": "ConfigMap"}
    (warning,) = checker.warnings(policy(text, variables=variables, paramKind=kind))
    assert problem in warning["warning"]


def test_types_that_are_not_named_are_not_checked(checker: TypeChecker) -> None:
    for of in (("*", "v1", "deployments"), ("apps", "*", "deployments"), ("apps", "v1", "*"), ("apps", "v1", "a/b")):
        assert checker.warnings(policy("object.none == 1", of=of)) == []
    both = policy("object.spec.replicas > 1")
    both["spec"]["matchConstraints"]["resourceRules"][0]["resources"] = ["deployments", "daemonsets"]
    (warning,) = checker.warnings(both)
    assert warning["warning"].startswith("apps/v1, Kind=DaemonSet: ")
    both["spec"]["validations"][0]["messageExpression"] = "string(object.spec.none)"
    assert [each["fieldRef"] for each in checker.warnings(both)] == [
        "spec.validations[0].expression",
        "spec.validations[0].messageExpression",
    ]


async def test_a_cluster_checks_each_generation_once() -> None:
    schema = {
        "type": "object",
        "properties": {"spec": {"type": "object", "properties": {"replicas": {"type": "integer"}}}},
    }
    names = {"plural": "crontabs", "singular": "crontab", "kind": "CronTab"}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    definition = {
        "metadata": {"name": "crontabs.stable.example.com"},
        "spec": {"group": "stable.example.com", "names": names, "scope": "Namespaced", "versions": [version]},
    }
    async with testing.cluster() as cluster:
        client = cluster.client()
        await client.create(DEFINITIONS, definition)
        await cluster.settle()
        assert conditions_of(await client.get(DEFINITIONS, "crontabs.stable.example.com"))
        wrong = policy(
            "object.spec.replicas > '1'", "object.metadata.name == 'x'", of=("stable.example.com", "v1", "crontabs")
        )
        await client.create(POLICIES, wrong)
        await cluster.settle()
        status = (await client.get(POLICIES, "p"))["status"]
        assert status["observedGeneration"] == 1
        (warning,) = status["typeChecking"]["expressionWarnings"]
        assert warning["warning"].startswith("stable.example.com/v1, Kind=CronTab: ")
        right = await client.get(POLICIES, "p")
        right["spec"]["validations"][0]["expression"] = "object.spec.replicas > 1"
        await client.update(POLICIES, right)
        await cluster.settle()
        status = (await client.get(POLICIES, "p"))["status"]
        assert status["observedGeneration"] == 2
        # What an apply empties goes with it, as in structured-merge-diff.
        assert not (status.get("typeChecking") or {}).get("expressionWarnings")
