"""create, get, scale, delete nodegroup."""

from __future__ import annotations

import argparse
import random
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from twinplane.cli.cluster import account_of
from twinplane.cli.command import Command, cluster_flag, output_flag
from twinplane.cli.eksctl.account import Account
from twinplane.cli.eksctl.runtime import check_host, runtime_flag
from twinplane.cli.output import CommandError, Progress, print_document, print_table
from twinplane.cli.region_access import region_access

if TYPE_CHECKING:
    from twinplane.cli.eksctl.config import ClusterConfig

_FLAGS = ("name", "nodes", "nodes_min", "nodes_max", "node_type", "node_zones", "node_labels", "runtime")
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
    parser.add_argument("-f", "--config-file", metavar="FILE", help="an eksctl ClusterConfig; - for standard input")
    parser.add_argument("--include", help="of the file: only the node groups with these comma-separated names or globs")
    parser.add_argument("--cluster", metavar="NAME", help="EKS cluster name")
    parser.add_argument("-n", "--name", help="name of the new node group (generated if unspecified)")
    parser.add_argument("-N", "--nodes", type=int, help="total number of nodes (default: 2)")
    parser.add_argument("-m", "--nodes-min", type=int, help="minimum number of nodes")
    parser.add_argument("-M", "--nodes-max", type=int, help="maximum number of nodes")
    parser.add_argument("-t", "--node-type", help="node instance type (default: m5.large)")
    parser.add_argument("--node-zones", help="comma-separated availability zones (default: all of the cluster's)")
    parser.add_argument("--node-labels", help="labels of the nodes: key1=value1,key2=value2")
    runtime_flag(parser)


def _create(arguments: argparse.Namespace) -> None:
    from dataclasses import replace

    from twinplane.cli.eksctl import nodegroup, nodes

    access = region_access(arguments.data_dir)
    account = account_of(access)
    wanted = _wanted(arguments, access.settings.region)
    cluster = _cluster(account, wanted.name)
    check_host(wanted.node_groups, access.directory.root)
    progress = Progress()
    present = set(account.eks.list_nodegroups(clusterName=wanted.name)["nodegroups"])
    for group in wanted.node_groups:
        if group.name in present:
            # As eksctl: a file is applied again after a group was added to it.
            progress.info(f'nodegroup "{group.name}" exists already')
    wanted = replace(wanted, node_groups=tuple(each for each in wanted.node_groups if each.name not in present))
    nodegroup.create_all(account, wanted, nodegroup.network_of(account, cluster), cluster, progress)
    nodes.wait_until_ready(access, cluster, wanted, progress)
    progress.done(f'created {len(wanted.node_groups)} managed nodegroup(s) in cluster "{wanted.name}"')


def _wanted(arguments: argparse.Namespace, region: str) -> ClusterConfig:
    """The cluster's name and the node groups to be made."""
    from dataclasses import replace

    from twinplane.cli.cluster import read_config

    if not arguments.config_file:
        return _wanted_by_flags(arguments, region)
    for flag in ("cluster", *_FLAGS):
        if getattr(arguments, flag) is not None:
            raise CommandError(f"cannot use --{flag.replace('_', '-')} when --config-file/-f is set")
    found: ClusterConfig = read_config(arguments.config_file, region)
    if arguments.include:
        globs = arguments.include.split(",")
        kept = tuple(group for group in found.node_groups if any(fnmatchcase(group.name, glob) for glob in globs))
        found = replace(found, node_groups=kept)
    if not found.node_groups:
        raise CommandError(f"no node groups were found in {arguments.config_file}")
    return found


def _wanted_by_flags(arguments: argparse.Namespace, region: str) -> ClusterConfig:
    from dataclasses import replace

    from twinplane.cli.eksctl import config

    if not arguments.cluster:
        raise CommandError("--cluster must be set")
    name = arguments.name or f"ng-{random.getrandbits(32):08x}"
    given = (arguments.nodes, arguments.nodes_min, arguments.nodes_max)
    nodes = arguments.nodes if arguments.nodes is not None else given[1] if given[1] is not None else 2
    minimum, maximum = (nodes if each is None else each for each in given[1:])
    if not 0 <= minimum <= nodes <= maximum:
        raise CommandError(f"--nodes-min {minimum}, --nodes {nodes} and --nodes-max {maximum} must be in this order")
    kind = arguments.node_type or config.DEFAULT_INSTANCE_TYPE
    group = config.default_node_group(name, nodes, kind, arguments.runtime)
    group = replace(
        group,
        minimum=minimum,
        maximum=max(maximum, 1),
        zones=_items(arguments.node_zones),
        labels={**group.labels, **_pairs(arguments.node_labels)},
    )
    return config.ClusterConfig(arguments.cluster, region, "", node_groups=(group,))


def _items(text: str | None) -> tuple[str, ...]:
    return tuple(item.strip() for item in (text or "").split(",") if item.strip())


def _pairs(text: str | None) -> dict[str, str]:
    found = [item.partition("=") for item in _items(text)]
    wrong = next((key for key, sign, _ in found if not sign), None)
    if wrong is not None:
        raise CommandError(f"--node-labels wants key=value, got {wrong!r}")
    return {key: value for key, _, value in found}


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
