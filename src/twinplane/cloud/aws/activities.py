"""Scaling activities: what an Auto Scaling group did and what it could not do. moto answers an empty list.

The last ones are kept with the group (and so saved with it); `DescribeScalingActivities` shows them, newest first.
"""

from __future__ import annotations

from typing import Any

from twinplane.cloud.aws.replacing import around

KEPT_MAX = 100


def record_launch(group: Any, instance: Any) -> None:
    _record(group, f"Launching a new EC2 instance: {instance.id}", "Successful")


def record_termination(group: Any, instance: Any) -> None:
    _record(group, f"Terminating EC2 instance: {instance.id}", "Successful")


def record_failure(group: Any, message: str) -> None:
    _record(group, "Launching a new EC2 instance.  Status Reason: " + message, "Failed", message)


def _record(group: Any, description: str, status: str, message: str = "") -> None:
    from moto.core.utils import utcnow
    from moto.moto_api._internal import mock_random

    now = utcnow()
    activity = {
        "ActivityId": str(mock_random.uuid4()),
        "AutoScalingGroupName": group.name,
        "Description": description,
        "Cause": f"At {now:%Y-%m-%dT%H:%M:%SZ} the desired capacity was {group.desired_capacity}.",
        "StartTime": now,
        "EndTime": now,
        "StatusCode": status,
        "StatusMessage": message or None,
        "Progress": 100,
        "AutoScalingGroupARN": group.arn,
    }
    group.activities = [activity, *getattr(group, "activities", [])][:KEPT_MAX]


def apply() -> None:
    from moto.autoscaling.responses import AutoScalingResponse
    from moto.core.responses import ActionResult

    @around(AutoScalingResponse, "describe_scaling_activities")
    def describe(_: Any, self: Any) -> Any:
        name = self._get_param("AutoScalingGroupName")
        wanted = self._get_param("ActivityIds", [])
        groups = [group for group in self.autoscaling_backend.autoscaling_groups.values() if name in (None, group.name)]
        found = [
            activity
            for group in groups
            for activity in getattr(group, "activities", [])
            if not wanted or activity["ActivityId"] in wanted
        ]
        return ActionResult({"Activities": found[: self._get_int_param("MaxRecords", KEPT_MAX)]})
