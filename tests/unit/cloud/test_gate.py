"""Who gets in at the real endpoint, and what those who do not are told, service by service."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.unit.cloud.regions import ACCOUNT, Region, in_thread
from twinplane.cloud.contract import AwsCredentials


def get(url: str, headers: dict[str, str] | None = None, data: bytes | None = None) -> tuple[int, str]:
    request = urllib.request.Request(url, headers=headers or {}, data=data)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


async def refused(
    region: Region, service: str, operation: str, keys: AwsCredentials, **parameters: Any
) -> tuple[str, int]:
    client = region.client(service, keys)
    with pytest.raises(ClientError) as caught:
        await in_thread(getattr(client, operation), **parameters)
    response = caught.value.response
    return response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]


async def test_the_administrator_is_an_iam_user(region: Region) -> None:
    identity = await region.call("sts", "get_caller_identity")
    assert identity["Arn"] == f"arn:aws:iam::{ACCOUNT}:user/admin"
    assert identity["Account"] == ACCOUNT
    user = (await region.call("iam", "get_user", UserName="admin"))["User"]
    assert user["UserId"] == identity["UserId"]
    keys = (await region.call("iam", "list_access_keys", UserName="admin"))["AccessKeyMetadata"]
    assert [key["AccessKeyId"] for key in keys] == [region.cloud.credentials.access_key_id]


@pytest.mark.parametrize(
    ("service", "operation", "unknown_key", "wrong_secret"),
    [
        ("sts", "get_caller_identity", ("InvalidClientTokenId", 403), ("SignatureDoesNotMatch", 403)),
        ("ec2", "describe_vpcs", ("AuthFailure", 401), ("AuthFailure", 401)),
        ("eks", "list_clusters", ("UnrecognizedClientException", 403), ("InvalidSignatureException", 403)),
        ("ecr", "describe_repositories", ("UnrecognizedClientException", 400), ("InvalidSignatureException", 400)),
        ("s3", "list_buckets", ("InvalidAccessKeyId", 403), ("SignatureDoesNotMatch", 403)),
    ],
)
async def test_refusals_speak_the_protocol_of_the_service(
    region: Region, service: str, operation: str, unknown_key: tuple[str, int], wrong_secret: tuple[str, int]
) -> None:
    assert await refused(region, service, operation, AwsCredentials("AKIAUNKNOWN", "x")) == unknown_key
    wrong = AwsCredentials(region.cloud.credentials.access_key_id, "wrong")
    assert await refused(region, service, operation, wrong) == wrong_secret


async def test_an_unsigned_request_is_refused_and_health_is_public(region: Region) -> None:
    url = region.cloud.endpoint_url
    status, body = await in_thread(get, f"{url}/?Action=GetCallerIdentity&Version=2011-06-15")
    assert status == 403
    assert "<Code>MissingAuthenticationToken</Code>" in body
    status, body = await in_thread(get, f"{url}/_twinplane/health")
    assert (status, json.loads(body)["status"]) == (200, "ok")


async def test_a_presigned_caller_identity_is_what_an_eks_token_is(region: Region) -> None:
    url = await in_thread(
        region.client("sts").generate_presigned_url, "get_caller_identity", ExpiresIn=60, HttpMethod="GET"
    )
    status, body = await in_thread(get, url, {"Accept": "application/json"})
    result = json.loads(body)["GetCallerIdentityResponse"]["GetCallerIdentityResult"]
    assert (status, result["Arn"]) == (200, f"arn:aws:iam::{ACCOUNT}:user/admin")
    status, body = await in_thread(get, url + "&Action=DescribeVpcs")
    assert (status, "SignatureDoesNotMatch" in body) == (403, True)


async def test_keys_of_iam_users_work_until_they_are_made_inactive(region: Region) -> None:
    await region.call("iam", "create_user", UserName="dev", Path="/team/")
    made = (await region.call("iam", "create_access_key", UserName="dev"))["AccessKey"]
    keys = AwsCredentials(made["AccessKeyId"], made["SecretAccessKey"])
    identity = await in_thread(region.client("sts", keys).get_caller_identity)
    assert identity["Arn"] == f"arn:aws:iam::{ACCOUNT}:user/team/dev"
    await region.call("iam", "update_access_key", UserName="dev", AccessKeyId=keys.access_key_id, Status="Inactive")
    assert await refused(region, "sts", "get_caller_identity", keys) == ("InvalidClientTokenId", 403)


async def test_an_assumed_role_is_its_session(region: Region) -> None:
    role = await region.call("iam", "create_role", RoleName="ops", AssumeRolePolicyDocument="{}")
    arn = role["Role"]["Arn"]
    assumed = await region.call("sts", "assume_role", RoleArn=arn, RoleSessionName="me", DurationSeconds=900)
    keys = _keys(assumed)
    identity = await in_thread(region.client("sts", keys).get_caller_identity)
    assert identity["Arn"] == f"arn:aws:sts::{ACCOUNT}:assumed-role/ops/me"
    assert identity["UserId"] == f"{role['Role']['RoleId']}:me"
    stripped = AwsCredentials(keys.access_key_id, keys.secret_access_key)
    assert await refused(region, "sts", "get_caller_identity", stripped) == ("InvalidClientTokenId", 403)


async def test_session_and_federation_tokens_are_verifiable(region: Region) -> None:
    session = _keys(await region.call("sts", "get_session_token", DurationSeconds=900))
    assert (await in_thread(region.client("sts", session).get_caller_identity))["Arn"].endswith(":user/admin")
    federated = _keys(await region.call("sts", "get_federation_token", Name="bob", DurationSeconds=900))
    identity = await in_thread(region.client("sts", federated).get_caller_identity)
    assert identity["Arn"] == f"arn:aws:sts::{ACCOUNT}:federated-user/bob"
    with pytest.raises(ClientError, match="durationSeconds"):
        await region.call("sts", "get_session_token", DurationSeconds=129_601)


async def test_web_identity_needs_no_signature(region: Region) -> None:
    form = (
        b"Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleSessionName=pod&WebIdentityToken=abcd"
        b"&RoleArn=arn:aws:iam::123456789012:role/app"
    )
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    status, body = await in_thread(get, region.cloud.endpoint_url + "/", kind, form)
    assert (status, "InvalidIdentityToken" in body) == (400, True)


async def test_service_credentials_open_the_internal_api_and_expire(region: Region) -> None:
    arn = f"arn:aws:sts::{ACCOUNT}:assumed-role/node-role/i-0123"
    keys = region.cloud.issue_service_credentials(arn)
    assert (await in_thread(region.client("sts", keys).get_caller_identity))["Arn"] == arn
    expired = region.cloud.issue_service_credentials(arn, expiration=1.0)
    assert await refused(region, "sts", "get_caller_identity", expired) == ("ExpiredToken", 403)
    assert await refused(region, "eks", "list_clusters", expired) == ("ExpiredTokenException", 403)
    forged = AwsCredentials(keys.access_key_id, keys.secret_access_key, keys.session_token[:-8] + "AAAAAAA=")
    assert await refused(region, "sts", "get_caller_identity", forged) == ("InvalidClientTokenId", 403)


def _keys(answer: Any) -> AwsCredentials:
    found = answer["Credentials"]
    return AwsCredentials(found["AccessKeyId"], found["SecretAccessKey"], found["SessionToken"])
