"""The union of authenticators, client certificates, and STS over HTTP."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from tests.unit.auth.fakes import FixedClock
from twinplane.controlplane.auth.authentication import UnionAuthenticator
from twinplane.controlplane.auth.client_certificate import ClientCertificateAuthenticator
from twinplane.controlplane.auth.contract import ANONYMOUS, Credentials, UserInfo
from twinplane.controlplane.auth.iam_token import CallerIdentity, TokenRefused
from twinplane.controlplane.auth.static_token import StaticTokenAuthenticator
from twinplane.controlplane.auth.sts import StsIdentify, caller_identity
from twinplane.kubeclient.errors import ApiError

CLOCK = FixedClock()


def certificate(common_name: str, *organizations: str) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    names = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, each) for each in organizations]
    names += [x509.NameAttribute(NameOID.COMMON_NAME, common_name)] if common_name else []
    now = datetime.fromtimestamp(CLOCK.now(), UTC)
    builder = x509.CertificateBuilder().subject_name(x509.Name(names)).issuer_name(x509.Name(names))
    builder = builder.public_key(key.public_key()).serial_number(1)
    builder = builder.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(hours=1))
    return builder.sign(key, SHA256()).public_bytes(Encoding.DER)


async def test_common_name_and_organizations() -> None:
    authenticator = ClientCertificateAuthenticator(CLOCK)
    der = certificate("system:node:n1", "system:nodes", "team")
    for _ in range(2):
        user = await authenticator.authenticate(Credentials(certificate=der))
        assert user == UserInfo("system:node:n1", ("system:nodes", "team", "system:authenticated"))
    assert await authenticator.authenticate(Credentials(token="x")) is None


@pytest.mark.parametrize("der", [b"rubbish", certificate("")])
async def test_certificates_that_name_nobody(der: bytes) -> None:
    with pytest.raises(ApiError):
        await ClientCertificateAuthenticator(CLOCK).authenticate(Credentials(certificate=der))


async def test_expired_certificates() -> None:
    clock = FixedClock()
    authenticator = ClientCertificateAuthenticator(clock)
    der = certificate("a")
    assert await authenticator.authenticate(Credentials(certificate=der))
    clock.time += 2 * 3600
    with pytest.raises(ApiError):
        await authenticator.authenticate(Credentials(certificate=der))


async def test_the_union() -> None:
    union = UnionAuthenticator(
        [ClientCertificateAuthenticator(CLOCK), StaticTokenAuthenticator({"s3": UserInfo("root")})]
    )
    assert await union.authenticate(Credentials()) == ANONYMOUS
    assert (await union.authenticate(Credentials(token="s3"))).groups == ("system:authenticated",)
    assert (await union.authenticate(Credentials(certificate=certificate("a")))).name == "a"
    for bad in ("nope", "\udcff", "ä"):
        with pytest.raises(ApiError) as caught:
            await union.authenticate(Credentials(token=bad))
        assert caught.value.code == 401
    with pytest.raises(ApiError):
        await UnionAuthenticator([], anonymous=False).authenticate(Credentials())


ANSWER = {"GetCallerIdentityResponse": {"GetCallerIdentityResult": {"Account": "1", "Arn": "a", "UserId": "u"}}}
XML = """<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>
<Arn>a</Arn><UserId>u</UserId><Account>1</Account></GetCallerIdentityResult></GetCallerIdentityResponse>"""


@pytest.mark.parametrize("body", [json.dumps(ANSWER), XML])
def test_answers_of_sts(body: str) -> None:
    assert caller_identity(body) == CallerIdentity("1", "a", "u")


@pytest.mark.parametrize("body", ["", "{}", "{", "<a/>", "<a", '{"GetCallerIdentityResponse": 5}'])
def test_other_answers_are_refusals(body: str) -> None:
    with pytest.raises(TokenRefused):
        caller_identity(body)


async def test_sts_is_reached_at_our_endpoint_under_its_own_name() -> None:
    seen: list[tuple[str, str, str]] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append((request.headers["Host"], request.headers["x-k8s-aws-id"], request.rel_url.raw_query_string))
        status = 403 if request.query["X-Amz-Signature"] == "bad" else 200
        return web.json_response(ANSWER, status=status)

    application = web.Application()
    application.router.add_get("/", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    sts = StsIdentify(f"http://127.0.0.1:{port}")
    query = "Action=GetCallerIdentity&X-Amz-Credential=A%2F1%2Fus-west-2&X-Amz-Signature="
    host = "sts.us-west-2.amazonaws.com"
    try:
        caller = await sts(f"https://{host}/?{query}good", {"x-k8s-aws-id": "shop"})
        assert caller == CallerIdentity("1", "a", "u")
        assert seen == [(host, "shop", f"{query}good")]
        with pytest.raises(TokenRefused):
            await sts(f"https://{host}/?{query}bad", {"x-k8s-aws-id": "shop"})
    finally:
        await sts.close()
        await runner.cleanup()
    with pytest.raises(ApiError) as caught:
        await sts(f"https://{host}/?{query}good", {"x-k8s-aws-id": "shop"})
    assert caught.value.code == 503
    await sts.close()
