"""The AWS resources of a managed node group: launch template, instance profile, Auto Scaling group.

Blocking calls through AWS clients, as EKS makes them with its service role. Each function may be repeated after a
crash: what is there already is found by its name, which the record of the node group fixed beforehand.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import ClientError

from twinplane.cloud.contract import AwsClients
from twinplane.cloud.eks.network import tag_list

ROOT_DEVICE = "/dev/xvda"
_WAIT_SECONDS = 60.0
_POLL_SECONDS = 0.05


class LaunchFailed(Exception):
    """The last scaling activity of the group failed; the message is its status message."""


@dataclass(frozen=True, slots=True)
class GroupSpec:
    """What an Auto Scaling group of a node group is made of."""

    name: str
    cluster: str
    nodegroup: str
    launch_template_id: str
    launch_template_version: str
    instance_types: tuple[str, ...]
    spot: bool
    subnets: tuple[str, ...]
    minimum: int
    maximum: int
    desired: int
    tags: Mapping[str, str] = field(default_factory=dict)


class Compute:
    def __init__(self, clients: AwsClients) -> None:
        self._clients = clients

    @property
    def _ec2(self) -> Any:
        return self._clients.client("ec2")

    @property
    def _autoscaling(self) -> Any:
        return self._clients.client("autoscaling")

    # -- instance profile --------------------------------------------------------------------------------------------

    def ensure_instance_profile(self, name: str, role_arn: str) -> None:
        """Raises ClientError NoSuchEntity when the role does not exist."""
        iam = self._clients.client("iam")
        _unless(("EntityAlreadyExists",), iam.create_instance_profile, InstanceProfileName=name)
        role = role_arn.rsplit("/", 1)[-1]
        _unless(("LimitExceeded",), iam.add_role_to_instance_profile, InstanceProfileName=name, RoleName=role)

    def remove_instance_profile(self, name: str, role_arn: str) -> None:
        iam = self._clients.client("iam")
        role = role_arn.rsplit("/", 1)[-1]
        gone = ("NoSuchEntity", "404")
        _unless(gone, iam.remove_role_from_instance_profile, InstanceProfileName=name, RoleName=role)
        _unless(gone, iam.delete_instance_profile, InstanceProfileName=name)

    # -- launch template ---------------------------------------------------------------------------------------------

    def put_launch_template(
        self, name: str, tags: Mapping[str, str], data: Mapping[str, Any], user_data: str
    ) -> tuple[str, str]:
        """Make the launch template, or a new default version of it. Its id and the number of the version."""
        content = {**data, "UserData": base64.b64encode(user_data.encode()).decode()}
        filters = [{"Name": "launch-template-name", "Values": [name]}]
        found = self._ec2.describe_launch_templates(Filters=filters)["LaunchTemplates"]
        if not found:
            made = self._ec2.create_launch_template(
                LaunchTemplateName=name,
                LaunchTemplateData=content,
                TagSpecifications=[{"ResourceType": "launch-template", "Tags": tag_list(dict(tags))}],
            )["LaunchTemplate"]
            return str(made["LaunchTemplateId"]), "1"
        identifier = str(found[0]["LaunchTemplateId"])
        added = self._ec2.create_launch_template_version(LaunchTemplateId=identifier, LaunchTemplateData=content)
        number = str(added["LaunchTemplateVersion"]["VersionNumber"])
        self._ec2.modify_launch_template(LaunchTemplateId=identifier, DefaultVersion=number)
        return identifier, number

    def read_launch_template(self, reference: Mapping[str, str]) -> dict[str, Any]:
        """The version of a user's launch template that a node group names: id, name, number and data."""
        by = {"LaunchTemplateId": reference["id"]} if "id" in reference else {"LaunchTemplateName": reference["name"]}
        version = reference.get("version", "$Default")
        found = self._ec2.describe_launch_template_versions(**by, Versions=[version])["LaunchTemplateVersions"][0]
        data = dict(found["LaunchTemplateData"])
        text = base64.b64decode(data.pop("UserData", "")).decode("utf-8", "replace")
        return {
            "id": found["LaunchTemplateId"],
            "name": found["LaunchTemplateName"],
            "version": str(found["VersionNumber"]),
            "data": data,
            "userData": text,
        }

    def remove_launch_template(self, name: str) -> None:
        gone = ("InvalidLaunchTemplateName.NotFoundException",)
        _unless(gone, self._ec2.delete_launch_template, LaunchTemplateName=name)

    # -- Auto Scaling group ------------------------------------------------------------------------------------------

    def ensure_group(self, spec: GroupSpec) -> None:
        if not self._group(spec.name):
            self._create_group(spec)
        # Its instances wait until their nodes are drained: see `scale_in`.
        self._autoscaling.put_lifecycle_hook(
            AutoScalingGroupName=spec.name,
            LifecycleHookName="Terminate-LC-Hook",
            LifecycleTransition="autoscaling:EC2_INSTANCE_TERMINATING",
            HeartbeatTimeout=1800,
            DefaultResult="CONTINUE",
        )

    def _create_group(self, spec: GroupSpec) -> None:
        self._autoscaling.create_auto_scaling_group(
            AutoScalingGroupName=spec.name,
            VPCZoneIdentifier=",".join(spec.subnets),
            MinSize=spec.minimum,
            MaxSize=spec.maximum,
            DesiredCapacity=spec.desired,
            MixedInstancesPolicy=_instances_policy(spec),
            TerminationPolicies=["AllocationStrategy", "OldestLaunchTemplate", "OldestInstance"],
            CapacityRebalance=spec.spot,
            HealthCheckGracePeriod=15,
            Tags=[
                {
                    "ResourceId": spec.name,
                    "ResourceType": "auto-scaling-group",
                    "Key": key,
                    "Value": value,
                    "PropagateAtLaunch": True,
                }
                for key, value in spec.tags.items()
            ],
        )

    def resize(self, name: str, minimum: int, maximum: int, desired: int) -> None:
        self._autoscaling.update_auto_scaling_group(
            AutoScalingGroupName=name, MinSize=minimum, MaxSize=maximum, DesiredCapacity=desired
        )

    def use_version(self, spec: GroupSpec) -> None:
        """Launch new instances from another version; those that run keep theirs."""
        self._autoscaling.update_auto_scaling_group(
            AutoScalingGroupName=spec.name, MixedInstancesPolicy=_instances_policy(spec)
        )

    def replace_instances(self, name: str, at_once: int) -> None:
        """Terminate what runs, `at_once` at a time; the group starts others from its current version."""
        old = [instance["InstanceId"] for instance in self._instances(name)]
        for start in range(0, len(old), at_once):
            for instance_id in old[start : start + at_once]:
                self._autoscaling.terminate_instance_in_auto_scaling_group(
                    InstanceId=instance_id, ShouldDecrementDesiredCapacity=False
                )
            self.await_capacity(name)

    def await_capacity(self, name: str) -> None:
        """Until as many instances are in service as wanted.

        Raises `LaunchFailed` when the group cannot launch them, TimeoutError after a minute.
        """
        deadline = time.monotonic() + _WAIT_SECONDS
        while True:
            group = self._group(name)
            running = [found for found in group.get("Instances", []) if found["LifecycleState"] == "InService"]
            if len(running) >= group.get("DesiredCapacity", 0):
                return
            self._check_activities(name)
            if time.monotonic() > deadline:
                raise TimeoutError(f"{len(running)} of {group['DesiredCapacity']} instances of {name} are in service")
            time.sleep(_POLL_SECONDS)

    def _check_activities(self, name: str) -> None:
        found = self._autoscaling.describe_scaling_activities(AutoScalingGroupName=name, MaxRecords=1)["Activities"]
        if found and found[0]["StatusCode"] == "Failed":
            raise LaunchFailed(found[0]["StatusMessage"])

    def remove_group(self, name: str) -> None:
        if self._group(name):
            self._autoscaling.delete_auto_scaling_group(AutoScalingGroupName=name, ForceDelete=True)

    def sizes(self, name: str) -> tuple[int, int, int] | None:
        """(min, max, desired) as the group has them now: others may have changed them."""
        group = self._group(name)
        return (group["MinSize"], group["MaxSize"], group["DesiredCapacity"]) if group else None

    def _group(self, name: str) -> dict[str, Any]:
        found = self._autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=[name])["AutoScalingGroups"]
        return dict(found[0]) if found else {}

    def _instances(self, name: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._group(name).get("Instances", [])
        return found


def _instances_policy(spec: GroupSpec) -> dict[str, Any]:
    return {
        "LaunchTemplate": {
            "LaunchTemplateSpecification": {
                "LaunchTemplateId": spec.launch_template_id,
                "Version": spec.launch_template_version,
            },
            "Overrides": [{"InstanceType": name} for name in spec.instance_types],
        },
        "InstancesDistribution": {
            "OnDemandBaseCapacity": 0,
            "OnDemandPercentageAboveBaseCapacity": 0 if spec.spot else 100,
            "SpotAllocationStrategy": "capacity-optimized-prioritized" if spec.spot else "lowest-price",
        },
    }


def _unless(codes: tuple[str, ...], call: Any, **arguments: Any) -> None:
    """Call, and take an error with one of these codes as done already."""
    try:
        call(**arguments)
    except ClientError as error:
        if error.response["Error"]["Code"] not in codes:
            raise
