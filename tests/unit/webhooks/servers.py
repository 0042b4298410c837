"""HTTPS webhook servers on loopback, with an authority of their own, and an API server that calls them."""

from __future__ import annotations

import base64
import datetime
import inspect
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from random import Random
from typing import Any

import orjson
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.unit.api.harness import Api, PolicyAuthorizer, api_server
from twinplane.controlplane.admission.dynamic import DynamicAdmission
from twinplane.controlplane.admission.webhooks.configuration import MUTATING, VALIDATING
from twinplane.controlplane.api.objects.reader import CacheReader
from twinplane.kubeclient.contract import Object

Answer = Callable[[Object], Object | Awaitable[Object]]
"""The `request` of the review -> the `response` without uid."""


def write_certificate(directory: Path) -> tuple[Path, Path]:
    """(certificate, key) for 127.0.0.1 and for the Service `hook` in namespace `default`."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "webhook")])
    begin = datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=1)
    names = [x509.IPAddress(IPv4Address("127.0.0.1")), x509.DNSName("hook.default.svc")]
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    files = directory / "webhook.crt", directory / "webhook.key"
    files[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    files[1].write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    return files


class WebhookServer:
    """Answers `/NAME` with what `answers[NAME]` makes of the request, and remembers all reviews."""

    def __init__(self, certificate: Path, key: Path) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate, key)
        self.bundle = base64.b64encode(certificate.read_bytes()).decode()
        self.answers: dict[str, Answer] = {}
        self.reviews: list[tuple[str, Object]] = []
        self.port = 0
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        application = web.Application()
        application.router.add_post("/{name}", self._review)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=self._context)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def close(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    @property
    def called(self) -> list[str]:
        return [name for name, _ in self.reviews]

    async def _review(self, request: web.Request) -> web.Response:
        review = orjson.loads(await request.read())
        name = request.match_info["name"]
        self.reviews.append((name, review["request"]))
        answer: Any = self.answers[name](review["request"])
        if inspect.isawaitable(answer):
            answer = await answer
        if "raw" in answer:
            return web.Response(status=answer.get("code", 200), body=answer["raw"])
        body = {"apiVersion": review["apiVersion"], "kind": "AdmissionReview"}
        body["response"] = {"uid": review["request"]["uid"], **answer}
        return web.json_response(body)

    def webhook(self, name: str, **more: Any) -> Object:
        """For pods by default, called at this server's `/NAME`."""
        rule = {"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}
        url = f"https://127.0.0.1:{self.port}/{name.partition('.')[0]}"
        return {
            "name": name,
            "clientConfig": {"url": url, "caBundle": self.bundle},
            "rules": [rule],
            "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
            **more,
        }


@asynccontextmanager
async def webhook_server(directory: Path) -> AsyncIterator[WebhookServer]:
    server = WebhookServer(*write_certificate(directory))
    await server.start()
    try:
        yield server
    finally:
        await server.close()


@asynccontextmanager
async def dynamic_api(resolve: Any = None, **more: Any) -> AsyncIterator[Api]:
    """An API server whose only admission is the dynamic one."""
    async with api_server(authorizer=PolicyAuthorizer(), **more) as api:
        runtime = api.runtime
        reader = CacheReader(runtime.cache, runtime.registry)
        dynamic = DynamicAdmission(
            reader, runtime.registry, runtime.rules, runtime.authorizer, Random(7), resolve=resolve
        )
        try:
            yield Api(replace(runtime, admission=dynamic.plugins))
        finally:
            await dynamic.close()


def patch(*operations: Object) -> Object:
    """An answer that allows and changes."""
    encoded = base64.b64encode(orjson.dumps(list(operations))).decode()
    return {"allowed": True, "patch": encoded, "patchType": "JSONPatch"}


def label(key: str, value: str = "yes") -> Object:
    """A change that works whether there are labels or not: webhooks see the object as it is."""
    return {"op": "add", "path": f"/metadata/labels/{key}", "value": value}


async def configure(api: Api, *webhooks: Object, mutating: bool = False, name: str = "test") -> None:
    resource = MUTATING if mutating else VALIDATING
    await api.client.create(resource, {"metadata": {"name": name}, "webhooks": list(webhooks)})
