from __future__ import annotations

import datetime
from collections.abc import Iterator
from dataclasses import replace

import botocore.auth
import pytest
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given, settings
from hypothesis import strategies as st

from twinplane.cloud.signature import (
    Refused,
    Signature,
    SignedRequest,
    check_date,
    check_signature,
    read_signature,
)

SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
KEYS = Credentials("AKIDEXAMPLE", SECRET)
PRESIGNED_FOR_NO_TIME = (
    "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=a/1/r/s/aws4_request&X-Amz-Date=x&X-Amz-SignedHeaders=h"
    "&X-Amz-Signature=y&X-Amz-Expires=-1"
)
NOW = 1_800_000_000.0


@pytest.fixture(autouse=True, scope="module")
def _one_moment() -> Iterator[None]:
    moment = datetime.datetime.fromtimestamp(NOW, datetime.UTC).replace(tzinfo=None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(botocore.auth, "get_current_datetime", lambda *_, **__: moment)
        yield


def _wire(request: AWSRequest) -> SignedRequest:
    """The request as it leaves botocore."""
    prepared = request.prepare()
    path, _, query = prepared.url.removeprefix("http://127.0.0.1:4566").partition("?")
    headers = [(name, value) for name, value in prepared.headers.items()]
    return SignedRequest(prepared.method, path, query, [("Host", "127.0.0.1:4566"), *headers], prepared.body or b"")


def _read(request: SignedRequest) -> Signature:
    signature = read_signature({name.lower(): value for name, value in request.headers}, request.query)
    assert signature is not None
    return signature


def signed(service: str = "eks", method: str = "POST", path: str = "/clusters", body: bytes = b"{}") -> SignedRequest:
    request = AWSRequest(
        method, f"http://127.0.0.1:4566{path}", headers={"Content-Type": "application/json"}, data=body
    )
    botocore.auth.SigV4Auth(KEYS, service, "us-west-2").add_auth(request)
    return _wire(request)


def presigned(expires: int = 60, service: str = "sts") -> SignedRequest:
    request = AWSRequest(
        "GET", "http://127.0.0.1:4566/?Action=GetCallerIdentity&Version=2011-06-15", headers={"x-k8s-aws-id": "demo"}
    )
    botocore.auth.SigV4QueryAuth(KEYS, service, "us-west-2", expires=expires).add_auth(request)
    return _wire(request)


def test_what_botocore_signs_is_accepted() -> None:
    request = signed()
    signature = _read(request)
    assert (signature.access_key_id, signature.service, signature.region) == ("AKIDEXAMPLE", "eks", "us-west-2")
    check_date(signature, NOW)
    check_signature(request, signature, SECRET)


@pytest.mark.parametrize(
    "change",
    [
        {"method": "PUT"},
        {"path": "/clusters/x"},
        {"query": "a=b"},
        {"body": b'{"a":1}'},
    ],
)
def test_a_changed_request_is_refused(change: dict[str, object]) -> None:
    request = signed()
    with pytest.raises(Refused, match="SignatureDoesNotMatch"):
        check_signature(replace(request, **change), _read(request), SECRET)  # type: ignore[arg-type]  # parametrized


def test_another_secret_is_refused() -> None:
    request = signed()
    with pytest.raises(Refused, match="SignatureDoesNotMatch"):
        check_signature(request, _read(request), SECRET + "x")


def test_a_presigned_url_covers_its_extra_headers() -> None:
    request = presigned()
    signature = _read(request)
    assert signature.signed_headers == ("host", "x-k8s-aws-id")
    check_signature(request, signature, SECRET)
    other = replace(request, headers=[("Host", "127.0.0.1:4566"), ("x-k8s-aws-id", "other")])
    with pytest.raises(Refused, match="SignatureDoesNotMatch"):
        check_signature(other, signature, SECRET)


def test_sts_takes_a_presigned_url_for_fifteen_minutes_and_others_as_long_as_it_says() -> None:
    check_date(_read(presigned(60)), NOW + 899)
    with pytest.raises(Refused, match="SignatureDoesNotMatch: Signature expired"):
        check_date(_read(presigned(60)), NOW + 901)
    check_date(_read(presigned(60, "s3")), NOW + 59)
    with pytest.raises(Refused, match="RequestExpired"):
        check_date(_read(presigned(60, "s3")), NOW + 61)


def test_a_clock_that_is_wrong_by_more_than_fifteen_minutes_is_refused() -> None:
    signature = _read(signed())
    check_date(signature, NOW + 899)
    with pytest.raises(Refused, match="Signature expired: 20270115T080000Z is now earlier than"):
        check_date(signature, NOW + 901)
    with pytest.raises(Refused, match="Signature not yet current"):
        check_date(signature, NOW - 901)


@pytest.mark.parametrize(
    ("headers", "query"),
    [
        ({"authorization": "AWS4-HMAC-SHA256 Credential=a"}, ""),
        (
            {"authorization": "AWS4-HMAC-SHA256 Credential=a/b/c, SignedHeaders=host, Signature=d", "x-amz-date": "x"},
            "",
        ),
        ({"authorization": "Basic abc"}, ""),
        ({}, "X-Amz-Algorithm=AWS4-HMAC-SHA256"),
        (
            {},
            PRESIGNED_FOR_NO_TIME,
        ),
    ],
)
def test_malformed_signatures_are_refused(headers: dict[str, str], query: str) -> None:
    with pytest.raises(Refused, match="IncompleteSignature"):
        read_signature(headers, query)


def test_a_date_that_is_none_is_refused() -> None:
    with pytest.raises(Refused, match="IncompleteSignature"):
        check_date(replace(_read(signed()), timestamp="today"), NOW)
    with pytest.raises(Refused, match="Date in Credential scope"):
        check_date(replace(_read(signed()), date="20200101"), NOW)


def test_no_signature_at_all() -> None:
    assert read_signature({}, "Action=GetCallerIdentity") is None


text = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), max_size=12)


@settings(max_examples=60)
@given(segments=st.lists(text.filter(lambda part: part not in (".", "..")), max_size=4), body=st.binary(max_size=40))
def test_any_path_and_body_that_botocore_signs_is_accepted(segments: list[str], body: bytes) -> None:
    from urllib.parse import quote

    path = "/" + "/".join(quote(segment, safe="") for segment in segments)
    for service in ("eks", "s3"):
        request = AWSRequest("PUT", f"http://127.0.0.1:4566{path}", data=body)
        auth = botocore.auth.S3SigV4Auth if service == "s3" else botocore.auth.SigV4Auth
        if service == "s3":
            request.context["client_config"] = None
        auth(KEYS, service, "us-west-2").add_auth(request)
        wire = _wire(request)
        check_signature(wire, _read(wire), SECRET)


@settings(max_examples=60)
@given(pairs=st.dictionaries(text.filter(bool), text, max_size=5))
def test_any_query_that_botocore_signs_is_accepted(pairs: dict[str, str]) -> None:
    request = AWSRequest("GET", "http://127.0.0.1:4566/x", params=pairs)
    botocore.auth.SigV4Auth(KEYS, "eks", "us-west-2").add_auth(request)
    wire = _wire(request)
    check_signature(wire, _read(wire), SECRET)
