"""`kubectl logs` as the API server asks for it: over TLS, with a client certificate, with every option."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.unit.simulation.world import World, pod
from twinplane.clock import SystemClock
from twinplane.dataplane.log_options import log_options
from twinplane.dataplane.simulation.kubelet_api import KubeletApi, selected, server_context
from twinplane.dataplane.simulation.logs import Logs
from twinplane.dataplane.simulation.process import Simulation
from twinplane.dataplane.simulation.streams.streams import SimulatedStreams
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.errors import not_found
from twinplane.region.ports import free_ports


def self_signed(folder: Path) -> tuple[Path, Path]:
    """One certificate that is server, client and authority at once."""
    key = ec.generate_private_key(ec.SECP256R1())
    organization = x509.NameAttribute(NameOID.ORGANIZATION_NAME, "system:masters")
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost"), organization])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem, secret = folder / "tls.crt", folder / "tls.key"
    pem.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return pem, secret


def kubelet_api(simulation: Simulation) -> KubeletApi:
    async def no_pod(namespace: str, name: str) -> Object:
        raise not_found("", "pods", name)

    pods, logs, clock = simulation.pods, simulation.logs, SystemClock()
    streams = SimulatedStreams(pods, logs, clock, simulation.directory, answered=simulation.answered, read_pod=no_pod)
    return KubeletApi(pods, logs, clock, streams)


@contextlib.asynccontextmanager
async def serving(tmp_path: Path) -> AsyncIterator[tuple[Simulation, str, ssl.SSLContext]]:
    world = World.new(SystemClock())  # type: ignore[arg-type]  # real sockets take real time
    world.account.start(1)
    certificate, key = self_signed(tmp_path)
    trust = ssl.create_default_context(cafile=str(certificate))
    (port,) = free_ports(1, "127.0.0.1")
    async with world.running() as simulation:
        api = kubelet_api(simulation)
        task = asyncio.create_task(
            api.run("127.0.0.1", port, server_context(str(certificate), str(key), str(certificate)))
        )
        await world.create(pod())
        while world.pod().get("status", {}).get("phase") != "Running":
            await asyncio.sleep(0.02)
        try:
            yield simulation, f"https://localhost:{port}", trust
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_logs_over_tls(tmp_path: Path) -> None:
    async with serving(tmp_path) as (simulation, url, trust), aiohttp.ClientSession() as session:
        with pytest.raises((aiohttp.ClientError, OSError)):
            await session.get(f"{url}/healthz", ssl=trust)
        trust.load_cert_chain(tmp_path / "tls.crt", tmp_path / "tls.key")

        async def text(path: str, status: int = 200) -> str:
            async with session.get(url + path, ssl=trust) as answer:
                assert answer.status == status
                return await answer.text()

        assert await text("/healthz") == "ok"
        log = await text("/containerLogs/default/web/main")
        assert log.splitlines()[-1] == "container main started"
        assert await text("/containerLogs/default/web/main?tailLines=1") == "container main started\n"
        assert "Z container main" in await text("/containerLogs/default/web/main?tailLines=1&timestamps=true")
        assert await text("/containerLogs/default/web/main?limitBytes=3") == log[:3]
        assert "not valid" in await text("/containerLogs/default/web/none", 400)
        assert "previous terminated" in await text("/containerLogs/default/web/main?previous=true", 400)
        assert "not found" in await text("/containerLogs/default/gone/main", 404)
        await text("/containerLogs/default/web/main?tailLines=x", 400)
        assert '"web"' in await text("/pods")
        await _follow(session, url, trust, simulation)


async def _follow(session: aiohttp.ClientSession, url: str, trust: ssl.SSLContext, simulation: Simulation) -> None:
    found = simulation.pods.find("default", "web")
    assert found is not None
    path = f"{url}/containerLogs/default/web/main?follow=true&tailLines=0"
    async with session.get(path, ssl=trust) as answer:
        simulation.answered(found, "first")
        assert await answer.content.readline() == b"first\n"
        simulation.answered(found, "second")
        assert await answer.content.readline() == b"second\n"


def test_previous_incarnation_is_kept_apart() -> None:
    logs = Logs()
    logs.write("u", "main", 1.0, "of the first", 1)
    logs.write("u", "main", 2.0, "of the second", 2)
    ring = logs.ring("u", "main")
    assert ring is not None
    assert [line.text for line in selected(ring, log_options({}, 5.0))] == ["of the second"]
    assert [line.text for line in selected(ring, log_options({"previous": "true"}, 5.0))] == ["of the first"]
    assert selected(ring, log_options({"sinceSeconds": "2"}, 5.0)) == []
