"""ValidatingWebhookConfiguration against real HTTPS servers: what is sent, who is called, what refusals read like."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.unit.api.harness import Api, config_map, pod
from tests.unit.webhooks.servers import WebhookServer, configure, dynamic_api, webhook_server, write_certificate
from twinplane.controlplane.admission.webhooks.configuration import VALIDATING
from twinplane.controlplane.api.extensions.dialing import Unreachable
from twinplane.kubeclient.resources import NAMESPACES

PODS = "/api/v1/namespaces/default/pods"
ALLOW = {"allowed": True}
DENY = {"allowed": False, "status": {"message": "not today"}}


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[WebhookServer]:
    async with webhook_server(tmp_path) as made:
        yield made


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    async with dynamic_api() as made:
        yield made


async def test_the_review_is_upstreams(api: Api, server: WebhookServer) -> None:
    server.answers["look"] = lambda request: ALLOW
    await configure(api, server.webhook("look.example.com"))
    await api.json("POST", f"{PODS}?fieldManager=me", pod("web"), expect=201)
    ((_, request),) = server.reviews
    assert request["kind"] == request["requestKind"] == {"group": "", "version": "v1", "kind": "Pod"}
    assert request["resource"] == request["requestResource"] == {"group": "", "version": "v1", "resource": "pods"}
    assert (request["name"], request["namespace"], request["operation"]) == ("web", "default", "CREATE")
    assert request["userInfo"] == {"username": "admin", "groups": ["system:masters", "system:authenticated"]}
    assert request["options"] == {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1", "fieldManager": "me"}
    assert request["dryRun"] is False
    assert request["oldObject"] is None
    assert request["object"]["apiVersion"] == "v1"
    assert request["object"]["spec"]["restartPolicy"] == "Always"


async def test_denied_with_and_without_words(api: Api, server: WebhookServer) -> None:
    await configure(api, server.webhook("no.example.com"))
    server.answers["no"] = lambda request: DENY
    refused = await api.refused("POST", PODS, pod("web"))
    assert refused == (400, "", 'admission webhook "no.example.com" denied the request: not today')
    server.answers["no"] = lambda request: {"allowed": False, "status": {"code": 403, "reason": "Forbidden"}}
    refused = await api.refused("POST", PODS, pod("web"))
    assert refused == (403, "Forbidden", 'admission webhook "no.example.com" denied the request: Forbidden')
    server.answers["no"] = lambda request: {"allowed": False}
    assert (await api.refused("POST", PODS, pod("web")))[2].endswith("denied the request without explanation")


async def test_warnings_and_audit_annotations(api: Api, server: WebhookServer) -> None:
    server.answers["warn"] = lambda request: {**ALLOW, "warnings": ["careful"], "auditAnnotations": {"why": "x"}}
    await configure(api, server.webhook("warn.example.com"))
    response = await api.send("POST", PODS, pod("web"))
    assert response.headers["warning"] == '299 - "careful"'


async def test_all_are_called_at_the_same_time(api: Api, server: WebhookServer) -> None:
    meeting = asyncio.Barrier(3)

    async def meet(request: Any) -> Any:
        await asyncio.wait_for(meeting.wait(), 60)
        return ALLOW

    for name in ("a", "b", "c"):
        server.answers[name] = meet
    await configure(api, *(server.webhook(f"{name}.example.com") for name in "abc"))
    await api.json("POST", PODS, pod("web"), expect=201)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"raw": b"oops", "code": 500}, 'an error on the server ("oops") has prevented the request from succeeding'),
        ({"raw": b"", "code": 404}, "the server could not find the requested resource"),
        ({**ALLOW, "patchType": "JSONPatch"}, "validating webhook may not return response.patchType"),
        ({**ALLOW, "uid": "other"}, ', got "other"'),
        ({"allowed": "yes"}, "cannot unmarshal"),
    ],
)
async def test_a_failure_is_closed_or_open(api: Api, server: WebhookServer, answer: Any, message: str) -> None:
    server.answers["odd"] = lambda request: answer
    await configure(api, server.webhook("odd.example.com"))
    code, reason, text = await api.refused("POST", PODS, pod("web"))
    assert (code, reason) == (500, "InternalError")
    assert text.startswith('Internal error occurred: failed calling webhook "odd.example.com": ')
    assert message in text
    await configure_open(api, server)
    await api.json("POST", PODS, pod("web"), expect=201)


async def configure_open(api: Api, server: WebhookServer) -> None:
    path = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/test"
    operations = [{"op": "replace", "path": "/webhooks/0/failurePolicy", "value": "Ignore"}]
    await api.json("PATCH", path, operations, headers={"content-type": "application/json-patch+json"})


async def test_the_timeout_is_the_webhooks(api: Api, server: WebhookServer) -> None:
    async def sleep(request: Any) -> Any:
        await asyncio.sleep(30)

    server.answers["slow"] = sleep
    await configure(api, server.webhook("slow.example.com", timeoutSeconds=1))
    message = (await api.refused("POST", PODS, pod("web")))[2]
    assert message.endswith('/slow?timeout=1s": context deadline exceeded')


async def test_nobody_there(api: Api, server: WebhookServer) -> None:
    await configure(api, server.webhook("gone.example.com"))
    await server.close()
    message = (await api.refused("POST", PODS, pod("web")))[2]
    assert f"dial tcp 127.0.0.1:{server.port}: connect: connection refused" in message


async def test_an_unknown_authority_is_not_trusted(api: Api, server: WebhookServer, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    async with webhook_server(tmp_path / "other") as other:
        webhook = server.webhook("tls.example.com")
        webhook["clientConfig"]["caBundle"] = other.bundle
        await configure(api, webhook)
        message = (await api.refused("POST", PODS, pod("web")))[2]
    assert "tls: failed to verify certificate" in message


async def test_a_service_is_resolved_and_keeps_its_name(server: WebhookServer) -> None:
    asked: list[Any] = []

    def resolve(namespace: str, name: str, port: int) -> tuple[str, int]:
        asked.append((namespace, name, port))
        if name != "hook":
            raise Unreachable(f'service "{name}" not found')
        return "127.0.0.1", server.port

    async with dynamic_api(resolve) as api:
        server.answers["check"] = lambda request: DENY
        service = {"namespace": "default", "name": "hook", "path": "/check"}
        webhook = server.webhook("svc.example.com") | {"clientConfig": {"service": service, "caBundle": server.bundle}}
        await configure(api, webhook)
        assert "not today" in (await api.refused("POST", PODS, pod("web")))[2]
        assert asked == [("default", "hook", 443)]
        lost = {**webhook, "clientConfig": {"service": {**service, "name": "lost"}}}
        await configure(api, lost, name="lost")
        await api.client.delete(VALIDATING, "test")
        message = (await api.refused("POST", PODS, pod("web")))[2]
        assert message.endswith(
            'failed to call webhook: Post "https://lost.default.svc:443/check?timeout=10s": service "lost" not found'
        )


async def test_dry_run_needs_no_side_effects(api: Api, server: WebhookServer) -> None:
    server.answers["effect"] = lambda request: ALLOW
    await configure(api, server.webhook("effect.example.com", sideEffects="NoneOnDryRun"))
    await api.json("POST", f"{PODS}?dryRun=All", pod("web"), expect=201)
    assert server.reviews[0][1]["dryRun"] is True
    assert server.reviews[0][1]["options"]["dryRun"] == ["All"]


async def test_selectors_and_conditions_narrow(api: Api, server: WebhookServer) -> None:
    for name in ("ns", "obj", "when"):
        server.answers[name] = lambda request: DENY
    await api.client.create(NAMESPACES, {"metadata": {"name": "guarded", "labels": {"guard": "on"}}})
    guarded = {"namespaceSelector": {"matchLabels": {"guard": "on"}}}
    marked = {"objectSelector": {"matchExpressions": [{"key": "mark", "operator": "Exists"}]}}
    condition = {"name": "big", "expression": "object.spec.containers.size() > 1 && request.userInfo.username != 'x'"}
    await configure(
        api,
        server.webhook("ns.example.com", **guarded),
        server.webhook("obj.example.com", **marked),
        server.webhook("when.example.com", matchConditions=[condition]),
    )
    await api.json("POST", PODS, pod("plain"), expect=201)
    assert server.called == []
    await api.refused("POST", "/api/v1/namespaces/guarded/pods", pod("a"))
    await api.refused("POST", PODS, pod("b", labels={"mark": ""}))
    await api.refused("POST", PODS, pod("c", containers=("one", "two")))
    assert server.called == ["ns", "obj", "when"]


async def test_a_condition_that_fails_refuses(api: Api, server: WebhookServer) -> None:
    condition = {"name": "bad", "expression": "object.spec.nosuch == 'x'"}
    await configure(api, server.webhook("when.example.com", matchConditions=[condition]))
    code, reason, message = await api.refused("POST", PODS, pod("web"))
    assert (code, reason) == (403, "Forbidden")
    assert "no such key: nosuch" in message


async def test_rules_choose_versions_subresources_and_deletes(api: Api, server: WebhookServer) -> None:
    server.answers["see"] = lambda request: ALLOW
    scaling = {"apiGroups": ["autoscaling"], "apiVersions": ["v1"], "resources": ["horizontalpodautoscalers"]}
    rules: list[Any] = [
        {**scaling, "operations": ["CREATE"]},
        {"apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods/status"], "operations": ["UPDATE"]},
        {"apiGroups": [""], "apiVersions": ["*"], "resources": ["configmaps"], "operations": ["DELETE"]},
    ]
    await configure(api, server.webhook("see.example.com", rules=rules))
    scaler = {
        "metadata": {"name": "h"},
        "spec": {"maxReplicas": 3, "scaleTargetRef": {"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"}},
    }
    place = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers"
    await api.json("POST", place, {**scaler, "apiVersion": "autoscaling/v2"}, expect=201)
    await api.json("POST", PODS, pod("web"), expect=201)
    merge = {"content-type": "application/merge-patch+json"}
    await api.json("PATCH", f"{PODS}/web/status", {"status": {"phase": "Running"}}, headers=merge)
    await api.json("POST", "/api/v1/namespaces/default/configmaps", config_map("c"), expect=201)
    await api.json("DELETE", "/api/v1/namespaces/default/configmaps/c")
    scaled, status, deleted = (request for _, request in server.reviews)
    assert scaled["kind"]["version"] == scaled["resource"]["version"] == "v1"
    assert scaled["requestKind"]["version"] == scaled["requestResource"]["version"] == "v2"
    assert scaled["object"]["apiVersion"] == "autoscaling/v1"
    assert (status["subResource"], status["object"]["status"]["phase"]) == ("status", "Running")
    assert (deleted["object"], deleted["oldObject"]["metadata"]["name"]) == (None, "c")


async def test_a_scale_comes_as_a_scale(api: Api, server: WebhookServer) -> None:
    server.answers["scale"] = lambda request: {"allowed": request["object"]["spec"]["replicas"] < 5}
    rule = {"apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["deployments/scale"], "operations": ["UPDATE"]}
    await configure(api, server.webhook("scale.example.com", rules=[rule]))
    template = {"metadata": {"labels": {"a": "b"}}, "spec": pod("x")["spec"]}
    body = {"metadata": {"name": "d"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template}}
    place = "/apis/apps/v1/namespaces/default/deployments"
    await api.json("POST", place, body, expect=201)
    merge = {"content-type": "application/merge-patch+json"}
    await api.json("PATCH", f"{place}/d/scale", {"spec": {"replicas": 3}}, headers=merge)
    assert server.reviews[0][1]["kind"] == {"group": "autoscaling", "version": "v1", "kind": "Scale"}
    await api.refused("PATCH", f"{place}/d/scale", {"spec": {"replicas": 8}}, headers=merge)


async def test_configurations_themselves_are_never_guarded(api: Api, server: WebhookServer) -> None:
    rule = {"apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*/*"], "operations": ["*"]}
    await configure(api, server.webhook("all.example.com", rules=[rule]))
    await server.close()
    await api.client.delete(VALIDATING, "test")
    await api.json("POST", PODS, pod("web"), expect=201)


async def test_a_kept_connection_that_was_closed_is_no_failure(tmp_path: Path, api: Api) -> None:
    """The second request finds its connection closed by the server and is sent again over a new one."""
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        review = orjson.loads(await reader.readexactly(length))
        response = {"uid": review["request"]["uid"], "allowed": True}
        body = orjson.dumps({**review, "request": None, "response": response})
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        await reader.read(1)
        writer.close()

    certificate, key = write_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    listener = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    made = WebhookServer(certificate, key)
    made.port = listener.sockets[0].getsockname()[1]
    await configure(api, made.webhook("once.example.com"))
    for name in ("a", "b"):
        await api.json("POST", PODS, pod(name), expect=201)
    assert connections == 2
    listener.close()
