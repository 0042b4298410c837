"""Our signer against botocore's, and against the verifier of our own endpoint."""

from __future__ import annotations

import datetime

import botocore.auth
import pytest
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from twinplane.sigv4 import Signer

NOW = 1_800_000_000.0


@pytest.fixture(autouse=True)
def _one_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    moment = datetime.datetime.fromtimestamp(NOW, datetime.UTC).replace(tzinfo=None)
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda *_, **__: moment)


@pytest.mark.parametrize("token", ["", "a/token=="])
@pytest.mark.parametrize("body", [b"", b"Action=DescribeInstances&Version=2016-11-15"])
def test_header_signature_is_botocores(token: str, body: bytes) -> None:
    method, url = ("POST", "http://127.0.0.1:4566/") if body else ("GET", "http://127.0.0.1:4566/x?b=2&a=1%2F3&c=")
    more = {"Content-Type": "application/x-www-form-urlencoded"} if body else {}
    request = AWSRequest(method, url, headers=dict(more), data=body)
    botocore.auth.SigV4Auth(Credentials("AKID", "secret", token or None), "ec2", "us-west-2").add_auth(request)
    ours = Signer("AKID", "secret", token, "us-west-2", "ec2").headers(method, url, NOW, body=body, more=more)
    assert ours["authorization"] == request.headers["Authorization"]


def test_an_encoded_path_is_signed_as_botocore_signs_it() -> None:
    url = "http://127.0.0.1:4566/_twinplane/clusters/a%20b/instances?timeout=30&after=0"
    request = AWSRequest("GET", url)
    botocore.auth.SigV4Auth(Credentials("AKID", "secret", "token"), "ec2", "us-west-2").add_auth(request)
    ours = Signer("AKID", "secret", "token", "us-west-2", "ec2").headers("GET", url, NOW)
    assert ours["authorization"] == request.headers["Authorization"]
