"""The server: who may do what, its endpoints and their errors, the certificate it serves with."""

from __future__ import annotations

import base64
import json
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.unit.kubelet_server.world import START, MemoryRuntime, Pods, Reviews, configuration, pod
from tests.unit.streams.kubelet import FakeStreams
from tests.unit.streams.spdy_client import SpdyClient
from twinplane.clock import SystemClock
from twinplane.dataplane.kubelet.metrics import KubeletMetrics, measured
from twinplane.dataplane.kubelet.server import certificate as certificates
from twinplane.dataplane.kubelet.server.authentication import certificate_user
from twinplane.dataplane.kubelet.server.authorization import subresources
from twinplane.dataplane.kubelet.server.certificate import ServingCertificate
from twinplane.dataplane.kubelet.server.server import KubeletServer, http_labels
from twinplane.dataplane.kubelet.server.signing_request import made
from twinplane.dataplane.kubelet.server.streams import exit_code
from twinplane.dataplane.streaming.contract import StreamError
from twinplane.testing.virtual_time import VirtualClock, virtual_time

ADMIN, READER = {"Authorization": "Bearer admin"}, {"Authorization": "Bearer reader"}


class Node:
    def __init__(self) -> None:
        self.reviews, self.pods, self.runtime = Reviews(), Pods(pod()), MemoryRuntime()
        self.metrics, self.streams = KubeletMetrics(), FakeStreams()
        self.problem = ""
        self.port = 0

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[aiohttp.ClientSession]:
        import asyncio

        server = KubeletServer(
            configuration(maxPods=29),
            self.pods,
            self.runtime.as_contract(),
            self.streams,
            self.reviews.as_contract(),
            clock=SystemClock(),
            metrics=self.metrics,
            sync_loop=lambda: self.problem,
        )
        async with server.listening() as protocol:
            listener = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0)
            self.port = listener.sockets[0].getsockname()[1]
            async with aiohttp.ClientSession(f"http://127.0.0.1:{self.port}") as session:
                yield session
            listener.close()


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/pods", ("pods", "proxy")),
        ("/runningpods/", ("pods", "proxy")),
        ("/healthz/syncloop", ("healthz", "proxy")),
        ("/configz", ("configz", "proxy")),
        ("/stats/summary", ("stats",)),
        ("/metrics/cadvisor", ("metrics",)),
        ("/logs/pods/x", ("log",)),
        ("/exec/default/web/main", ("proxy",)),
        ("/podsandmore", ("proxy",)),
    ],
)
def test_subresources(path: str, expected: tuple[str, ...]) -> None:
    assert subresources(path) == expected


def test_certificates_name_users() -> None:
    subject = ((("organizationName", "system:masters"),), (("commonName", "kube-apiserver-kubelet-client"),))
    user = certificate_user({"subject": subject})
    assert user is not None
    assert user.name == "kube-apiserver-kubelet-client"
    assert user.groups == ("system:masters", "system:authenticated")
    assert certificate_user({}) is None


async def test_who_may() -> None:
    node = Node()
    async with node.serving() as session:
        for headers, path, expected in (
            ({}, "/pods", 401),
            ({"Authorization": "Bearer wrong"}, "/pods", 401),
            ({"Authorization": "Basic admin"}, "/healthz", 401),
            (READER, "/pods", 200),
            (READER, "/configz", 403),
            (ADMIN, "/configz", 200),
            (ADMIN, "/nothing", 404),
            ({}, "/nothing", 401),
        ):
            async with session.get(path, headers=headers) as answer:
                assert (path, answer.status) == (path, expected)
        async with session.get("/configz", headers=READER) as answer:
            assert await answer.text() == (
                "Forbidden (user=bob, verb=get, resource=nodes, subresource(s)=[configz proxy])\n"
            )
        asked = len(node.reviews.asked)
        async with session.get("/pods", headers=READER) as answer:
            assert answer.status == 200
        assert len(node.reviews.asked) == asked, "answers are kept"
        node.reviews.is_away = True
        async with session.get("/metrics", headers=ADMIN) as answer:
            assert answer.status == 500
            assert (await answer.text()).startswith("Authorization error (user=alice, verb=get,")


