"""The certificate that the kubelet serves with: signed by the cluster on request, self-signed until then.

Upstream's `serverTLSBootstrap`, as EKS sets it: a CertificateSigningRequest for kubernetes.io/kubelet-serving, made
with the node's own identity and approved by the cluster. The API server verifies it for the address it connects to,
which is why the edge address of the machine is one of its names. It is kept in /var/lib/kubelet/pki for the next start,
and renewed when most of its time is over.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import os
import ssl
import sys
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from twinplane.clock import Clock
from twinplane.dataplane.kubelet.contract import KUBELET_DIRECTORY
from twinplane.dataplane.kubelet.metrics import KubeletMetrics
from twinplane.kubeclient.contract import KubeClient, Resource
from twinplane.kubeclient.errors import ApiError

log = logging.getLogger(__name__)

CERTIFICATE_SIGNING_REQUESTS = Resource(
    "certificates.k8s.io", "v1", "certificatesigningrequests", "CertificateSigningRequest", False
)
SIGNER = "kubernetes.io/kubelet-serving"
USAGES = ["digital signature", "server auth"]
PKI = KUBELET_DIRECTORY / "pki"
CURRENT = "kubelet-server-current"
RENEW_SHARE = 0.2
"""Of the lifetime: with less left, a new certificate is asked for."""
WAIT_SECONDS = 15 * 60.0
POLL_SECONDS = (0.1, 5.0)
RETRY_SECONDS = (1.0, 60.0)


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate with its key (PEM), as kept on disk."""

    certificate: str
    key: str
    names: tuple[str, ...]
    issued: float
    not_after: float

    def is_good(self, names: tuple[str, ...], now: float) -> bool:
        return self.names == names and self.renewal > now

    @property
    def renewal(self) -> float:
        return self.not_after - RENEW_SHARE * (self.not_after - self.issued)


SigningRequests = Callable[..., Awaitable[dict[str, Any]]]
"""The program `signing_request`, with its arguments and input."""


class ServingCertificate:
    """`prepare` makes a context to listen with at once; `run` gets the cluster's certificate into it and keeps it."""

    def __init__(
        self,
        node: str,
        names: tuple[str, ...],
        *,
        client: KubeClient,
        clock: Clock,
        metrics: KubeletMetrics,
        directory: Path = PKI,
        ask: SigningRequests | None = None,
    ) -> None:
        self._node, self._names = node, names
        self._client, self._clock, self._metrics = client, clock, metrics
        self._directory = directory
        self._ask = ask or signing_request
        self._made: dict[str, Any] = {}
        self._issued: Issued | None = None

    async def prepare(self, client_authority: str) -> ssl.SSLContext:
        """`client_authority` (PEM) signs the clients' certificates."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_verify_locations(cadata=client_authority)
        context.verify_mode = ssl.CERT_OPTIONAL
        self._context = context
        kept = self._kept()
        if kept is not None and kept.is_good(self._names, self._clock.now()):
            self._issued = kept
            self._load(kept.certificate, kept.key)
        else:
            self._made = await self._ask(self._node, *self._names)
            self._load(self._made["certificate"], self._made["key"])
        return context

    @property
    def seconds_left(self) -> float:
        """Of the cluster's certificate; 0 while there is none."""
        return self._issued.not_after - self._clock.now() if self._issued is not None else 0.0

    async def run(self) -> None:
        """Until cancelled."""
        delay = RETRY_SECONDS[0]
        while True:
            if self._issued is not None and self._issued.renewal > self._clock.now():
                await asyncio.sleep(min(self._issued.renewal - self._clock.now(), 3600.0))
                continue
            try:
                await self._renew()
                delay = RETRY_SECONDS[0]
            except (ApiError, OSError, ValueError) as error:
                self._metrics.certificate_renew_errors.add()
                log.warning("serving certificate: %s", error)
                await asyncio.sleep(delay)
                delay = min(delay * 2, RETRY_SECONDS[1])

    async def _renew(self) -> None:
        made = self._made or await self._ask(self._node, *self._names)
        certificate = await self._signed(made["request"])
        expiry = await self._ask("--expiry", input=certificate)
        issued = Issued(certificate, made["key"], self._names, self._clock.now(), float(expiry["not_after"]))
        self._load(certificate, made["key"])
        self._keep(issued)
        self._issued, self._made = issued, {}

    async def _signed(self, request: str) -> str:
        """The certificate (PEM). Raises ApiError, OSError and ValueError (denied, failed, or nobody decided)."""
        body = {
            "apiVersion": CERTIFICATE_SIGNING_REQUESTS.api_version,
            "kind": CERTIFICATE_SIGNING_REQUESTS.kind,
            "metadata": {"generateName": "csr-"},
            "spec": {
                "request": base64.b64encode(request.encode()).decode(),
                "signerName": SIGNER,
                "usages": USAGES,
            },
        }
        created = await self._client.create(CERTIFICATE_SIGNING_REQUESTS, body)
        name = created["metadata"]["name"]
        pause = POLL_SECONDS[0]
        async with asyncio.timeout(WAIT_SECONDS):
            while True:
                status = (await self._client.get(CERTIFICATE_SIGNING_REQUESTS, name)).get("status") or {}
                for condition in status.get("conditions") or ():
                    if condition["type"] in ("Denied", "Failed"):
                        raise ValueError(f"{name}: {condition['type']}: {condition.get('message', '')}")
                if status.get("certificate"):
                    return base64.b64decode(status["certificate"]).decode()
                await asyncio.sleep(pause)
                pause = min(pause * 1.5, POLL_SECONDS[1])

    def _load(self, certificate: str, key: str) -> None:
        """From now on new connections see this one. OpenSSL reads files only."""
        self._directory.mkdir(parents=True, exist_ok=True)
        path = self._directory / f"{CURRENT}.pem"
        _write(path, certificate + key)
        self._context.load_cert_chain(path)

    def _kept(self) -> Issued | None:
        try:
            content = json.loads((self._directory / f"{CURRENT}.json").read_text())
            return Issued(**{**content, "names": tuple(content["names"])})
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _keep(self, issued: Issued) -> None:
        _write(self._directory / f"{CURRENT}.json", json.dumps(asdict(issued)))


def _write(path: Path, content: str) -> None:
    fresh = path.with_suffix(".new")
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(content)
    fresh.rename(path)


async def signing_request(*arguments: str, input: str = "") -> dict[str, Any]:
    """Raises OSError when the program fails."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "twinplane.dataplane.kubelet.server.signing_request", *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate(input.encode())
    if process.returncode != 0:
        raise OSError(f"signing_request exited with {process.returncode}")
    answer: dict[str, Any] = json.loads(out)
    return answer
