"""The plan: only VPCs with machines, one change for one address, and names that Linux takes."""

from __future__ import annotations

from ipaddress import IPv4Network

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.fabric.account import Account
from twinplane.cloud.network.fabric import names, nft
from twinplane.cloud.network.fabric.applier import difference
from twinplane.cloud.network.fabric.contract import HostSide, Route, Services
from twinplane.cloud.network.fabric.desired import Network, Plan
from twinplane.cloud.network.fabric.kernel import Current
from twinplane.cloud.network.fabric.planner import materialised, plan
from twinplane.cloud.network.fabric.slices import allocate

PREFIX = "tp-abcdef-"


def planned(account: Account, here: HostSide | None = None, machines: set[str] | None = None) -> Plan:
    real = account.machines() if machines is None else machines
    slices = allocate(materialised(account.snapshot, real), {}, [])
    return plan(account.snapshot, real, slices, here or HostSide(), PREFIX)


def current(network: Network) -> Current:
    links = {link.name: link.alias for link in network.links.values()}
    return Current(links, set(network.entries), dict(network.settings), network.table)


def test_only_vpcs_with_a_machine_are_made() -> None:
    account = Account()
    first, second = account.vpc("10.0.0.0/16"), account.vpc("10.0.0.0/16")
    one = account.interface(first, 5)
    account.interface(second, 5)
    found = planned(account, machines={one.instance_id})
    assert list(found.routers) == [PREFIX + first]
    assert found.instances == {one.instance_id: PREFIX + one.instance_id}
    assert planned(account, machines=set()) == Plan()


def test_what_is_there_already_is_not_touched() -> None:
    account = Account()
    vpc = account.vpc("10.0.0.0/16", subnets=2)
    account.interface(vpc, 5, 6)
    account.internet(vpc)
    account.nat(vpc, 1)
    found = planned(account)
    for network in (*found.routers.values(), found.host):
        assert not difference(current(network), network)


def test_an_added_address_is_a_neighbour_and_elements_of_sets() -> None:
    account = Account()
    vpc = account.vpc("10.0.0.0/16")
    eni, other = account.interface(vpc, 5), account.interface(vpc, 6)
    before = planned(account).routers[PREFIX + vpc]
    account.edit_interface(eni, addresses=("10.0.0.5", "10.0.0.77"))
    change = difference(current(before), planned(account).routers[PREFIX + vpc])
    assert change.added == [f"neigh replace 10.0.0.77 lladdr {eni.mac} dev {names.bridge(eni.subnet_id)} nud permanent"]
    assert (change.gone, change.made, change.settings) == ([], [], {})
    chain = names.chain("in", other.groups).partition("-")[2]
    assert sorted(change.rules.splitlines()) == [
        f"add element ip twinplane receivers {{ 10.0.0.77 : jump in-{chain} }}",
        f"add element ip twinplane senders {{ 10.0.0.77 : jump out-{chain} }}",
        f"add element ip twinplane sg-{vpc} {{ 10.0.0.77 }}",
        f"add element ip twinplane sources {{ {eni.mac} . 10.0.0.77 }}",
    ]


def test_a_changed_route_is_replaced_in_one_step() -> None:
    account = Account()
    vpc = account.vpc("10.0.0.0/16", subnets=2)
    account.interface(vpc, 5)
    account.internet(vpc)
    before = planned(account).routers[PREFIX + vpc]
    account.route(vpc, Route("0.0.0.0/0", "nat-gone"))
    change = difference(current(before), planned(account).routers[PREFIX + vpc])
    table = names.table_number(account.snapshot.route_tables[0].id)
    assert (change.gone, change.added) == ([], [f"route replace blackhole default table {table}"])


def test_an_interface_moved_to_another_instance_is_made_anew() -> None:
    account = Account()
    vpc = account.vpc("10.0.0.0/16")
    one, moving = account.interface(vpc, 5), account.interface(vpc, 6)
    before = planned(account).routers[PREFIX + vpc]
    account.edit_interface(moving, instance_id=one.instance_id, device_index=1)
    change = difference(current(before), planned(account).routers[PREFIX + vpc])
    port = names.port(moving.id)
    assert change.gone == [f"link del {port}"]
    assert [link.name for link in change.made] == [port]


def test_services_of_every_vpc_are_in_the_hosts_table() -> None:
    account = Account()
    vpc = account.vpc("192.168.0.0/16")
    account.interface(vpc, 5)
    here = HostSide(Services({("169.254.169.254", 80): 8001}, 5300, {(vpc, "192.168.0.9", 443): 8443}))
    table = planned(account, here).host.table
    assert table is not None
    assert table.sets["services"].elements == {
        "169.254.169.254 . tcp . 80": "127.0.0.1 . 8001",
        "169.254.169.253 . tcp . 53": "127.0.0.1 . 5300",
        "169.254.169.253 . udp . 53": "127.0.0.1 . 5300",
        "100.64.0.2 . tcp . 53": "127.0.0.1 . 5300",
        "100.64.0.2 . udp . 53": "127.0.0.1 . 5300",
        "100.64.0.9 . tcp . 443": "127.0.0.1 . 8443",
    }


@settings(max_examples=40)
@given(
    st.lists(st.tuples(st.sampled_from(["10.0.0.0/16", "10.0.0.0/20", "172.16.0.0/16"]), st.integers(1, 3)), max_size=5)
)
def test_names_fit_and_nothing_is_shared(shapes: list[tuple[str, int]]) -> None:
    account = Account()
    for cidr, subnets in shapes:
        vpc = account.vpc(cidr, subnets)
        for subnet in range(subnets):
            account.interface(vpc, 5, subnet=subnet)
    found = planned(account)
    assert len(found.routers) == len(shapes)
    devices = {name for network in found.routers.values() for name in network.links}
    edges = {line for network in found.routers.values() for line in (network.links["edge"].alias,)}
    assert all(len(name) <= 15 for name in devices | edges)
    assert len(edges) == len(shapes)
    slices = [IPv4Network(item) for item in (found.host.table.sets["slices"].elements if found.host.table else ())]
    assert all(not one.overlaps(other) for one in slices for other in slices if one is not other)


def test_a_table_is_loaded_whole_only_when_its_shape_changes() -> None:
    one = nft.Table("t", {"a": nft.set_of("ipv4_addr", ["10.0.0.1"])}, {"c": ("drop",)})
    other = nft.Table("t", {"a": nft.set_of("ipv4_addr", ["10.0.0.2"])}, {"c": ("drop",)})
    assert nft.change(one, one) == ""
    assert nft.change(one, other) == ("delete element ip t a { 10.0.0.1 }\nadd element ip t a { 10.0.0.2 }\n")
    reshaped = nft.Table("t", one.sets, {"c": ("accept",)})
    assert nft.change(one, reshaped) == nft.change(None, reshaped) == nft.render(reshaped)
