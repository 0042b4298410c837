"""Create and delete a cluster, in eksctl's order and words; each step is an AWS call that anyone could make."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from twinplane.cli.eksctl import identity, nodegroup, roles, teardown
from twinplane.cli.eksctl.account import Account, cluster_tags
from twinplane.cli.eksctl.config import ClusterConfig
from twinplane.cli.eksctl.network import plan_subnets
from twinplane.cli.eksctl.vpc import Network, VpcBuilder, choose_zones, describe_existing
from twinplane.cli.output import CommandError, Progress

NAME = re.compile(r"[0-9A-Za-z][A-Za-z0-9_-]{0,99}")
POLL_SECONDS = 0.05
"""Our control planes take a second, not ten minutes; EKS's own waiters poll every thirty seconds."""
LONGEST_WAIT_SECONDS = 120


class ClusterExists(CommandError):
    pass


def create(account: Account, config: ClusterConfig, progress: Progress) -> dict[str, Any]:
    """Everything up to ACTIVE node groups; the cluster as DescribeCluster shows it."""
    region = config.region
    if cluster_status(account, config.name) is not None:
        raise ClusterExists(f'cluster "{config.name}" already exists in "{region}"')
    version = _check_before_making(account, config)
    progress.info(f"using region {region}")
    try:
        return _create(account, config, version, progress)
    except Exception:
        progress.warn(f"to cleanup resources, run 'twinplane delete cluster --name={config.name}'")
        raise


def _check_before_making(account: Account, config: ClusterConfig) -> str:
    """What EKS and EC2 would refuse after the network was made is refused before; the Kubernetes version to use."""
    if not NAME.fullmatch(config.name):
        raise CommandError(f'"{config.name}" is not a cluster name: letters, digits, - and _, at most 100, no - first')
    offered = account.eks.describe_cluster_versions()["clusterVersions"]
    versions = [str(entry["clusterVersion"]) for entry in offered]
    version = config.version or next(str(e["clusterVersion"]) for e in offered if e.get("defaultVersion"))
    if version not in versions:
        raise CommandError(f"invalid version, {version} is not supported; supported values: {', '.join(versions)}")
    wanted = sorted({name for group in config.node_groups for name in group.instance_types})
    if wanted:
        account.ec2.describe_instance_types(InstanceTypes=wanted)
    return version


def _create(account: Account, config: ClusterConfig, version: str, progress: Progress) -> dict[str, Any]:
    region = config.region
    network, role_arn = _prepare(account, config, progress)
    progress.info(f"using Kubernetes version {version}")
    progress.info(f'creating EKS cluster "{config.name}" in "{region}" region with managed nodes')
    account.eks.create_cluster(**_create_request(config, network, role_arn, version))
    cluster: dict[str, Any] = wait_for(lambda: _active(account, config.name), f'cluster "{config.name}"')
    progress.info(f'created cluster "{config.name}" at {cluster["endpoint"]}')
    if config.with_oidc:
        identity.associate_provider(account, cluster)
        progress.done(f'created IAM Open ID Connect provider for cluster "{config.name}"')
    if config.node_groups:
        nodegroup.create_all(account, config, network, cluster, progress)
    progress.done(f'all EKS cluster resources for "{config.name}" have been created')
    return cluster


def delete(account: Account, name: str, progress: Progress) -> None:
    """The node groups, the cluster, then what was made around it, found by eksctl's tags."""
    if cluster_status(account, name) is None and not teardown.has_resources(account, name):
        raise CommandError(f'cluster "{name}" not found in "{account.settings.region}"')
    progress.info(f'deleting EKS cluster "{name}"')
    if cluster_status(account, name) is not None:
        _delete_node_groups(account, name, progress)
        teardown.delete_load_balancers(account, name, progress)
        account.eks.delete_cluster(name=name)
        wait_for(lambda: cluster_status(account, name) is None, f'deletion of cluster "{name}"')
    teardown.delete_resources(account, name, progress)
    progress.done("all cluster resources were deleted")


def cluster_status(account: Account, name: str) -> str | None:
    cluster = describe(account, name)
    return None if cluster is None else str(cluster["status"])


