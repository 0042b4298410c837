"""EKS bearer tokens: what is refused before STS is asked, and what STS's answer becomes."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.auth.fakes import FixedClock
from twinplane.controlplane.auth import arn
from twinplane.controlplane.auth.contract import Credentials, UserInfo
from twinplane.controlplane.auth.iam_token import (
    PREFIX,
    CallerIdentity,
    IamAuthenticator,
    IamTokenVerifier,
    Identity,
    TokenRefused,
    check,
    identity_of,
)
from twinplane.kubeclient.errors import ApiError

NOW = 1_700_000_000.0
SESSION = "arn:aws:sts::123456789012:assumed-role/Admin/me@example.com"


def token(host: str = "sts.us-west-2.amazonaws.com", *, path: str = "/", scheme: str = "https", **change: str) -> str:
    """`change` replaces query parameters, with `_` for `-`; an empty value removes one."""
    query = {
        "Action": "GetCallerIdentity",
        "Version": "2011-06-15",
        "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
        "X-Amz-Credential": "AKIDEXAMPLE/20231114/us-west-2/sts/aws4_request",
        "X-Amz-Date": datetime.fromtimestamp(NOW, UTC).strftime("%Y%m%dT%H%M%SZ"),
        "X-Amz-Expires": "60",
        "X-Amz-SignedHeaders": "host;x-k8s-aws-id",
        "X-Amz-Signature": "abc",
    } | {name.replace("_", "-"): value for name, value in change.items()}
    url = f"{scheme}://{host}{path}?{urlencode({name: value for name, value in query.items() if value})}"
    return PREFIX + base64.urlsafe_b64encode(url.encode()).rstrip(b"=").decode()


def test_a_good_token_is_taken_apart() -> None:
    url, parameters = check(token(), now=NOW)
    assert url.startswith("https://sts.us-west-2.amazonaws.com/?Action=")
    assert parameters["x-amz-credential"].startswith("AKIDEXAMPLE/")


@pytest.mark.parametrize(
    "host",
    [
        "sts.amazonaws.com",
        "sts.eu-central-1.amazonaws.com",
        "sts-fips.us-east-1.amazonaws.com",
        "sts.cn-north-1.amazonaws.com.cn",
    ],
)
def test_hosts_of_sts_are_taken(host: str) -> None:
    check(token(host), now=NOW)


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        ("other-v1.abc", "prefix"),
        (PREFIX + "***", "URL"),
        (PREFIX + "aGVsbG8=", "padded"),
        (PREFIX + "a" * 5000, "too large"),
        (token(scheme="http"), "scheme"),
        (token("sts.us-west-2.amazonaws.com.evil.example"), "hostname"),
        (token("evil.example"), "hostname"),
        (token("sts.us-west-2.amazonaws.com:444"), "hostname"),
        (token("user@sts.us-west-2.amazonaws.com"), "hostname"),
        (token(path="/x"), "path"),
        (token(Action="AssumeRole"), "action"),
        (token(Tags="x"), "whitelisted"),
        (token(action="GetCallerIdentity"), "multiple"),
        (token(X_Amz_SignedHeaders="host"), "did not sign"),
        (token(X_Amz_SignedHeaders="host;x-k8s-aws-id-2"), "did not sign"),
        (token(X_Amz_Expires="901"), "Expires"),
        (token(X_Amz_Expires="-1"), "Expires"),
        (token(X_Amz_Expires=""), "Expires"),
        (token(X_Amz_Date="yesterday"), "X-Amz-Date"),
        (token(X_Amz_Date="20231114T215500Z"), "expired"),
        (token(X_Amz_Date="20231114T221500Z"), "future"),
    ],
)
def test_bad_tokens_are_refused(bad: str, why: str) -> None:
    with pytest.raises(TokenRefused, match=why):
        check(bad, now=NOW)


def test_our_own_endpoint_may_be_plain_http_when_configured() -> None:
    own = token("127.0.0.1:4566", scheme="http")
    check(own, now=NOW, hosts=["127.0.0.1:4566"])
    with pytest.raises(TokenRefused):
        check(own, now=NOW)


@given(st.text())
def test_no_text_makes_it_fail_otherwise(text: str) -> None:
    with pytest.raises(TokenRefused):
        check(PREFIX + text, now=NOW)


@given(st.binary(max_size=200))
def test_no_bytes_make_it_fail_otherwise(data: bytes) -> None:
    with pytest.raises(TokenRefused):
        check(PREFIX + base64.urlsafe_b64encode(data).rstrip(b"=").decode(), now=NOW)


class Sts:
    def __init__(self, caller: CallerIdentity, cluster: str = "shop") -> None:
        self.caller = caller
        self.cluster = cluster
        self.calls = 0

    async def __call__(self, url: str, headers: Mapping[str, str]) -> CallerIdentity:
        self.calls += 1
        if headers["x-k8s-aws-id"] != self.cluster:
            raise TokenRefused("SignatureDoesNotMatch")
        return self.caller


CALLER = CallerIdentity("123456789012", SESSION, "AROAID:me@example.com")


async def test_sts_is_asked_once_a_minute() -> None:
    clock, sts = FixedClock(NOW), Sts(CALLER)
    verifier = IamTokenVerifier("shop", sts, clock)
    first = await verifier.verify(token())
    assert first == await verifier.verify(token())
    assert sts.calls == 1
    clock.time += 61
    await verifier.verify(token())
    assert sts.calls == 2
    clock.time = NOW + 15 * 60 + 1
    with pytest.raises(TokenRefused, match="expired"):
        await verifier.verify(token())


async def test_a_cached_token_does_not_outlive_its_date() -> None:
    clock = FixedClock(NOW + 15 * 60 - 10)
    verifier = IamTokenVerifier("shop", Sts(CALLER), clock)
    await verifier.verify(token())
    clock.time += 11
    with pytest.raises(TokenRefused):
        await verifier.verify(token())


async def test_a_token_of_another_cluster_fails_at_sts() -> None:
    verifier = IamTokenVerifier("other", Sts(CALLER), FixedClock(NOW))
    with pytest.raises(TokenRefused, match="SignatureDoesNotMatch"):
        await verifier.verify(token())


class Mapper:
    def __init__(self, user: UserInfo | None) -> None:
        self.answer = user

    async def user(self, identity: Identity) -> UserInfo | None:
        return self.answer


async def test_authenticator_leaves_other_tokens_alone_and_refuses_bad_ones() -> None:
    alice = UserInfo("alice")
    authenticator = IamAuthenticator(IamTokenVerifier("shop", Sts(CALLER), FixedClock(NOW)), Mapper(alice))
    assert await authenticator.authenticate(Credentials(token="eyJ")) is None
    assert await authenticator.authenticate(Credentials(token=token())) == alice
    with pytest.raises(ApiError) as caught:
        await authenticator.authenticate(Credentials(token=PREFIX + "bm90aGluZw"))
    assert (caught.value.code, caught.value.message) == (401, "Unauthorized")


async def test_a_region_that_is_away_is_no_refusal() -> None:
    class Away(Mapper):
        async def user(self, identity: Identity) -> UserInfo | None:
            raise OSError("connection refused")

    authenticator = IamAuthenticator(IamTokenVerifier("shop", Sts(CALLER), FixedClock(NOW)), Away(None))
    with pytest.raises(ApiError) as caught:
        await authenticator.authenticate(Credentials(token=token()))
    assert caught.value.code == 503


async def test_an_unmapped_principal_is_unauthorized() -> None:
    authenticator = IamAuthenticator(IamTokenVerifier("shop", Sts(CALLER), FixedClock(NOW)), Mapper(None))
    with pytest.raises(ApiError):
        await authenticator.authenticate(Credentials(token=token()))


def test_identity_of_a_session_and_of_a_user() -> None:
    session = identity_of(CALLER, "AKID")
    assert session.canonical_arn == "arn:aws:iam::123456789012:role/Admin"
    assert (session.user_id, session.session_name) == ("AROAID", "me@example.com")
    user = identity_of(CallerIdentity("1", "arn:aws:iam::1:user/team/bob", "AIDA"), "AKID")
    assert (user.canonical_arn, user.user_id, user.session_name) == ("arn:aws:iam::1:user/team/bob", "AIDA", "")


@pytest.mark.parametrize("text", ["", "arn:aws:s3:::bucket", "arn:moon:iam::1:user/x", "arn:aws:sts::1:other/x"])
def test_other_principals_have_no_canonical_arn(text: str) -> None:
    with pytest.raises(ValueError, match=r"arn|service"):
        arn.canonical(text)


def test_paths_of_roles_are_dropped_for_comparison() -> None:
    assert arn.without_path("arn:aws:iam::1:role/team/x/Admin") == "arn:aws:iam::1:role/Admin"
    assert arn.without_path("arn:aws:iam::1:root") == "arn:aws:iam::1:root"
