"""Service-account tokens: claims, verification against live objects, TokenRequest, TokenReview, discovery."""

from __future__ import annotations

import asyncio
import base64
import json
from functools import cache
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.auth.fakes import Cluster, FixedClock, named
from twinplane.controlplane.auth import json_web_signature as jws
from twinplane.controlplane.auth.authentication import UnionAuthenticator
from twinplane.controlplane.auth.contract import Credentials, UserInfo
from twinplane.controlplane.auth.legacy_token_use import INVALID_SINCE, LAST_USED, LegacyTokenUse
from twinplane.controlplane.auth.service_account_token import (
    EXTENDED_LIFETIME,
    ServiceAccountTokenAuthenticator,
    TokenIssuer,
    TokenRefused,
)
from twinplane.controlplane.auth.static_token import StaticTokenAuthenticator
from twinplane.controlplane.auth.token_request import create_token, key_set, openid_configuration, review_token
from twinplane.kubeclient.contract import Object, Resource
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.resources import NODES, PODS, SECRETS, SERVICE_ACCOUNTS

ISSUER = "https://oidc.eks.us-west-2.amazonaws.com/id/0123456789ABCDEF0123456789ABCDEF"
AUDIENCE = "https://kubernetes.default.svc"


@cache
def key(number: int = 0) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


class World:
    def __init__(self) -> None:
        self.clock = FixedClock()
        self.cluster = Cluster(
            (SERVICE_ACCOUNTS, named("build", "shop")),
            (NODES, named("node-1")),
            (PODS, named("web-1", "shop", spec={"serviceAccountName": "build", "nodeName": "node-1"})),
            (SECRETS, named("legacy", "shop")),
        )
        self.issuer = TokenIssuer(key(), issuer=ISSUER, clock=self.clock)
        self.authenticator = ServiceAccountTokenAuthenticator(
            [key(1).public_key(), key().public_key()],
            issuers=[ISSUER],
            api_audiences=self.issuer.api_audiences,
            reader=self.cluster.reader,
            clock=self.clock,
        )

    def request(self, **spec: Any) -> dict[str, Any]:
        return create_token(self.issuer, self.cluster.reader, "shop", "build", {"spec": spec})

    def token(self, **spec: Any) -> str:
        return str(self.request(**spec)["status"]["token"])

    async def user(self, token: str) -> UserInfo | None:
        return await self.authenticator.authenticate(Credentials(token=token))


@pytest.fixture
def world() -> World:
    return World()


def claims(token: str) -> dict[str, Any]:
    found = jws.unverified_claims(token)
    assert found is not None
    return found


POD = {"kind": "Pod", "apiVersion": "v1", "name": "web-1"}


async def test_a_token_names_its_service_account(world: World) -> None:
    user = await world.user(world.token())
    assert user is not None
    assert user.name == "system:serviceaccount:shop:build"
    assert user.groups == ("system:serviceaccounts", "system:serviceaccounts:shop", "system:authenticated")
    assert user.uid == "uid-1"
    assert user.extra["authentication.kubernetes.io/credential-id"][0].startswith("JTI=")


def test_claims_and_status_are_upstreams(world: World) -> None:
    answer = world.request(boundObjectRef=POD, expirationSeconds=600)
    found = claims(answer["status"]["token"])
    assert set(found) == {"aud", "exp", "iat", "iss", "jti", "kubernetes.io", "nbf", "sub"}
    assert found["aud"] == [AUDIENCE]
    assert found["exp"] - found["iat"] == 600
    assert found["kubernetes.io"] == {
        "namespace": "shop",
        "node": {"name": "node-1", "uid": "uid-2"},
        "pod": {"name": "web-1", "uid": "uid-3"},
        "serviceaccount": {"name": "build", "uid": "uid-1"},
    }
    assert answer["status"]["expirationTimestamp"] == "2023-11-14T22:23:20Z"


def test_a_projected_token_is_extended_but_asks_to_be_renewed(world: World) -> None:
    answer = world.request(boundObjectRef=POD, expirationSeconds=3607)
    found = claims(answer["status"]["token"])
    assert found["exp"] - found["iat"] == EXTENDED_LIFETIME
    assert found["kubernetes.io"]["warnafter"] - found["iat"] == 3607
    assert answer["status"]["expirationTimestamp"] == "2023-11-14T23:13:27Z"
    other = claims(world.token(boundObjectRef=POD, expirationSeconds=3607, audiences=["sts.amazonaws.com"]))
    assert other["exp"] - other["iat"] == 3607


