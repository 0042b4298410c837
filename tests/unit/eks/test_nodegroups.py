from __future__ import annotations

import asyncio
import base64
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.unit.cloud.regions import region as running_region
from tests.unit.eks.clusters import NAME, NODE_ROLE, Demo, make, nodegroup, wait
from tests.unit.eks.test_bootstrap import parse


async def test_a_group_is_machines_in_ec2(demo: Demo) -> None:
    group = await demo.add_nodegroup(labels={"tier": "web"}, tags={"team": "blue"})
    assert (group["status"], group["amiType"], group["diskSize"]) == ("ACTIVE", "AL2023_x86_64_STANDARD", 20)
    assert group["releaseVersion"].startswith("1.36.")
    name = group["resources"]["autoScalingGroups"][0]["name"]
    assert name.startswith("eks-ng-")
    nodes = demo.nodes()
    assert Counter(node.availability_zone for node in nodes) == {"us-west-2a": 1, "us-west-2b": 1, "us-west-2c": 1}
    for key, value in {
        "eks:cluster-name": NAME,
        "eks:nodegroup-name": "ng",
        "kubernetes.io/cluster/demo": "owned",
        "k8s.io/cluster-autoscaler/enabled": "true",
        "k8s.io/cluster-autoscaler/demo": "owned",
        "aws:autoscaling:groupName": name,
    }.items():
        assert nodes[0].tags[key] == value
    config = parse(nodes[0].user_data)
    assert config["spec"]["cluster"]["apiServerEndpoint"] == "https://127.0.0.1:6443/demo"
    assert config["spec"]["kubelet"]["config"]["maxPods"] == 29
    assert "tier=web" in config["spec"]["kubelet"]["flags"][0]
    images = await demo.region.call("ec2", "describe_images", ImageIds=[nodes[0].image_id])
    assert images["Images"][0]["Name"].startswith("amazon-eks-node-al2023-x86_64-standard-1.36-v")


async def test_nodes_carry_the_cluster_security_group_and_the_role(demo: Demo) -> None:
    await demo.add_nodegroup()
    group_id = (await demo.cluster())["resourcesVpcConfig"]["clusterSecurityGroupId"]
    found = await demo.region.call("ec2", "describe_instances", InstanceIds=[demo.nodes()[0].instance_id])
    instance = found["Reservations"][0]["Instances"][0]
    assert [group["GroupId"] for group in instance["SecurityGroups"]] == [group_id]
    assert instance["IamInstanceProfile"]["Arn"].split("/")[-1].startswith("eks-")
    assert instance["MetadataOptions"]["HttpTokens"] == "required"
    entry = await demo.eks("describe_access_entry", clusterName=NAME, principalArn=NODE_ROLE)
    assert entry["accessEntry"]["type"] == "EC2_LINUX"


async def test_scaling_through_eks_and_through_auto_scaling(demo: Demo) -> None:
    group = await demo.add_nodegroup()
    update = await _scale(demo, desiredSize=4)
    assert (update["type"], update["status"]) == ("ConfigUpdate", "Successful")
    assert len(demo.nodes()) == 4
    name = group["resources"]["autoScalingGroups"][0]["name"]
    before = {node.instance_id: node.private_dns_name for node in demo.nodes()}
    await demo.region.call("autoscaling", "set_desired_capacity", AutoScalingGroupName=name, DesiredCapacity=1)
    async with asyncio.timeout(60):
        while len(demo.nodes()) > 1:
            await asyncio.sleep(0.01)
    # Each was drained before it went.
    gone = before.keys() - {node.instance_id for node in demo.nodes()}
    assert sorted(demo.region.control_planes.drained) == sorted(f"{NAME}/ng/{before[each]}" for each in gone)
    assert (await demo.nodegroup())["scalingConfig"] == {"minSize": 1, "maxSize": 4, "desiredSize": 1}


async def _scale(demo: Demo, **sizes: int) -> dict[str, Any]:
    made = await demo.eks("update_nodegroup_config", clusterName=NAME, nodegroupName="ng", scalingConfig=sizes)
    return await finished(demo, made["update"]["id"])


async def finished(demo: Demo, identifier: str) -> dict[str, Any]:
    while True:
        answer = await demo.eks("describe_update", name=NAME, nodegroupName="ng", updateId=identifier)
        update: dict[str, Any] = answer["update"]
        if update["status"] != "InProgress":
            return update


async def test_a_terminated_node_is_replaced(demo: Demo) -> None:
    await demo.add_nodegroup()
    victim = demo.nodes()[0]
    await demo.region.call("ec2", "terminate_instances", InstanceIds=[victim.instance_id])
    nodes = demo.nodes()
    assert len(nodes) == 3
    assert victim.instance_id not in {node.instance_id for node in nodes}


