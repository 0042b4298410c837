"""UpdateClusterConfig and UpdateClusterVersion: one kind of change at a time, as EKS has it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twinplane.cloud.eks import network, versions
from twinplane.cloud.eks.call import Call, Context, Operation
from twinplane.cloud.eks.clusters import Clusters, check_supported, enabled_log_types, endpoint_access, logging_setup
from twinplane.cloud.eks.errors import invalid_parameter
from twinplane.cloud.eks.state import Record
from twinplane.cloud.eks.updates import Updates, check_not_updating

Plan = tuple[str, dict[str, Any], Record]
"""Type of the update, what DescribeUpdate shows of it, and the members of the record as they shall be."""

_MODES = ("CONFIG_MAP", "API_AND_CONFIG_MAP", "API")
"""Each may only be changed into a later one."""


class ClusterUpdates:
    def __init__(self, context: Context, clusters: Clusters, updates: Updates) -> None:
        self._context = context
        self._clusters = clusters
        self._updates = updates
        updates.register("cluster", self._apply)

    def operations(self) -> dict[str, Operation]:
        return {"UpdateClusterConfig": self._config, "UpdateClusterVersion": self._version}

    async def _config(self, call: Call) -> Record:
        name = call["name"]
        cluster = self._context.cluster(name)
        check_not_updating(cluster, "Cluster")
        check_supported(call.parameters)
        planners: dict[str, Callable[[Record, Any], Plan]] = {
            "logging": _logging,
            "accessConfig": _access,
            "upgradePolicy": _upgrade_policy,
            "deletionProtection": _deletion_protection,
        }
        asked = [member for member in ("resourcesVpcConfig", *planners) if call.get(member) is not None]
        if not asked:
            raise invalid_parameter("At least one configuration is required", clusterName=name)
        if len(asked) > 1:
            raise invalid_parameter("Only one type of update can be allowed", clusterName=name)
        value = call[asked[0]]
        planner = planners.get(asked[0])
        plan = planner(cluster, value) if planner else await self._vpc(cluster, value)
        return {"update": self._updates.start("cluster", (name,), *plan)}

    async def _vpc(self, cluster: Record, asked: Record) -> Plan:
        current = cluster["resourcesVpcConfig"]
        if asked.get("subnetIds") or asked.get("securityGroupIds"):
            subnets = asked.get("subnetIds") or current["subnetIds"]
            groups = asked.get("securityGroupIds") or current["securityGroupIds"]
            ec2 = self._context.clients.client("ec2")
            placement = await self._context.in_thread(network.check_subnets, ec2, subnets, groups)
            if placement.vpc_id != current["vpcId"]:
                raise invalid_parameter("Subnets must be in the same VPC as the cluster", clusterName=cluster["name"])
            changed = {"subnetIds": subnets, "securityGroupIds": groups}
            return "VpcConfigUpdate", changed, {"resourcesVpcConfig": current | changed}
        changed = endpoint_access(asked, current)
        if all(current[member] == value for member, value in changed.items()):
            raise invalid_parameter(
                f"Cluster is already at the desired configuration with endpointPrivateAccess: "
                f"{str(changed['endpointPrivateAccess']).lower()} , endpointPublicAccess: "
                f"{str(changed['endpointPublicAccess']).lower()}, and Public Endpoint Restrictions: "
                f"[{', '.join(changed['publicAccessCidrs'])}]",
                clusterName=cluster["name"],
            )
        params = {
            "EndpointPublicAccess": changed["endpointPublicAccess"],
            "EndpointPrivateAccess": changed["endpointPrivateAccess"],
            "PublicAccessCidrs": changed["publicAccessCidrs"],
        }
        return "EndpointAccessUpdate", params, {"resourcesVpcConfig": current | changed}

    async def _version(self, call: Call) -> Record:
        name, wanted = call["name"], call["version"]
        cluster = self._context.cluster(name)
        check_not_updating(cluster, "Cluster")
        current, found = cluster["version"], versions.find(wanted)
        if found is None:
            raise invalid_parameter(f"unsupported Kubernetes version {wanted}", clusterName=name)
        if wanted == current:
            raise invalid_parameter(f"Cluster is already at version {wanted}", clusterName=name)
        if not versions.follows(current, wanted):
            raise invalid_parameter(
                f"Unsupported Kubernetes minor version update from {current} to {wanted}", clusterName=name
            )
        params = {"Version": wanted, "PlatformVersion": found.platform_version}
        record = {"version": wanted, "platformVersion": found.platform_version}
        return {"update": self._updates.start("cluster", (name,), "VersionUpdate", params, record)}

    async def _apply(self, update: Record) -> None:
        cluster = self._context.cluster(update["resource"]["key"][0])
        wanted = update["wanted"]
        if "version" in wanted or "logging" in wanted:
            # The control plane takes over as wanted before the cluster says that it has.
            await self._context.control_planes.provision(self._clusters.spec(cluster | wanted))
        cluster.update(wanted)


def _logging(cluster: Record, asked: Record) -> Plan:
    setup = logging_setup(asked, enabled_log_types(cluster["logging"]))
    if setup == cluster["logging"]:
        raise invalid_parameter("No changes needed for the logging config provided", clusterName=cluster["name"])
    return "LoggingUpdate", {"ClusterLogging": asked}, {"logging": setup}


def _access(cluster: Record, asked: Record) -> Plan:
    current, mode = cluster["accessConfig"], asked["authenticationMode"]
    if _MODES.index(mode) <= _MODES.index(current["authenticationMode"]):
        raise invalid_parameter(
            f"Unsupported authentication mode update from {current['authenticationMode']} to {mode}",
            clusterName=cluster["name"],
        )
    return "AccessConfigUpdate", {"AuthenticationMode": mode}, {"accessConfig": current | {"authenticationMode": mode}}


def _upgrade_policy(cluster: Record, asked: Record) -> Plan:
    support = asked.get("supportType", "EXTENDED")
    if support == cluster["upgradePolicy"]["supportType"]:
        raise invalid_parameter("No changes needed for the upgrade policy config provided", clusterName=cluster["name"])
    return "UpgradePolicyUpdate", {"UpgradePolicy": asked}, {"upgradePolicy": {"supportType": support}}


def _deletion_protection(cluster: Record, asked: bool) -> Plan:
    return "DeletionProtectionUpdate", {"DeletionProtection": asked}, {"deletionProtection": asked}