async def test_pod_and_node_show_in_the_users_extra(world: World) -> None:
    user = await world.user(world.token(boundObjectRef=POD))
    assert user is not None
    assert user.extra["authentication.kubernetes.io/pod-name"] == ("web-1",)
    assert user.extra["authentication.kubernetes.io/node-name"] == ("node-1",)


async def test_a_token_dies_with_what_it_is_bound_to(world: World) -> None:
    token = world.token(boundObjectRef=POD)
    plain = world.token()
    world.cluster.remove(PODS, "web-1", "shop")
    with pytest.raises(ApiError):
        await world.user(token)
    assert await world.user(plain) is not None
    world.cluster.put(SERVICE_ACCOUNTS, named("build", "shop"))  # deleted and made again: another uid
    with pytest.raises(ApiError):
        await world.user(plain)


async def test_expiry_audience_and_signature(world: World) -> None:
    token = world.token()
    with pytest.raises(ApiError):
        await world.user(world.token(audiences=["sts.amazonaws.com"]))
    head, body, signature = token.split(".")
    forged = json.loads(base64.urlsafe_b64decode(body + "==")) | {"sub": "system:serviceaccount:shop:root"}
    with pytest.raises(ApiError):
        await world.user(f"{head}.{jws.encode_segment(json.dumps(forged).encode())}.{signature}")
    none = jws.encode_segment(b'{"alg":"none"}')
    with pytest.raises(ApiError):
        await world.user(f"{none}.{body}.")
    stranger = TokenIssuer(key(2), issuer=ISSUER, clock=world.clock)
    account = world.cluster.reader.get(SERVICE_ACCOUNTS, "build", "shop")
    assert account is not None
    with pytest.raises(ApiError):
        await world.user(stranger.issue(account, audiences=[AUDIENCE], seconds=600)[0])
    assert await world.user(token) is not None
    world.clock.time += 3600
    with pytest.raises(ApiError):
        await world.user(token)


async def test_tokens_of_other_kinds_are_left_alone(world: World) -> None:
    other = TokenIssuer(key(), issuer="https://elsewhere", clock=world.clock)
    token = other.issue(
        named("build", "shop") | {"metadata": {"name": "b", "namespace": "n", "uid": "u"}}, audiences=[], seconds=1
    )
    for text in ("", "opaque", "a.b.c", "k8s-aws-v1.x", token[0]):
        assert await world.user(text) is None


@given(st.text())
def test_no_text_is_a_crash(text: str) -> None:
    world = World()
    with pytest.raises(TokenRefused):
        world.authenticator.verify(text, ())
    assert not jws.signed_by(text, [key().public_key()])


@given(st.lists(st.binary(max_size=30), min_size=3, max_size=3))
def test_no_segments_are_a_crash(segments: list[bytes]) -> None:
    token = ".".join(jws.encode_segment(segment) for segment in segments)
    assert not jws.signed_by(token, [key().public_key()])
    jws.unverified_claims(token)


async def test_legacy_secret_tokens(world: World) -> None:
    account = world.cluster.reader.get(SERVICE_ACCOUNTS, "build", "shop")
    assert account is not None
    token = world.issuer.legacy(account, "legacy")
    with pytest.raises(ApiError):
        await world.user(token)
    world.cluster.put(SECRETS, named("legacy", "shop", data={"token": base64.b64encode(token.encode()).decode()}))
    user = await world.user(token)
    assert user is not None
    assert user.name == "system:serviceaccount:shop:build"


