"""Aliases of targets and addresses of load balancers: stable, on disk, given back late."""

from __future__ import annotations

import errno
import json
import os
import socket
from io import BytesIO
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.loadbalancing.backends import Account
from tests.unit.loadbalancing.examples import alb, listener, nlb, target_group
from twinplane.cloud.contract import Instance
from twinplane.cloud.loadbalancing.addresses import POOL as ADDRESSES
from twinplane.cloud.loadbalancing.addresses import Addresses, Reservation, reserve
from twinplane.cloud.loadbalancing.aliases import POOL as ALIASES
from twinplane.cloud.loadbalancing.aliases import AddressPool, Aliases, SimulatedReach, VpcEndpoint
from twinplane.cloud.loadbalancing.contract import Target

WEB = VpcEndpoint("vpc-1", "10.0.1.4", 30080)
API = VpcEndpoint("vpc-1", "10.0.1.4", 30081)


class Clock:
    def __init__(self) -> None:
        self.time = 0.0

    def now(self) -> float:
        return self.time


def test_an_alias_is_stable_and_is_on_disk_for_the_simulation(tmp_path: Path) -> None:
    path = tmp_path / "aliases.json"
    aliases = Aliases(path, Clock())
    web, api = aliases.alias(WEB), aliases.alias(API)
    aliases.save()
    assert web != api
    assert IPv4Address(web) in ALIASES
    assert json.loads(path.read_text())[web] == {"vpc": "vpc-1", "address": "10.0.1.4", "port": 30080}
    again = Aliases(path, Clock())
    assert (again.alias(WEB), again.alias(API)) == (web, api)


def test_an_alias_outlives_its_target_for_a_while(tmp_path: Path) -> None:
    clock = Clock()
    aliases = Aliases(tmp_path / "aliases.json", clock, release_after=60)
    web, api = aliases.alias(WEB), aliases.alias(API)
    aliases.retain({api})
    clock.time = 59
    aliases.retain({api})
    assert aliases.alias(WEB) == web
    aliases.retain({web, api})
    clock.time = 100
    aliases.retain({api})
    clock.time = 161
    aliases.retain({api})
    aliases.save()
    assert list(json.loads((tmp_path / "aliases.json").read_text())) == [api]
    assert aliases.alias(WEB) != web


def test_a_damaged_file_is_as_good_as_none(tmp_path: Path) -> None:
    (tmp_path / "aliases.json").write_text("{")
    assert Aliases(tmp_path / "aliases.json", Clock()).alias(WEB) == "127.64.0.1"


@given(st.lists(st.booleans(), max_size=60))
def test_a_pool_never_gives_an_address_twice(steps: list[bool]) -> None:
    from ipaddress import IPv4Network

    pool = AddressPool(IPv4Network("127.0.0.0/26"), [])
    held: list[str] = []
    for take in steps:
        if take:
            address = pool.take()
            assert address not in held
            held.append(address)
        elif held:
            pool.give_back(held.pop(0))


def instance(state: str = "running", cluster: str = "demo") -> Instance:
    return Instance(
        "i-1", state, "m5.large", "ami-1", "10.0.1.4", "ip-10-0-1-4", "vpc-1", "subnet-1", "us-west-2a", "eni-1", 0.0,
        cluster=cluster,
    )  # fmt: skip


def test_simulated_targets_are_reached_by_alias_at_the_port_of_their_cluster(tmp_path: Path) -> None:
    account = Account([instance()])
    ports: dict[str, int | None] = {"demo": 41000}
    aliases = Aliases(tmp_path / "aliases.json", Clock())
    reach = SimulatedReach(account, aliases, ports.get)
    by_instance = reach.resolve("vpc-1", Target("i-1", 30080))
    assert by_instance == [(aliases.alias(WEB), 41000)]
    assert reach.resolve("vpc-1", Target("10.0.1.4", 30080)) == by_instance
    assert reach.resolve("vpc-2", Target("10.0.1.4", 30080)) == []
    assert reach.resolve("vpc-1", Target("i-unknown", 80)) == []
    ports["demo"] = None
    assert reach.resolve("vpc-1", Target("i-1", 30080)) == []
    ports["demo"] = 41000
    account.present[:] = [instance("stopped")]
    account.changed("ec2")
    assert reach.resolve("vpc-1", Target("i-1", 30080)) == []


