"""ValidatingAdmissionPolicy through a whole API server: expressions, parameters, actions, and upstream's words."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from tests.unit.api.harness import Api, config_map, pod
from tests.unit.webhooks.servers import dynamic_api
from twinplane.controlplane.admission.policies.validating import BINDINGS, POLICIES
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.resources import CONFIG_MAPS, NAMESPACES

PODS = "/api/v1/namespaces/default/pods"
RULE = {"operations": ["CREATE", "UPDATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}
CONFIG = {"apiVersion": "v1", "kind": "ConfigMap"}


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    async with dynamic_api() as made:
        yield made


async def policy(api: Api, *validations: Object, name: str = "p", bind: Object | None = None, **spec: Any) -> None:
    constraints = {"resourceRules": [RULE]}
    body = {"matchConstraints": constraints, "validations": list(validations), **spec}
    await api.client.create(POLICIES, {"metadata": {"name": name}, "spec": body})
    binding = {"policyName": name, "validationActions": ["Deny"], **(bind or {})}
    await api.client.create(BINDINGS, {"metadata": {"name": f"{name}-b"}, "spec": binding})


def check(text: str, **more: Any) -> Object:
    return {"expression": text, **more}


async def refusal(api: Api, body: Object | None = None) -> tuple[int, str, str]:
    return await api.refused("POST", PODS, body or pod("web"))


async def test_a_denial_reads_as_upstreams(api: Api) -> None:
    await policy(api, check("object.spec.containers.size() > 1"))
    words = "ValidatingAdmissionPolicy 'p' with binding 'p-b' denied request: failed expression: "
    expected = f'pods "web" is forbidden: {words}object.spec.containers.size() > 1'
    assert await refusal(api) == (422, "Invalid", expected)
    await api.json("POST", PODS, pod("two", containers=("a", "b")), expect=201)


async def test_messages_and_reasons(api: Api) -> None:
    said = check("false", message="no", messageExpression="'no to ' + object.metadata.name", reason="Forbidden")
    await policy(api, said)
    code, reason, message = await refusal(api)
    assert (code, reason) == (403, "Forbidden")
    assert message.endswith("denied request: no to web")


async def test_a_message_expression_that_fails_leaves_the_message(api: Api) -> None:
    await policy(api, check("false", message="plain", messageExpression="object.metadata.labels.nosuch"))
    assert (await refusal(api))[2].endswith("denied request: plain")


async def test_errors_follow_the_failure_policy(api: Api) -> None:
    await policy(api, check("object.spec.nosuch > 1"))
    code, reason, message = await refusal(api)
    assert (code, reason) == (422, "Invalid")
    assert message.endswith("expression 'object.spec.nosuch > 1' resulted in error: no such key: nosuch")
    await api.client.patch(POLICIES, "p", {"spec": {"failurePolicy": "Ignore"}})
    await api.json("POST", PODS, pod("web"), expect=201)


async def test_what_does_not_compile_denies_unless_it_fails_open(api: Api) -> None:
    """Such a policy is refused; one that an older version stored may be there."""
    checks = api.runtime.admission
    unchecked = Api(replace(api.runtime, admission=tuple(each for each in checks if "Configuration" not in each.name)))
    await policy(unchecked, check("object.spec +"))
    assert "failed to configure policy: compilation error" in (await refusal(api))[2]
    await unchecked.client.patch(POLICIES, "p", {"spec": {"failurePolicy": "Ignore"}})
    await api.json("POST", PODS, pod("web"), expect=201)


async def test_warnings_instead_of_denials(api: Api) -> None:
    await policy(api, check("false", message="no"), bind={"validationActions": ["Warn", "Audit"]})
    response = await api.send("POST", PODS, pod("web"))
    assert response.status == 201
    words = "Validation failed for ValidatingAdmissionPolicy 'p' with binding 'p-b': no"
    assert response.headers["warning"] == f'299 - "{words}"'


async def test_variables_are_composed_and_lazy(api: Api) -> None:
    variables = [
        {"name": "images", "expression": "object.spec.containers.map(c, c.image)"},
        {"name": "count", "expression": "variables.images.size()"},
        {"name": "broken", "expression": "object.spec.nosuch"},
    ]
    fine = check("variables.count == 1 || variables.broken == 'x'", message="count")
    await policy(api, fine, variables=variables)
    await api.json("POST", PODS, pod("one"), expect=201)
    message = (await refusal(api, pod("two", containers=("a", "b"))))[2]
    assert message.endswith('composited variable "broken" fails to evaluate: no such key: nosuch')


async def test_old_object_and_request(api: Api) -> None:
    text = "request.operation == 'CREATE' || object.metadata.labels.tier == oldObject.metadata.labels.tier"
    await policy(api, check(f"{text} || request.userInfo.username != 'admin'"))
    await api.json("POST", PODS, pod("web", labels={"tier": "a"}), expect=201)
    merge = {"content-type": "application/merge-patch+json"}
    await api.refused("PATCH", f"{PODS}/web", {"metadata": {"labels": {"tier": "b"}}}, headers=merge)
    await api.json("PATCH", f"{PODS}/web", {"metadata": {"labels": {"x": "y"}}}, headers=merge)


async def test_the_namespace_and_match_resources_of_a_binding(api: Api) -> None:
    await api.client.create(NAMESPACES, {"metadata": {"name": "prod", "labels": {"env": "prod"}}})
    selector = {"namespaceSelector": {"matchLabels": {"env": "prod"}}}
    await policy(api, check("namespaceObject.metadata.labels.env != 'prod'"), bind={"matchResources": selector})
    await api.json("POST", PODS, pod("web"), expect=201)
    await api.refused("POST", "/api/v1/namespaces/prod/pods", pod("web"))


async def test_excluded_resources_and_conditions(api: Api) -> None:
    excluded = [{**RULE, "resourceNames": ["free"]}]
    constraints = {"resourceRules": [RULE], "excludeResourceRules": excluded}
    condition = {"name": "c", "expression": "!has(object.metadata.labels) || object.metadata.labels.skip != 'yes'"}
    await policy(api, check("false"), matchConstraints=constraints, matchConditions=[condition])
    await api.json("POST", PODS, pod("free"), expect=201)
    await api.json("POST", PODS, pod("skipped", labels={"skip": "yes"}), expect=201)
    await refusal(api)


async def test_a_parameter_by_name_and_what_is_missing(api: Api) -> None:
    reference = {"name": "limits", "namespace": "default", "parameterNotFoundAction": "Deny"}
    text = "object.spec.containers.size() <= int(params.data.most)"
    await policy(api, check(text), bind={"paramRef": reference}, paramKind=CONFIG)
    message = (await refusal(api))[2]
    missing = "no params found for policy binding with `Deny` parameterNotFoundAction"
    assert message.endswith(f"denied request: failed to configure binding: {missing}")
    await api.client.create(CONFIG_MAPS, config_map("limits", {"most": "1"}), "default")
    await api.json("POST", PODS, pod("one"), expect=201)
    await refusal(api, pod("two", containers=("a", "b")))


async def test_parameters_by_selector_all_count(api: Api) -> None:
    reference = {"selector": {"matchLabels": {"for": "pods"}}, "parameterNotFoundAction": "Allow"}
    await policy(api, check("object.metadata.name != params.data.not"), bind={"paramRef": reference}, paramKind=CONFIG)
    await api.json("POST", PODS, pod("early"), expect=201)
    for name in ("a", "b"):
        body = config_map(name, {"not": name}, **{"for": "pods"})
        await api.client.create(CONFIG_MAPS, body, "default")
    await refusal(api, pod("a"))
    await refusal(api, pod("b"))
    await api.json("POST", PODS, pod("c"), expect=201)


async def test_the_authorizer(api: Api) -> None:
    text = "authorizer.group('').resource('pods').namespace('default').check('delete').allowed()"
    own = "authorizer.requestResource.check('create').allowed() && authorizer.path('/metrics').check('get').allowed()"
    other = "!authorizer.serviceAccount('default', 'x').group('').resource('pods').check('get').allowed()"
    await policy(api, check(f"{text} && {own} && {other}"))
    await api.json("POST", PODS, pod("web"), expect=201)


async def test_policies_do_not_guard_policies(api: Api) -> None:
    rule = {"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*/*"]}
    await policy(api, check("false"), matchConstraints={"resourceRules": [rule]})
    await api.client.delete(POLICIES, "p")
    await api.json("POST", PODS, pod("web"), expect=201)
