"""Pods of accounts with a role get the variables and tokens that AWS SDKs look for."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.admission.requests import request
from tests.unit.auth.fakes import Cluster
from twinplane.controlplane.admission.pod_identity import PodIdentity
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.resources import PODS, SERVICE_ACCOUNTS

ROLE = "arn:aws:iam::123456789012:role/app"
IRSA = "/var/run/secrets/eks.amazonaws.com/serviceaccount"
PODS_DIRECTORY = "/var/run/secrets/pods.eks.amazonaws.com/serviceaccount"


def account(**annotations: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {
            "name": "app",
            "namespace": "default",
            "annotations": {f"eks.amazonaws.com/{key.replace('_', '-')}": value for key, value in annotations.items()},
        },
    }


async def admitted(account: Object, pod: dict[str, Any] | None = None, associated: bool = False) -> dict[str, Any]:
    async def is_associated(namespace: str, name: str) -> bool:
        return associated and (namespace, name) == ("default", "app")

    body = pod or {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c"}]}}
    body["spec"].setdefault("serviceAccountName", "app")
    plugin = PodIdentity(
        Cluster((SERVICE_ACCOUNTS, account)).reader, "us-west-2", "http://169.254.169.252", is_associated
    )
    body["metadata"]["namespace"] = "default"
    asked = request(PODS, body)
    assert plugin.handles(asked)
    await plugin.admit(asked)
    spec: dict[str, Any] = body["spec"]
    return spec


def variables(container: dict[str, Any]) -> dict[str, str]:
    return {each["name"]: each["value"] for each in container.get("env", [])}


async def test_an_annotated_account() -> None:
    spec = await admitted(account(role_arn=ROLE))
    assert variables(spec["containers"][0]) == {
        "AWS_STS_REGIONAL_ENDPOINTS": "regional",
        "AWS_DEFAULT_REGION": "us-west-2",
        "AWS_REGION": "us-west-2",
        "AWS_ENDPOINT_URL": "http://169.254.169.252",
        "AWS_ROLE_ARN": ROLE,
        "AWS_WEB_IDENTITY_TOKEN_FILE": f"{IRSA}/token",
    }
    assert spec["containers"][0]["volumeMounts"] == [{"name": "aws-iam-token", "readOnly": True, "mountPath": IRSA}]
    source = {"audience": "sts.amazonaws.com", "expirationSeconds": 86_400, "path": "token"}
    projected = {"defaultMode": 420, "sources": [{"serviceAccountToken": source}]}
    assert spec["volumes"] == [{"name": "aws-iam-token", "projected": projected}]


async def test_an_association_wins() -> None:
    spec = await admitted(account(role_arn=ROLE), associated=True)
    found = variables(spec["containers"][0])
    assert found["AWS_CONTAINER_CREDENTIALS_FULL_URI"] == "http://169.254.170.23/v1/credentials"
    assert found["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"] == f"{PODS_DIRECTORY}/eks-pod-identity-token"
    assert "AWS_ROLE_ARN" not in found
    source = spec["volumes"][0]["projected"]["sources"][0]["serviceAccountToken"]
    assert source["audience"] == "pods.eks.amazonaws.com"


async def test_neither_changes_nothing() -> None:
    assert await admitted(account()) == {"containers": [{"name": "c"}], "serviceAccountName": "app"}


@pytest.mark.parametrize(("wish", "seconds"), [("7200", 7200), ("60", 3600), ("soon", 86_400)])
async def test_wishes_of_the_account(wish: str, seconds: int) -> None:
    spec = await admitted(account(role_arn=ROLE, token_expiration=wish, audience="x", sts_regional_endpoints="false"))
    token = spec["volumes"][0]["projected"]["sources"][0]["serviceAccountToken"]
    assert (token["expirationSeconds"], token["audience"]) == (seconds, "x")
    assert variables(spec["containers"][0])["AWS_STS_REGIONAL_ENDPOINTS"] == "legacy"


async def test_containers_that_are_skipped_or_know_better() -> None:
    pod = {
        "metadata": {"name": "p", "annotations": {"eks.amazonaws.com/skip-containers": "side, other"}},
        "spec": {
            "initContainers": [{"name": "first"}],
            "containers": [
                {"name": "c", "env": [{"name": "AWS_REGION", "value": "eu-west-1"}]},
                {"name": "side"},
                {"name": "own", "env": [{"name": "AWS_ROLE_ARN", "value": "arn:own"}]},
            ],
        },
    }
    spec = await admitted(account(role_arn=ROLE), pod)
    main, side, own = spec["containers"]
    assert variables(main)["AWS_REGION"] == "eu-west-1"
    assert variables(main)["AWS_ROLE_ARN"] == ROLE
    assert variables(spec["initContainers"][0])["AWS_ROLE_ARN"] == ROLE
    assert "env" not in side
    assert variables(own) == {"AWS_ROLE_ARN": "arn:own"}
    assert len(spec["volumes"]) == 1
