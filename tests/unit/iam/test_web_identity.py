"""IRSA over the wire: a service account's token becomes a role's credentials, where the role trusts it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from joserfc import jwt
from joserfc.jwk import RSAKey

from tests.unit.cloud.regions import ACCOUNT, REGION, Region, _session, region
from twinplane.cloud.contract import AwsCredentials

SUBJECT = "system:serviceaccount:default:app"
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


def pem(key: rsa.RSAPrivateKey) -> str:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(serialization.Encoding.PEM, form).decode()


class Cluster:
    def __init__(self, region: Region, issuer: str) -> None:
        self.region = region
        self.issuer = issuer
        self.host = issuer.removeprefix("https://")
        self.provider = f"arn:aws:iam::{ACCOUNT}:oidc-provider/{self.host}"

    def token(self, key: rsa.RSAPrivateKey = KEY, **claims: Any) -> str:
        now = int(time.time())
        body = {"iss": self.issuer, "sub": SUBJECT, "aud": ["sts.amazonaws.com"], "exp": now + 600, **claims}
        content = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return jwt.encode({"alg": "RS256"}, body, RSAKey.import_key(content))

    async def trust(self, role: str, subject: str = SUBJECT) -> str:
        statement = {
            "Effect": "Allow",
            "Principal": {"Federated": self.provider},
            "Action": "sts:AssumeRoleWithWebIdentity",
            "Condition": {"StringEquals": {f"{self.host}:sub": subject}},
        }
        document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        made = await self.region.call("iam", "create_role", RoleName=role, AssumeRolePolicyDocument=document)
        return str(made["Role"]["Arn"])

    async def assume(self, role_arn: str, token: str, **more: Any) -> Any:
        config = Config(signature_version=UNSIGNED, retries={"total_max_attempts": 1})
        sts = _session().create_client(
            "sts", region_name=REGION, endpoint_url=self.region.cloud.endpoint_url, config=config
        )
        return await asyncio.to_thread(
            sts.assume_role_with_web_identity,
            RoleArn=role_arn,
            RoleSessionName="pod",
            WebIdentityToken=token,
            **more,
        )


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    async with region(tmp_path) as running:
        issuer = f"https://oidc.eks.{REGION}.amazonaws.com/id/ABC"
        running.cloud._eks_state.put("cluster", ("c",), {"identity": {"oidc": {"issuer": issuer}}, "status": "FAILED"})
        running.control_planes.token_keys["c"] = pem(KEY)
        await running.call("iam", "create_open_id_connect_provider", Url=issuer, ClientIDList=["sts.amazonaws.com"])
        yield Cluster(running, issuer)


async def test_a_trusted_service_account_acts_as_the_role(cluster: Cluster) -> None:
    role = await cluster.trust("app")
    answer = await cluster.assume(role, cluster.token(), DurationSeconds=900)
    assert answer["SubjectFromWebIdentityToken"] == SUBJECT
    assert answer["Provider"] == cluster.provider
    assert answer["AssumedRoleUser"]["Arn"] == f"arn:aws:sts::{ACCOUNT}:assumed-role/app/pod"
    keys = answer["Credentials"]
    credentials = AwsCredentials(keys["AccessKeyId"], keys["SecretAccessKey"], keys["SessionToken"])
    sts = cluster.region.client("sts", credentials)
    assert (await asyncio.to_thread(sts.get_caller_identity))["Arn"] == answer["AssumedRoleUser"]["Arn"]


async def refusal(cluster: Cluster, role: str, token: str, **more: Any) -> str:
    with pytest.raises(ClientError) as refused:
        await cluster.assume(role, token, **more)
    return str(refused.value.response["Error"]["Code"])


async def test_what_is_refused(cluster: Cluster) -> None:
    role = await cluster.trust("app")
    other = await cluster.trust("other", "system:serviceaccount:prod:app")
    foreign = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    assert await refusal(cluster, other, cluster.token()) == "AccessDenied"
    assert await refusal(cluster, role + "x", cluster.token()) == "AccessDenied"
    assert await refusal(cluster, role, cluster.token(sub="system:serviceaccount:default:x")) == "AccessDenied"
    assert await refusal(cluster, role, cluster.token(foreign)) == "InvalidIdentityToken"
    assert await refusal(cluster, role, cluster.token(aud=["https://kubernetes.default.svc"])) == "InvalidIdentityToken"
    assert await refusal(cluster, role, cluster.token(iss="https://oidc.example.com")) == "InvalidIdentityToken"
    assert await refusal(cluster, role, cluster.token(exp=int(time.time()) - 1)) == "ExpiredTokenException"
    assert await refusal(cluster, role, "not.a.token") == "InvalidIdentityToken"
    assert await refusal(cluster, role, cluster.token(), DurationSeconds=43_200) == "ValidationError"


async def test_without_a_provider_in_the_account(cluster: Cluster) -> None:
    role = await cluster.trust("app")
    await cluster.region.call("iam", "delete_open_id_connect_provider", OpenIDConnectProviderArn=cluster.provider)
    assert await refusal(cluster, role, cluster.token()) == "InvalidIdentityToken"
