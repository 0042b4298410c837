"""Aggregated APIs: a small extension server behind TLS, reached through an APIService and its Service's endpoints."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

from tests.unit.api.harness import ADMIN, Api
from tests.unit.extensions.harness import conditions, cron_tab, define, extended, https_server, tls_files, until
from twinplane.controlplane.api.contract import Request
from twinplane.controlplane.api.extensions.aggregation.certificate import (
    authentication_config,
    front_proxy_certificate,
)
from twinplane.controlplane.auth.contract import Credentials, UserInfo
from twinplane.kubeclient.contract import Object

SERVICES = "/apis/apiregistration.k8s.io/v1/apiservices"
REMOTE = f"{SERVICES}/v1beta1.metrics.k8s.io"
NODES = "/apis/metrics.k8s.io/v1beta1/nodes"


class Metrics:
    """In the style of metrics-server."""

    def __init__(self) -> None:
        self.requests: list[web.BaseRequest] = []

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        self.requests.append(request)
        if request.path == "/apis/metrics.k8s.io/v1beta1":
            nodes = {"name": "nodes", "singularName": "", "namespaced": False, "kind": "NodeMetrics", "verbs": ["get"]}
            return web.json_response({"kind": "APIResourceList", "apiVersion": "v1", "resources": [nodes]})
        if request.query.get("watch"):
            response = web.StreamResponse(headers={"content-type": "application/json"})
            await response.prepare(request)
            await response.write(b'{"type":"ADDED"}\n')
            await asyncio.sleep(30)
            return response
        if request.path == "/openapi/v2":
            paths: Object = {NODES: {"get": {}}, "/apis/other.io/v1/x": {}}
            document = {"swagger": "2.0", "paths": paths, "definitions": {"NodeMetrics": {"type": "object"}}}
            return web.json_response(document)
        if request.headers.get("upgrade") == "websocket":
            socket = web.WebSocketResponse(protocols=("echo",))
            await socket.prepare(request)
            await socket.send_str(f"hello {request.headers['x-remote-user']}")
            await socket.close()
            return socket
        if request.path == NODES:
            return web.json_response({"kind": "NodeMetricsList", "items": [], "asked": request.path_qs})
        return web.json_response({"kind": "Status", "status": "Failure", "code": 404}, status=404)


def api_service(ca: Path) -> Object:
    return {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": "v1beta1.metrics.k8s.io"},
        "spec": {
            "service": {"namespace": "default", "name": "metrics"},
            "group": "metrics.k8s.io",
            "version": "v1beta1",
            "caBundle": base64.b64encode(ca.read_bytes()).decode(),
            "groupPriorityMinimum": 100,
            "versionPriority": 100,
        },
    }


async def publish(api: Api, port: int) -> None:
    """The Service and the EndpointSlice of the server on this port."""
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "metrics"},
        "spec": {"ports": [{"name": "https", "port": 443, "targetPort": 4443}], "clusterIP": "10.0.0.7"},
    }
    await api.json("POST", "/api/v1/namespaces/default/services", service, expect=201)
    endpoints = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "metrics-1", "labels": {"kubernetes.io/service-name": "metrics"}},
        "addressType": "IPv4",
        "endpoints": [
            {"addresses": ["127.0.0.1"], "conditions": {"ready": True}},
            {"addresses": ["127.0.0.9"], "conditions": {"ready": False}},
        ],
        "ports": [{"name": "https", "port": port}],
    }
    path = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
    await api.json("POST", path, endpoints, expect=201)


@asynccontextmanager
async def aggregated(directory: Path) -> AsyncIterator[tuple[Api, Metrics]]:
    server, (proxy_ca, proxy_key) = Metrics(), tls_files(directory, "authority")
    files = tls_files(directory, "metrics.default.svc")

    def certificate() -> tuple[str, str]:
        from time import time

        return front_proxy_certificate(str(proxy_ca), str(proxy_key), time())

    async with https_server(server, files, client_ca=proxy_ca) as port, extended(certificate=certificate) as api:
        await publish(api, port)
        await api.json("POST", SERVICES, api_service(files[0]), expect=201)
        await until(api, REMOTE, lambda body: conditions(body).get("Available") == "True")
        yield api, server


async def test_requests_are_passed_on_in_the_users_name(tmp_path: Path) -> None:
    async with aggregated(tmp_path) as (api, server):
        user = UserInfo("jane", ("system:masters", "dev"), "u1", {"Example.com/Reason": ("a", "b")})
        headers = {"authorization": "Bearer secret", "x-remote-user": "mallory", "accept": "application/json"}
        found = await api.json("GET", f"{NODES}?limit=5", user=user, headers=headers)
        assert found["asked"] == f"{NODES}?limit=5"
        sent = server.requests[-1].headers
        assert sent.getall("X-Remote-User") == ["jane"]
        assert sent.getall("X-Remote-Group") == ["system:masters", "dev"]
        assert sent.getall("X-Remote-Extra-example.com%2Freason") == ["a", "b"]
        assert "authorization" not in sent
        certificate = server.requests[-1].get_extra_info("peercert")
        assert certificate["subject"] == ((("commonName", "front-proxy-client"),),)


async def test_a_body_of_no_said_type_stays_one(tmp_path: Path) -> None:
    async with aggregated(tmp_path) as (api, server):
        await api.server.handle(Request("POST", NODES, {}, {}, b"{}", Credentials(""), ADMIN, {}))
        assert "content-type" not in server.requests[-1].headers


async def test_answers_come_back_as_they_are(tmp_path: Path) -> None:
    async with aggregated(tmp_path) as (api, _):
        assert (await api.send("GET", "/apis/metrics.k8s.io/v1beta1/pods")).status == 404
        stream = (await api.send("GET", f"{NODES}?watch=true")).stream
        assert stream is not None
        assert await anext(aiter(stream)) == b'{"type":"ADDED"}\n'
        await stream.aclose()  # type: ignore[attr-defined]  # streams of the proxy have it


async def test_discovery_is_merged(tmp_path: Path) -> None:
    async with aggregated(tmp_path) as (api, _):
        groups = {group["name"]: group for group in (await api.json("GET", "/apis"))["groups"]}
        assert groups["metrics.k8s.io"]["preferredVersion"]["groupVersion"] == "metrics.k8s.io/v1beta1"
        assert "apps" in groups
        assert (await api.json("GET", "/apis/metrics.k8s.io"))["kind"] == "APIGroup"
        resources = await api.json("GET", "/apis/metrics.k8s.io/v1beta1")
        assert resources["resources"][0]["kind"] == "NodeMetrics"
        accept = {"accept": "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"}
        response = await api.send("GET", "/apis", headers=accept)
        document = await api.json("GET", "/apis", headers=accept)
        item = document["items"][-1]
        assert item["metadata"]["name"] == "metrics.k8s.io"
        assert item["versions"][0]["freshness"] == "Current"
        assert item["versions"][0]["resources"][0]["responseKind"]["kind"] == "NodeMetrics"
        again = await api.send("GET", "/apis", headers=accept | {"if-none-match": response.headers["etag"]})
        assert again.status == 304
        index = await api.json("GET", "/openapi/v3")
        assert "apis/metrics.k8s.io/v1beta1" in index["paths"]


class Sink(asyncio.Transport):
    """The client's end of a tunnel."""

    def __init__(self) -> None:
        super().__init__()
        self.received = b""

    def write(self, data: Any) -> None:
        self.received += bytes(data)

    def is_closing(self) -> bool:
        return False


