"""MutatingAdmissionPolicy through a whole API server: apply configurations, JSON patches, order and refusals."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.unit.api.harness import Api, pod
from tests.unit.webhooks.servers import dynamic_api
from twinplane.controlplane.admission.policies.mutating import BINDINGS, POLICIES
from twinplane.kubeclient.contract import Object

PODS = "/api/v1/namespaces/default/pods"
RULE = {"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    async with dynamic_api() as made:
        yield made


async def policy(api: Api, *mutations: Object, name: str = "m", **spec: Any) -> None:
    body = {"matchConstraints": {"resourceRules": [RULE]}, "mutations": list(mutations)}
    body |= {"reinvocationPolicy": "Never", **spec}
    await api.client.create(POLICIES, {"metadata": {"name": name}, "spec": body})
    await api.client.create(BINDINGS, {"metadata": {"name": f"{name}-b"}, "spec": {"policyName": name}})


def apply(text: str) -> Object:
    return {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": text}}


def json_patch(text: str) -> Object:
    return {"patchType": "JSONPatch", "jsonPatch": {"expression": text}}


async def test_an_apply_configuration_is_merged_by_keys_and_defaulted(api: Api) -> None:
    text = """Object{spec: Object.spec{initContainers: [
        Object.spec.initContainers{name: "mesh", image: "mesh:1", restartPolicy: "Always"}]}}"""
    await policy(api, apply(text))
    made = await api.json("POST", PODS, pod("web"), expect=201)
    (added,) = made["spec"]["initContainers"]
    assert (added["name"], added["restartPolicy"], added["terminationMessagePolicy"]) == ("mesh", "Always", "File")
    assert [each["name"] for each in made["spec"]["containers"]] == ["main"]


async def test_a_json_patch_and_then_one_that_sees_it(api: Api) -> None:
    first = """[JSONPatch{op: "add", path: "/metadata/labels", value: {"team": "a"}}]"""
    second = """[JSONPatch{op: "add", path: "/metadata/labels/" + jsonpatch.escapeKey("x/y"),
        value: object.metadata.labels.team}]"""
    await policy(api, json_patch(first), json_patch(second))
    made = await api.json("POST", PODS, pod("web"), expect=201)
    assert made["metadata"]["labels"] == {"team": "a", "x/y": "a"}


async def test_policies_are_asked_again_after_a_change(api: Api) -> None:
    late = 'Object{metadata: Object.metadata{labels: {"saw": string(has(object.metadata.labels))}}}'
    await policy(api, apply(late), name="a", reinvocationPolicy="IfNeeded")
    await policy(api, apply('Object{metadata: Object.metadata{labels: {"b": "b"}}}'), name="b")
    made = await api.json("POST", PODS, pod("web"), expect=201)
    assert made["metadata"]["labels"] == {"saw": "true", "b": "b"}


@pytest.mark.parametrize(
    ("mutation", "words"),
    [
        (apply("Object{spec: object.nosuch}"), "no such key: nosuch"),
        (apply('Object{kind: "Other"}'), "may not change kind"),
        (json_patch('[JSONPatch{op: "remove", path: "/spec/nosuch"}]'), "denied request"),
        (apply("Object{spec: Object.spec{hostname: 7}}"), "cannot unmarshal"),
    ],
)
async def test_what_cannot_be_made_of_it_follows_the_failure_policy(api: Api, mutation: Object, words: str) -> None:
    await policy(api, mutation)
    code, reason, message = await api.refused("POST", PODS, pod("web"))
    assert (code, reason) == (422, "Invalid")
    assert "policy 'm' with binding 'm-b' denied request: " in message
    assert words in message
    await api.client.patch(POLICIES, "m", {"spec": {"failurePolicy": "Ignore"}})
    await api.json("POST", PODS, pod("web"), expect=201)
