"""create, get, delete cluster; token; utils write-kubeconfig."""

from __future__ import annotations

import argparse
import random
import sys
import time
from pathlib import Path
from typing import Any

from twinplane.cli import kubeconfig
from twinplane.cli.command import Command, cluster_flag, output_flag
from twinplane.cli.eksctl.account import Account
from twinplane.cli.output import CommandError, Progress, print_document, print_table
from twinplane.cli.region_access import RegionAccess, region_access

_ADJECTIVES = ("attractive", "beautiful", "ferocious", "floral", "hilarious", "scrumptious", "unique", "wonderful")
_NOUNS = ("badger", "creature", "gopher", "hideout", "mushroom", "painting", "rainbow", "sculpture")


def account_of(access: RegionAccess) -> Account:
    return Account(access.settings, access.access_key_id, access.secret_access_key, access.session_token)


def _create_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-f", "--config-file", metavar="FILE", help="an eksctl ClusterConfig; - for standard input")
    parser.add_argument("-n", "--name", help="EKS cluster name (generated if unspecified)")
    parser.add_argument("-r", "--region", help="AWS region; the region of this machine is the only one")
    parser.add_argument("--version", help="Kubernetes version")
    parser.add_argument("--zones", help="comma-separated availability zones")
    parser.add_argument("--nodegroup-name", help="name of the node group (generated if unspecified)")
    parser.add_argument("-N", "--nodes", type=int, help="total number of nodes (default: 2)")
    parser.add_argument("-t", "--node-type", help="node instance type (default: m5.large)")
    from twinplane.cli.eksctl.runtime import runtime_flag

    runtime_flag(parser)
    parser.add_argument("--without-nodegroup", action="store_true", help="create no node group")
    parser.add_argument("--kubeconfig", metavar="FILE", help="where to write the entry (default: as kubectl finds it)")
    parser.add_argument("--no-write-kubeconfig", action="store_true", help="leave kubeconfig files alone")
    parser.add_argument("--dry-run", action="store_true", help="check the file and print the plan; make nothing")


def _create(arguments: argparse.Namespace) -> None:
    from twinplane.cli.eksctl import cluster, identity, nodes
    from twinplane.cli.eksctl.runtime import check_host

    access = region_access(arguments.data_dir)
    config = _config(arguments, access.settings.region)
    if arguments.dry_run:
        from dataclasses import asdict

        print_document(asdict(config), "yaml")
        return
    check_host(config.node_groups, access.directory.root)
    progress = Progress()
    account = account_of(access)
    described = cluster.create(account, config, progress)
    if not arguments.no_write_kubeconfig:
        files = _write_kubeconfig_files(access, account, described, arguments.kubeconfig)
        progress.done(f'saved kubeconfig as "{files[0]}"')
    identity.create_all(account, described, nodes.api_of(access, described), config.identities, progress)
    nodes.wait_until_ready(access, described, config, progress)
    progress.done(f'EKS cluster "{config.name}" in "{config.region}" region is ready')


def _config(arguments: argparse.Namespace, region: str) -> Any:
    if not arguments.config_file:
        return _config_of_flags(arguments, region)
    for flag in _FILE_FLAGS:
        if getattr(arguments, flag) is not None:
            raise CommandError(f"cannot use --{flag.replace('_', '-')} when --config-file/-f is set")
    return read_config(arguments.config_file, region)


