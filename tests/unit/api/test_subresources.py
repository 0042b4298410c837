"""scale, binding, eviction, log, token, approval and the reviews."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.unit.api.harness import TOKEN, Api, PolicyAuthorizer, api_server, pod
from tests.unit.api.test_writes import deployment
from twinplane.controlplane.api.contract import Response
from twinplane.controlplane.auth.contract import Attributes
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.resources import (
    DEPLOYMENTS,
    NODES,
    POD_DISRUPTION_BUDGETS,
    PODS,
    SERVICE_ACCOUNTS,
)

SCALE = DEPLOYMENTS.path("default", "web", "scale")
POD = "/api/v1/namespaces/default/pods/p"


async def test_scale_is_read_and_written() -> None:
    async with api_server() as api:
        await api.client.create(DEPLOYMENTS, deployment(), "default")
        scale = await api.json("GET", SCALE)
        assert (scale["kind"], scale["apiVersion"]) == ("Scale", "autoscaling/v1")
        assert (scale["spec"], scale["status"]) == ({"replicas": 1}, {"replicas": 0, "selector": "app=web"})
        scale["spec"]["replicas"] = 4
        assert (await api.json("PUT", SCALE, scale))["spec"]["replicas"] == 4
        assert (await api.refused("PUT", SCALE, scale))[:2] == (409, "Conflict")
        merge = {"content-type": "application/merge-patch+json"}
        assert (await api.json("PATCH", SCALE, {"spec": {"replicas": 0}}, headers=merge))["spec"] == {"replicas": 0}
        assert (await api.client.get(DEPLOYMENTS, "web", "default"))["spec"]["replicas"] == 0
        code, _, message = await api.refused("PATCH", SCALE, {"spec": {"replicas": -1}}, headers=merge)
        assert code == 422
        assert "spec.replicas: Invalid value: -1: must be greater than or equal to 0" in message
        assert (await api.refused("PUT", SCALE, {"kind": "Pod", "apiVersion": "v1"}))[0] == 400
        assert (await api.refused("GET", SCALE.replace("web", "x")))[0] == 404


def binding(node: str = "n1", **metadata: str) -> Object:
    return {"metadata": {"name": "p"} | metadata, "target": {"kind": "Node", "name": node}}


async def test_a_pod_is_bound_once() -> None:
    async with api_server() as api:
        await api.client.create(PODS, pod("p"), "default")
        await api.client.patch(PODS, "p", {"status": {"nominatedNodeName": "n2"}}, "default", subresource="status")
        status = await api.json("POST", f"{POD}/binding", binding(), expect=201)
        assert status["status"] == "Success"
        bound = await api.client.get(PODS, "p", "default")
        assert bound["spec"]["nodeName"] == "n1"
        assert "nominatedNodeName" not in bound["status"]
        condition = bound["status"]["conditions"][0]
        assert (condition["type"], condition["status"]) == ("PodScheduled", "True")
        code, reason, message = await api.refused("POST", f"{POD}/binding", binding("n2"))
        assert (code, reason) == (409, "Conflict")
        assert message == ('Operation cannot be fulfilled on pods/binding "p": pod p is already assigned to node "n1"')


async def test_binding_refusals() -> None:
    async with api_server() as api:
        assert (await api.refused("POST", f"{POD}/binding", binding()))[0] == 404
        await api.client.create(PODS, pod("p"), "default")
        assert (await api.refused("POST", f"{POD}/binding", binding("")))[0] == 422
        assert (await api.refused("POST", f"{POD}/binding", {**binding(), "target": {"kind": "Pod", "name": "x"}}))[
            0
        ] == 422
        assert (await api.refused("POST", f"{POD}/binding", binding(uid="other")))[0] == 409
        assert (await api.refused("POST", f"{POD}/binding", {"metadata": {"name": "q"}}))[0] == 400
        assert (await api.refused("GET", f"{POD}/binding"))[0] == 405
        assert (await api.refused("GET", f"{POD}/nonsense"))[0] == 404


async def ready_pod(api: Api, name: str = "p") -> None:
    await api.client.create(PODS, pod(name, node="n1", labels={"app": "web"}), "default")
    status = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    await api.client.patch(PODS, name, {"status": status}, "default", subresource="status")


async def budget(api: Api, allowed: int) -> None:
    spec = {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}}
    await api.client.create(POD_DISRUPTION_BUDGETS, {"metadata": {"name": "b"}, "spec": spec}, "default")
    status = {"disruptionsAllowed": allowed, "currentHealthy": 1, "desiredHealthy": 1, "expectedPods": 1}
    status["observedGeneration"] = 1
    await api.client.patch(POD_DISRUPTION_BUDGETS, "b", {"status": status}, "default", subresource="status")


EVICTION = {"metadata": {"name": "p"}}


async def test_eviction_spends_the_budget() -> None:
    async with api_server() as api:
        await ready_pod(api)
        await budget(api, 1)
        await api.json("POST", f"{POD}/eviction", EVICTION, expect=201)
        evicted = await api.client.get(PODS, "p", "default")
        assert "deletionTimestamp" in evicted["metadata"]
        reasons = {each["type"]: each.get("reason") for each in evicted["status"]["conditions"]}
        assert reasons["DisruptionTarget"] == "EvictionByEvictionAPI"
        spent = (await api.client.get(POD_DISRUPTION_BUDGETS, "b", "default"))["status"]
        assert spent["disruptionsAllowed"] == 0
        assert list(spent["disruptedPods"]) == ["p"]


async def test_eviction_is_refused_without_budget() -> None:
    async with api_server() as api:
        await ready_pod(api)
        await budget(api, 0)
        response = await api.send("POST", f"{POD}/eviction", EVICTION)
        assert response.status == 429
        assert b"Cannot evict pod as it would violate the pod's disruption budget." in response.body
        assert b"The disruption budget b needs 1 healthy pods and has 1 currently" in response.body
        assert "deletionTimestamp" not in (await api.client.get(PODS, "p", "default"))["metadata"]


async def test_eviction_of_pods_that_do_not_count() -> None:
    async with api_server() as api:
        await api.client.create(PODS, pod("p", labels={"app": "web"}), "default")
        await budget(api, 0)
        await api.json("POST", f"{POD}/eviction?dryRun=All", EVICTION, expect=201)
        await api.json("POST", f"{POD}/eviction", EVICTION, expect=201)
        assert (await api.refused("GET", POD))[0] == 404


class Kubelet:
    def __init__(self) -> None:
        self.asked: list[tuple[str, str, dict[str, str]]] = []

    async def get(self, node: Object, path: str, query: dict[str, str]) -> Response:
        self.asked.append((node["metadata"]["name"], path, query))

        async def lines() -> AsyncIterator[bytes]:
            yield b"one\n"
            yield b"two\n"

        return Response(200, content_type="text/plain", stream=lines())


async def test_logs_come_from_the_kubelet() -> None:
    kubelet = Kubelet()
    async with api_server(kubelet=kubelet) as api:
        await api.client.create(NODES, {"metadata": {"name": "n1"}})
        await api.client.create(PODS, pod("p", node="n1"), "default")
        response = await api.send("GET", f"{POD}/log?follow=true&tailLines=5&container=main")
        assert response.stream is not None
        assert [piece async for piece in response.stream] == [b"one\n", b"two\n"]
        assert kubelet.asked == [("n1", "/containerLogs/default/p/main", {"follow": "true", "tailLines": "5"})]


@pytest.mark.parametrize(
    ("query", "code", "message"),
    [
        ("container=x", 400, "container x is not valid for pod p"),
        ("", 400, "a container name must be specified for pod p, choose one of: [a b]"),
        ("container=a&tailLines=-1", 422, "tailLines: Invalid value: -1: must be greater than or equal to 0"),
        ("container=a&limitBytes=0", 422, "limitBytes: Invalid value: 0: must be greater than 0"),
        ("container=a&tailLines=x", 400, 'strconv.ParseInt: parsing "x": invalid syntax'),
    ],
)
async def test_log_refusals(query: str, code: int, message: str) -> None:
    async with api_server() as api:
        await api.client.create(PODS, pod("p", containers=("a", "b")), "default")
        found = await api.refused("GET", f"{POD}/log?{query}")
        assert found[0] == code
        assert message in found[2]


async def test_streams_are_refused_clearly() -> None:
    async with api_server() as api:
        await api.client.create(PODS, pod("p"), "default")
        assert await api.refused("POST", f"{POD}/exec?command=ls") == (400, "BadRequest", "Upgrade request required")
        upgrade = {"connection": "Upgrade", "upgrade": "SPDY/3.1"}
        found = await api.refused("POST", f"{POD}/exec?command=ls", headers=upgrade)
        assert found == (400, "BadRequest", "pod p does not have a host assigned")


async def test_tokens_are_issued_for_accounts_that_exist() -> None:
    target = SERVICE_ACCOUNTS.path("default", "robot", "token")
    request = {"spec": {"audiences": ["a"], "expirationSeconds": 600}}
    async with api_server() as api:
        assert (await api.refused("POST", target, request))[0] == 404
        await api.client.create(SERVICE_ACCOUNTS, {"metadata": {"name": "robot"}}, "default")
        assert (await api.json("POST", target, request, expect=201))["status"] == {"token": "default/robot"}
        assert (await api.refused("POST", target, {"spec": {"expirationSeconds": "x"}}))[0] == 400


async def test_approval_changes_conditions_only() -> None:
    path = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
    body = {
        "metadata": {"name": "c"},
        "spec": {"request": "bm8=", "signerName": "example.com/signer", "usages": ["client auth"]},
    }
    async with api_server() as api:
        response = await api.send("POST", path, body)
        if response.status == 422:
            pytest.skip("the request must be a real certificate request")
        made = await api.json("GET", f"{path}/c")
        made["status"] = {"conditions": [{"type": "Approved", "status": "True", "reason": "r", "message": "m"}]}
        approved = await api.json("PUT", f"{path}/c/approval", made)
        assert approved["status"]["conditions"][0]["type"] == "Approved"


AUTHORIZATION = "/apis/authorization.k8s.io/v1"


async def test_an_aggregated_server_asks_about_a_user_with_an_access_policy() -> None:
    """The extra fields that it knows came in headers, whose names it reads in lower case."""

    def policy(attributes: Attributes) -> bool:
        return attributes.user.name == "admin" or attributes.user.extra.get("canonicalArn") == ("arn:x",)

    async with api_server(authorizer=PolicyAuthorizer(policy)) as api:
        for extra, allowed in ((("canonicalarn", "arn:x"), True), (("arn", "arn:x"), False)):
            resource = {"verb": "get", "resource": "flunders"}
            spec = {"resourceAttributes": resource, "user": "eve", "extra": {extra[0]: [extra[1]]}}
            path = f"{AUTHORIZATION}/subjectaccessreviews"
            assert (await api.json("POST", path, {"spec": spec}, expect=201))["status"]["allowed"] is allowed


async def test_access_reviews() -> None:
    def policy(attributes: Attributes) -> bool:
        return attributes.user.name == "admin" or (attributes.user.name, attributes.verb) == ("eve", "get")

    resource = {"verb": "get", "resource": "pods", "namespace": "default"}
    async with api_server(authorizer=PolicyAuthorizer(policy)) as api:

        async def review(kind: str, spec: Any, path: str = AUTHORIZATION, **more: Any) -> Any:
            return await api.json("POST", f"{path}/{kind}", {"spec": spec}, expect=201, **more)

        mine = await review("selfsubjectaccessreviews", {"resourceAttributes": resource})
        assert mine["status"] == {"allowed": True}
        theirs = await review(
            "subjectaccessreviews", {"resourceAttributes": {**resource, "verb": "list"}, "user": "eve"}
        )
        assert theirs["status"] == {"allowed": False}
        local = f"{AUTHORIZATION}/namespaces/default"
        here = await review("localsubjectaccessreviews", {"resourceAttributes": resource, "user": "eve"}, local)
        assert here["status"] == {"allowed": True}
        path = await review("selfsubjectaccessreviews", {"nonResourceAttributes": {"verb": "get", "path": "/metrics"}})
        assert path["status"]["allowed"]
        rules = await review("selfsubjectrulesreviews", {"namespace": "default"})
        assert rules["status"]["resourceRules"] == [{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]
        for kind, spec, code in (
            ("selfsubjectaccessreviews", {}, 422),
            ("subjectaccessreviews", {"resourceAttributes": resource}, 422),
            ("selfsubjectrulesreviews", {}, 400),
        ):
            assert (await api.refused("POST", f"{AUTHORIZATION}/{kind}", {"spec": spec}))[0] == code
        assert (await api.refused("GET", f"{AUTHORIZATION}/subjectaccessreviews"))[0] == 405


async def test_token_and_self_reviews() -> None:
    path = "/apis/authentication.k8s.io/v1"
    async with api_server() as api:
        found = await api.json("POST", f"{path}/tokenreviews", {"spec": {"token": TOKEN}}, expect=201)
        assert found["status"]["authenticated"] is True
        me = await api.json("POST", f"{path}/selfsubjectreviews", {}, expect=201)
        assert me["status"]["userInfo"]["username"] == "admin"
        assert not api.runtime.cache.counts().get("tokenreviews.authentication.k8s.io")


async def test_component_statuses() -> None:
    async with api_server() as api:
        found = await api.json("GET", "/api/v1/componentstatuses")
        assert [item["metadata"]["name"] for item in found["items"]] == ["controller-manager", "scheduler", "etcd-0"]
        one = await api.json("GET", "/api/v1/componentstatuses/scheduler")
        assert one["conditions"][0]["status"] == "True"
        with pytest.raises(ApiError):
            await api.client.get(NODES, "x")
        assert (await api.refused("GET", "/api/v1/componentstatuses/x"))[0] == 404
