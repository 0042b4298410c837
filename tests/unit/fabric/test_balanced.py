"""Load balancers in the fabric: flows that the host hands on, and groups that a network load balancer need not have."""

from __future__ import annotations

from tests.unit.fabric.account import Account
from tests.unit.fabric.test_planner import PREFIX, planned
from twinplane.cloud.network.fabric import nft
from twinplane.cloud.network.fabric.contract import HostSide, Interface

TARGETS = (("100.64.0.5", 30080), ("100.64.0.6", 30080))


def with_balancer(groups: bool) -> tuple[Account, str, Interface]:
    account = Account()
    vpc = account.vpc("192.168.0.0/16")
    account.interface(vpc, 5)
    balancer = account.interface(vpc, 9, instance="")
    if not groups:
        balancer = account.edit_interface(balancer, groups=())
    return account, vpc, balancer


def test_flows_are_handed_on_and_come_from_the_balancer() -> None:
    account, vpc, balancer = with_balancer(groups=True)
    address = balancer.addresses[0]
    here = HostSide(announced=frozenset({(vpc, address)}), flows={(vpc, address, "tcp", 80): TARGETS})
    table = planned(account, here).host.table
    assert table is not None
    ((key, verdict),) = table.sets["flows"].elements.items()
    assert key == "100.64.0.9 . tcp . 80"
    (statement,) = table.chains[verdict.removeprefix("jump ")]
    listed = "{ 0 : 100.64.0.5 . 30080, 1 : 100.64.0.6 . 30080 }"
    assert statement == f"meta l4proto tcp dnat ip to numgen random mod 2 map {listed}"
    assert "snat ip to ct original ip daddr" in nft.render(table)
    # What is not announced is not the host's to hand on.
    alone = planned(account, HostSide(flows=here.flows)).host.table
    assert alone is not None
    assert alone.sets["flows"].elements == {}


def test_a_balancer_without_groups_takes_and_sends_everything() -> None:
    for groups, verdict in ((True, "jump in-"), (False, "accept")):
        account, vpc, balancer = with_balancer(groups)
        address = balancer.addresses[0]
        table = planned(account, HostSide(announced=frozenset({(vpc, address)}))).routers[PREFIX + vpc].table
        assert table is not None
        assert table.sets["receivers"].elements[address].startswith(verdict)
        assert (address in table.sets["senders"].elements) is groups
