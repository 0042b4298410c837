"""Network interfaces of load balancers: one in each subnet, with addresses that are then taken, as in AWS.

moto's load balancers have none, so subnets looked emptier than they would be. Each has the load balancer's security
groups; a network load balancer may have none.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from twinplane.cloud.aws.replacing import around


def apply() -> None:
    from moto.elb.models import ELBBackend
    from moto.elbv2.models import ELBv2Backend

    @around(ELBv2Backend, "create_load_balancer")
    def create(original: Any, self: Any, *args: Any, **kwargs: Any) -> Any:
        balancer = original(self, *args, **kwargs)
        try:
            _place_elbv2(self, balancer.arn)
        except Exception:
            self.load_balancers.pop(balancer.arn, None)
            raise
        return balancer

    @around(ELBv2Backend, "set_subnets")
    def set_subnets(original: Any, self: Any, arn: str, *args: Any, **kwargs: Any) -> Any:
        zones = original(self, arn, *args, **kwargs)
        _place_elbv2(self, arn)
        return zones

    @around(ELBv2Backend, "set_security_groups")
    def set_groups(original: Any, self: Any, arn: str, *args: Any, **kwargs: Any) -> None:
        original(self, arn, *args, **kwargs)
        _place_elbv2(self, arn)

    @around(ELBv2Backend, "delete_load_balancer")
    def delete(original: Any, self: Any, arn: str) -> None:
        original(self, arn)
        _place(self, description(arn), [], [])

    @around(ELBBackend, "create_load_balancer")
    def create_classic(original: Any, self: Any, *args: Any, **kwargs: Any) -> Any:
        balancer = original(self, *args, **kwargs)
        try:
            _place_classic(self, balancer)
        except Exception:
            self.load_balancers.pop(balancer.name, None)
            raise
        return balancer

    @around(ELBBackend, "delete_load_balancer")
    def delete_classic(original: Any, self: Any, load_balancer_name: str) -> None:
        original(self, load_balancer_name)
        _place(self, description(load_balancer_name), [], [])

    for change in (
        "apply_security_groups_to_load_balancer",
        "attach_load_balancer_to_subnets",
        "detach_load_balancer_from_subnets",
    ):
        around(ELBBackend, change)(_and_place)


def _and_place(original: Any, self: Any, load_balancer_name: str, *args: Any, **kwargs: Any) -> Any:
    answer = original(self, load_balancer_name, *args, **kwargs)
    _place_classic(self, self.load_balancers[load_balancer_name])
    return answer


def _place_elbv2(backend: Any, arn: str) -> None:
    balancer = backend.load_balancers[arn]
    _place(backend, description(arn), [subnet.id for subnet in balancer.subnets], balancer.security_groups or [])


def _place_classic(backend: Any, balancer: Any) -> None:
    _place(backend, description(balancer.name), balancer.subnets or [], balancer.security_groups or [])


def description(load_balancer: str) -> str:
    """`ELB net/NAME/ID` of an ARN, `ELB NAME` of a classic one's name, as the console shows it."""
    return f"ELB {load_balancer.split('loadbalancer/', 1)[-1]}"


def _place(backend: Any, description: str, subnets: Iterable[str], groups: Sequence[str]) -> None:
    """Have one interface of this description in each of the subnets and nowhere else, with these security groups. All
    or none."""
    from moto.ec2.models import ec2_backends

    ec2 = ec2_backends[backend.account_id][backend.region_name]
    present = {
        interface.subnet.id: interface for interface in ec2.enis.values() if interface.description == description
    }
    wanted = set(subnets)
    made = []
    try:
        for subnet in sorted(wanted - present.keys()):
            interface = ec2.create_network_interface(subnet, "", group_ids=list(groups), description=description)
            interface.requester_managed = True
            interface.status = "in-use"
            made.append(interface)
    except Exception:
        for interface in made:
            ec2.delete_network_interface(interface.id)
        raise
    held = [ec2.get_security_group_from_id(group) for group in groups]
    # moto gives an interface the VPC's default group when it is made without any.
    for interface in (*present.values(), *made):
        interface._group_set = [group for group in held if group is not None]
    for subnet in present.keys() - wanted:
        ec2.delete_network_interface(present[subnet].id)