async def test_streams_need_permission_too() -> None:
    node = Node()
    async with node.serving() as session:
        client, head = await SpdyClient.connect(
            node.port, "/exec/default/web/main?output=1&command=both", "v4.channel.k8s.io"
        )
        assert head.startswith("HTTP/1.1 401 Unauthorized\r\n")
        assert head.endswith("Unauthorized\n")
        client.close()
        path = "/exec/default/web/main?output=1&command=both"
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await session.ws_connect(path, headers=READER, protocols=["v4.channel.k8s.io"])
        assert refused.value.status == 403
        async with session.ws_connect(path, headers=ADMIN, protocols=["v4.channel.k8s.io"]) as socket:
            found = [message.data async for message in socket]
        assert b"\1out\n" in found


async def test_endpoints() -> None:
    node = Node()
    async with node.serving() as session:

        async def get(path: str, method: str = "GET") -> tuple[int, str]:
            async with session.request(method, path, headers=ADMIN) as answer:
                return answer.status, await answer.text()

        assert await get("/healthz") == (200, "ok")
        node.problem = "pleg was last seen active 4m0s ago"
        assert await get("/healthz") == (
            500,
            "[+]ping ok\n[+]log ok\n[-]syncloop failed: reason withheld\nhealthz check failed\n",
        )
        assert await get("/healthz/ping") == (200, "ok")
        assert (await get("/healthz/other"))[0] == 404
        listed = json.loads((await get("/pods"))[1])
        assert listed["kind"] == "PodList"
        assert [item["metadata"]["name"] for item in listed["items"]] == ["web"]
        kubelet = json.loads((await get("/configz"))[1])["kubeletconfig"]
        assert (kubelet["maxPods"], kubelet["evictionHard"]["memory.available"]) == (29, "100Mi")
        assert json.loads((await get("/runningpods/"))[1])["items"] == []
        assert await get("/run/default/web/main?cmd=echo+hi", "POST") == (200, "echo hi")
        assert await get("/run/default/web/main?cmd=false", "POST") == (500, "command 'false' exited with 1: no")
        assert await get("/run/default/gone/main?cmd=ls", "POST") == (404, "pod does not exist")
        assert (await get("/pods", "POST"))[0] in (403, 405)
        assert await get("/logs/../../etc/passwd") == (404, "404 page not found\n")
        assert (await get("/logs/syslog"))[0] == 404
        assert "pods/" in (await get("/logs/"))[1]
    text = node.metrics.registry.families()
    assert any(family.name == "kubelet_http_requests_total" for family in text)


async def test_container_logs(tmp_path: Path) -> None:
    node = Node()
    node.runtime.add("web-main")
    node.runtime.logs["web-main"] = path = tmp_path / "0.log"
    path.write_bytes(b"2023-11-14T22:13:20.5Z stdout F hello\n")
    async with node.serving() as session:

        async def get(what: str) -> tuple[int, str]:
            async with session.get(f"/containerLogs/default/{what}", headers=ADMIN) as answer:
                return answer.status, await answer.text()

        assert await get("web/main") == (200, "hello\n")
        assert await get("web/main?timestamps=true") == (200, "2023-11-14T22:13:20.500000000Z hello\n")
        assert await get("gone/main") == (404, 'pod "gone" does not exist')
        assert await get("web/other") == (404, 'container "other" not found in pod "web"')
        assert await get("web/main?tailLines=x") == (400, '{"message": "Unable to decode query."}')
        assert await get("web/main?tailLines=-1") == (422, '{"message": "Invalid request."}')
        assert await get("web/main?previous=true") == (
            400,
            'previous terminated container "main" in pod "web" not found',
        )
        path.unlink()
        assert (await get("web/main"))[0] == 400
        del node.runtime.containers["web-main"]
        assert await get("web/main") == (400, "unable to retrieve container logs for containerd://web-main")


def test_paths_are_few_in_metrics() -> None:
    assert http_labels("GET", "/containerLogs/a/b/c") == ("false", "GET", "containerLogs")
    assert http_labels("POST", "/exec/a/b/c") == ("true", "POST", "exec")
    assert http_labels("GET", "/metrics/cadvisor") == ("false", "GET", "metrics/cadvisor")
    assert http_labels("GET", "/whatever") == ("false", "GET", "other")


async def test_runtime_calls_are_measured() -> None:
    metrics = KubeletMetrics()
    runtime = measured(MemoryRuntime().as_contract(), metrics)
    assert await runtime.list_pod_sandboxes() == []
    with pytest.raises(Exception, match="not found"):
        await runtime.container_status("x")
    assert metrics.operations.value("list_podsandbox") == 1
    assert metrics.operation_errors.value("container_status") == 1


