"""The official aws command and boto3: EKS, Auto Scaling and EC2 move the nodes of a cluster."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.clients.conftest import CLUSTER
from tests.region_process import RegionProcess, eventually


def ready_nodes(region: RegionProcess, group: str) -> set[str]:
    nodes = region.get("nodes", "-l", f"eks.amazonaws.com/nodegroup={group}")["items"]
    return {
        node["metadata"]["name"]
        for node in nodes
        if any(c["type"] == "Ready" and c["status"] == "True" for c in node["status"].get("conditions", []))
    }


def test_describe_cluster_shows_what_eks_shows(region: RegionProcess) -> None:
    assert region.aws("eks", "list-clusters")["clusters"] == [CLUSTER]
    cluster = region.aws("eks", "describe-cluster", "--name", CLUSTER)["cluster"]
    assert cluster["status"] == "ACTIVE"
    assert cluster["arn"] == f"arn:aws:eks:us-west-2:123456789012:cluster/{CLUSTER}"
    assert cluster["identity"]["oidc"]["issuer"].startswith("https://oidc.eks.us-west-2.amazonaws.com/id/")
    assert cluster["resourcesVpcConfig"]["clusterSecurityGroupId"].startswith("sg-")


def test_update_kubeconfig_and_get_token_work(region: RegionProcess, tmp_path: Path) -> None:
    path = tmp_path / "config"
    region.run("aws", "eks", "update-kubeconfig", "--name", CLUSTER, "--kubeconfig", str(path))
    assert "ip-192-168" in region.run("kubectl", "--kubeconfig", str(path), "get", "nodes")


def test_autoscaling_and_ec2_move_the_nodes(region: RegionProcess) -> None:
    region.run("twinplane", "create", "nodegroup", "--cluster", CLUSTER, "--name", "moving", "--nodes", "1")
    group = region.aws("eks", "describe-nodegroup", "--cluster-name", CLUSTER, "--nodegroup-name", "moving")
    name = group["nodegroup"]["resources"]["autoScalingGroups"][0]["name"]
    region.aws("autoscaling", "update-auto-scaling-group", "--auto-scaling-group-name", name, "--max-size", "4")
    region.aws("autoscaling", "set-desired-capacity", "--auto-scaling-group-name", name, "--desired-capacity", "3")
    eventually(lambda: len(ready_nodes(region, "moving")) == 3, "three nodes")
    gone = region.get("node", sorted(ready_nodes(region, "moving"))[0])
    instance = gone["spec"]["providerID"].rsplit("/", 1)[-1]
    region.aws("ec2", "terminate-instances", "--instance-ids", instance)

    def replaced() -> bool:
        now = ready_nodes(region, "moving")
        return len(now) == 3 and gone["metadata"]["name"] not in now

    eventually(replaced, "the terminated node goes and its group starts another")
    region.run("twinplane", "scale", "nodegroup", "--cluster", CLUSTER, "--name", "moving", "--nodes", "1")
    eventually(lambda: len(ready_nodes(region, "moving")) == 1, "one node is left")
    region.run("twinplane", "delete", "nodegroup", "--cluster", CLUSTER, "--name", "moving")
    label = "eks.amazonaws.com/nodegroup=moving"
    eventually(lambda: not region.get("nodes", "-l", label)["items"], "the nodes of a deleted group are gone")


def make_role(region: RegionProcess, name: str, service: str) -> str:
    statement = {"Effect": "Allow", "Principal": {"Service": f"{service}.amazonaws.com"}, "Action": "sts:AssumeRole"}
    trust = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    return str(region.client("iam").create_role(RoleName=name, AssumeRolePolicyDocument=trust)["Role"]["Arn"])


def test_boto3_waiters_from_nothing_to_nothing(region: RegionProcess) -> None:
    ec2, eks = region.client("ec2"), region.client("eks")
    vpc = ec2.create_vpc(CidrBlock="10.7.0.0/16")["Vpc"]["VpcId"]
    subnets = [
        ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.7.{n}.0/24", AvailabilityZone=f"us-west-2{'ab'[n]}")["Subnet"][
            "SubnetId"
        ]
        for n in (0, 1)
    ]
    cluster_role, node_role = (make_role(region, "by-boto-cluster", "eks"), make_role(region, "by-boto-node", "ec2"))
    eks.create_cluster(name="by-boto", roleArn=cluster_role, resourcesVpcConfig={"subnetIds": subnets})
    quick = {"Delay": 1, "MaxAttempts": 300}
    eks.get_waiter("cluster_active").wait(name="by-boto", WaiterConfig=quick)
    eks.create_nodegroup(
        clusterName="by-boto",
        nodegroupName="one",
        subnets=subnets,
        nodeRole=node_role,
        scalingConfig={"minSize": 1, "maxSize": 1, "desiredSize": 1},
    )
    eks.get_waiter("nodegroup_active").wait(clusterName="by-boto", nodegroupName="one", WaiterConfig=quick)
    with pytest.raises(eks.exceptions.ResourceInUseException):
        eks.delete_cluster(name="by-boto")
    eks.delete_nodegroup(clusterName="by-boto", nodegroupName="one")
    eks.get_waiter("nodegroup_deleted").wait(clusterName="by-boto", nodegroupName="one", WaiterConfig=quick)
    eks.delete_cluster(name="by-boto")
    eks.get_waiter("cluster_deleted").wait(name="by-boto", WaiterConfig=quick)
    with pytest.raises(eks.exceptions.ResourceNotFoundException, match=r"No cluster found for name: by-boto\."):
        eks.describe_cluster(name="by-boto")


def test_a_token_for_another_cluster_is_refused(region: RegionProcess) -> None:
    token = json.loads(region.run("twinplane", "token", "--cluster", "another"))["status"]["token"]
    server = region.client("eks").describe_cluster(name=CLUSTER)["cluster"]["endpoint"]
    refused = region.attempt(
        "kubectl",
        "--kubeconfig=/dev/null",
        f"--server={server}",
        "--insecure-skip-tls-verify",
        f"--token={token}",
        "get",
        "nodes",
    )
    assert refused.returncode == 1
    assert "You must be logged in to the server" in refused.stderr
