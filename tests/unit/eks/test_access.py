from __future__ import annotations

from typing import Any

import pytest

from tests.unit.cloud.regions import ACCOUNT, Region, in_thread
from tests.unit.eks.clusters import NAME, Demo, make, prepare, request, wait
from twinplane.cloud.contract import AwsCredentials

ADMIN = f"arn:aws:iam::{ACCOUNT}:user/admin"
OPS = f"arn:aws:iam::{ACCOUNT}:role/team/ops"
POLICY = "arn:aws:eks::aws:cluster-access-policy/AmazonEKSViewPolicy"


async def entry(demo: Demo, arn: str) -> dict[str, Any]:
    answer = await demo.eks("describe_access_entry", clusterName=NAME, principalArn=arn)
    found: dict[str, Any] = answer["accessEntry"]
    return found


async def test_the_creator_is_administrator(demo: Demo) -> None:
    assert (await entry(demo, ADMIN))["username"] == ADMIN
    held = await demo.eks("list_associated_access_policies", clusterName=NAME, principalArn=ADMIN)
    assert [policy["policyArn"].split("/")[-1] for policy in held["associatedAccessPolicies"]] == [
        "AmazonEKSClusterAdminPolicy"
    ]


async def test_a_role_that_creates_is_the_creator_not_its_session(region: Region) -> None:
    demo = await prepare(region)
    role = await region.call("iam", "create_role", RoleName="ops", Path="/team/", AssumeRolePolicyDocument="{}")
    session = (await region.call("sts", "assume_role", RoleArn=role["Role"]["Arn"], RoleSessionName="me"))[
        "Credentials"
    ]
    keys = AwsCredentials(session["AccessKeyId"], session["SecretAccessKey"], session["SessionToken"])
    await in_thread(region.client("eks", keys).create_cluster, **request(demo.place))
    await wait(region, "cluster_active", name=NAME)
    assert (await entry(demo, OPS))["username"] == f"arn:aws:sts::{ACCOUNT}:assumed-role/ops/{{{{SessionName}}}}"


async def test_no_entry_without_bootstrap_permissions(region: Region) -> None:
    access = {"authenticationMode": "API", "bootstrapClusterCreatorAdminPermissions": False}
    demo = await make(region, accessConfig=access)
    listed = (await demo.eks("list_access_entries", clusterName=NAME))["accessEntries"]
    assert [arn.split("/")[-1] for arn in listed] == ["AWSServiceRoleForAmazonEKS"]


async def test_the_life_of_an_entry(demo: Demo) -> None:
    made = await demo.eks(
        "create_access_entry", clusterName=NAME, principalArn=OPS, kubernetesGroups=["viewers"], tags={"a": "b"}
    )
    assert made["accessEntry"]["accessEntryArn"].startswith(
        f"arn:aws:eks:us-west-2:{ACCOUNT}:access-entry/demo/role/{ACCOUNT}/ops/"
    )
    again = await demo.refused("create_access_entry", clusterName=NAME, principalArn=OPS)
    assert again["Error"]["Code"] == "ResourceInUseException"
    await demo.eks("update_access_entry", clusterName=NAME, principalArn=OPS, username="ops:{{SessionName}}")
    found = await entry(demo, OPS)
    assert (found["username"], found["kubernetesGroups"]) == ("ops:{{SessionName}}", ["viewers"])
    await demo.eks("delete_access_entry", clusterName=NAME, principalArn=OPS)
    gone = await demo.refused("describe_access_entry", clusterName=NAME, principalArn=OPS)
    assert gone["Error"]["Code"] == "ResourceNotFoundException"


async def test_policies_are_associated_with_a_scope(demo: Demo) -> None:
    await demo.eks("create_access_entry", clusterName=NAME, principalArn=OPS)
    where = {"clusterName": NAME, "principalArn": OPS}
    scope = {"type": "namespace", "namespaces": ["team-*"]}
    await demo.eks("associate_access_policy", **where, policyArn=POLICY, accessScope=scope)
    held = (await demo.eks("list_associated_access_policies", **where))["associatedAccessPolicies"]
    assert [(policy["policyArn"], policy["accessScope"]) for policy in held] == [(POLICY, scope)]
    filtered = await demo.eks("list_access_entries", clusterName=NAME, associatedPolicyArn=POLICY)
    assert filtered["accessEntries"] == [OPS]
    await demo.eks("disassociate_access_policy", **where, policyArn=POLICY)
    error = await demo.refused("disassociate_access_policy", **where, policyArn=POLICY)
    assert error["Error"]["Code"] == "ResourceNotFoundException"
    names = [policy["name"] for policy in (await demo.eks("list_access_policies"))["accessPolicies"]]
    assert "AmazonEKSViewPolicy" in names


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"principalArn": "me"}, "principalArn parameter format is not valid"),
        ({"kubernetesGroups": ["system:masters"]}, "cannot start with system:"),
        ({"username": "system:node:x"}, "cannot start with system:"),
        ({"type": "SOMETHING"}, "The type SOMETHING is not valid"),
        ({"type": "EC2_LINUX", "kubernetesGroups": ["a"]}, "does not support specifying kubernetesGroups"),
    ],
)
async def test_bad_entries(demo: Demo, parameters: dict[str, Any], message: str) -> None:
    error = await demo.refused("create_access_entry", **({"clusterName": NAME, "principalArn": OPS} | parameters))
    assert error["Error"]["Code"] == "InvalidParameterException"
    assert message in error["Error"]["Message"]


async def test_clusters_with_the_config_map_only_have_no_entries_to_show(region: Region) -> None:
    demo = await make(region, accessConfig={"authenticationMode": "CONFIG_MAP"})
    error = await demo.refused("list_access_entries", clusterName=NAME)
    assert error["Error"]["Code"] == "InvalidRequestException"
    keys = region.cloud.issue_service_credentials(f"arn:aws:sts::{ACCOUNT}:assumed-role/control-plane/demo")
    client = region.client("eks", keys)
    assert ADMIN in (await in_thread(client.list_access_entries, clusterName=NAME))["accessEntries"]
