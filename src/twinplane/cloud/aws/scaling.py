"""Auto Scaling as AWS does it: balanced over zones, sensible about what to terminate, within its limits.

moto starts every instance of a group in the group's first subnet and terminates in list order (which a set shuffles).
AWS launches in the zone with the fewest instances and takes from the zone with the most, oldest first (the default
termination policy). `spread` and `termination_order` are that arithmetic, pure; the rest wires it into moto.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from twinplane.cloud.aws import activities, lifecycle
from twinplane.cloud.aws.replacing import around
from twinplane.cloud.network import addresses

ASG_NAME_TAG = "aws:autoscaling:groupName"


def spread(subnets: Sequence[str], present: Iterable[str], count: int) -> list[str]:
    """The subnets for `count` new instances, given the subnets of those present: always the emptiest next."""
    if not subnets:
        return []
    population = Counter(subnet for subnet in present if subnet in subnets)
    chosen = []
    for _ in range(count):
        subnet = min(subnets, key=lambda candidate: population[candidate])
        population[subnet] += 1
        chosen.append(subnet)
    return chosen


def termination_order(instances: Sequence[tuple[str, str, Any]]) -> list[str]:
    """Ids in the order in which they are given up, from (id, zone, launch time).

    The fullest zone first, its oldest instance first; ties between zones go to the oldest instance.
    """
    remaining = sorted(instances, key=lambda instance: instance[2])
    population = Counter(zone for _, zone, _ in remaining)
    order = []
    while remaining:
        fullest = max(population.values())
        index = next(i for i, (_, zone, _) in enumerate(remaining) if population[zone] == fullest)
        identifier, zone, _ = remaining.pop(index)
        population[zone] -= 1
        order.append(identifier)
    return order


def apply() -> None:
    from moto.autoscaling.models import AutoScalingBackend, FakeAutoScalingGroup

    FakeAutoScalingGroup.replace_autoscaling_group_instances = _launch

    @around(FakeAutoScalingGroup, "set_desired_capacity")
    def set_desired_capacity(original: Any, self: Any, new_capacity: int | None) -> None:
        _sort_for_termination(self)
        before = {state.instance for state in self.instance_states}
        if lifecycle.has_hook(self):
            lifecycle.hold(self, self.min_size if new_capacity is None else new_capacity)
        original(self, new_capacity)
        for instance in before - {state.instance for state in self.instance_states}:
            activities.record_termination(self, instance)
        # moto has just put the survivors through a set.
        self.instance_states.sort(key=lambda state: (state.instance.launch_time, state.instance.ami_launch_index))

    @around(AutoScalingBackend, "set_desired_capacity")
    def request_capacity(original: Any, self: Any, group_name: str, desired_capacity: int | None) -> None:
        group = self.autoscaling_groups.get(group_name)
        if group is None:
            raise _validation_error(f"AutoScalingGroup name not found - AutoScalingGroup {group_name} not found")
        original(self, group_name, desired_capacity)

    _check_limits()
    activities.apply()
    lifecycle.apply()


def _check_limits() -> None:
    """The API refuses a capacity outside of the group's limits; moto's own calls (deleting a group) may use any."""
    from moto.autoscaling.responses import AutoScalingResponse

    @around(AutoScalingResponse, "set_desired_capacity")
    def set_desired_capacity(original: Any, self: Any) -> Any:
        name, desired = self._get_param("AutoScalingGroupName"), self._get_int_param("DesiredCapacity")
        group = self.autoscaling_backend.autoscaling_groups.get(name)
        if group and desired is not None and desired > group.max_size:
            raise _validation_error(
                f"New SetDesiredCapacity value {desired} is above max value {group.max_size} for the AutoScalingGroup."
            )
        if group and desired is not None and desired < group.min_size:
            raise _validation_error(
                f"New SetDesiredCapacity value {desired} is below min value {group.min_size} for the AutoScalingGroup."
            )
        return original(self)


def _validation_error(message: str) -> Exception:
    from moto.autoscaling.exceptions import ValidationError

    error: Exception = ValidationError(message)
    return error


def _sort_for_termination(group: Any) -> None:
    states = {state.instance.id: state for state in group.instance_states}
    order = termination_order(
        [(key, state.instance.placement.zone, state.instance.launch_time) for key, state in states.items()]
    )
    group.instance_states = [states[key] for key in order]


def _launch(group: Any, count_needed: int, propagated_tags: dict[str, str]) -> None:
    """`FakeAutoScalingGroup.replace_autoscaling_group_instances`, balanced over the group's subnets.

    A subnet without free addresses is passed over for the others; what cannot be launched at all is a failed activity
    of the group, not an error of the request, as in AWS.
    """
    tags = {**propagated_tags, ASG_NAME_TAG: group.name, **group.instance_tags}
    missing = count_needed
    while missing:
        placements = _placements(group, missing)
        if not placements:
            activities.record_failure(group, addresses.InsufficientFreeAddressesInSubnet().args[0])
            return
        for subnet, count in placements.items():
            for instance in _run(group, subnet, count, tags):
                _enlist(group, instance)
                activities.record_launch(group, instance)
            missing -= count


def _placements(group: Any, count: int) -> dict[str | None, int]:
    """How many to launch in which subnet, as far as there are addresses; empty when there are none."""
    if not group.vpc_zone_identifier:
        # moto then takes the default subnet of the zone.
        return {None: count}
    ec2 = group.autoscaling_backend.ec2_backend
    room = {name: ec2.get_subnet(name).available_ip_address_count for name in group.vpc_zone_identifier.split(",")}
    present = [state.instance.subnet_id for state in group.active_instances()]
    wanted = Counter(spread([name for name, free in room.items() if free > 0], present, count))
    return {subnet: min(number, room[subnet]) for subnet, number in wanted.items()}


def _run(group: Any, subnet: str | None, count: int, tags: dict[str, str]) -> list[Any]:
    template = None
    data: dict[str, Any] = {}
    if group.ec2_launch_template:
        version = group.ec2_launch_template.get_version(group.launch_template_version)
        template = {"LaunchTemplateId": group.ec2_launch_template.id, "Version": str(version.number)}
        data = version.data
    options: dict[str, Any] = (
        {"instance_market_options": data["InstanceMarketOptions"]} if data.get("InstanceMarketOptions") else {}
    )
    reservation = group.autoscaling_backend.ec2_backend.run_instances(
        group.image_id,
        count,
        group.user_data,
        group.security_groups,
        instance_type=_instance_type(group),
        tags={"instance": dict(tags)},
        placement=None if subnet else group.availability_zones[0],
        launch_config=group.launch_config,
        launch_template=template,
        is_instance_type_default=False,
        associate_public_ip=group.launch_config.associate_public_ip_address if group.launch_config else None,
        subnet_id=subnet,
        region_name=group.region,
        metadata_options=data.get("MetadataOptions") or {},
        **options,
    )
    profile: dict[str, str] = data.get("IamInstanceProfile") or {}
    for instance in reservation.instances if profile else ():
        group.autoscaling_backend.ec2_backend.associate_iam_instance_profile(
            instance.id, iam_instance_profile_name=profile.get("Name"), iam_instance_profile_arn=profile.get("Arn")
        )
    return list(reservation.instances)


def _instance_type(group: Any) -> str:
    """Of a group with a mixed instances policy: its first choice, as all of them can be had here."""
    policy = group.mixed_instances_policy or {}
    overrides = (policy.get("LaunchTemplate") or {}).get("Overrides") or []
    return str((overrides[0].get("InstanceType") if overrides else "") or group.instance_type)


def _enlist(group: Any, instance: Any) -> None:
    from moto.autoscaling.models import InstanceState

    instance.autoscaling_group = group
    group.instance_states.append(
        InstanceState(instance, protected_from_scale_in=group.new_instances_protected_from_scale_in)
    )
