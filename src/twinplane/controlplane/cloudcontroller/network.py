"""Subnets and security groups of load balancers: found by the tags that EKS
clusters have, made where they are missing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from twinplane.controlplane.cloudcontroller.aws import Aws, AwsError, Unbuildable, tag_dict, tag_list

ROLE_TAGS = {"internet-facing": "kubernetes.io/role/elb", "internal": "kubernetes.io/role/internal-elb"}
CLUSTER_TAG_PREFIX = "kubernetes.io/cluster/"
NO_SUBNETS = "could not find any suitable subnets for creating the ELB"
MINE = "k8s-"
"""How names of security groups begin that this controller makes."""
ANYWHERE = "0.0.0.0/0"
NLB_RULE = "kubernetes.io/rule/nlb/"
"""So begin the descriptions of what the nodes' group lets in for an NLB; purpose and name follow."""


class Permission(NamedTuple):
    """One ingress rule: `source` is a CIDR or a security group id."""

    protocol: str
    from_port: int
    to_port: int
    source: str
    description: str = ""


class ClusterNetwork(NamedTuple):
    """Where a cluster's load balancers live."""

    cluster: str
    vpc_id: str

    @property
    def cluster_tag(self) -> str:
        return CLUSTER_TAG_PREFIX + self.cluster


async def subnets(aws: Aws, network: ClusterNetwork, scheme: str, named: Iterable[str] = ()) -> tuple[str, ...]:
    """Ids, one a zone; `named` are ids or Name tags that an annotation asks for. Raises `Unbuildable`."""
    in_vpc = [{"Name": "vpc-id", "Values": [network.vpc_id]}]
    found = await aws.listed("ec2", "describe_subnets", "Subnets", Filters=in_vpc)
    wanted = list(named)
    if wanted:
        return _named(found, wanted)
    candidates = [subnet for subnet in found if not _of_other_cluster(subnet, network)]
    role = ROLE_TAGS[scheme]
    tagged = [subnet for subnet in candidates if tag_dict(subnet.get("Tags", [])).get(role) in ("", "1")]
    if not tagged and scheme == "internet-facing":
        tables = await aws.listed("ec2", "describe_route_tables", "RouteTables", Filters=in_vpc)
        candidates = [subnet for subnet in candidates if _is_public(subnet["SubnetId"], tables)]
    by_zone: dict[str, str] = {}
    for subnet in sorted(tagged or candidates, key=lambda entry: str(entry["SubnetId"])):
        by_zone.setdefault(subnet["AvailabilityZone"], subnet["SubnetId"])
    if not by_zone:
        raise Unbuildable(NO_SUBNETS)
    return tuple(by_zone[zone] for zone in sorted(by_zone))


def _named(found: list[dict[str, Any]], wanted: list[str]) -> tuple[str, ...]:
    by_name = {key: subnet["SubnetId"] for subnet in found for key in _names(subnet)}
    missing = [name for name in wanted if name not in by_name]
    if missing:
        raise Unbuildable(
            f"couldn't find all subnets, nameOrIDs: {wanted}, found: {sorted(set(wanted) - set(missing))}"
        )
    return tuple(by_name[name] for name in wanted)


def _names(subnet: Mapping[str, Any]) -> list[str]:
    name = tag_dict(subnet.get("Tags", [])).get("Name")
    return [subnet["SubnetId"], name] if name else [subnet["SubnetId"]]


def _of_other_cluster(subnet: Mapping[str, Any], network: ClusterNetwork) -> bool:
    clusters = [key for key in tag_dict(subnet.get("Tags", [])) if key.startswith(CLUSTER_TAG_PREFIX)]
    return bool(clusters) and network.cluster_tag not in clusters


def _is_public(subnet_id: str, tables: Iterable[Mapping[str, Any]]) -> bool:
    """Whether its route table (or the main one) leads to an internet gateway."""
    main = None
    for table in tables:
        for association in table.get("Associations", []):
            if association.get("SubnetId") == subnet_id:
                return _has_gateway(table)
            if association.get("Main"):
                main = table
    return main is not None and _has_gateway(main)


def _has_gateway(table: Mapping[str, Any]) -> bool:
    return any(str(route.get("GatewayId", "")).startswith("igw-") for route in table.get("Routes", []))


async def find_group(aws: Aws, network: ClusterNetwork, name: str) -> dict[str, Any] | None:
    filters = [{"Name": "vpc-id", "Values": [network.vpc_id]}, {"Name": "group-name", "Values": [name]}]
    found = await aws.listed("ec2", "describe_security_groups", "SecurityGroups", Filters=filters)
    return found[0] if found else None


class GroupModel(NamedTuple):
    """A security group with exactly these ingress rules."""

    name: str
    description: str
    tags: Mapping[str, str]
    permissions: frozenset[Permission]


