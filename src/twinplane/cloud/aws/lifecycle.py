"""Instances that an Auto Scaling group gives up: held back for whoever has a hook on their termination, and replaced
when they were stopped.

A lifecycle hook on `autoscaling:EC2_INSTANCE_TERMINATING` keeps an instance running, in Terminating:Wait, after the
group has given it up: managed node groups of EKS have one, to drain the node meanwhile. The wait ends here when the
instance is terminated through EC2 (moto knows no CompleteLifecycleAction); a group that is deleted waits for nobody.
Source: "Amazon EC2 Auto Scaling lifecycle hooks", "Health checks for instances in an Auto Scaling group".
"""

from __future__ import annotations

import sys
from collections.abc import Collection
from typing import Any

from twinplane.cloud.aws import activities
from twinplane.cloud.aws.replacing import around

TERMINATING = "autoscaling:EC2_INSTANCE_TERMINATING"
WAITING = "Terminating:Wait"
IN_SERVICE = "InService"
HEALTH_PROCESSES = frozenset({"HealthCheck", "ReplaceUnhealthy", "Terminate"})
"""None of them may be suspended for an unhealthy instance to be replaced."""


def apply() -> None:
    from moto.autoscaling.models import AutoScalingBackend, TerminateInstanceActivity

    @around(AutoScalingBackend, "terminate_instance")
    def terminate_instance(original: Any, self: Any, instance_id: str, should_decrement: bool) -> Any:
        found = (state for group in self.autoscaling_groups.values() for state in group.instance_states)
        state = next((state for state in found if state.instance.id == instance_id), None)
        if state is None or not has_hook(state.instance.autoscaling_group):
            return original(self, instance_id, should_decrement)
        group = state.instance.autoscaling_group
        before = group.desired_capacity
        state.lifecycle_state = WAITING
        group.set_desired_capacity(before - 1 if should_decrement else before)
        return TerminateInstanceActivity(state.instance, before)

    @around(AutoScalingBackend, "delete_auto_scaling_group")
    def delete(original: Any, self: Any, group_name: str) -> None:
        hooks = {key: hook for key, hook in self.lifecycle_hooks.items() if hook.auto_scaling_group_name == group_name}
        for key in hooks:
            del self.lifecycle_hooks[key]
        group = self.autoscaling_groups.get(group_name)
        waiting = [state.instance.id for state in group.instance_states if _waits(state)] if group else []
        if waiting:
            self.ec2_backend.terminate_instances(waiting)
            self.notify_terminate_instances(waiting)
        original(self, group_name)

    @around(AutoScalingBackend, "notify_terminate_instances")
    def terminated(original: Any, self: Any, instance_ids: list[str]) -> None:
        for group in self.autoscaling_groups.values():
            for state in group.instance_states:
                if state.instance.id in instance_ids and _waits(state):
                    activities.record_termination(group, state.instance)
        original(self, instance_ids)


def has_hook(group: Any) -> bool:
    """On the termination of its instances."""
    hooks = group.autoscaling_backend.lifecycle_hooks.values()
    return any(
        hook.auto_scaling_group_name == group.name and hook.lifecycle_transition == TERMINATING for hook in hooks
    )


def hold(group: Any, capacity: int) -> None:
    """Give up what is more than `capacity`, in the order of the group's list: it waits for its hook."""
    over = len(group.active_instances()) - capacity
    for state in group.instance_states:
        if over > 0 and state.lifecycle_state == IN_SERVICE and not state.protected_from_scale_in:
            state.lifecycle_state = WAITING
            over -= 1


def leaving(account_id: str, region: str) -> frozenset[str]:
    """Ids of the instances that wait for their hook. Makes no backend."""
    module = sys.modules.get("moto.autoscaling.models")
    backends = module.autoscaling_backends if module is not None else {}
    backend = dict.get(backends[account_id], region) if account_id in backends else None
    groups = backend.autoscaling_groups.values() if backend is not None else ()
    return frozenset(state.instance.id for group in groups for state in group.instance_states if _waits(state))


def replace_stopped(account_id: str, region: str, instance_ids: Collection[str]) -> None:
    """Those of the instances that are still stopped and in service: unhealthy by EC2's status checks."""
    from moto.autoscaling.models import autoscaling_backends

    backend = autoscaling_backends[account_id][region]
    for group in list(backend.autoscaling_groups.values()):
        if HEALTH_PROCESSES.intersection(entry["ProcessName"] for entry in group.suspended_processes):
            continue
        for state in list(group.instance_states):
            stopped = state.instance.id in instance_ids and state.instance.state == "stopped"
            if stopped and state.lifecycle_state == IN_SERVICE:
                state.health_status = "Unhealthy"
                if not has_hook(group):
                    activities.record_termination(group, state.instance)
                backend.terminate_instance(state.instance.id, should_decrement=False)


def _waits(state: Any) -> bool:
    return bool(state.lifecycle_state == WAITING)