async def test_labels_and_taints_of_new_nodes(demo: Demo) -> None:
    await demo.add_nodegroup(labels={"a": "1", "b": "2"})
    made = await demo.eks(
        "update_nodegroup_config",
        clusterName=NAME,
        nodegroupName="ng",
        labels={"addOrUpdateLabels": {"c": "3"}, "removeLabels": ["a"]},
        taints={"addOrUpdateTaints": [{"key": "gpu", "value": "yes", "effect": "NO_SCHEDULE"}]},
    )
    assert (await finished(demo, made["update"]["id"]))["status"] == "Successful"
    group = await demo.nodegroup()
    assert group["labels"] == {"b": "2", "c": "3"}
    assert group["taints"] == [{"key": "gpu", "value": "yes", "effect": "NO_SCHEDULE"}]
    old = {node.instance_id for node in demo.nodes()}
    await _scale(demo, desiredSize=4)
    new = next(node for node in demo.nodes() if node.instance_id not in old)
    assert "--register-with-taints=gpu=yes:NoSchedule" in new.user_data
    assert "c=3" in new.user_data


async def test_a_new_version_replaces_the_nodes(region: Any) -> None:
    demo = await make(region, version="1.35")
    await demo.add_nodegroup(scalingConfig={"minSize": 1, "maxSize": 2, "desiredSize": 2})
    before = {node.instance_id: node.image_id for node in demo.nodes()}
    await demo.update("update_cluster_version", name=NAME, version="1.36")
    made = await demo.eks("update_nodegroup_version", clusterName=NAME, nodegroupName="ng")
    assert (await finished(demo, made["update"]["id"]))["status"] == "Successful"
    assert (await demo.nodegroup())["version"] == "1.36"
    nodes = demo.nodes()
    assert len(nodes) == 2
    assert before.keys().isdisjoint(node.instance_id for node in nodes)
    assert set(before.values()).isdisjoint(node.image_id for node in nodes)


async def test_deleting_removes_machines_group_and_template(demo: Demo) -> None:
    await demo.add_nodegroup()
    error = await demo.refused("delete_cluster", name=NAME)
    assert error["Error"] == {"Code": "ResourceInUseException", "Message": "Cluster has nodegroups attached"}
    await demo.eks("delete_nodegroup", clusterName=NAME, nodegroupName="ng")
    await wait(demo.region, "nodegroup_deleted", clusterName=NAME, nodegroupName="ng")
    assert demo.nodes() == []
    call = demo.region.call
    assert (await call("autoscaling", "describe_auto_scaling_groups"))["AutoScalingGroups"] == []
    assert (await call("ec2", "describe_launch_templates"))["LaunchTemplates"] == []
    assert (await call("iam", "list_instance_profiles"))["InstanceProfiles"] == []
    error = await demo.refused("describe_nodegroup", clusterName=NAME, nodegroupName="ng")
    assert error["Error"]["Message"] == "No node group found for name: ng."


async def test_the_users_launch_template_is_merged(demo: Demo) -> None:
    script = base64.b64encode(b"#!/bin/sh\necho theirs\n").decode()
    data = {
        "InstanceType": "m5.xlarge",
        "UserData": script,
        "TagSpecifications": [{"ResourceType": "instance", "Tags": [{"Key": "owner", "Value": "me"}]}],
    }
    made = await demo.region.call("ec2", "create_launch_template", LaunchTemplateName="theirs", LaunchTemplateData=data)
    template = made["LaunchTemplate"]["LaunchTemplateId"]
    options = nodegroup(demo.place) | {"launchTemplate": {"id": template}}
    del options["instanceTypes"]
    await demo.eks("create_nodegroup", **options)
    await wait(demo.region, "nodegroup_active", clusterName=NAME, nodegroupName="ng")
    group = await demo.nodegroup()
    assert group["launchTemplate"] == {"id": template, "name": "theirs", "version": "1"}
    node = demo.nodes()[0]
    assert (node.instance_type, node.tags["owner"]) == ("m5.xlarge", "me")
    assert "echo theirs" in node.user_data
    assert f"eks.amazonaws.com/sourceLaunchTemplateId={template}" in node.user_data


