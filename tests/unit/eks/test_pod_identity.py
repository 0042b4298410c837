"""Pod Identity over the wire: associations, and credentials for the pods of associated service accounts."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from joserfc import jwt
from joserfc.jwk import RSAKey

from tests.unit.cloud.regions import ACCOUNT, REGION, Region, region
from twinplane.cloud.contract import AwsCredentials

KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PRIVATE = KEY.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
PUBLIC = KEY.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
ISSUER = f"https://oidc.eks.{REGION}.amazonaws.com/id/ABC"


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Region]:
    async with region(tmp_path) as made:
        record = {"name": "c", "arn": "arn:c", "identity": {"oidc": {"issuer": ISSUER}}, "status": "FAILED"}
        made.cloud._eks_state.put("cluster", ("c",), record)
        made.control_planes.token_keys["c"] = PUBLIC.decode()
        yield made


async def role(running: Region, name: str, actions: list[str]) -> str:
    statement = {"Effect": "Allow", "Principal": {"Service": "pods.eks.amazonaws.com"}, "Action": actions}
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    made = await running.call("iam", "create_role", RoleName=name, AssumeRolePolicyDocument=document)
    return str(made["Role"]["Arn"])


async def associate(running: Region, role_arn: str, account: str = "app", **more: Any) -> dict[str, Any]:
    made = await running.call(
        "eks",
        "create_pod_identity_association",
        clusterName="c",
        namespace="default",
        serviceAccount=account,
        roleArn=role_arn,
        **more,
    )
    association: dict[str, Any] = made["association"]
    return association


def token(account: str = "app", **claims: Any) -> str:
    body = {
        "iss": ISSUER,
        "sub": f"system:serviceaccount:default:{account}",
        "aud": ["pods.eks.amazonaws.com"],
        "exp": int(time.time()) + 600,
        "kubernetes.io": {"namespace": "default", "pod": {"name": "app-1"}},
    }
    return jwt.encode({"alg": "RS256"}, body | claims, RSAKey.import_key(PRIVATE))


async def test_the_life_of_an_association(running: Region) -> None:
    first, second = await role(running, "one", ["sts:*"]), await role(running, "two", ["sts:*"])
    made = await associate(running, first, tags={"team": "a"})
    assert made["associationArn"].startswith(f"arn:aws:eks:{REGION}:{ACCOUNT}:podidentityassociation/c/a-")
    assert (await running.call("eks", "list_tags_for_resource", resourceArn=made["associationArn"]))["tags"] == {
        "team": "a"
    }
    with pytest.raises(ClientError, match=f"Association already exists: {made['associationId']}"):
        await associate(running, second)
    with pytest.raises(ClientError, match="does not exist"):
        await associate(running, second + "x", "other")
    identifier = {"clusterName": "c", "associationId": made["associationId"]}
    await running.call("eks", "update_pod_identity_association", **identifier, roleArn=second)
    shown = (await running.call("eks", "describe_pod_identity_association", **identifier))["association"]
    assert shown["roleArn"] == second
    listed = await running.call("eks", "list_pod_identity_associations", clusterName="c", namespace="default")
    assert [each["associationId"] for each in listed["associations"]] == [made["associationId"]]
    elsewhere = await running.call("eks", "list_pod_identity_associations", clusterName="c", namespace="prod")
    assert elsewhere["associations"] == []
    await running.call("eks", "delete_pod_identity_association", **identifier)
    with pytest.raises(ClientError, match="No PodIdentityAssociation found"):
        await running.call("eks", "describe_pod_identity_association", **identifier)


async def test_a_pod_gets_credentials_of_its_role(running: Region) -> None:
    await associate(running, await role(running, "app", ["sts:AssumeRole", "sts:TagSession"]))
    answer = await running.call("eks-auth", "assume_role_for_pod_identity", clusterName="c", token=token())
    assert answer["subject"] == {"namespace": "default", "serviceAccount": "app"}
    keys = answer["credentials"]
    sts = running.client("sts", AwsCredentials(keys["accessKeyId"], keys["secretAccessKey"], keys["sessionToken"]))
    arn = (await asyncio.to_thread(sts.get_caller_identity))["Arn"]
    assert arn.startswith(f"arn:aws:sts::{ACCOUNT}:assumed-role/app/eks-c-app-1-")


async def refusal(running: Region, presented: str) -> str:
    with pytest.raises(ClientError) as refused:
        await running.call("eks-auth", "assume_role_for_pod_identity", clusterName="c", token=presented)
    return str(refused.value.response["Error"]["Code"])


async def test_what_is_refused(running: Region) -> None:
    await associate(running, await role(running, "app", ["sts:AssumeRole"]))
    assert await refusal(running, token()) == "AccessDeniedException"
    assert await refusal(running, token("stranger")) == "ResourceNotFoundException"
    assert await refusal(running, token(aud=["sts.amazonaws.com"])) == "InvalidTokenException"
    assert await refusal(running, token(iss="https://example.com")) == "InvalidTokenException"
    assert await refusal(running, token(exp=1)) == "ExpiredTokenException"
    assert await refusal(running, "not.a.token") == "InvalidTokenException"