class Host:
    """Ports that something else has (on `address`, or on all), or that need a privilege."""

    def __init__(self, *taken: int, lowest: int = 0, address: str = "") -> None:
        self.taken = set(taken)
        self.lowest = lowest
        self.address = address

    def reserve(self, address: str, port: int, _datagram: bool) -> Reservation:
        if port < self.lowest:
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
        if self.address in ("", address) and port in self.taken:
            raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
        return BytesIO()


GROUP = target_group("web", "TCP", [])


def test_a_load_balancer_keeps_its_address_over_a_restart(tmp_path: Path) -> None:
    first, second = nlb("a", [listener(80, "TCP", GROUP)]), alb("b", [listener(80, "HTTP", GROUP)])
    addresses = Addresses(tmp_path / "addresses.json", Host().reserve)
    places = [addresses.place(first), addresses.place(second)]
    addresses.save()
    assert {place.ports[80] for place in places} == {80}
    assert len({place.address for place in places}) == 2
    assert all(IPv4Address(place.address) in ADDRESSES for place in places)
    again = Addresses(tmp_path / "addresses.json", Host().reserve)
    assert again.place(second).address == places[1].address


def test_two_regions_share_a_host_by_taking_other_addresses(tmp_path: Path) -> None:
    addresses = Addresses(tmp_path / "addresses.json", Host(80, address="127.90.0.1").reserve)
    place = addresses.place(nlb("a", [listener(80, "TCP", GROUP)]))
    assert (place.address, place.ports, place.problems) == ("127.90.0.2", {80: 80}, {})


def test_without_the_privilege_it_is_a_high_port_that_stays(tmp_path: Path) -> None:
    balancer = nlb("a", [listener(80, "TCP", GROUP), listener(443, "TCP", GROUP), listener(8080, "TCP", GROUP)])
    addresses = Addresses(tmp_path / "addresses.json", Host(10443, lowest=1024).reserve)
    place = addresses.place(balancer)
    addresses.save()
    assert place.ports == {80: 10080, 443: 10444, 8080: 8080}
    assert place.problems[80] == f"{place.address}:80: Permission denied; listening on port 10080"
    again = Addresses(tmp_path / "addresses.json", Host().reserve)
    assert again.place(balancer).ports[80] == 10080


def test_a_port_that_nothing_can_replace_is_reported(tmp_path: Path) -> None:
    addresses = Addresses(tmp_path / "addresses.json", Host(lowest=70000).reserve)
    place = addresses.place(nlb("a", [listener(80, "TCP", GROUP)]))
    assert place.ports == {}
    assert place.problems == {80: f"{place.address}:80: Permission denied"}


def test_a_deleted_load_balancer_gives_its_address_back(tmp_path: Path) -> None:
    addresses = Addresses(tmp_path / "addresses.json", Host().reserve)
    balancer = nlb("a", [listener(80, "TCP", GROUP)])
    addresses.place(balancer)
    addresses.retain([])
    addresses.save()
    assert not (tmp_path / "addresses.json").exists() or json.loads((tmp_path / "addresses.json").read_text()) == {}


def test_of_two_regions_that_ask_at_once_one_goes_elsewhere(tmp_path: Path) -> None:
    """Both with what the kernel says: neither has a listening socket yet."""
    balancer = nlb("a", [listener(18080, "TCP", GROUP), listener(18081, "UDP", GROUP)])
    regions = [Addresses(tmp_path / f"{region}.json") for region in range(2)]
    places = [region.place(balancer) for region in regions]
    assert [place.ports for place in places] == [{18080: 18080, 18081: 18081}] * 2
    assert places[0].address != places[1].address
    for region in regions:
        region.retain([])


def test_a_reserved_port_is_for_those_who_share_it_only() -> None:
    """Envoy listens with SO_REUSEPORT; connections reach it alone, also where an earlier one's wait out their end."""
    address = ("127.90.255.1", 18082)
    held = reserve(*address)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, 5)
    for _ in range(2):
        with socket.create_server(address, reuse_port=True) as envoy, socket.create_connection(address, 5) as client:
            accepted, peer = envoy.accept()
            accepted.close()
            assert peer == client.getsockname()
            with pytest.raises(OSError, match="in use"):
                reserve(*address)
    with pytest.raises(OSError, match="in use"):
        reserve(*address)
    held.close()
    reserve(*address).close()