async def test_another_version_of_the_users_launch_template(demo: Demo) -> None:
    data: dict[str, Any] = {
        "TagSpecifications": [{"ResourceType": "instance", "Tags": [{"Key": "owner", "Value": "me"}]}]
    }
    await demo.region.call("ec2", "create_launch_template", LaunchTemplateName="theirs", LaunchTemplateData=data)
    await demo.add_nodegroup(launchTemplate={"name": "theirs"})
    data["TagSpecifications"][0]["Tags"] = [{"Key": "owner", "Value": "you"}]
    await demo.region.call(
        "ec2", "create_launch_template_version", LaunchTemplateName="theirs", LaunchTemplateData=data
    )
    made = await demo.eks(
        "update_nodegroup_version",
        clusterName=NAME,
        nodegroupName="ng",
        launchTemplate={"name": "theirs", "version": "2"},
    )
    assert (await finished(demo, made["update"]["id"]))["status"] == "Successful"
    assert {node.tags["owner"] for node in demo.nodes()} == {"you"}
    assert (await demo.nodegroup())["launchTemplate"]["version"] == "2"


async def test_spot_and_arm(demo: Demo) -> None:
    group = await demo.add_nodegroup(instanceTypes=["m7g.large"], capacityType="SPOT")
    assert group["amiType"] == "AL2023_ARM_64_STANDARD"
    assert "eks.amazonaws.com/capacityType=SPOT" in demo.nodes()[0].user_data


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        ({"clusterName": "other"}, "ResourceNotFoundException", "No cluster found for name: other."),
        ({"instanceTypes": ["m5.huge"]}, "InvalidParameterException", "instance types do not exist: [m5.huge]"),
        (
            {"scalingConfig": {"minSize": 3, "maxSize": 2, "desiredSize": 2}},
            "InvalidParameterException",
            "Minimum capacity 3",
        ),
        (
            {"scalingConfig": {"minSize": 1, "maxSize": 2, "desiredSize": 3}},
            "InvalidParameterException",
            "desired capacity 3",
        ),
        (
            {"version": "1.33", "amiType": "AL2_x86_64"},
            "InvalidParameterException",
            "AMI Type AL2_x86_64 is not supported",
        ),
        ({"subnets": ["subnet-0000"]}, "InvalidParameterException", "subnet-0000"),
        ({"nodeRole": NODE_ROLE + "x"}, "InvalidParameterException", "nodex"),
        ({"releaseVersion": "1.36.0-20200101"}, "InvalidParameterException", "is not valid for kubernetes version"),
        ({"warmPoolConfig": {"enabled": True}}, "InvalidParameterException", "not supported by this region yet"),
        ({"launchTemplate": {"id": "lt-1", "name": "x"}}, "InvalidParameterException", "either id or name"),
        ({"launchTemplate": {"name": "nothing"}}, "InvalidParameterException", "nothing"),
        ({"taints": [{"key": "a", "effect": "SOMETIMES"}]}, "InvalidParameterException", "enum value set"),
    ],
)
async def test_what_cannot_be_is_refused(demo: Demo, change: dict[str, Any], code: str, message: str) -> None:
    error = await demo.refused("create_nodegroup", **(nodegroup(demo.place) | change))
    assert error["Error"]["Code"] == code
    assert message in error["Error"]["Message"]


async def test_the_name_is_taken_once(demo: Demo) -> None:
    await demo.add_nodegroup()
    error = await demo.refused("create_nodegroup", **nodegroup(demo.place))
    assert error["Error"]["Code"] == "ResourceInUseException"
    assert error["Error"]["Message"] == "NodeGroup already exists with name ng and cluster name demo"
    assert (await demo.eks("list_nodegroups", clusterName=NAME))["nodegroups"] == ["ng"]


async def test_a_subnet_without_addresses_fails_the_group(demo: Demo) -> None:
    small = await demo.region.call(
        "ec2", "create_subnet", VpcId=demo.place.vpc, CidrBlock="192.168.100.0/28", AvailabilityZone="us-west-2a"
    )
    sizes = {"minSize": 1, "maxSize": 20, "desiredSize": 12}
    options = nodegroup(demo.place) | {"subnets": [small["Subnet"]["SubnetId"]], "scalingConfig": sizes}
    await demo.eks("create_nodegroup", **options)
    while (group := await demo.nodegroup())["status"] == "CREATING":
        pass
    assert group["status"] == "CREATE_FAILED"
    assert group["health"]["issues"][0]["code"] == "InsufficientFreeAddresses"


async def test_groups_and_their_nodes_survive_a_restart(tmp_path: Path) -> None:
    async with running_region(tmp_path) as before:
        demo = await make(before)
        await demo.add_nodegroup()
        nodes = demo.nodes()
    async with running_region(tmp_path) as after:
        again = Demo(after, demo.place)
        assert again.nodes() == nodes
        group = await again.nodegroup()
        assert group["status"] == "ACTIVE"
        assert (await _scale(again, desiredSize=4))["status"] == "Successful"
        assert len(again.nodes()) == 4
