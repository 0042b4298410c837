"""HTTPS to what extends the API: conversion webhooks and aggregated API servers, by URL or as a Service.

ClusterIPs exist only in the network of nodes, so a Service is resolved to the address of a ready endpoint. Whoever runs
the server may put another `ServiceResolver` in place of `EndpointResolver`.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import shutil
import ssl
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from twinplane.controlplane.admission.contract import ObjectReader
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.resources import ENDPOINT_SLICES, SERVICES

ServiceResolver = Callable[[str, str, int], tuple[str, int]]
"""(namespace, name, port) -> (host, port). Raises `Unreachable`."""
Reach = Callable[[str], str]
"""An address of the VPC -> the address that this host reaches it at."""
SERVICE_NAME = "kubernetes.io/service-name"
_CONTEXTS = 64


class Unreachable(Exception):
    """The other side could not be asked; the text says why, in Go's words where clients show them."""


class EndpointResolver:
    """Services by their EndpointSlices, as the API server's own cache has them."""

    def __init__(self, reader: ObjectReader, random: Random, reach: Reach = str) -> None:
        self._reader = reader
        self._random = random
        self._reach = reach

    def __call__(self, namespace: str, name: str, port: int) -> tuple[str, int]:
        service = self._reader.get(SERVICES, name, namespace)
        if service is None:
            raise Unreachable(f'service "{name}" not found')
        spec = service.get("spec") or {}
        if spec.get("type") == "ExternalName":
            return str(spec.get("externalName", "")), port
        served = next((each for each in spec.get("ports") or () if each.get("port") == port), None)
        if served is None:
            raise Unreachable(f'service "{namespace}/{name}" has no port {port}')
        found = self._endpoints(namespace, name, served.get("name", ""))
        if not found:
            raise Unreachable(f'no endpoints available for service "{name}"')
        address, number = self._random.choice(found)
        return self._reach(address), number

    def _endpoints(self, namespace: str, name: str, port_name: str) -> list[tuple[str, int]]:
        slices = (
            each
            for each in self._reader.list(ENDPOINT_SLICES, namespace)
            if (each["metadata"].get("labels") or {}).get(SERVICE_NAME) == name
        )
        return [
            (address, port["port"])
            for each in slices
            for port in each.get("ports") or ()
            if port.get("name", "") == port_name and port.get("port")
            for endpoint in each.get("endpoints") or ()
            if (endpoint.get("conditions") or {}).get("ready") is not False
            for address in endpoint.get("addresses") or ()
        ]


class Dialer:
    """One pool of connections; `close` at the end.

    `certificate` makes the files of the certificate (and its key) that aggregated servers are shown, in a folder of
    their own, which is removed once they were read.
    """

    def __init__(self, resolve: ServiceResolver, certificate: Callable[[], tuple[str, str]] | None = None) -> None:
        self.resolve = resolve
        self._certificate = certificate
        self._contexts: dict[tuple[str, bool, bool], ssl.SSLContext] = {}
        self._session: Any = None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    def session(self) -> Any:
        """aiohttp comes with the first extension: most clusters have none."""
        if self._session is None:
            import aiohttp

            connector = aiohttp.TCPConnector(limit=0, limit_per_host=64)
            self._session = aiohttp.ClientSession(connector=connector, auto_decompress=False)
        return self._session

    def context(self, ca_bundle: str, *, insecure: bool = False, present: bool = False) -> ssl.SSLContext:
        """`ca_bundle` is base64 of PEM, or empty for the system's authorities. Raises Unreachable."""
        key = ca_bundle, insecure, present
        found = self._contexts.get(key)
        if found is None:
            if len(self._contexts) >= _CONTEXTS:
                self._contexts.clear()
            found = self._contexts[key] = self._make_context(*key)
        return found

    def _make_context(self, ca_bundle: str, insecure: bool, present: bool) -> ssl.SSLContext:
        context = ssl.create_default_context()
        try:
            if ca_bundle:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                context.load_verify_locations(cadata=base64.b64decode(ca_bundle).decode())
        except (ssl.SSLError, ValueError, binascii.Error) as error:
            raise Unreachable(f"unable to load root certificates: {error}") from None
        if insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if present and self._certificate is not None:
            files = self._certificate()
            try:
                context.load_cert_chain(*files)
            finally:
                shutil.rmtree(Path(files[0]).parent, ignore_errors=True)
        return context

    def target(self, client: Object) -> tuple[str, str | None]:
        """(URL, name on the certificate) of a WebhookClientConfig. Raises Unreachable."""
        if client.get("url"):
            return str(client["url"]), None
        service = client.get("service") or {}
        namespace, name = service.get("namespace", ""), service.get("name", "")
        host, port = self.resolve(namespace, name, int(service.get("port") or 443))
        path = str(service.get("path") or "").lstrip("/")
        return f"https://{bracketed(host)}:{port}/{path}", f"{name}.{namespace}.svc"

    async def post(self, client: Object, body: bytes, seconds: float) -> tuple[int, bytes]:
        """Status and body of the answer to a JSON document. Raises Unreachable."""
        url, name = self.target(client)
        context = self.context(client.get("caBundle") or "")
        try:
            async with asyncio.timeout(seconds):
                async with self.session().post(
                    url,
                    data=body,
                    ssl=context,
                    server_hostname=name,
                    headers={"content-type": "application/json", "accept": "application/json"},
                    allow_redirects=False,
                ) as response:
                    return response.status, await response.read()
        except TimeoutError:
            raise Unreachable(f'Post "{url}": context deadline exceeded') from None
        except (OSError, ssl.SSLError, _client_error()) as error:
            raise Unreachable(f'Post "{url}": {error}') from None


def _client_error() -> type[Exception]:
    import aiohttp

    return aiohttp.ClientError


def bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
