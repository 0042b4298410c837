"""Create, scale and delete managed node groups as eksctl does: a role and an EKS node group each."""

from __future__ import annotations

import time
from typing import Any

from twinplane.cli.eksctl import roles
from twinplane.cli.eksctl.account import Account, cluster_tags
from twinplane.cli.eksctl.config import EFFECTS, ClusterConfig, NodeGroup
from twinplane.cli.eksctl.vpc import Network, Subnet
from twinplane.cli.output import CommandError, Progress

LONGEST_WAIT_SECONDS = 120


def create_all(
    account: Account, config: ClusterConfig, network: Network, cluster: dict[str, Any], progress: Progress
) -> None:
    """All at once, then wait for all: they do not depend on one another. One that cannot be made refuses all first."""
    subnets = {group.name: _subnets(group, network) for group in config.node_groups}
    for group in config.node_groups:
        progress.info(f'creating managed nodegroup "{group.name}" [{_image(group)}/{cluster["version"]}]')
        role_arn = group.role_arn or _instance_role(account, config.name, group)
        account.eks.create_nodegroup(**_request(config.name, group, subnets[group.name], role_arn))
    for group in config.node_groups:
        wait_active(account, config.name, group.name)
        progress.info(f'created managed nodegroup "{group.name}"')


def network_of(account: Account, cluster: dict[str, Any]) -> Network:
    """The cluster's own subnets, for a node group that is added later."""
    vpc = cluster["resourcesVpcConfig"]
    found = account.ec2.describe_subnets(SubnetIds=vpc["subnetIds"])["Subnets"]
    subnets = [Subnet(s["SubnetId"], s["AvailabilityZone"], bool(s.get("MapPublicIpOnLaunch"))) for s in found]
    return Network(vpc["vpcId"], subnets)


def scale(account: Account, cluster: str, name: str, *, nodes: int, minimum: int | None, maximum: int | None) -> None:
    """As `eksctl scale nodegroup`: the bounds stay unless given, and the new size must lie between them."""
    try:
        current = account.eks.describe_nodegroup(clusterName=cluster, nodegroupName=name)["nodegroup"]["scalingConfig"]
    except account.eks.exceptions.ResourceNotFoundException as error:
        raise CommandError(str(error.response["Error"]["Message"])) from error
    minimum = current["minSize"] if minimum is None else minimum
    maximum = current["maxSize"] if maximum is None else maximum
    if nodes > maximum:
        raise CommandError(f"the desired nodes {nodes} is greater than current nodes-max/maxSize {maximum}")
    if nodes < minimum:
        raise CommandError(f"the desired nodes {nodes} is less than current nodes-min/minSize {minimum}")
    account.eks.update_nodegroup_config(
        clusterName=cluster,
        nodegroupName=name,
        scalingConfig={"minSize": minimum, "maxSize": maximum, "desiredSize": nodes},
    )
    wait_active(account, cluster, name)


def wait_active(account: Account, cluster: str, name: str) -> None:
    end = time.monotonic() + LONGEST_WAIT_SECONDS
    while True:
        group = account.eks.describe_nodegroup(clusterName=cluster, nodegroupName=name)["nodegroup"]
        if group["status"] == "ACTIVE":
            return
        if group["status"] in ("CREATE_FAILED", "DEGRADED"):
            issues = group.get("health", {}).get("issues", [])
            why = "; ".join(f"{issue.get('code')}: {issue.get('message')}" for issue in issues)
            raise CommandError(f'nodegroup "{name}" is {group["status"]}: {why}')
        if time.monotonic() > end:
            raise CommandError(f'timed out (after {LONGEST_WAIT_SECONDS} s) waiting for nodegroup "{name}"')
        time.sleep(0.05)


def _subnets(group: NodeGroup, network: Network) -> list[str]:
    """Of each zone that is asked for."""
    if group.subnets:
        return list(group.subnets)
    public = not group.private_networking
    missing = [zone for zone in group.zones if not network.ids(public=public, zones=(zone,))]
    found = network.ids(public=public, zones=group.zones)
    if missing or not found:
        where = f" in {', '.join(missing)}" if missing else ""
        kind = "public" if public else "private"
        raise CommandError(f'the cluster has no {kind} subnets for nodegroup "{group.name}"{where}')
    return found


def _request(cluster: str, group: NodeGroup, subnets: list[str], role_arn: str) -> dict[str, Any]:
    labels = {
        "alpha.eksctl.io/cluster-name": cluster,
        "alpha.eksctl.io/nodegroup-name": group.name,
        **group.labels,
    }
    request: dict[str, Any] = {
        "clusterName": cluster,
        "nodegroupName": group.name,
        "scalingConfig": {"minSize": group.minimum, "maxSize": group.maximum, "desiredSize": group.desired},
        "instanceTypes": list(group.instance_types),
        "amiType": group.ami_type,
        "capacityType": "SPOT" if group.spot else "ON_DEMAND",
        "diskSize": group.volume_size,
        "subnets": subnets,
        "nodeRole": role_arn,
        "labels": labels,
        "tags": {**cluster_tags(cluster), "alpha.eksctl.io/nodegroup-name": group.name, **group.tags},
    }
    if group.taints:
        request["taints"] = [{"key": t.key, "value": t.value, "effect": EFFECTS[t.effect]} for t in group.taints]
    if group.update:
        request["updateConfig"] = group.update
    return request


def _instance_role(account: Account, cluster: str, group: NodeGroup) -> str:
    name = group.role_name or roles.node_role_name(cluster, group.name)
    policies = group.policies or roles.NODE_POLICIES
    return roles.ensure_role(account, cluster, name, "ec2.amazonaws.com", policies)


def _image(group: NodeGroup) -> str:
    return {"AL2023_x86_64_STANDARD": "AmazonLinux2023", "AL2_x86_64": "AmazonLinux2"}.get(
        group.ami_type, "Bottlerocket"
    )
