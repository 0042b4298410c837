"""Network interfaces of load balancers: one in each subnet, with addresses that are then taken, as in AWS.

moto's load balancers have none, so subnets looked emptier than they would be.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from twinplane.cloud.aws.replacing import around


def apply() -> None:
    from moto.elb.models import ELBBackend
    from moto.elbv2.models import ELBv2Backend

    @around(ELBv2Backend, "create_load_balancer")
    def create(original: Any, self: Any, *args: Any, **kwargs: Any) -> Any:
        balancer = original(self, *args, **kwargs)
        try:
            _place(self, _description(balancer.arn), [subnet.id for subnet in balancer.subnets])
        except Exception:
            self.load_balancers.pop(balancer.arn, None)
            raise
        return balancer

    @around(ELBv2Backend, "set_subnets")
    def set_subnets(original: Any, self: Any, arn: str, *args: Any, **kwargs: Any) -> Any:
        zones = original(self, arn, *args, **kwargs)
        _place(self, _description(arn), [subnet.id for subnet in self.load_balancers[arn].subnets])
        return zones

    @around(ELBv2Backend, "delete_load_balancer")
    def delete(original: Any, self: Any, arn: str) -> None:
        original(self, arn)
        _place(self, _description(arn), [])

    @around(ELBBackend, "create_load_balancer")
    def create_classic(original: Any, self: Any, *args: Any, **kwargs: Any) -> Any:
        balancer = original(self, *args, **kwargs)
        try:
            _place(self, f"ELB {balancer.name}", balancer.subnets or [])
        except Exception:
            self.load_balancers.pop(balancer.name, None)
            raise
        return balancer

    @around(ELBBackend, "delete_load_balancer")
    def delete_classic(original: Any, self: Any, load_balancer_name: str) -> None:
        original(self, load_balancer_name)
        _place(self, f"ELB {load_balancer_name}", [])


def _description(arn: str) -> str:
    """`ELB net/NAME/ID`, as the console shows it."""
    return f"ELB {arn.split('loadbalancer/', 1)[-1]}"


def _place(backend: Any, description: str, subnets: Iterable[str]) -> None:
    """Have one interface of this description in each of the subnets and nowhere else. All or none."""
    from moto.ec2.models import ec2_backends

    ec2 = ec2_backends[backend.account_id][backend.region_name]
    present = {
        interface.subnet.id: interface for interface in ec2.enis.values() if interface.description == description
    }
    wanted = set(subnets)
    made = []
    try:
        for subnet in sorted(wanted - present.keys()):
            interface = ec2.create_network_interface(subnet, "", description=description)
            interface.requester_managed = True
            interface.status = "in-use"
            made.append(interface)
    except Exception:
        for interface in made:
            ec2.delete_network_interface(interface.id)
        raise
    for subnet in present.keys() - wanted:
        ec2.delete_network_interface(present[subnet].id)