async def test_upgrades_go_through(tmp_path: Path) -> None:
    async with aggregated(tmp_path) as (api, server):
        headers = {
            "connection": "Upgrade",
            "upgrade": "websocket",
            "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
            "sec-websocket-version": "13",
            "sec-websocket-protocol": "echo",
            "x-remote-user": "mallory",
            "authorization": "Bearer secret",
        }
        user = UserInfo("jane", ("system:masters",))
        response = await api.send("GET", f"{NODES}/n1/proxy?a=b", headers=headers, user=user)
        assert response.status == 101
        assert response.headers["sec-websocket-protocol"] == "echo"
        assert response.tunnel is not None
        sink = Sink()
        joined = asyncio.create_task(response.tunnel.join(sink))
        async with asyncio.timeout(60):
            while b"hello jane" not in sink.received:
                await asyncio.sleep(0.005)
        response.tunnel.close()
        await joined
        asked = server.requests[-1]
        assert asked.path_qs == f"{NODES}/n1/proxy?a=b"
        assert "authorization" not in asked.headers


async def test_openapi_is_merged(tmp_path: Path) -> None:
    async with aggregated(tmp_path) as (api, _):
        document = await api.json("GET", "/openapi/v2")
        assert NODES in document["paths"]
        assert "/apis/other.io/v1/x" not in document["paths"]
        assert document["definitions"]["NodeMetrics"] == {"type": "object"}
        asked = {"accept": "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"}
        assert b"NodeMetrics" in (await api.send("GET", "/openapi/v2", headers=asked)).body


async def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    ca, _ = tls_files(tmp_path, "metrics.default.svc")
    async with extended() as api:
        await api.json("POST", SERVICES, api_service(ca), expect=201)
        found = await until(api, REMOTE, lambda body: "Available" in conditions(body))
        condition = found["status"]["conditions"][0]
        assert (condition["status"], condition["reason"]) == ("False", "ServiceNotFound")
        assert condition["message"] == 'service/metrics in "default" is not present'
        response = await api.send("GET", NODES)
        assert (response.status, response.body) == (503, b"service unavailable\n")
        await api.json("DELETE", REMOTE)
        assert (await api.send("GET", NODES)).status == 404


async def test_local_ones_follow_what_is_served() -> None:
    async with extended() as api:
        found = await until(api, f"{SERVICES}/v1.apps", lambda body: conditions(body) == {"Available": "True"})
        assert found["metadata"]["labels"] == {"kube-aggregator.kubernetes.io/automanaged": "onstart"}
        assert found["spec"] == {
            "group": "apps",
            "version": "v1",
            "groupPriorityMinimum": 17800,
            "versionPriority": 15,
        }
        await define(api, cron_tab())
        custom = await until(api, f"{SERVICES}/v1.example.com", lambda body: True)
        assert custom["metadata"]["labels"] == {"kube-aggregator.kubernetes.io/automanaged": "true"}
        path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/crontabs.example.com"
        await api.json("DELETE", path)
        await until(api, f"{SERVICES}/v1.example.com", lambda body: True, 404)
        await api.json("GET", f"{SERVICES}/v1.")


def test_the_authentication_config() -> None:
    body = authentication_config("PEM")
    assert body["metadata"] == {"name": "extension-apiserver-authentication", "namespace": "kube-system"}
    assert body["data"]["requestheader-allowed-names"] == '["front-proxy-client"]'