async def ensure_group(aws: Aws, network: ClusterNetwork, model: GroupModel) -> str:
    """Its id."""
    group = await find_group(aws, network, model.name)
    if group is None:
        specification = [{"ResourceType": "security-group", "Tags": tag_list(dict(model.tags))}]
        created = await aws.call(
            "ec2",
            "create_security_group",
            GroupName=model.name,
            Description=model.description,
            VpcId=network.vpc_id,
            TagSpecifications=specification,
        )
        group_id, present = str(created["GroupId"]), frozenset[Permission]()
    else:
        group_id, present = str(group["GroupId"]), _permissions(group)
    await _change(aws, "authorize_security_group_ingress", group_id, model.permissions - present)
    await _change(aws, "revoke_security_group_ingress", group_id, present - model.permissions)
    return group_id


async def delete_group(aws: Aws, network: ClusterNetwork, name: str) -> None:
    """With the rule for it in the nodes' group, which would keep it in use."""
    group = await find_group(aws, network, name)
    if group is None:
        return
    group_id = str(group["GroupId"])
    nodes = await node_group(aws, network)
    if nodes is not None:
        stale = {permission for permission in _permissions(nodes) if permission.source == group_id}
        await _change(aws, "revoke_security_group_ingress", str(nodes["GroupId"]), stale)
    await aws.call("ec2", "delete_security_group", GroupId=group_id)


async def admit_to_nodes(aws: Aws, network: ClusterNetwork, group_id: str) -> None:
    """Nodes accept what comes from a load balancer's security group."""
    nodes = await node_group(aws, network)
    if nodes is not None:
        wanted = {Permission("-1", -1, -1, group_id)}
        await _change(aws, "authorize_security_group_ingress", str(nodes["GroupId"]), wanted - _permissions(nodes))


async def open_nodes(aws: Aws, network: ClusterNetwork, balancer: str, wanted: Iterable[Permission]) -> None:
    """The rules of the nodes' group that are there for a load balancer without a group of its own, and no others of it.

    Each is described as one of its: `kubernetes.io/rule/nlb/...=BALANCER` (`nlb_permission`).
    """
    nodes = await node_group(aws, network)
    if nodes is None:
        return
    own = {each for each in _permissions(nodes) if each.description.endswith(f"={balancer}")}
    present = {each for each in own if each.description.startswith(NLB_RULE)}
    group_id, rules = str(nodes["GroupId"]), frozenset(wanted)
    await _change(aws, "authorize_security_group_ingress", group_id, rules - present)
    await _change(aws, "revoke_security_group_ingress", group_id, present - rules)


async def subnet_cidrs(aws: Aws, ids: Iterable[str]) -> list[str]:
    found = await aws.listed("ec2", "describe_subnets", "Subnets", SubnetIds=list(ids))
    return [str(subnet["CidrBlock"]) for subnet in found]


async def node_group(aws: Aws, network: ClusterNetwork) -> dict[str, Any] | None:
    """The security group of the nodes: the one with the cluster's tag that no load balancer owns."""
    filters = [{"Name": "vpc-id", "Values": [network.vpc_id]}, {"Name": "tag-key", "Values": [network.cluster_tag]}]
    found = await aws.listed("ec2", "describe_security_groups", "SecurityGroups", Filters=filters)
    own = [group for group in found if not group["GroupName"].startswith(MINE)]
    return min(own, key=lambda group: str(group["GroupId"])) if own else None


def _permissions(group: Mapping[str, Any]) -> frozenset[Permission]:
    found = set()
    for entry in group.get("IpPermissions", []):
        protocol, first, last = entry["IpProtocol"], entry.get("FromPort"), entry.get("ToPort")
        sources = [(item["CidrIp"], item.get("Description", "")) for item in entry.get("IpRanges", [])]
        sources += [(item["GroupId"], "") for item in entry.get("UserIdGroupPairs", []) if item.get("GroupId")]
        ports = (-1 if first is None else first, -1 if last is None else last)
        found |= {Permission(protocol, *ports, source, description) for source, description in sources}
    return frozenset(found)


async def _change(aws: Aws, operation: str, group_id: str, permissions: Iterable[Permission]) -> None:
    entries = [_entry(permission) for permission in sorted(permissions)]
    if not entries:
        return
    try:
        await aws.call("ec2", operation, GroupId=group_id, IpPermissions=entries)
    except AwsError as error:
        # Somebody did the same a moment ago: it is as it should be.
        if error.code not in ("InvalidPermission.Duplicate", "InvalidPermission.NotFound"):
            raise


def _entry(permission: Permission) -> dict[str, Any]:
    entry: dict[str, Any] = {"IpProtocol": permission.protocol}
    if permission.protocol != "-1":
        entry |= {"FromPort": permission.from_port, "ToPort": permission.to_port}
    if permission.source.startswith("sg-"):
        return entry | {"UserIdGroupPairs": [{"GroupId": permission.source}]}
    described = {"Description": permission.description} if permission.description else {}
    return entry | {"IpRanges": [{"CidrIp": permission.source, **described}]}
