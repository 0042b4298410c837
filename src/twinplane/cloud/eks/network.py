"""The cluster's place in the VPC: subnets checked, security group and cross-account interfaces made.

Blocking calls to the region's own EC2 API with an AWS client, so they run in threads. Everything made is found again by
its tags or description: each step may be repeated after a crash.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from twinplane.cloud.eks.errors import EksError, invalid_parameter

CLUSTER_TAG = "aws:eks:cluster-name"
_SERVICE_CIDRS = ("10.100.0.0/16", "172.20.0.0/16")
_PRIVATE = [ipaddress.IPv4Network(block) for block in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")]
_INTERFACES = 2
"""EKS puts between two and four interfaces of its control plane into the subnets."""


@dataclass(frozen=True, slots=True)
class Placement:
    vpc_id: str
    vpc_cidrs: tuple[str, ...]


def check_subnets(ec2: Any, subnet_ids: list[str], security_group_ids: list[str]) -> Placement:
    """The VPC of a cluster's subnets. Raises `EksError` in EKS's words."""
    if not subnet_ids:
        raise invalid_parameter("Subnets are required")
    subnets = _describe(ec2.describe_subnets, "Subnets", SubnetIds=list(dict.fromkeys(subnet_ids)))
    if len({subnet["AvailabilityZone"] for subnet in subnets}) < 2:
        raise invalid_parameter("Subnets specified must be in at least two different AZs")
    vpcs = {subnet["VpcId"] for subnet in subnets}
    if len(vpcs) > 1:
        raise invalid_parameter("Subnets specified must belong to the same VPC")
    vpc_id = vpcs.pop()
    if security_group_ids:
        groups = _describe(ec2.describe_security_groups, "SecurityGroups", GroupIds=security_group_ids)
        for group in groups:
            if group["VpcId"] != vpc_id:
                raise invalid_parameter(
                    f"Security group(s) [{group['GroupId']}] are not in the same VPC as the subnets. "
                    f"Please specify all security groups from the same VPC."
                )
    vpc = ec2.describe_vpcs(VpcIds=[vpc_id])["Vpcs"][0]
    cidrs = [association["CidrBlock"] for association in vpc.get("CidrBlockAssociationSet", [])]
    return Placement(vpc_id, tuple(cidrs) or (vpc["CidrBlock"],))


def _describe(call: Any, key: str, **arguments: Any) -> list[dict[str, Any]]:
    try:
        found: list[dict[str, Any]] = call(**arguments)[key]
    except ClientError as error:
        raise invalid_parameter(error.response["Error"]["Message"]) from error
    return found


def pick_service_cidr(vpc_cidrs: Iterable[str]) -> str:
    """Of EKS's two ranges the one that cannot meet the VPC: 172.20/16 for a VPC in 10/8, else 10.100/16."""
    in_ten = any(ipaddress.ip_network(cidr, strict=False).overlaps(_PRIVATE[0]) for cidr in vpc_cidrs)
    return _SERVICE_CIDRS[1] if in_ten else _SERVICE_CIDRS[0]


def check_service_cidr(cidr: str, vpc_cidrs: Iterable[str]) -> None:
    """Raises `EksError` for a range that is not private, not between /24 and /12, or overlaps the VPC."""
    try:
        network = ipaddress.IPv4Network(cidr)
    except ValueError:
        raise invalid_parameter(f"The serviceIpv4Cidr value {cidr} is not a valid IPv4 CIDR block") from None
    if not any(network.subnet_of(block) for block in _PRIVATE):
        raise invalid_parameter(
            "Service CIDR must be within one of the following ranges: 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16"
        )
    if not 12 <= network.prefixlen <= 24:
        raise invalid_parameter("Service CIDR must have a netmask between /24 and /12")
    if any(ipaddress.ip_network(vpc, strict=False).overlaps(network) for vpc in vpc_cidrs):
        raise invalid_parameter(f"Service CIDR {cidr} overlaps with a CIDR block of the VPC")


def security_group_name(cluster: str, arn: str) -> str:
    return f"eks-cluster-sg-{cluster}-{int(hashlib.sha256(arn.encode()).hexdigest()[:8], 16)}"


def ensure_security_group(ec2: Any, cluster: str, arn: str, vpc_id: str) -> str:
    """The cluster security group: all traffic among its members, everything out. Its id."""
    name = security_group_name(cluster, arn)
    filters = [{"Name": "vpc-id", "Values": [vpc_id]}, {"Name": "group-name", "Values": [name]}]
    found = ec2.describe_security_groups(Filters=filters)["SecurityGroups"]
    if found:
        return str(found[0]["GroupId"])
    tags = {"Name": name, f"kubernetes.io/cluster/{cluster}": "owned", CLUSTER_TAG: cluster}
    group_id: str = ec2.create_security_group(
        GroupName=name,
        Description="EKS created security group applied to ENI that is attached to EKS Control Plane master nodes, as "
        "well as any managed workloads.",
        VpcId=vpc_id,
        TagSpecifications=[{"ResourceType": "security-group", "Tags": tag_list(tags)}],
    )["GroupId"]
    ec2.authorize_security_group_ingress(
        GroupId=group_id, IpPermissions=[{"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": group_id}]}]
    )
    return group_id


def ensure_interfaces(ec2: Any, cluster: str, subnet_ids: list[str], group_ids: list[str]) -> list[str]:
    """Addresses of the interfaces between control plane and VPC, described `Amazon EKS NAME`; made where missing."""
    found = _interfaces(ec2, cluster)
    taken = {interface["SubnetId"] for interface in found}
    for subnet_id in subnet_ids[:_INTERFACES]:
        if subnet_id in taken:
            continue
        try:
            made = ec2.create_network_interface(
                SubnetId=subnet_id,
                Groups=group_ids,
                Description=f"Amazon EKS {cluster}",
                TagSpecifications=[{"ResourceType": "network-interface", "Tags": tag_list({CLUSTER_TAG: cluster})}],
            )
            found.append(made["NetworkInterface"])
        except ClientError as error:
            if error.response["Error"]["Code"] == "InsufficientFreeAddressesInSubnet":
                raise EksError("InvalidRequestException", error.response["Error"]["Message"]) from error
            raise
    return sorted(str(interface["PrivateIpAddress"]) for interface in found)


def remove(ec2: Any, cluster: str, group_id: str) -> None:
    """Take interfaces and security group away; what is gone already is fine."""
    for interface in _interfaces(ec2, cluster):
        _unless_gone(ec2.delete_network_interface, NetworkInterfaceId=interface["NetworkInterfaceId"])
    if group_id:
        _unless_gone(ec2.delete_security_group, GroupId=group_id)


def _interfaces(ec2: Any, cluster: str) -> list[dict[str, Any]]:
    filters = [{"Name": f"tag:{CLUSTER_TAG}", "Values": [cluster]}]
    found: list[dict[str, Any]] = ec2.describe_network_interfaces(Filters=filters)["NetworkInterfaces"]
    return found


def _unless_gone(call: Any, **arguments: Any) -> None:
    try:
        call(**arguments)
    except ClientError as error:
        code = error.response["Error"]["Code"]
        # A security group that something else still uses stays behind, as it does when EKS cannot delete it.
        if not code.endswith(".NotFound") and code != "DependencyViolation":
            raise


def tag_list(tags: dict[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]