def describe(account: Account, name: str) -> dict[str, Any] | None:
    """None when there is no such cluster."""
    try:
        cluster: dict[str, Any] = account.eks.describe_cluster(name=name)["cluster"]
    except account.eks.exceptions.ResourceNotFoundException:
        return None
    return cluster


def wait_for(ready: Callable[[], Any], what: str) -> Any:
    """The first true answer. Raises `CommandError` when it does not come in time."""
    end = time.monotonic() + LONGEST_WAIT_SECONDS
    while not (answer := ready()):
        if time.monotonic() > end:
            raise CommandError(f"timed out (after {LONGEST_WAIT_SECONDS} s) waiting for {what}")
        time.sleep(POLL_SECONDS)
    return answer


def _prepare(account: Account, config: ClusterConfig, progress: Progress) -> tuple[Network, str]:
    """Network and service role; they do not depend on each other."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        role = pool.submit(_service_role, account, config)
        network = _network(account, config, progress)
        return network, role.result()


def _network(account: Account, config: ClusterConfig, progress: Progress) -> Network:
    if config.vpc is not None:
        network = describe_existing(account, config)
        progress.info(f"using existing VPC ({network.vpc_id}) and subnets")
        return network
    zones = choose_zones(account, config)
    if len(zones) < 2:
        raise CommandError("only one zone was given: at least two availability zones are needed")
    progress.info(f"setting availability zones to [{' '.join(zones)}]")
    plans = plan_subnets(config.cidr, zones)
    for zone in zones:
        public, private = (next(p.cidr for p in plans if p.zone == zone and p.public is side) for side in (True, False))
        progress.info(f"subnets for {zone} - public:{public} private:{private}")
    return VpcBuilder(account, config.name).build(config, zones)


def _service_role(account: Account, config: ClusterConfig) -> str:
    if config.service_role_arn:
        return config.service_role_arn
    name = roles.cluster_role_name(config.name)
    return roles.ensure_role(account, config.name, name, "eks.amazonaws.com", roles.CLUSTER_POLICIES)


def _create_request(config: ClusterConfig, network: Network, role_arn: str, version: str) -> dict[str, Any]:
    vpc_config: dict[str, Any] = {
        "subnetIds": [subnet.id for subnet in network.subnets],
        "securityGroupIds": network.security_groups,
        "endpointPublicAccess": config.public_access,
        "endpointPrivateAccess": config.private_access,
    }
    if config.public_access_cidrs:
        vpc_config["publicAccessCidrs"] = list(config.public_access_cidrs)
    request: dict[str, Any] = {
        "name": config.name,
        "version": version,
        "roleArn": role_arn,
        "resourcesVpcConfig": vpc_config,
        "accessConfig": {
            "authenticationMode": config.authentication_mode,
            "bootstrapClusterCreatorAdminPermissions": config.creator_is_admin,
        },
        "tags": {**cluster_tags(config.name), "Name": f"eksctl-{config.name}-cluster/ControlPlane", **config.tags},
    }
    if config.service_cidr:
        request["kubernetesNetworkConfig"] = {"serviceIpv4Cidr": config.service_cidr}
    if config.log_types:
        request["logging"] = {"clusterLogging": [{"types": list(config.log_types), "enabled": True}]}
    return request


def _active(account: Account, name: str) -> dict[str, Any] | None:
    cluster = describe(account, name)
    if cluster is None or cluster["status"] == "FAILED":
        issues = (cluster or {}).get("health", {}).get("issues", [])
        why = "; ".join(issue.get("message", "") for issue in issues) or "see `twinplane logs`"
        raise CommandError(f'creating cluster "{name}" failed: {why}')
    return cluster if cluster["status"] == "ACTIVE" else None


def _delete_node_groups(account: Account, name: str, progress: Progress) -> None:
    groups = account.eks.list_nodegroups(clusterName=name)["nodegroups"]
    for group in groups:
        progress.info(f'deleting nodegroup "{group}"')
        account.eks.delete_nodegroup(clusterName=name, nodegroupName=group)
    wait_for(lambda: not account.eks.list_nodegroups(clusterName=name)["nodegroups"], "deletion of the node groups")
