"""What is left of a cluster when EKS has deleted it: everything that carries eksctl's tags, in the order AWS allows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twinplane.cli.eksctl import identity, roles
from twinplane.cli.eksctl.account import Account, cluster_tags
from twinplane.cli.output import CommandError, Progress


def _tagged(cluster: str) -> list[dict[str, Any]]:
    return [{"Name": "tag:alpha.eksctl.io/cluster-name", "Values": [cluster]}]


def has_resources(account: Account, cluster: str) -> bool:
    return bool(account.ec2.describe_vpcs(Filters=_tagged(cluster))["Vpcs"])


def delete_load_balancers(account: Account, cluster: str, progress: Progress) -> None:
    """Those that Services and Ingresses of the cluster made: in its VPC and tagged with its name."""
    owner = f"kubernetes.io/cluster/{cluster}"
    classic: Any = account.client("elb")
    modern: Any = account.client("elbv2")
    for balancer in classic.describe_load_balancers()["LoadBalancerDescriptions"]:
        name = balancer["LoadBalancerName"]
        tags = classic.describe_tags(LoadBalancerNames=[name])["TagDescriptions"][0]["Tags"]
        if any(tag["Key"] == owner for tag in tags):
            progress.info(f'deleting load balancer "{name}"')
            classic.delete_load_balancer(LoadBalancerName=name)
    balancers = modern.describe_load_balancers()["LoadBalancers"]
    _delete_tagged_modern(modern, "LoadBalancer", balancers, modern.delete_load_balancer, cluster)
    groups = modern.describe_target_groups()["TargetGroups"]
    _delete_tagged_modern(modern, "TargetGroup", groups, modern.delete_target_group, cluster)


def _delete_tagged_modern(
    client: Any, kind: str, found: list[dict[str, Any]], delete: Callable[..., Any], cluster: str
) -> None:
    arns = [entry[f"{kind}Arn"] for entry in found]
    for start in range(0, len(arns), 20):
        for entry in client.describe_tags(ResourceArns=arns[start : start + 20])["TagDescriptions"]:
            tags = {tag["Key"]: tag["Value"] for tag in entry["Tags"]}
            if tags.get("elbv2.k8s.aws/cluster") == cluster or f"kubernetes.io/cluster/{cluster}" in tags:
                delete(**{f"{kind}Arn": entry["ResourceArn"]})


def delete_resources(account: Account, cluster: str, progress: Progress) -> None:
    """The VPC and all in it, the roles, the OIDC provider. Idempotent, so an interrupted delete can be repeated."""
    for vpc in account.ec2.describe_vpcs(Filters=_tagged(cluster))["Vpcs"]:
        progress.info(f'deleting VPC "{vpc["VpcId"]}" of cluster "{cluster}"')
        _Vpc(account.ec2, cluster, vpc["VpcId"]).delete()
    for role in _role_names(account, cluster):
        roles.delete_role(account, role)
    identity.delete_providers(account, cluster)


def _role_names(account: Account, cluster: str) -> list[str]:
    """Those named as eksctl's stacks, and those with a name of the user's that carry its tags."""
    parts = ("cluster", "nodegroup", "addon-iamserviceaccount", "podidentityrole")
    prefixes = tuple(f"eksctl-{cluster}-{part}-" for part in parts)
    pages = account.iam.get_paginator("list_roles").paginate()
    names = [role["RoleName"] for page in pages for role in page["Roles"]]
    return [name for name in names if name.startswith(prefixes) or _is_tagged(account, name, cluster)]


def _is_tagged(account: Account, role: str, cluster: str) -> bool:
    if role.startswith("eksctl-"):
        return False
    tags = account.iam.list_role_tags(RoleName=role)["Tags"]
    return cluster_tags(cluster).items() <= {tag["Key"]: tag["Value"] for tag in tags}.items()


class _Vpc:
    def __init__(self, ec2: Any, cluster: str, vpc_id: str) -> None:
        self._ec2 = ec2
        self._cluster = cluster
        self._vpc_id = vpc_id
        self._in_vpc = [{"Name": "vpc-id", "Values": [vpc_id]}]

    def delete(self) -> None:
        self._nat_gateways()
        self._network_interfaces()
        self._subnets()
        self._route_tables()
        self._internet_gateways()
        self._security_groups()
        try:
            self._ec2.delete_vpc(VpcId=self._vpc_id)
        except self._ec2.exceptions.ClientError as error:
            raise CommandError(f'VPC "{self._vpc_id}" could not be deleted: {error}') from error

    def _nat_gateways(self) -> None:
        for gateway in self._ec2.describe_nat_gateways(Filter=self._in_vpc)["NatGateways"]:
            if gateway["State"] not in ("deleted", "deleting"):
                self._ec2.delete_nat_gateway(NatGatewayId=gateway["NatGatewayId"])
        for address in self._ec2.describe_addresses(Filters=_tagged(self._cluster))["Addresses"]:
            if "AssociationId" in address:
                self._ec2.disassociate_address(AssociationId=address["AssociationId"])
            self._ec2.release_address(AllocationId=address["AllocationId"])

    def _network_interfaces(self) -> None:
        for interface in self._ec2.describe_network_interfaces(Filters=self._in_vpc)["NetworkInterfaces"]:
            if interface["Status"] == "available":
                self._ec2.delete_network_interface(NetworkInterfaceId=interface["NetworkInterfaceId"])

    def _subnets(self) -> None:
        for subnet in self._ec2.describe_subnets(Filters=self._in_vpc)["Subnets"]:
            self._ec2.delete_subnet(SubnetId=subnet["SubnetId"])

    def _route_tables(self) -> None:
        for table in self._ec2.describe_route_tables(Filters=self._in_vpc)["RouteTables"]:
            associations = table["Associations"]
            if any(association.get("Main") for association in associations):
                continue
            for association in associations:
                self._ec2.disassociate_route_table(AssociationId=association["RouteTableAssociationId"])
            self._ec2.delete_route_table(RouteTableId=table["RouteTableId"])

    def _internet_gateways(self) -> None:
        attached = [{"Name": "attachment.vpc-id", "Values": [self._vpc_id]}]
        for gateway in self._ec2.describe_internet_gateways(Filters=attached)["InternetGateways"]:
            gateway_id = gateway["InternetGatewayId"]
            self._ec2.detach_internet_gateway(InternetGatewayId=gateway_id, VpcId=self._vpc_id)
            self._ec2.delete_internet_gateway(InternetGatewayId=gateway_id)

    def _security_groups(self) -> None:
        """Rules first: groups may name one another."""
        groups = [
            group
            for group in self._ec2.describe_security_groups(Filters=self._in_vpc)["SecurityGroups"]
            if group["GroupName"] != "default"
        ]
        for group in groups:
            if group["IpPermissions"]:
                self._ec2.revoke_security_group_ingress(GroupId=group["GroupId"], IpPermissions=group["IpPermissions"])
        for group in groups:
            self._ec2.delete_security_group(GroupId=group["GroupId"])
