"""Clusters: their life from CreateCluster to DeleteCluster, and what every answer says about them."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from twinplane.cloud.eks import network, tags, versions
from twinplane.cloud.eks.access import AccessEntries
from twinplane.cloud.eks.call import Call, Context, Operation, page, public
from twinplane.cloud.eks.contract import ControlPlaneSpec
from twinplane.cloud.eks.errors import in_use, invalid_parameter
from twinplane.cloud.eks.state import Record
from twinplane.cloud.eks.updates import FAILURES

log = logging.getLogger(__name__)

LOG_TYPES = ("api", "audit", "authenticator", "controllerManager", "scheduler")
CLUSTERS_MAX = 100
NOT_SUPPORTED = (
    "outpostConfig",
    "zonalShiftConfig",
    "remoteNetworkConfig",
    "computeConfig",
    "controlPlaneScalingConfig",
    "kubeApiServerConfig",
    "kubeSchedulerConfig",
    "kubeControllerManagerConfig",
)


class Clusters:
    def __init__(self, context: Context, access: AccessEntries) -> None:
        self._context = context
        self._access = access

    def operations(self) -> dict[str, Operation]:
        return {
            "CreateCluster": self._create,
            "DescribeCluster": self._describe,
            "ListClusters": self._list,
            "DeleteCluster": self._delete,
        }

    def resume(self) -> None:
        """Go on with what was under way when the daemon stopped, and start the control planes of the others."""
        for (name,), cluster in self._context.state.below("cluster"):
            if cluster["status"] == "DELETING":
                self._context.background.start(f"eks-cluster-{name}", self._take_away(name))
            elif cluster["status"] != "FAILED":
                self._context.background.start(f"eks-cluster-{name}", self._bring_up(name))

    # -- operations --------------------------------------------------------------------------------------------------

    async def _create(self, call: Call) -> Record:
        name = call["name"]
        if self._context.state.get("cluster", name) is not None:
            raise in_use(f"Cluster already exists with name: {name}", clusterName=name)
        if len(self._context.state.below("cluster")) >= CLUSTERS_MAX:
            raise invalid_parameter(f"Cluster limit of {CLUSTERS_MAX} exceeded")
        check_supported(call.parameters)
        version = _known_version(call.get("version", versions.DEFAULT_VERSION))
        tags.check(call.get("tags", {}))
        vpc = call["resourcesVpcConfig"]
        placement, _ = await asyncio.gather(
            self._context.in_thread(
                network.check_subnets,
                self._context.clients.client("ec2"),
                vpc.get("subnetIds", []),
                vpc.get("securityGroupIds", []),
            ),
            self._context.in_thread(self._check_role, call["roleArn"]),
        )
        service_cidr = call.get("kubernetesNetworkConfig", {}).get("serviceIpv4Cidr")
        if service_cidr:
            network.check_service_cidr(service_cidr, placement.vpc_cidrs)
        if self._context.state.get("cluster", name) is not None:
            raise in_use(f"Cluster already exists with name: {name}", clusterName=name)
        cluster = self._new(call, version, placement, service_cidr or network.pick_service_cidr(placement.vpc_cidrs))
        self._context.state.put("cluster", (name,), cluster)
        self._access.add_service(name)
        if cluster["accessConfig"]["bootstrapClusterCreatorAdminPermissions"]:
            self._access.add_creator(name, call.identity)
        answer = public(cluster)
        self._context.background.start(f"eks-cluster-{name}", self._bring_up(name))
        return {"cluster": answer}

    async def _describe(self, call: Call) -> Record:
        return {"cluster": public(self._context.cluster(call["name"]))}

    async def _list(self, call: Call) -> Record:
        names, more = page([name for (name,), _ in self._context.state.below("cluster")], call)
        return {"clusters": names, **more}

    async def _delete(self, call: Call) -> Record:
        name = call["name"]
        cluster = self._context.cluster(name)
        if self._context.state.below("nodegroup", name):
            raise in_use("Cluster has nodegroups attached", clusterName=name)
        if cluster.get("deletionProtection"):
            raise invalid_parameter("Cluster deletion is not allowed when deletionProtection is enabled")
        if cluster["status"] == "DELETING":
            raise in_use(f"Cluster {name} is already being deleted", clusterName=name)
        if cluster["status"] in ("CREATING", "UPDATING"):
            raise in_use(f"Cluster has an operation in progress: {cluster['status']}", clusterName=name)
        cluster["status"] = "DELETING"
        self._context.state.put("cluster", (name,), cluster)
        answer = public(cluster)
        self._context.background.start(f"eks-cluster-{name}", self._take_away(name))
        return {"cluster": answer}

    # -- work in the background --------------------------------------------------------------------------------------

    async def _bring_up(self, name: str) -> None:
        """Network, then the control plane, which is told its addresses in the VPC; all steps may be repeated."""
        cluster = self._context.cluster(name)
        try:
            group_id, cluster["interfaceAddresses"] = await self._context.in_thread(self._connect, cluster)
            endpoint = await self._context.control_planes.provision(self.spec(cluster))
        except FAILURES as error:
            log.warning("cluster %s failed: %s", name, error)
            cluster["health"] = {"issues": [{"code": "Other", "message": str(error), "resourceIds": [name]}]}
            if cluster["status"] == "CREATING":
                cluster["status"] = "FAILED"
        else:
            cluster["endpoint"] = endpoint.url
            cluster["certificateAuthority"] = {"data": endpoint.certificate_authority}
            cluster["resourcesVpcConfig"]["clusterSecurityGroupId"] = group_id
            cluster["health"] = {"issues": []}
            if cluster["status"] == "CREATING":
                cluster["status"] = "ACTIVE"
        if self._context.state.get("cluster", name) is cluster:
            self._context.state.put("cluster", (name,), cluster)

    def _connect(self, cluster: Record) -> tuple[str, list[str]]:
        ec2, vpc = self._context.clients.client("ec2"), cluster["resourcesVpcConfig"]
        group_id = network.ensure_security_group(ec2, cluster["name"], cluster["arn"], vpc["vpcId"])
        groups = [group_id, *vpc["securityGroupIds"]]
        return group_id, network.ensure_interfaces(ec2, cluster["name"], vpc["subnetIds"], groups)

    async def _take_away(self, name: str) -> None:
        cluster = self._context.cluster(name)
        group_id = cluster["resourcesVpcConfig"].get("clusterSecurityGroupId", "")
        ec2 = self._context.clients.client("ec2")
        try:
            await self._context.control_planes.deprovision(name)
            await self._context.in_thread(network.remove, ec2, name, group_id)
        except FAILURES as error:
            log.warning("cluster %s could not be deleted: %s", name, error)
            cluster["status"] = "FAILED"
            cluster["health"] = {"issues": [{"code": "Other", "message": str(error), "resourceIds": [name]}]}
            self._context.state.put("cluster", (name,), cluster)
            return
        self._context.state.remove_cluster(name)

    # -- records -----------------------------------------------------------------------------------------------------

    def spec(self, cluster: Record) -> ControlPlaneSpec:
        return ControlPlaneSpec(
            name=cluster["name"],
            arn=cluster["arn"],
            version=cluster["version"],
            region=self._context.region,
            account_id=self._context.account_id,
            vpc_id=cluster["resourcesVpcConfig"]["vpcId"],
            service_ipv4_cidr=cluster["kubernetesNetworkConfig"]["serviceIpv4Cidr"],
            oidc_id=cluster["identity"]["oidc"]["issuer"].rsplit("/", 1)[-1],
            interface_addresses=tuple(cluster.get("interfaceAddresses", ())),
            audit="audit" in enabled_log_types(cluster["logging"]),
        )

    def _check_role(self, arn: str) -> None:
        iam = self._context.clients.client("iam")
        try:
            iam.get_role(RoleName=arn.rsplit("/", 1)[-1])
        except iam.exceptions.NoSuchEntityException:
            raise invalid_parameter(
                f"Role with arn: {arn}, could not be assumed because it does not exist or the trusted entity is not "
                f"correct"
            ) from None

    def _new(self, call: Call, version: versions.KubernetesVersion, placement: network.Placement, cidr: str) -> Record:
        name, vpc = call["name"], call["resourcesVpcConfig"]
        access, networking = call.get("accessConfig", {}), call.get("kubernetesNetworkConfig", {})
        oidc = f"{self._context.random.getrandbits(128):032X}"
        return {
            "name": name,
            "arn": self._context.arn(f"cluster/{name}"),
            "createdAt": self._context.now(),
            "version": version.version,
            "roleArn": call["roleArn"],
            "resourcesVpcConfig": {
                "subnetIds": list(vpc.get("subnetIds", [])),
                "securityGroupIds": list(vpc.get("securityGroupIds", [])),
                "vpcId": placement.vpc_id,
                **endpoint_access(vpc, {}),
            },
            "kubernetesNetworkConfig": {
                "serviceIpv4Cidr": cidr,
                "ipFamily": networking.get("ipFamily", "ipv4"),
                "elasticLoadBalancing": {"enabled": False},
            },
            "logging": logging_setup(call.get("logging", {}), set()),
            "identity": {"oidc": {"issuer": f"https://oidc.eks.{self._context.region}.amazonaws.com/id/{oidc}"}},
            "status": "CREATING",
            "certificateAuthority": {},
            "platformVersion": version.platform_version,
            "tags": dict(call.get("tags", {})),
            "encryptionConfig": call.get("encryptionConfig"),
            "health": {"issues": []},
            "accessConfig": {
                "authenticationMode": access.get("authenticationMode", "CONFIG_MAP"),
                "bootstrapClusterCreatorAdminPermissions": access.get("bootstrapClusterCreatorAdminPermissions", True),
            },
            "upgradePolicy": {"supportType": call.get("upgradePolicy", {}).get("supportType", "EXTENDED")},
            "deletionProtection": call.get("deletionProtection", False),
        }


def check_supported(parameters: dict[str, Any]) -> None:
    """Raises InvalidParameterException for what this region does not have: nothing is silently left out."""
    for member in NOT_SUPPORTED:
        asked = parameters.get(member)
        if asked and asked != {"enabled": False}:
            raise invalid_parameter(f"{member} is not supported by this region yet")
    networking = parameters.get("kubernetesNetworkConfig") or {}
    if networking.get("ipFamily") == "ipv6" or networking.get("elasticLoadBalancing", {}).get("enabled"):
        raise invalid_parameter("IPv6 clusters and EKS Auto Mode are not supported by this region yet")


def _known_version(version: str) -> versions.KubernetesVersion:
    found = versions.find(version)
    if found is None:
        raise invalid_parameter(f"unsupported Kubernetes version {version}")
    return found


def endpoint_access(wanted: Record, current: Record) -> dict[str, Any]:
    """The endpoint part of `resourcesVpcConfig`. Raises InvalidParameterException when nobody could reach it."""
    public_access = wanted.get("endpointPublicAccess", current.get("endpointPublicAccess", True))
    private_access = wanted.get("endpointPrivateAccess", current.get("endpointPrivateAccess", False))
    if not public_access and not private_access:
        raise invalid_parameter("Private and public endpoint access cannot be false")
    cidrs = wanted.get("publicAccessCidrs") or current.get("publicAccessCidrs") or ["0.0.0.0/0"]
    return {
        "endpointPublicAccess": public_access,
        "endpointPrivateAccess": private_access,
        "publicAccessCidrs": list(cidrs) if public_access else [],
    }


def enabled_log_types(setup: Record) -> set[str]:
    return {name for entry in setup.get("clusterLogging", []) if entry["enabled"] for name in entry["types"]}


def logging_setup(wanted: Record, current: set[str]) -> Record:
    """`logging` of a cluster: what is on and what is off, each as one entry."""
    enabled = set(current)
    for entry in wanted.get("clusterLogging", []):
        types = set(entry.get("types", []))
        enabled = enabled | types if entry.get("enabled") else enabled - types
    groups = ((True, enabled), (False, set(LOG_TYPES) - enabled))
    return {
        "clusterLogging": [
            {"types": [name for name in LOG_TYPES if name in group], "enabled": on} for on, group in groups if group
        ]
    }