def read_config(file: str, region: str) -> Any:
    """A ClusterConfig; `-` is the standard input. Raises `CommandError`."""
    from twinplane.cli.eksctl import config, decoding

    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text()
        return config.from_fields(decoding.decode(text, file), region, file)
    except OSError as error:
        raise CommandError(f"cannot read {file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise CommandError(f"{file} is not UTF-8 text: {error.reason}") from error
    except decoding.BadClusterConfig as error:
        raise CommandError(f"{file} was refused:\n" + str(error)) from error


def _config_of_flags(arguments: argparse.Namespace, region: str) -> Any:
    from twinplane.cli.eksctl import config

    if arguments.region and arguments.region != region:
        raise CommandError(f"this region is {region}; `twinplane up --region {arguments.region}` makes another one")
    chooser = random.Random()
    name = arguments.name or f"{chooser.choice(_ADJECTIVES)}-{chooser.choice(_NOUNS)}-{int(time.time())}"
    groups: tuple[config.NodeGroup, ...] = ()
    if not arguments.without_nodegroup:
        group_name = arguments.nodegroup_name or f"ng-{chooser.getrandbits(32):08x}"
        nodes = config.DEFAULT_NODES if arguments.nodes is None else arguments.nodes
        if nodes < 0:
            raise CommandError(f"--nodes must not be negative, got {nodes}")
        kind = arguments.node_type or config.DEFAULT_INSTANCE_TYPE
        groups = (config.default_node_group(group_name, nodes, kind, arguments.runtime),)
    zones = tuple(zone.strip() for zone in arguments.zones.split(",")) if arguments.zones else ()
    return config.ClusterConfig(
        name=name, region=region, version=arguments.version or "", zones=zones, node_groups=groups
    )


def _get_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-n", "--name", help="EKS cluster name")
    output_flag(parser)


def _get(arguments: argparse.Namespace) -> None:
    access = region_access(arguments.data_dir)
    eks = account_of(access).eks
    names = [arguments.name] if arguments.name else _all_names(eks)
    try:
        found = [eks.describe_cluster(name=name)["cluster"] for name in names]
    except eks.exceptions.ResourceNotFoundException as error:
        raise CommandError(error.response["Error"]["Message"]) from error
    if arguments.output != "table":
        print_document(found, arguments.output)
    elif not found:
        print("No clusters found")
    elif arguments.name:
        print_table(("NAME", "VERSION", "STATUS", "CREATED", "VPC", "SUBNETS", "PROVIDER"), [_detail(c) for c in found])
    else:
        region = access.settings.region
        rows = [(c["name"], region, str("alpha.eksctl.io/cluster-name" in c.get("tags", {}))) for c in found]
        print_table(("NAME", "REGION", "EKSCTL CREATED"), rows)


def _all_names(eks: Any) -> list[str]:
    return [name for page in eks.get_paginator("list_clusters").paginate() for name in page["clusters"]]


def _detail(cluster: dict[str, Any]) -> tuple[str, ...]:
    vpc = cluster["resourcesVpcConfig"]
    created = cluster["createdAt"].strftime("%Y-%m-%dT%H:%M:%SZ")
    subnets = ",".join(vpc.get("subnetIds", ()))
    return (cluster["name"], cluster["version"], cluster["status"], created, vpc.get("vpcId", ""), subnets, "EKS")


def _delete_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-n", "--name", help="EKS cluster name")
    parser.add_argument("-f", "--config-file", metavar="FILE", help="the ClusterConfig that names it")
    parser.add_argument("-r", "--region", help=argparse.SUPPRESS)
    parser.add_argument("-w", "--wait", action="store_true", help="accepted; deletion is always waited for")
    parser.add_argument("--kubeconfig", metavar="FILE", help="where the entry was written")


def _delete(arguments: argparse.Namespace) -> None:
    from twinplane.cli.eksctl import cluster

    access = region_access(arguments.data_dir)
    name = arguments.name
    if arguments.config_file:
        arguments = argparse.Namespace(**{**vars(arguments), **dict.fromkeys(_FILE_FLAGS)})
        name = _config(arguments, access.settings.region).name
    if not name:
        raise CommandError("--name or --config-file must be set")
    cluster.delete(account_of(access), name, Progress())
    kubeconfig.remove(kubeconfig.user_files(arguments.kubeconfig, access.directory), name, access.settings.region)


_FILE_FLAGS = ("name", "version", "zones", "nodes", "node_type", "nodegroup_name", "runtime")


def _token(arguments: argparse.Namespace) -> None:
    from twinplane.cli.token import exec_credential

    print(exec_credential(region_access(arguments.data_dir), arguments.cluster, time.time()))


def _write_kubeconfig_arguments(parser: argparse.ArgumentParser) -> None:
    cluster_flag(parser)
    parser.add_argument("--kubeconfig", metavar="FILE", help="where to write the entry (default: as kubectl finds it)")


def _write_kubeconfig(arguments: argparse.Namespace) -> None:
    from twinplane.cli.eksctl import cluster

    access = region_access(arguments.data_dir)
    account = account_of(access)
    described = cluster.describe(account, arguments.cluster)
    if described is None:
        raise CommandError(f"No cluster found for name: {arguments.cluster}.")
    files = _write_kubeconfig_files(access, account, described, arguments.kubeconfig)
    Progress().done(f'saved kubeconfig as "{files[0]}"')


def _write_kubeconfig_files(
    access: RegionAccess, account: Account, described: dict[str, Any], given: str | None
) -> list[Path]:
    user = account.client("sts").get_caller_identity()["Arn"].rsplit("/", 1)[-1].rsplit(":", 1)[-1]
    files = kubeconfig.user_files(given, access.directory)
    kubeconfig.write(files, described, user, access.directory, access.settings.region)
    return files


CREATE = Command("Create an EKS cluster, from an eksctl ClusterConfig or from flags", _create_arguments, _create)
GET = Command("List clusters, or show one", _get_arguments, _get)
DELETE = Command("Delete a cluster, its node groups, network and roles", _delete_arguments, _delete)
TOKEN = Command("Print an ExecCredential with an EKS IAM token", cluster_flag, _token)
WRITE_KUBECONFIG = Command(
    "Write the kubeconfig entry of a cluster and make it current", _write_kubeconfig_arguments, _write_kubeconfig
)
