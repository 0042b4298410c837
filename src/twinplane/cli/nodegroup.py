"""create, get, scale, delete nodegroup."""

from __future__ import annotations

import argparse
from typing import Any

from twinplane.cli.cluster import account_of
from twinplane.cli.command import Command, cluster_flag, output_flag
from twinplane.cli.eksctl.account import Account
from twinplane.cli.eksctl.runtime import check_host, runtime_flag
from twinplane.cli.output import CommandError, Progress, print_document, print_table
from twinplane.cli.region_access import region_access

HEADINGS = (
    "CLUSTER",
    "NODEGROUP",
    "STATUS",
    "CREATED",
    "MIN SIZE",
    "MAX SIZE",
    "DESIRED CAPACITY",
    "INSTANCE TYPE",
    "IMAGE ID",
    "ASG NAME",
    "TYPE",
)


def _create_arguments(parser: argparse.ArgumentParser) -> None:
    cluster_flag(parser)
    parser.add_argument("-n", "--name", required=True, help="name of the new node group")
    parser.add_argument("-N", "--nodes", type=int, default=2, help="total number of nodes (default: 2)")
    parser.add_argument("-t", "--node-type", default="m5.large", help="node instance type (default: m5.large)")
    runtime_flag(parser)


def _create(arguments: argparse.Namespace) -> None:
    from twinplane.cli.eksctl import config, nodegroup, nodes

    access = region_access(arguments.data_dir)
    account = account_of(access)
    cluster = _cluster(account, arguments.cluster)
    group = config.default_node_group(arguments.name, arguments.nodes, arguments.node_type, arguments.runtime)
    check_host((group,), access.directory.root)
    region = access.settings.region
    wanted = config.ClusterConfig(cluster["name"], region, cluster["version"], node_groups=(group,))
    progress = Progress()
    nodegroup.create_all(account, wanted, nodegroup.network_of(account, cluster), cluster, progress)
    nodes.wait_until_ready(access, cluster, wanted, progress)


def _get_arguments(parser: argparse.ArgumentParser) -> None:
    cluster_flag(parser)
    parser.add_argument("-n", "--name", help="name of the node group")
    output_flag(parser)


def _get(arguments: argparse.Namespace) -> None:
    account = account_of(region_access(arguments.data_dir))
    _cluster(account, arguments.cluster)
    eks = account.eks
    names = [arguments.name] if arguments.name else eks.list_nodegroups(clusterName=arguments.cluster)["nodegroups"]
    try:
        found = [eks.describe_nodegroup(clusterName=arguments.cluster, nodegroupName=n)["nodegroup"] for n in names]
    except eks.exceptions.ResourceNotFoundException as error:
        raise CommandError(error.response["Error"]["Message"]) from error
    if arguments.output != "table":
        print_document(found, arguments.output)
    elif found:
        print_table(HEADINGS, [_row(group) for group in found])
    else:
        print("No nodegroups found")


def _row(group: dict[str, Any]) -> tuple[Any, ...]:
    scaling = group["scalingConfig"]
    groups = group.get("resources", {}).get("autoScalingGroups", [])
    return (
        group["clusterName"],
        group["nodegroupName"],
        group["status"],
        group["createdAt"].strftime("%Y-%m-%dT%H:%M:%SZ"),
        scaling["minSize"],
        scaling["maxSize"],
        scaling["desiredSize"],
        ",".join(group.get("instanceTypes", ())),
        group.get("amiType", ""),
        ",".join(entry["name"] for entry in groups),
        "managed",
    )


def _scale_arguments(parser: argparse.ArgumentParser) -> None:
    cluster_flag(parser)
    parser.add_argument("-n", "--name", required=True, help="name of the node group to scale")
    parser.add_argument("-N", "--nodes", type=int, required=True, help="desired number of nodes")
    parser.add_argument("-m", "--nodes-min", type=int, help="minimum number of nodes")
    parser.add_argument("-M", "--nodes-max", type=int, help="maximum number of nodes")


def _scale(arguments: argparse.Namespace) -> None:
    from twinplane.cli.eksctl import nodegroup

    account = account_of(region_access(arguments.data_dir))
    _cluster(account, arguments.cluster)
    progress = Progress()
    progress.info(f'scaling nodegroup "{arguments.name}" in cluster {arguments.cluster}')
    nodegroup.scale(
        account,
        arguments.cluster,
        arguments.name,
        nodes=arguments.nodes,
        minimum=arguments.nodes_min,
        maximum=arguments.nodes_max,
    )
    progress.done("nodegroup successfully scaled")


def _delete_arguments(parser: argparse.ArgumentParser) -> None:
    cluster_flag(parser)
    parser.add_argument("-n", "--name", required=True, help="name of the node group to delete")


def _delete(arguments: argparse.Namespace) -> None:
    from twinplane.cli.eksctl import cluster, roles

    account = account_of(region_access(arguments.data_dir))
    _cluster(account, arguments.cluster)
    progress = Progress()
    progress.info(f'deleting nodegroup "{arguments.name}" in cluster "{arguments.cluster}"')
    try:
        account.eks.delete_nodegroup(clusterName=arguments.cluster, nodegroupName=arguments.name)
    except account.eks.exceptions.ResourceNotFoundException as error:
        raise CommandError(error.response["Error"]["Message"]) from error
    cluster.wait_for(
        lambda: arguments.name not in account.eks.list_nodegroups(clusterName=arguments.cluster)["nodegroups"],
        f'deletion of nodegroup "{arguments.name}"',
    )
    roles.delete_role(account, roles.node_role_name(arguments.cluster, arguments.name))
    progress.done(f'deleted nodegroup "{arguments.name}" from cluster "{arguments.cluster}"')


def _cluster(account: Account, name: str) -> dict[str, Any]:
    from twinplane.cli.eksctl import cluster

    described = cluster.describe(account, name)
    if described is None:
        raise CommandError(f"No cluster found for name: {name}.")
    return described


CREATE = Command("Create a managed node group", _create_arguments, _create)
GET = Command("List node groups of a cluster", _get_arguments, _get)
SCALE = Command("Change the size of a node group", _scale_arguments, _scale)
DELETE = Command("Delete a node group and its instances", _delete_arguments, _delete)
