"""The lease by which an API server shows that it is there: `apiserver-HASH` in kube-system, one for each replica.

Renewed while the server runs and deleted when it ends; those of servers that ended otherwise are collected once they
have expired. Run by the composition beside the server. Sources: kubernetes `pkg/controlplane/apiserver/server.go`,
`pkg/controlplane/controller/apiserverleasegc`.
"""

from __future__ import annotations

import asyncio
import logging
from base64 import b32encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from hashlib import sha256
from random import Random
from uuid import UUID

from twinplane.clock import Clock, from_rfc3339, rfc3339_micro
from twinplane.controlplane.background import background
from twinplane.kubeclient.contract import KubeClient, Object
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.resources import LEASES

NAMESPACE = "kube-system"
LABEL = "apiserver.kubernetes.io/identity"
COMPONENT = "kube-apiserver"
DURATION = 3600
RENEWAL = 10.0
COLLECTION = 3600.0
"""Seconds: how long a lease holds, between renewals, and between looks for expired ones."""
_JITTER = 0.04
_GOODBYE = 1.0
_LOG = logging.getLogger(__name__)


def identity_of(host: str) -> str:
    """The server's name, the same in every life of it."""
    return "apiserver-" + b32encode(sha256(host.encode()).digest()[:16]).decode().rstrip("=").lower()


class IdentityLease:
    def __init__(self, client: KubeClient, clock: Clock, random: Random, host: str) -> None:
        """`client` acts for the server itself."""
        self._client = client
        self._clock = clock
        self._random = random
        self._host = host
        self.name = identity_of(host)
        # As upstream: which life of the server it is.
        self._holder = f"{self.name}_{UUID(int=random.getrandbits(128), version=4)}"

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        try:
            async with background(identity_lease=self._renew, expired_identity_leases=self._collect):
                yield
        finally:
            with suppress(ApiError, TimeoutError):
                async with asyncio.timeout(_GOODBYE):
                    await self._client.delete(LEASES, self.name, NAMESPACE)

    async def _renew(self) -> None:
        while True:
            try:
                await self.renew()
            except ApiError as error:
                _LOG.info("the lease %s is not renewed: %s", self.name, error)
            await asyncio.sleep(RENEWAL * (1 + _JITTER * self._random.random()))

    async def renew(self) -> None:
        """Raises ApiError."""
        spec: Object = {
            "holderIdentity": self._holder,
            "leaseDurationSeconds": DURATION,
            "renewTime": rfc3339_micro(self._clock.now()),
        }
        labels = {LABEL: COMPONENT, "kubernetes.io/hostname": self._host}
        try:
            await self._client.patch(LEASES, self.name, {"metadata": {"labels": labels}, "spec": spec}, NAMESPACE)
        except ApiError as error:
            if error.reason != "NotFound":
                raise
            body = {
                "apiVersion": LEASES.api_version,
                "kind": LEASES.kind,
                "metadata": {"name": self.name, "namespace": NAMESPACE, "labels": labels},
                "spec": spec,
            }
            await self._client.create(LEASES, body, NAMESPACE)

    async def _collect(self) -> None:
        while True:
            try:
                await self.collect()
            except ApiError as error:
                _LOG.info("expired leases of API servers are not collected: %s", error)
            await asyncio.sleep(COLLECTION)

    async def collect(self) -> None:
        """Delete the leases of API servers that are there no more. Raises ApiError."""
        found = await self._client.list(LEASES, NAMESPACE, label_selector=f"{LABEL}={COMPONENT}")
        for lease in found.items:
            if not self._is_expired(lease):
                continue
            metadata = lease["metadata"]
            with suppress(ApiError):
                # Another server may have collected it, or its own have come back.
                await self._client.delete(
                    LEASES, metadata["name"], NAMESPACE, resource_version=metadata["resourceVersion"]
                )

    def _is_expired(self, lease: Object) -> bool:
        """One without these fields is no lease of an API server."""
        spec = lease.get("spec") or {}
        renewed, duration = spec.get("renewTime"), spec.get("leaseDurationSeconds")
        return renewed is None or duration is None or from_rfc3339(renewed) + duration < self._clock.now()
