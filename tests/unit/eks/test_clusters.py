from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.cloud.regions import ACCOUNT, Region
from tests.unit.cloud.regions import network as other_network
from tests.unit.cloud.regions import region as running_region
from tests.unit.eks.clusters import NAME, Demo, make, prepare, refused, request, wait


async def test_a_cluster_becomes_active_with_everything_eks_says(demo: Demo) -> None:
    cluster = await demo.cluster()
    assert cluster["arn"] == f"arn:aws:eks:us-west-2:{ACCOUNT}:cluster/demo"
    assert cluster["status"] == "ACTIVE"
    assert cluster["version"] == "1.36"
    assert cluster["endpoint"] == "https://127.0.0.1:6443/demo"
    assert cluster["certificateAuthority"] == {"data": "Q0E="}
    assert cluster["kubernetesNetworkConfig"]["serviceIpv4Cidr"] == "10.100.0.0/16"
    assert cluster["identity"]["oidc"]["issuer"].startswith("https://oidc.eks.us-west-2.amazonaws.com/id/")
    assert cluster["resourcesVpcConfig"]["vpcId"] == demo.place.vpc
    assert cluster["accessConfig"]["bootstrapClusterCreatorAdminPermissions"] is True
    assert cluster["health"] == {"issues": []}
    assert (await demo.eks("list_clusters"))["clusters"] == [NAME]
    spec = demo.region.control_planes.running[NAME]
    assert cluster["identity"]["oidc"]["issuer"].endswith(spec.oidc_id)
    assert (spec.version, spec.vpc_id) == ("1.36", demo.place.vpc)


async def test_it_has_a_security_group_and_interfaces_in_the_vpc(demo: Demo) -> None:
    group_id = (await demo.cluster())["resourcesVpcConfig"]["clusterSecurityGroupId"]
    found = await demo.region.call("ec2", "describe_security_groups", GroupIds=[group_id])
    group = found["SecurityGroups"][0]
    assert group["GroupName"].startswith("eks-cluster-sg-demo-")
    assert {tag["Key"] for tag in group["Tags"]} == {"Name", "kubernetes.io/cluster/demo", "aws:eks:cluster-name"}
    assert group["IpPermissions"][0]["UserIdGroupPairs"][0]["GroupId"] == group_id
    interfaces = (await demo.region.call("ec2", "describe_network_interfaces"))["NetworkInterfaces"]
    assert [interface["Description"] for interface in interfaces] == ["Amazon EKS demo"] * 2
    assert len({interface["AvailabilityZone"] for interface in interfaces}) == 2


async def test_deleting_takes_it_all_away(demo: Demo) -> None:
    group_id = (await demo.cluster())["resourcesVpcConfig"]["clusterSecurityGroupId"]
    answer = await demo.eks("delete_cluster", name=NAME)
    assert answer["cluster"]["status"] == "DELETING"
    await wait(demo.region, "cluster_deleted", name=NAME)
    error = await demo.refused("describe_cluster", name=NAME)
    assert error["Error"] == {"Code": "ResourceNotFoundException", "Message": "No cluster found for name: demo."}
    assert error["ResponseMetadata"]["HTTPStatusCode"] == 404
    assert demo.region.control_planes.running == {}
    assert (await demo.region.call("ec2", "describe_network_interfaces"))["NetworkInterfaces"] == []
    groups = (await demo.region.call("ec2", "describe_security_groups"))["SecurityGroups"]
    assert group_id not in {group["GroupId"] for group in groups}


async def test_a_vpc_in_ten_gets_the_other_service_range(region: Region) -> None:
    demo = await prepare(region)
    place = await other_network(region, "10.0.0.0/16")
    await demo.eks("create_cluster", **request(place))
    await wait(region, "cluster_active", name=NAME)
    assert (await demo.cluster())["kubernetesNetworkConfig"]["serviceIpv4Cidr"] == "172.20.0.0/16"


