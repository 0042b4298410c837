"""How the node speaks to its cluster: an EKS token of the instance role, and a client that knows several API servers.

The token is signed for AWS's own STS host, as the kubelets of EKS do it. The role's keys are renewed by the region in
`CREDENTIALS_FILE`; the file is read again when it has changed.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import orjson

from twinplane.clock import Clock
from twinplane.dataplane.node.contract import CREDENTIALS_FILE, NodeConfiguration
from twinplane.eks_token import VALID_SECONDS, iam_token
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.http import HttpClient
from twinplane.kubeclient.requests import Query, RequestClient
from twinplane.sigv4 import Signer

log = logging.getLogger(__name__)

SERVER_NAME = "kubernetes.default.svc"
KUBE_PROXY = "system:serviceaccount:kube-system:kube-proxy"
VPC_CNI = "system:serviceaccount:kube-system:aws-node"
"""In whose names the parts of the agent act that are pods with these service accounts on nodes of EKS."""


class NodeToken:
    """A `TokenSource`. Raises OSError while there are no credentials."""

    def __init__(self, cluster: str, region: str, clock: Clock, path: Path = CREDENTIALS_FILE) -> None:
        self._cluster = cluster
        self._region = region
        self._clock = clock
        self._path = path
        self._read = (0, 0)
        self._token = ""
        self._made_at = 0.0

    async def __call__(self) -> str:
        about = self._path.stat()
        mark, now = (about.st_ino, about.st_mtime_ns), self._clock.now()
        if mark != self._read or not self._token or now - self._made_at > VALID_SECONDS:
            self._token, self._made_at, self._read = self._make(now), now, mark
        return self._token

    def _make(self, now: float) -> str:
        try:
            keys = orjson.loads(self._path.read_bytes())
            signer = Signer(
                keys["accessKeyId"], keys["secretAccessKey"], keys.get("sessionToken") or "", self._region, "sts"
            )
        except (orjson.JSONDecodeError, KeyError) as error:
            raise ConnectionError(f"{self._path}: {error!r}") from error
        return iam_token(signer, f"https://sts.{self._region}.amazonaws.com", self._cluster, now)


class FailoverClient(RequestClient):
    """The API servers of a cluster as one: what cannot be reached at one is asked of the next."""

    def __init__(self, clients: list[HttpClient]) -> None:
        self._clients = clients
        self._current = 0

    async def _request(
        self,
        method: str,
        path: str,
        query: Query | None = None,
        *,
        body: Any = None,
        content_type: str = "application/json",
        wants_answer: bool = True,
    ) -> Object:
        for attempt in range(len(self._clients)):
            index = self._current
            try:
                return await self._clients[index]._request(
                    method, path, query, body=body, content_type=content_type, wants_answer=wants_answer
                )
            except OSError:
                self._go_on(index)
                if attempt + 1 == len(self._clients):
                    raise
        raise ConnectionError("there is no API server to ask")

    async def _stream(self, path: str, query: Query) -> AsyncGenerator[bytes, None]:
        index = self._current
        try:
            async with aclosing(self._clients[index]._stream(path, query)) as lines:
                async for line in lines:
                    yield line
        except OSError:
            self._go_on(index)
            raise

    def _go_on(self, index: int) -> None:
        if index == self._current:
            self._current = (index + 1) % len(self._clients)


@asynccontextmanager
async def node_client(
    configuration: NodeConfiguration, clock: Clock, credentials: Path = CREDENTIALS_FILE, *, acting_as: str = ""
) -> AsyncIterator[FailoverClient]:
    """A `KubeClient` with the node's identity, or that of another user in whose name it acts.

    Raises ssl.SSLError for a CA that is none.
    """
    machine = configuration.machine
    context = ssl.create_default_context(cadata=configuration.certificate_authority)
    token = NodeToken(machine.cluster, machine.region, clock, credentials)
    agent = f"kubelet/{configuration.kubernetes_version} (linux/amd64)"
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(
                HttpClient(url, context, token, user_agent=agent, server_name=SERVER_NAME, acting_as=acting_as)
            )
            for url in machine.api_servers
        ]
        yield FailoverClient(clients)
