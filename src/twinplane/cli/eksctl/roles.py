"""The IAM roles that eksctl makes: the cluster's service role, and an instance role for each node group."""

from __future__ import annotations

import json
from typing import Any

from twinplane.cli.eksctl.account import Account, cluster_tags

POLICY = "arn:aws:iam::aws:policy/"
CLUSTER_POLICIES = ("AmazonEKSClusterPolicy", "AmazonEKSVPCResourceController")
NODE_POLICIES = (
    "AmazonEKSWorkerNodePolicy",
    "AmazonEKS_CNI_Policy",
    "AmazonEC2ContainerRegistryPullOnly",
    "AmazonSSMManagedInstanceCore",
)


def cluster_role_name(cluster: str) -> str:
    return f"eksctl-{cluster}-cluster-ServiceRole"


def node_role_name(cluster: str, node_group: str) -> str:
    return f"eksctl-{cluster}-nodegroup-{node_group}-NodeInstanceRole"[:64]


def ensure_role(account: Account, cluster: str, name: str, service: str, policies: tuple[str, ...]) -> str:
    """The ARN of a role for an AWS service; it is made when missing."""
    trust = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}],
    }
    return ensure_trusting(account, cluster, name, trust, policies)


def ensure_trusting(
    account: Account,
    cluster: str,
    name: str,
    trust: dict[str, Any],
    policies: tuple[str, ...],
    *,
    more_tags: dict[str, str] | None = None,
) -> str:
    """The role's ARN; it is made when missing. `policies` are ARNs or names of AWS managed policies."""
    iam = account.iam
    tags = [{"Key": key, "Value": value} for key, value in {**cluster_tags(cluster), **(more_tags or {})}.items()]
    try:
        role = iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(trust), Tags=tags)["Role"]
    except iam.exceptions.EntityAlreadyExistsException:
        iam.update_assume_role_policy(RoleName=name, PolicyDocument=json.dumps(trust))
        role = iam.get_role(RoleName=name)["Role"]
    for policy in policies:
        _attach(iam, name, policy if policy.startswith("arn:") else POLICY + policy)
    arn: str = role["Arn"]
    return arn


def _attach(iam: Any, role: str, policy_arn: str) -> None:
    try:
        iam.attach_role_policy(RoleName=role, PolicyArn=policy_arn)
    except iam.exceptions.NoSuchEntityException:
        # The catalogue of managed policies in the account may be older than the policy (PullOnly is of 2024).
        return


def put_policy(account: Account, role: str, name: str, document: dict[str, Any]) -> None:
    """An inline policy."""
    account.iam.put_role_policy(RoleName=role, PolicyName=name, PolicyDocument=json.dumps(document))


def exists(account: Account, name: str) -> bool:
    try:
        account.iam.get_role(RoleName=name)
    except account.iam.exceptions.NoSuchEntityException:
        return False
    return True


def delete_role(account: Account, name: str) -> None:
    """Idempotent."""
    iam = account.iam
    try:
        for policy in iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"]:
            iam.detach_role_policy(RoleName=name, PolicyArn=policy["PolicyArn"])
        for inline in iam.list_role_policies(RoleName=name)["PolicyNames"]:
            iam.delete_role_policy(RoleName=name, PolicyName=inline)
        iam.delete_role(RoleName=name)
    except iam.exceptions.NoSuchEntityException:
        return