async def test_the_name_is_taken_once(demo: Demo) -> None:
    error = await demo.refused("create_cluster", **request(demo.place))
    assert error["Error"] == {"Code": "ResourceInUseException", "Message": "Cluster already exists with name: demo"}
    assert (error["ResponseMetadata"]["HTTPStatusCode"], error["clusterName"]) == (409, NAME)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": "1.20"}, "unsupported Kubernetes version 1.20"),
        ({"computeConfig": {"enabled": True}}, "computeConfig is not supported by this region yet"),
        ({"kubernetesNetworkConfig": {"ipFamily": "ipv6"}}, "not supported by this region yet"),
        ({"name": "no spaces"}, "Member must satisfy regular expression pattern"),
        ({"roleArn": f"arn:aws:iam::{ACCOUNT}:role/nobody"}, "could not be assumed because it does not exist"),
        ({"resourcesVpcConfig": {"subnetIds": ["subnet-12345678"]}}, "The subnet ID 'subnet-12345678' does not exist"),
        ({"resourcesVpcConfig": {"subnetIds": []}}, "Subnets are required"),
        ({"kubernetesNetworkConfig": {"serviceIpv4Cidr": "10.100.0.0/30"}}, "between /24 and /12"),
        ({"kubernetesNetworkConfig": {"serviceIpv4Cidr": "192.168.0.0/20"}}, "overlaps"),
        ({"kubernetesNetworkConfig": {"serviceIpv4Cidr": "8.8.0.0/16"}}, "must be within"),
    ],
)
async def test_bad_parameters_are_refused_in_the_words_of_eks(
    region: Region, change: dict[str, Any], message: str
) -> None:
    demo = await prepare(region)
    error = await demo.refused("create_cluster", **(request(demo.place) | change))
    assert error["Error"]["Code"] == "InvalidParameterException"
    assert message in error["Error"]["Message"]
    assert error["ResponseMetadata"]["HTTPStatusCode"] == 400


async def test_two_zones_are_needed(region: Region) -> None:
    demo = await prepare(region)
    one = request(demo.place) | {"resourcesVpcConfig": {"subnetIds": demo.place.subnets[:1]}}
    error = await demo.refused("create_cluster", **one)
    assert error["Error"]["Message"] == "Subnets specified must be in at least two different AZs"


async def test_nobody_can_be_shut_out(region: Region) -> None:
    demo = await prepare(region)
    vpc = {"subnetIds": demo.place.subnets, "endpointPublicAccess": False}
    error = await demo.refused("create_cluster", **(request(demo.place) | {"resourcesVpcConfig": vpc}))
    assert error["Error"]["Message"] == "Private and public endpoint access cannot be false"


async def test_a_control_plane_that_fails_fails_the_cluster(region: Region) -> None:
    demo = await prepare(region)
    region.control_planes.failure = "no ports left; see control-plane.log"
    await demo.eks("create_cluster", **request(demo.place))
    cluster = await demo.cluster()
    while cluster["status"] == "CREATING":
        cluster = await demo.cluster()
    assert cluster["status"] == "FAILED"
    assert cluster["health"]["issues"][0]["message"] == "no ports left; see control-plane.log"
    await demo.eks("delete_cluster", name=NAME)
    await wait(region, "cluster_deleted", name=NAME)


async def test_while_it_is_made_it_may_not_be_deleted_or_used(region: Region) -> None:
    demo = await prepare(region)
    region.control_planes.open.clear()
    await demo.eks("create_cluster", **request(demo.place))
    assert (await demo.cluster())["status"] == "CREATING"
    assert "endpoint" not in await demo.cluster()
    assert (await demo.refused("delete_cluster", name=NAME))["Error"]["Code"] == "ResourceInUseException"
    error = await demo.refused("update_cluster_version", name=NAME, version="1.36")
    assert error["Error"]["Code"] == "ResourceInUseException"
    region.control_planes.open.set()
    await wait(region, "cluster_active", name=NAME)


async def test_a_restart_goes_on_with_a_cluster_that_was_being_made(tmp_path: Path) -> None:
    async with running_region(tmp_path) as before:
        demo = await prepare(before)
        before.control_planes.open.clear()
        await demo.eks("create_cluster", **request(demo.place))
    async with running_region(tmp_path) as after:
        await wait(after, "cluster_active", name=NAME)
        assert list(after.control_planes.running) == [NAME]
        interfaces = (await after.call("ec2", "describe_network_interfaces"))["NetworkInterfaces"]
        assert len(interfaces) == 2, "made once"


async def test_a_restart_brings_the_control_planes_back_and_finishes_deletions(tmp_path: Path) -> None:
    async with running_region(tmp_path) as before:
        await make(before)
    async with running_region(tmp_path) as again:
        while NAME not in again.control_planes.running:
            await again.call("eks", "list_clusters")
        again.control_planes.open.clear()
        await again.call("eks", "delete_cluster", name=NAME)
    async with running_region(tmp_path) as after:
        await wait(after, "cluster_deleted", name=NAME)
        assert (await refused(after, "describe_cluster", name=NAME))["Error"]["Code"] == "ResourceNotFoundException"


async def test_listing_in_pages(region: Region) -> None:
    demo = await prepare(region)
    for name in ("a", "b", "c"):
        await demo.eks("create_cluster", **(request(demo.place) | {"name": name}))
    first = await demo.eks("list_clusters", maxResults=2)
    assert first["clusters"] == ["a", "b"]
    assert (await demo.eks("list_clusters", nextToken=first["nextToken"]))["clusters"] == ["c"]
    assert (await demo.refused("list_clusters", nextToken="x"))["Error"]["Code"] == "InvalidParameterException"
