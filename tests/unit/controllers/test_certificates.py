"""CertificateSigningRequests through an API server: approval by permission, signing by each signer, cleaning up."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from random import Random
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from tests.unit.api.harness import Api, PolicyAuthorizer, api_server
from tests.unit.auth.fakes import FixedClock

from twinplane.clock import SystemClock, rfc3339
from twinplane.controlplane.admission.certificates import CertificateRequester
from twinplane.controlplane.controllers.certificates.controllers import certificate_controllers, deadline
from twinplane.controlplane.controllers.certificates.requests import CERTIFICATE_SIGNING_REQUESTS as CSRS
from twinplane.controlplane.controllers.certificates.requests import (
    EKS_APP_SERVING,
    KUBE_API_SERVER_CLIENT,
    KUBELET_CLIENT,
    KUBELET_SERVING,
    LEGACY_UNKNOWN,
)
from twinplane.controlplane.controllers.contract import Context
from twinplane.controlplane.controllers.runner import ControllerRunner
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.event_recorder import EventBroadcaster
from twinplane.kubeclient.informer import SharedInformers
from twinplane.kubeclient.meta import condition_of
from twinplane.region.certificates import CertificateAuthority

NODE = "system:node:ip-10-0-0-1"
CLIENT, SERVER = ["digital signature", "client auth"], ["digital signature", "key encipherment", "server auth"]
PATH = "/apis/certificates.k8s.io/v1/certificatesigningrequests"


def encoded(common_name: str, organizations: Sequence[str] = (), names: Sequence[x509.GeneralName] = ()) -> str:
    attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, each) for each in organizations]
    subject = x509.Name([*attributes, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    request = builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    return base64.b64encode(request.public_bytes(serialization.Encoding.PEM)).decode()


def csr(signer: str, usages: list[str], request: str, name: str = "r", **spec: Any) -> Object:
    body = {"signerName": signer, "usages": usages, "request": request, **spec}
    return {"metadata": {"name": name}, "spec": body}


NODE_NAMES = [x509.DNSName("ip-10-0-0-1"), x509.IPAddress(IPv4Address("10.0.0.1"))]


@asynccontextmanager
async def running(folder: Path, allowed: set[tuple[str, str]]) -> AsyncIterator[Api]:
    """`allowed`: (user, subresource of certificatesigningrequests) that may be created."""

    def policy(attributes: Any) -> bool:
        if "system:masters" in attributes.user.groups:
            return True
        plain_create = attributes.verb == "create" and not attributes.subresource
        return plain_create or (attributes.user.name, attributes.subresource) in allowed

    authority = CertificateAuthority(folder, SystemClock().now())
    async with api_server(authorizer=PolicyAuthorizer(policy)) as plain:
        api = Api(replace(plain.runtime, admission=(CertificateRequester(),)))
        informers = SharedInformers(api.client, Random(1))
        recorder = EventBroadcaster(api.client, SystemClock()).recorder("test")
        context = Context(api.client, informers, SystemClock(), Random(1), recorder, {})
        made = certificate_controllers(context, str(authority.certificate_path), str(folder / "ca.key"))
        runner = ControllerRunner(made, informers)
        task = asyncio.create_task(runner.run())
        await runner.started.wait()
        try:
            yield api
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def until(api: Api, name: str, test: Any) -> Object:
    async with asyncio.timeout(60):
        while not test(found := await api.client.get(CSRS, name)):
            await asyncio.sleep(0.005)
    return found


def certificate_of(request: Object) -> x509.Certificate:
    return x509.load_pem_x509_certificate(base64.b64decode(request["status"]["certificate"]))


def signed(request: Object) -> bool:
    return "certificate" in (request.get("status") or {})


def failed(request: Object) -> bool:
    return condition_of(request, "Failed") is not None


async def approve(api: Api, name: str = "r") -> None:
    request = await api.client.get(CSRS, name)
    condition = {"type": "Approved", "status": "True", "reason": "Test", "message": "ok"}
    request.setdefault("status", {})["conditions"] = [condition]
    await api.client.update(CSRS, request, subresource="approval")


@pytest.mark.parametrize(
    ("user", "allowed", "message"),
    [
        ("bootstrap", {("bootstrap", "nodeclient")}, "kubelet client"),
        (NODE, {(NODE, "selfnodeclient")}, "self kubelet client"),
    ],
)
async def test_kubelet_clients_are_approved_by_permission(
    tmp_path: Path, user: str, allowed: set[tuple[str, str]], message: str
) -> None:
    async with running(tmp_path, allowed) as api:
        body = csr(KUBELET_CLIENT, CLIENT, encoded(NODE, ["system:nodes"]), username="somebody else")
        headers = {"impersonate-user": user}
        made = await api.json("POST", PATH, body, expect=201, headers=headers)
        assert made["spec"]["username"] == user
        request = await until(api, "r", signed)
        approved = condition_of(request, "Approved")
        assert approved is not None
        expected = f"Auto approving {message} certificate after SubjectAccessReview."
        assert (approved["reason"], approved["message"]) == ("AutoApproved", expected)
        certificate = certificate_of(request)
        assert certificate.subject.rfc4514_string() == f"CN={NODE},O=system:nodes"
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]


async def test_nobody_else_is_approved_without_a_person(tmp_path: Path) -> None:
    allowed = {("other", "selfnodeclient"), ("other", "selfnodeserver")}
    async with running(tmp_path, allowed) as api:
        headers = {"impersonate-user": "other"}
        bodies = [
            csr(KUBELET_CLIENT, CLIENT, encoded(NODE, ["system:nodes"]), "not-own"),
            csr(KUBELET_SERVING, SERVER, encoded(NODE, ["system:nodes"], NODE_NAMES), "not-own-serving"),
            csr(KUBE_API_SERVER_CLIENT, CLIENT, encoded("alice"), "another-signer"),
        ]
        for body in bodies:
            await api.json("POST", PATH, body, expect=201, headers=headers)
        await asyncio.sleep(0.05)
        for body in bodies:
            found = await api.client.get(CSRS, body["metadata"]["name"])
            assert not (found.get("status") or {}).get("conditions")


@pytest.mark.parametrize(
    ("signer", "usages", "request_"),
    [
        (KUBE_API_SERVER_CLIENT, CLIENT, encoded("alice", ["developers"])),
        (KUBELET_SERVING, SERVER, encoded(NODE, ["system:nodes"], NODE_NAMES)),
        (LEGACY_UNKNOWN, ["signing", "code signing"], encoded("anything")),
        (EKS_APP_SERVING, SERVER, encoded("app", (), [x509.DNSName("app.default.svc")])),
    ],
)
async def test_what_is_approved_is_signed(tmp_path: Path, signer: str, usages: list[str], request_: str) -> None:
    async with running(tmp_path, set()) as api:
        await api.client.create(CSRS, csr(signer, usages, request_, expirationSeconds=3600))
        await approve(api)
        certificate = certificate_of(await until(api, "r", signed))
        authority = x509.load_pem_x509_certificate((tmp_path / "ca.crt").read_bytes())
        certificate.verify_directly_issued_by(authority)
        lifetime = certificate.not_valid_after_utc - certificate.not_valid_before_utc
        assert lifetime.total_seconds() == 3600 + 300
        basic = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
        assert (basic.value.ca, basic.critical) == (False, True)


@pytest.mark.parametrize(
    ("signer", "usages", "request_", "message"),
    [
        (KUBE_API_SERVER_CLIENT, SERVER, encoded("a"), "invalid usage for client certificate: server auth"),
        (
            *(KUBE_API_SERVER_CLIENT, ["digital signature"], encoded("a")),
            "missing required usage for client certificate: client auth",
        ),
        (KUBELET_CLIENT, CLIENT, encoded(NODE), "subject organization is not system:nodes"),
        (KUBELET_CLIENT, CLIENT, encoded(NODE, ["system:nodes"], NODE_NAMES), "DNS subjectAltNames are not allowed"),
        (KUBELET_SERVING, SERVER, encoded(NODE, ["system:nodes"]), "DNS or IP subjectAltName is required"),
        (EKS_APP_SERVING, CLIENT, encoded("a"), "invalid usage for server certificate: client auth"),
    ],
)
async def test_what_a_signer_does_not_take_fails(
    tmp_path: Path, signer: str, usages: list[str], request_: str, message: str
) -> None:
    async with running(tmp_path, set()) as api:
        await api.client.create(CSRS, csr(signer, usages, request_))
        await approve(api)
        condition = condition_of(await until(api, "r", failed), "Failed")
        assert condition is not None
        assert (condition["reason"], condition["message"]) == ("SignerValidationFailure", message)


def test_how_long_requests_are_kept(tmp_path: Path) -> None:
    clock = FixedClock()
    created = {"metadata": {"creationTimestamp": rfc3339(clock.time)}, "spec": {}}
    assert deadline(created) == clock.time + 24 * 3600
    decided = {"type": "Denied", "lastUpdateTime": rfc3339(clock.time + 60)}
    assert deadline({**created, "status": {"conditions": [decided]}}) == clock.time + 60 + 3600
