"""The API server's kubelet client and the kubelet, with nothing between them but TLS: both verify the other."""

from __future__ import annotations

import asyncio
import base64
import socket
import ssl
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.unit.kubelet_server.world import MemoryRuntime, Pods, Reviews, configuration, pod
from tests.unit.streams.kubelet import FakeStreams
from twinplane.clock import SystemClock
from twinplane.controlplane.api.kubelet import ENDPOINT_ANNOTATION, KubeletClient
from twinplane.controlplane.controllers.certificates.authority import Authority
from twinplane.controlplane.controllers.certificates.requests import SIGNERS, parsed
from twinplane.dataplane.kubelet.metrics import KubeletMetrics
from twinplane.dataplane.kubelet.server.certificate import ServingCertificate
from twinplane.dataplane.kubelet.server.server import KubeletServer
from twinplane.kubeclient.contract import Object
from twinplane.region.certificates import CertificateAuthority, Subject


async def test_logs_through_tls(tmp_path: Path) -> None:
    """The certificate is signed as the cluster's controller signs it, and names the address that is connected to."""
    authority = CertificateAuthority(tmp_path, time.time())
    client = authority.issue("client", Subject("kube-apiserver-kubelet-client", ["system:masters"]))
    reviews, signer = Reviews(), Authority(str(authority.certificate_path), str(tmp_path / "ca.key"))
    reviews.may = {("kube-apiserver-kubelet-client", "get", "proxy")}

    def sign(body: Object) -> Object:
        wanted = parsed(body)
        SIGNERS["kubernetes.io/kubelet-serving"](wanted)
        return {**body, "status": {"certificate": base64.b64encode(signer.sign(wanted, time.time(), None)).decode()}}

    reviews.sign = sign
    node = replace(configuration(), certificate_authority=authority.certificate_path.read_text())
    runtime, clock, metrics = MemoryRuntime(), SystemClock(), KubeletMetrics()
    runtime.add("web-main")
    runtime.logs["web-main"] = tmp_path / "0.log"
    runtime.logs["web-main"].write_bytes(b"2023-11-14T22:13:20.5Z stdout F hello\n")
    certificate = ServingCertificate(
        node.name,
        ("127.0.0.1",),
        client=reviews.as_contract(),
        clock=clock,
        metrics=metrics,
        directory=tmp_path / "pki",
    )
    server = KubeletServer(
        node,
        Pods(pod()),
        runtime.as_contract(),
        FakeStreams(),
        reviews.as_contract(),
        clock=clock,
        metrics=metrics,
        certificate=certificate,
    )
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    serving = asyncio.create_task(server.run("127.0.0.1", port))
    async with asyncio.timeout(60):
        while not certificate.seconds_left:
            await asyncio.sleep(0.02)
    context = ssl.create_default_context(cafile=str(authority.certificate_path))
    context.load_cert_chain(client.certificate, client.key)
    kubelet = KubeletClient(context)
    target: dict[str, Any] = {"metadata": {"name": "n", "annotations": {ENDPOINT_ANNOTATION: f"127.0.0.1:{port}"}}}
    answer = await kubelet.get(target, "/containerLogs/default/web/main", {})
    assert answer.stream is not None
    assert b"".join([piece async for piece in answer.stream]) == b"hello\n"
    upstream = await kubelet.reach(target, "10.0.0.1", 80)
    upstream.close()
    await kubelet.close()
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)