def test_probes_are_counted() -> None:
    metrics = KubeletMetrics()
    metrics.probed(pod(), "main", "Readiness", "success")
    assert metrics.probe_total.value("main", "default", "web", "uid-web", "Readiness", "successful") == 1


# -- ends of commands --------------------------------------------------------------------------------------------------


def test_exit_codes() -> None:
    assert exit_code({"status": "Success"}) == 0
    cause = {"reason": "ExitCode", "message": "137"}
    assert exit_code({"status": "Failure", "reason": "NonZeroExitCode", "details": {"causes": [cause]}}) == 137
    message = "Internal error occurred: error executing command in container: no such file"
    with pytest.raises(StreamError, match=r"^no such file$"):
        exit_code({"status": "Failure", "message": message})


# -- the serving certificate -------------------------------------------------------------------------------------------

NAMES = ("ip-10-0-0-5.eu-west-1.compute.internal", "10.0.0.5", "100.64.0.5")


async def in_process(*arguments: str, input: str = "") -> dict[str, Any]:
    if arguments == ("--expiry",):
        return {"not_after": START + 1000}
    return made(arguments[0], list(arguments[1:]))


@virtual_time
async def test_the_cluster_signs_what_is_served(tmp_path: Path, clock: VirtualClock) -> None:
    import asyncio

    from cryptography import x509

    reviews, metrics = Reviews(), KubeletMetrics()
    signed = made("node", list(NAMES))

    def serving() -> ServingCertificate:
        return ServingCertificate(
            "node",
            NAMES,
            client=reviews.as_contract(),
            clock=clock,
            metrics=metrics,
            directory=tmp_path,
            ask=in_process,
        )

    serving_certificate = serving()
    context = await serving_certificate.prepare(signed["certificate"])
    assert context.verify_mode is ssl.CERT_OPTIONAL
    # A certificate fits its key, so this API hands out the one that the request's maker signed itself.
    signed = serving_certificate._made
    task = asyncio.create_task(serving_certificate.run())
    await asyncio.sleep(1)
    (request,) = reviews.requests.values()
    assert request["spec"]["signerName"] == "kubernetes.io/kubelet-serving"
    assert request["spec"]["usages"] == ["digital signature", "server auth"]
    parsed = x509.load_pem_x509_csr(base64.b64decode(request["spec"]["request"]))
    names = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(name) for name in names.get_values_for_type(x509.IPAddress)] == ["10.0.0.5", "100.64.0.5"]
    assert parsed.subject.rfc4514_string() == "CN=system:node:node,O=system:nodes"
    pem = base64.b64encode(signed["certificate"].encode()).decode()
    reviews.sign = lambda body: {**body, "status": {"certificate": pem}}
    await asyncio.sleep(10)
    assert serving_certificate.seconds_left > 900
    again = serving()
    await again.prepare(signed["certificate"])
    assert again.seconds_left == serving_certificate.seconds_left, "kept for the next start"
    await asyncio.sleep(800)
    assert len(reviews.requests) >= 2, "renewed when most of its time is over"
    task.cancel()


@virtual_time
async def test_a_denied_request_is_made_again(tmp_path: Path, clock: VirtualClock) -> None:
    import asyncio

    reviews, metrics = Reviews(), KubeletMetrics()
    reviews.sign = lambda body: {**body, "status": {"conditions": [{"type": "Denied", "message": "no"}]}}
    serving = ServingCertificate(
        "node", NAMES, client=reviews.as_contract(), clock=clock, metrics=metrics, directory=tmp_path, ask=in_process
    )
    await serving.prepare(made("ca", ["ca"])["certificate"])
    task = asyncio.create_task(serving.run())
    await asyncio.sleep(5)
    assert len(reviews.requests) >= 2
    assert metrics.certificate_renew_errors.value() >= 2
    task.cancel()


async def test_keys_are_made_in_a_process_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", sys.executable)
    answer = await certificates.signing_request("node", "10.0.0.5")
    expiry = await certificates.signing_request("--expiry", input=answer["certificate"])
    assert expiry["not_after"] > 0
    with pytest.raises(OSError, match="exited"):
        await certificates.signing_request("--expiry", input="nothing")