async def test_the_use_of_legacy_tokens_is_noted_and_invalid_ones_are_refused() -> None:
    cluster, clock = Cluster((SERVICE_ACCOUNTS, named("build", "shop"))), FixedClock()
    issuer = TokenIssuer(key(), issuer="https://x", clock=clock)
    account = cluster.reader.get(SERVICE_ACCOUNTS, "build", "shop")
    assert account is not None
    token = issuer.legacy(account, "legacy")
    data = {"token": base64.b64encode(token.encode()).decode()}
    cluster.put(SECRETS, named("legacy", "shop", data=data))
    patched: list[Object] = []

    class Client:
        async def patch(self, resource: Resource, name: str, patch: Object, namespace: str) -> None:
            patched.append(patch)

    use = LegacyTokenUse(Client(), clock)  # type: ignore[arg-type] # all that is asked of a client
    authenticator = ServiceAccountTokenAuthenticator(
        [key().public_key()],
        issuers=["https://x"],
        api_audiences=issuer.api_audiences,
        reader=cluster.reader,
        clock=clock,
    )
    authenticator.used = use.mark
    async with use.running():
        for _ in range(3):
            await authenticator.authenticate(Credentials(token))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    (patch,) = patched
    assert patch["metadata"]["labels"] == {LAST_USED: "2023-11-14"}
    marked = named("legacy", "shop", data=data)
    marked["metadata"]["labels"] = {INVALID_SINCE: "2023-11-14", LAST_USED: "2023-11-14"}
    cluster.put(SECRETS, marked)
    with pytest.raises(TokenRefused, match=r"has been marked invalid\. Use tokens from the TokenRequest API"):
        authenticator.verify(token, ())


@pytest.mark.parametrize(
    ("spec", "code", "message"),
    [
        ({"expirationSeconds": 599}, 422, "may not specify a duration less than 10 minutes"),
        ({"expirationSeconds": (1 << 32) + 1}, 422, "may not specify a duration larger than 2^32 seconds"),
        ({"expirationSeconds": "x"}, 422, "must be an integer"),
        ({"boundObjectRef": {"kind": "Job", "name": "x"}}, 400, "object of type Job"),
        ({"boundObjectRef": {"kind": "Pod", "name": "gone"}}, 404, 'pods "gone" not found'),
        ({"boundObjectRef": POD | {"uid": "other"}}, 409, "does not match the UID in record"),
    ],
)
def test_bad_token_requests(world: World, spec: dict[str, Any], code: int, message: str) -> None:
    with pytest.raises(ApiError) as caught:
        world.request(**spec)
    assert caught.value.code == code
    assert message in caught.value.message


def test_unknown_accounts_and_foreign_pods(world: World) -> None:
    with pytest.raises(ApiError, match='serviceaccounts "nobody" not found'):
        create_token(world.issuer, world.cluster.reader, "shop", "nobody", {})
    world.cluster.put(SERVICE_ACCOUNTS, named("other", "shop"))
    with pytest.raises(ApiError, match="different serviceaccount name"):
        create_token(world.issuer, world.cluster.reader, "shop", "other", {"spec": {"boundObjectRef": POD}})


async def review(world: World, token: str, *audiences: str) -> dict[str, Any]:
    union = UnionAuthenticator([world.authenticator, StaticTokenAuthenticator({"secret": UserInfo("kubelet")})])
    body = {"spec": {"token": token, "audiences": list(audiences)}}
    answer = await review_token(union, world.authenticator, body)
    status: dict[str, Any] = answer["status"]
    return status


async def test_token_review(world: World) -> None:
    status = await review(world, world.token(audiences=["vault", AUDIENCE]), "vault")
    assert status["authenticated"] is True
    assert status["audiences"] == ["vault"]
    assert status["user"]["username"] == "system:serviceaccount:shop:build"
    assert "authenticated" not in await review(world, world.token(), "vault")
    assert (await review(world, "rubbish"))["error"] == "invalid bearer token"
    assert (await review(world, "secret"))["user"]["username"] == "kubelet"
    with pytest.raises(ApiError):
        await review(world, "")


def test_discovery_documents_and_key_ids() -> None:
    document = openid_configuration(ISSUER, "https://127.0.0.1:6443")
    assert document["issuer"] == ISSUER
    assert document["jwks_uri"] == "https://127.0.0.1:6443/openid/v1/jwks"
    (shown,) = key_set([key().public_key()])["keys"]
    numbers = key().public_key().public_numbers()
    assert int.from_bytes(jws.decode_segment(shown["n"]), "big") == numbers.n
    assert (shown["e"], shown["kty"], shown["alg"]) == ("AQAB", "RSA", "RS256")
    assert shown["kid"] == jws.key_id(key().public_key())
