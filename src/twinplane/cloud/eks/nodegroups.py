"""Managed node groups: records here, machines in EC2 and Auto Scaling.

What a group looks like is decided once, when it is created (`nodegroup_plan`), and kept in its record with the names of
the AWS resources that `compute` makes for it. DescribeNodegroup shows the sizes that the Auto Scaling group has now, so
that changing them with `aws autoscaling` is seen here too.
"""

from __future__ import annotations

import logging
from typing import Any

from botocore.exceptions import ClientError

from twinplane.cloud.eks import nodegroup_plan, tags
from twinplane.cloud.eks.access import AccessEntries
from twinplane.cloud.eks.bootstrap import user_data
from twinplane.cloud.eks.call import Call, Context, Operation, page, public
from twinplane.cloud.eks.compute import Compute, LaunchFailed
from twinplane.cloud.eks.errors import in_use, invalid_parameter, invalid_request, no_nodegroup
from twinplane.cloud.eks.state import Record
from twinplane.cloud.eks.updates import FAILURES

log = logging.getLogger(__name__)

NODEGROUPS_MAX = 30


class Nodegroups:
    def __init__(self, context: Context, access: AccessEntries) -> None:
        self._context = context
        self._access = access
        self.compute = Compute(context.clients)

    def operations(self) -> dict[str, Operation]:
        return {
            "CreateNodegroup": self._create,
            "DescribeNodegroup": self._describe,
            "ListNodegroups": self._list,
            "DeleteNodegroup": self._delete,
        }

    def resume(self) -> None:
        for (cluster, name), group in self._context.state.below("nodegroup"):
            if group["status"] == "CREATING":
                self._context.background.start(f"eks-nodegroup-{cluster}/{name}", self._bring_up(cluster, name))
            elif group["status"] == "DELETING":
                self._context.background.start(f"eks-nodegroup-{cluster}/{name}", self._take_away(cluster, name))

    def find(self, cluster: str, name: str) -> Record:
        """Raises ResourceNotFoundException, for the cluster or for the node group."""
        self._context.cluster(cluster)
        found = self._context.state.get("nodegroup", cluster, name)
        if found is None:
            raise no_nodegroup(cluster, name)
        return found

    # -- operations --------------------------------------------------------------------------------------------------

    async def _create(self, call: Call) -> Record:
        cluster_name, name = call["clusterName"], call["nodegroupName"]
        cluster = self._context.cluster(cluster_name)
        if self._context.state.get("nodegroup", cluster_name, name) is not None:
            raise in_use(
                f"NodeGroup already exists with name {name} and cluster name {cluster_name}",
                clusterName=cluster_name,
                nodegroupName=name,
            )
        if cluster["status"] not in ("ACTIVE", "UPDATING"):
            raise invalid_request(f"Cluster '{cluster_name}' is not in ACTIVE status", clusterName=cluster_name)
        if len(self._context.state.below("nodegroup", cluster_name)) >= NODEGROUPS_MAX:
            raise invalid_request(f"Limit of {NODEGROUPS_MAX} nodegroups exceeded.", clusterName=cluster_name)
        tags.check(call.get("tags", {}))
        template = await self.launch_template(call["launchTemplate"]) if call.get("launchTemplate") else {}
        await self._check_placement(cluster, call["subnets"], call["nodeRole"])
        group = nodegroup_plan.new_nodegroup(self._context, cluster, call, template)
        for instance_type in group["types"]:
            if await self._context.instance_type(instance_type) is None:
                raise invalid_parameter(f"The following supplied instance types do not exist: [{instance_type}]")
        if self._context.state.get("nodegroup", cluster_name, name) is not None:
            raise in_use(f"NodeGroup already exists with name {name} and cluster name {cluster_name}")
        self._context.state.put("nodegroup", (cluster_name, name), group)
        answer = public(group)
        self._context.background.start(f"eks-nodegroup-{cluster_name}/{name}", self._bring_up(cluster_name, name))
        return {"nodegroup": answer}

    async def _describe(self, call: Call) -> Record:
        group = self.find(call["clusterName"], call["nodegroupName"])
        return {"nodegroup": await self._with_sizes(group)}

    async def _list(self, call: Call) -> Record:
        self._context.cluster(call["clusterName"])
        keys = [key for key, _ in self._context.state.below("nodegroup", call["clusterName"])]
        names, more = page([name for _, name in keys], call)
        return {"nodegroups": names, **more}

    async def _delete(self, call: Call) -> Record:
        cluster_name, name = call["clusterName"], call["nodegroupName"]
        group = self.find(cluster_name, name)
        if group["status"] in ("CREATING", "UPDATING", "DELETING"):
            raise in_use(
                f"Nodegroup has an operation in progress: {group['status']}",
                clusterName=cluster_name,
                nodegroupName=name,
            )
        group["status"] = "DELETING"
        self._context.state.put("nodegroup", (cluster_name, name), group)
        answer = public(group)
        self._context.background.start(f"eks-nodegroup-{cluster_name}/{name}", self._take_away(cluster_name, name))
        return {"nodegroup": answer}

    # -- work in the background --------------------------------------------------------------------------------------

    async def _bring_up(self, cluster_name: str, name: str) -> None:
        group = self.find(cluster_name, name)
        try:
            await self.launch(group)
            self._access.add_nodes(cluster_name, group["nodeRole"])
            spec = nodegroup_plan.group_spec(group)
            await self._context.in_thread(self.compute.ensure_group, spec)
            await self._context.in_thread(self.compute.await_capacity, spec.name)
            group["resources"] = {"autoScalingGroups": [{"name": spec.name}]}
            group["status"] = "ACTIVE"
        except FAILURES as error:
            log.warning("node group %s of %s failed: %s", name, cluster_name, error)
            group["status"] = "CREATE_FAILED"
            group["health"] = {"issues": [_issue(error, group)]}
        self._context.state.put("nodegroup", (cluster_name, name), group)

    async def launch(self, group: Record) -> None:
        """A launch template version for what the record says now; the record learns its number."""
        cluster = self._context.cluster(group["clusterName"])
        made, in_thread = group["made"], self._context.in_thread
        await in_thread(self.compute.ensure_instance_profile, made["profile"], group["nodeRole"])
        limits = [await self._context.instance_type(name) for name in group["types"]]
        settings = nodegroup_plan.node_settings(cluster, group, min(limit["maxPods"] for limit in limits if limit))
        made["templateId"], made["templateVersion"] = await in_thread(
            self.compute.put_launch_template,
            made["template"],
            nodegroup_plan.own_tags(group),
            nodegroup_plan.template_data(cluster, group),
            user_data(settings, group["theirs"]["userData"]),
        )

    async def _take_away(self, cluster_name: str, name: str) -> None:
        group = self.find(cluster_name, name)
        made = group["made"]
        await self._context.control_planes.drain(cluster_name, name)
        try:
            await self._context.in_thread(self.compute.remove_group, made["group"])
            await self._context.in_thread(self.compute.remove_launch_template, made["template"])
            await self._context.in_thread(self.compute.remove_instance_profile, made["profile"], group["nodeRole"])
        except FAILURES as error:
            log.warning("node group %s of %s could not be deleted: %s", name, cluster_name, error)
            group["status"] = "DELETE_FAILED"
            group["health"] = {"issues": [_issue(error, group)]}
            self._context.state.put("nodegroup", (cluster_name, name), group)
            return
        self._context.state.remove("nodegroup", (cluster_name, name))

    # -- reading the account -----------------------------------------------------------------------------------------

    async def _with_sizes(self, group: Record) -> Record:
        answer = public(group)
        if group["status"] in ("ACTIVE", "UPDATING", "DEGRADED"):
            sizes = await self._context.in_thread(self.compute.sizes, group["made"]["group"])
            if sizes is None:
                answer["status"] = "DEGRADED"
                message = f"We couldn't find the Auto Scaling group {group['made']['group']} of the node group."
                issue = {
                    "code": "AutoScalingGroupNotFound",
                    "message": message,
                    "resourceIds": [group["made"]["group"]],
                }
                answer["health"] = {"issues": [issue]}
            else:
                answer["scalingConfig"] = dict(zip(("minSize", "maxSize", "desiredSize"), sizes, strict=True))
        return answer

    async def launch_template(self, reference: Record) -> Record:
        """The version of a user's launch template that a request names: see `Compute.read_launch_template`."""
        if ("id" in reference) == ("name" in reference):
            raise invalid_parameter("Launch template must be specified by either id or name, but not both")
        try:
            found: Record = await self._context.in_thread(self.compute.read_launch_template, reference)
        except ClientError as error:
            raise invalid_parameter(error.response["Error"]["Message"]) from error
        return found

    async def _check_placement(self, cluster: Record, subnets: list[str], role_arn: str) -> None:
        ec2, iam = self._context.clients.client("ec2"), self._context.clients.client("iam")

        def check() -> None:
            try:
                found = ec2.describe_subnets(SubnetIds=subnets)["Subnets"]
                iam.get_role(RoleName=role_arn.rsplit("/", 1)[-1])
            except ClientError as error:
                raise invalid_parameter(error.response["Error"]["Message"]) from error
            if {subnet["VpcId"] for subnet in found} != {cluster["resourcesVpcConfig"]["vpcId"]}:
                raise invalid_parameter(f"Subnets are not in the VPC of cluster {cluster['name']}")

        await self._context.in_thread(check)


def _issue(error: BaseException, group: Record) -> dict[str, Any]:
    code = "AsgInstanceLaunchFailures"
    if isinstance(error, LaunchFailed) and "enough free addresses" in str(error):
        code = "InsufficientFreeAddresses"
    elif isinstance(error, TimeoutError):
        code = "NodeCreationFailure"
    return {"code": code, "message": str(error), "resourceIds": [group["made"]["group"]]}
