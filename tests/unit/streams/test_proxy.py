"""The proxy subresources: what is named, what is passed on, and what comes back."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.unit.api.harness import TOKEN, Api, pod
from tests.unit.api.tls import server_context
from tests.unit.streams.test_api_server import BEARER, World, world
from twinplane.controlplane.api.contract import Request
from twinplane.controlplane.api.streams.proxy import relocated
from twinplane.controlplane.api.streams.targets import Target
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.resources import ENDPOINT_SLICES, NODES, PODS, SERVICES

NAMESPACE = "/api/v1/namespaces/default"
OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\nhi"


async def populate(api: Api) -> None:
    """A pod with an address, a Service with two ports in front of it, one without endpoints, and one outside."""
    status = {"podIP": "10.0.0.7"}
    await api.client.update(
        PODS, {**await api.client.get(PODS, "web", "default"), "status": status}, subresource="status"
    )
    await api.client.create(PODS, pod("pending"), "default")
    ports = [{"name": "http", "port": 80, "targetPort": 8080}, {"name": "other", "port": 81}]
    for name in ("web", "empty"):
        service: Object = {"metadata": {"name": name}, "spec": {"selector": {"app": name}, "ports": ports}}
        await api.client.create(SERVICES, service, "default")
    endpoints: list[Object] = [
        {"addresses": ["10.0.0.7"], "conditions": {"ready": True}, "nodeName": "n1"},
        {"addresses": ["10.0.0.8"], "conditions": {"ready": False}, "nodeName": "n1"},
    ]
    metadata = {"name": "web-1", "labels": {"kubernetes.io/service-name": "web"}}
    slice_ports = [{"name": "http", "port": 8080, "protocol": "TCP"}]
    body: Object = {"metadata": metadata, "addressType": "IPv4", "endpoints": endpoints, "ports": slice_ports}
    await api.client.create(ENDPOINT_SLICES, body, "default")


async def got(there: World, path: str, method: str = "GET", **more: Any) -> tuple[int, str, dict[str, str]]:
    headers = BEARER | more.pop("headers", {})
    async with there.session.request(method, path, headers=headers, allow_redirects=False, **more) as answer:
        found = {name.lower(): value for name, value in answer.headers.items()}
        return answer.status, await answer.text(), found


@pytest.mark.parametrize(
    ("path", "dialled"),
    [
        ("/pods/web:8080/proxy/", ("10.0.0.7", 8080)),
        ("/pods/http:web:8080/proxy/", ("10.0.0.7", 8080)),
        ("/services/web:http/proxy/", ("10.0.0.7", 8080)),
        ("/services/web:80/proxy/", ("10.0.0.7", 8080)),
        ("/services/http:web:80/proxy/", ("10.0.0.7", 8080)),
    ],
)
async def test_what_is_meant(path: str, dialled: tuple[str, int]) -> None:
    async with world() as there:
        await populate(there.api)
        there.streams.answers.append(OK)
        status, text, headers = await got(there, NAMESPACE + path)
        assert (status, text, headers["content-type"]) == (200, "hi", "text/html")
        assert there.streams.dialled == [dialled]


async def test_pods_that_speak_tls(tmp_path: Path) -> None:
    async with world() as there:
        await populate(there.api)
        there.streams.answers.append(OK)
        server = await asyncio.start_server(there.streams.http, "127.0.0.1", 0, ssl=server_context(tmp_path))
        there.streams.tls_port = server.sockets[0].getsockname()[1]
        assert (await got(there, f"{NAMESPACE}/pods/https:web:8443/proxy/"))[:2] == (200, "hi")
        server.close()


@pytest.mark.parametrize(
    ("path", "code", "message"),
    [
        ("/pods/ftp:web:80/proxy/", 400, 'invalid pod request "ftp:web:80"'),
        ("/pods/a:b:c:d/proxy/", 400, 'invalid pod request "a:b:c:d"'),
        ("/pods/gone/proxy/", 404, 'pods "gone" not found'),
        ("/pods/pending/proxy/", 400, "address not allowed"),
        ("/pods/web:http/proxy/", 400, 'invalid port "http"'),
        ("/services/gone:80/proxy/", 404, 'services "gone" not found'),
        ("/services/web:82/proxy/", 503, 'no service port 82 found for service "web"'),
        ("/services/web/proxy/", 503, 'no endpoints available for service "web"'),
        ("/services/web:81/proxy/", 503, 'no endpoints available for service "web:81"'),
        ("/services/empty:http/proxy/", 503, 'no endpoints available for service "empty:http"'),
        (
            "/pods/web:81/proxy/",
            503,
            "error trying to reach service: dial tcp4 127.0.0.1:81: connect: connection refused",
        ),
    ],
)
async def test_refusals(path: str, code: int, message: str) -> None:
    async with world() as there:
        await populate(there.api)
        found = await there.api.refused("GET", NAMESPACE + path)
        assert (found[0], found[2]) == (code, message)


async def test_what_is_passed_on() -> None:
    async with world() as there:
        await populate(there.api)
        there.streams.answers.append(OK)
        path = f"{NAMESPACE}/pods/web:8080/proxy/a%20b/c/?x=1&y=%26"
        headers = {"X-Own": "1", "X-Forwarded-For": "1.1.1.1", "Cookie": "a=b"}
        await got(there, path, "POST", data=b"body", headers=headers)
        head, *lines = there.streams.requests[0].decode().strip().split("\r\n")
        sent = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        assert head == "POST /a%20b/c/?x=1&y=%26 HTTP/1.1"
        assert (sent["x-own"], sent["cookie"], sent["content-length"]) == ("1", "a=b", "4")
        assert sent["host"] == sent["x-forwarded-host"] == f"127.0.0.1:{there.server.port}"
        assert sent["x-forwarded-uri"] == f"{NAMESPACE}/pods/web:8080/proxy/a%20b/c/"
        assert (sent["x-forwarded-for"], sent["x-forwarded-proto"]) == ("1.1.1.1, 127.0.0.1", "https")
        assert "authorization" not in sent
        assert TOKEN not in there.streams.requests[0].decode()


async def test_what_comes_back() -> None:
    async with world() as there:
        await populate(there.api)
        path = f"{NAMESPACE}/pods/web:8080/proxy/"
        there.streams.answers += [
            (
                b"HTTP/1.1 302 Found\r\nLocation: /login?a=b\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n"
                b"Access-Control-Allow-Origin: *\r\nConnection: close\r\n\r\n"
            ),
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 404 Not Found\r\nContent-Type: text/plain\r\n\r\nuntil the end",
            b"HTTP/1.1 204 No Content\r\n\r\n",
            b"nonsense\r\n\r\n",
        ]
        async with there.session.get(path, headers=BEARER, allow_redirects=False) as answer:
            assert answer.status == 302
            assert answer.headers["Location"] == f"{path}login?a=b"
            assert answer.headers.getall("Set-Cookie") == ["a=1", "b=2"]
            assert "Access-Control-Allow-Origin" not in answer.headers
        assert (await got(there, path))[:2] == (200, "abcde")
        assert (await got(there, path))[:2] == (404, "until the end")
        assert (await got(there, path))[:2] == (204, "")
        found = await got(there, path)
        assert found[0] == 503
        assert "error trying to reach service: malformed HTTP response" in found[1]


async def test_a_path_that_ends_with_proxy_is_redirected_below_itself() -> None:
    async with world() as there:
        await populate(there.api)
        path = f"{NAMESPACE}/services/web:80/proxy"
        status, _, headers = await got(there, f"{path}?a=b")
        assert (status, headers["location"]) == (301, f"{path}/?a=b")
        # A client would follow it with a GET.
        for method in ("DELETE", "OPTIONS"):
            there.streams.answers.append(OK)
            assert (await got(there, path, method))[0] == 200


async def test_upgrades_pass_through_a_proxy() -> None:
    async with world() as there:
        await populate(there.api)
        there.streams.answers.append(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Accept: x\r\n\r\n\x81\x02hi"
        )
        headers = BEARER | {"Connection": "Upgrade", "Upgrade": "websocket"}
        async with there.session.get(f"{NAMESPACE}/pods/web:8080/proxy/ws", headers=headers) as answer:
            assert answer.status == 101
        assert b"Upgrade: websocket\r\n" in there.streams.requests[0]


async def test_nodes() -> None:
    async with world() as there:
        node = await there.api.client.get(NODES, "n1")
        addresses = [{"type": "InternalIP", "address": "10.0.0.1"}]
        node["status"] = {"addresses": addresses, "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}}}
        await there.api.client.update(NODES, node, subresource="status")
        for name in ("n1", "n1:10250", "https:n1:10250"):
            assert (await got(there, f"/api/v1/nodes/{name}/proxy/healthz"))[:2] == (200, "ok")
        there.streams.answers.append(OK)
        assert (await got(there, "/api/v1/nodes/n1:8080/proxy/"))[:2] == (200, "hi")
        assert there.streams.dialled == [("10.0.0.1", 8080)]
        assert (await got(there, "/api/v1/nodes/gone/proxy/"))[0] == 404
        assert (await got(there, "/api/v1/nodes/n1:x/proxy/"))[0] == 400


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("/a", "/p/proxy/a"),
        ("/a/?x=1#y", "/p/proxy/a/?x=1#y"),
        ("/", "/p/proxy/"),
        ("http://10.0.0.7:8080/a", "/p/proxy/a"),
        ("https://api:6443/a", "/p/proxy/a"),
        ("http://elsewhere/a", "http://elsewhere/a"),
        ("a/b", "a/b"),
        ("/p/proxy/a", "/p/proxy/a"),
        ("http://[", "http://["),
    ],
)
def test_redirects(location: str, expected: str) -> None:
    request = Request("GET", "/p/proxy/", {}, {"host": "api:6443"})
    target = Target("http", "10.0.0.7", 8080, None)
    assert relocated(location, "/p/proxy", target, request) == expected
