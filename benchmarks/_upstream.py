"""A kube-apiserver over an etcd, started for comparison: the same TLS, RBAC, token and durability as ours has."""

from __future__ import annotations

import asyncio
import shutil
import socket
import ssl
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from tests.unit.api.tls import write_certificate

from benchmarks._load import connect
from benchmarks._target import MASTERS_TOKEN, Target

START_SECONDS = 60


def _ports(count: int) -> list[int]:
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(listener.getsockname()[1]) for listener in listeners]
    for listener in listeners:
        listener.close()
    return ports


@asynccontextmanager
async def kube_apiserver(binary: Path, directory: Path) -> AsyncIterator[Target]:
    """Raises RuntimeError when there is no etcd, TimeoutError when it is not ready in a minute."""
    etcd_binary = shutil.which("etcd")
    if etcd_binary is None:
        raise RuntimeError("no etcd is installed")
    client_port, peer_port, port = _ports(3)
    started: list[Process] = []
    with (directory / "server.log").open("wb") as log:
        try:
            for command in (
                _etcd(etcd_binary, directory, client_port, peer_port),
                _apiserver(binary, directory, client_port, port),
            ):
                process = await asyncio.create_subprocess_exec(*command, stdout=DEVNULL, stderr=log)
                started.append(process)
            context = ssl.create_default_context(cafile=str(directory / "server.crt"))
            await _ready(port, context)
            yield Target("kube-apiserver and etcd", port, context, tuple(each.pid for each in started))
        finally:
            for process in reversed(started):
                if process.returncode is None:
                    process.terminate()
                await process.wait()


def _etcd(binary: str, directory: Path, client_port: int, peer_port: int) -> list[str]:
    client, peer = f"http://127.0.0.1:{client_port}", f"http://127.0.0.1:{peer_port}"
    return [
        binary,
        f"--data-dir={directory}/etcd",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        "--quota-backend-bytes=8589934592",
    ]


def _apiserver(binary: Path, directory: Path, client_port: int, port: int) -> list[str]:
    certificate, key = write_certificate(directory)
    account_key = rsa.generate_private_key(65537, 2048)
    signing = directory / "accounts.key"
    form, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    signing.write_bytes(account_key.private_bytes(serialization.Encoding.PEM, form, plain))
    tokens = directory / "tokens.csv"
    tokens.write_text(f'{MASTERS_TOKEN},benchmark,benchmark,"system:masters"\n')
    return [
        str(binary),
        f"--etcd-servers=http://127.0.0.1:{client_port}",
        "--bind-address=127.0.0.1",
        "--advertise-address=127.0.0.1",
        f"--secure-port={port}",
        f"--tls-cert-file={certificate}",
        f"--tls-private-key-file={key}",
        f"--token-auth-file={tokens}",
        "--authorization-mode=Node,RBAC",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={signing}",
        f"--service-account-signing-key-file={signing}",
        "--service-cluster-ip-range=10.100.0.0/16",
        f"--cert-dir={directory}",
        "--endpoint-reconciler-type=none",
    ]


async def _ready(port: int, context: ssl.SSLContext) -> None:
    async with asyncio.timeout(START_SECONDS):
        while True:
            try:
                client = await connect(port, context, MASTERS_TOKEN)
                await client.request("GET", "/readyz")
                client.close()
                return
            except (OSError, RuntimeError):
                await asyncio.sleep(0.5)
