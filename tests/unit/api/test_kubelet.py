"""Reaching a node's kubelet, with a real HTTPS server in its place."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from tests.unit.api.tls import server_context, write_certificate
from twinplane.controlplane.api.contract import Request, Response
from twinplane.controlplane.api.http.server import serve
from twinplane.controlplane.api.kubelet import ENDPOINT_ANNOTATION, KubeletClient, endpoint_of
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.errors import ApiError


def node(endpoint: str = "", **status: object) -> Object:
    annotations = {ENDPOINT_ANNOTATION: endpoint} if endpoint else {}
    return {"metadata": {"name": "n", "annotations": annotations}, "status": status}


INTERNAL = [{"type": "Hostname", "address": "host"}, {"type": "InternalIP", "address": "10.0.0.1"}]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (node("127.0.0.1:5"), "127.0.0.1:5"),
        (node(addresses=INTERNAL), "10.0.0.1:10250"),
        (node(addresses=INTERNAL, daemonEndpoints={"kubeletEndpoint": {"Port": 7}}), "10.0.0.1:7"),
        (node(addresses=[{"type": "InternalIP", "address": "fd00::1"}]), "[fd00::1]:10250"),
    ],
)
def test_where_a_kubelet_is(given: Object, expected: str) -> None:
    assert endpoint_of(given) == expected


def test_a_node_without_address() -> None:
    with pytest.raises(ApiError) as caught:
        endpoint_of(node())
    assert caught.value.code == 404


class FakeKubelet:
    def __init__(self) -> None:
        self.certificates: list[bytes] = []
        self.meant: list[str] = []
        """The node, as the API server names it where one endpoint stands for many."""

    async def handle(self, request: Request) -> Response:
        self.certificates.append(request.credentials.certificate)
        self.meant.append(request.headers.get("x-forwarded-uri", ""))
        if "missing" in request.path:
            return Response(404, b"pod not found", content_type="text/plain")
        return Response(200, f"{request.path} {dict(request.query)}".encode(), content_type="text/plain")


async def test_logs_and_refusals_pass_through(tmp_path: Path) -> None:
    server_side = server_context(tmp_path)
    context = ssl.create_default_context(cafile=str(tmp_path / "server.crt"))
    context.load_cert_chain(tmp_path / "server.crt", tmp_path / "server.key")
    kubelet = FakeKubelet()
    server = await serve(kubelet, "127.0.0.1", 0, server_side)
    client = KubeletClient(context)
    try:
        there = node(f"127.0.0.1:{server.port}")
        response = await client.get(there, "/containerLogs/a/b/c", {"tailLines": "3"})
        assert response.stream is not None
        text = b"".join([piece async for piece in response.stream])
        assert text == b"/containerLogs/a/b/c {'tailLines': '3'}"
        assert kubelet.certificates[0]
        assert kubelet.meant == [f"/api/v1/nodes/{there['metadata']['name']}/proxy/containerLogs/a/b/c"]
        with pytest.raises(ApiError) as caught:
            await client.get(there, "/containerLogs/missing", {})
        assert (caught.value.code, caught.value.message) == (404, "pod not found")
    finally:
        await client.close()
        await server.close(0.05)
    with pytest.raises(ApiError) as caught:
        await client.get(there, "/containerLogs/a/b/c", {})
    assert caught.value.code == 503
    await client.close()


def test_certificates_are_written(tmp_path: Path) -> None:
    assert all(path.exists() for path in write_certificate(tmp_path))
