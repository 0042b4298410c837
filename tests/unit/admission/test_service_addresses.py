"""Cluster IPs, node ports, IP families: chosen, kept, released and refused."""

from __future__ import annotations

import asyncio
import ipaddress
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.admission.requests import request, send
from tests.unit.auth.fakes import Cluster, FixedClock, named
from twinplane.controlplane.admission.service_addresses import ServiceAddresses
from twinplane.controlplane.admission.shared_reservations import SharedReservations
from twinplane.controlplane.store.contract import KeyExists, Record, RevisionConflict
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.meta import copied
from twinplane.kubeclient.resources import IP_ADDRESSES, SERVICE_CIDRS, SERVICES


def service(name: str = "web", **spec: Any) -> Object:
    return named(name, "shop", spec={"ports": [{"port": 80, "protocol": "TCP"}], "selector": {"app": "web"}} | spec)


class World:
    def __init__(self, cidr: str = "10.100.0.0/16", ports: range = range(30000, 32768)) -> None:
        self.cluster = Cluster()
        self.clock = FixedClock()
        self.plugin = ServiceAddresses(self.cluster.reader, self.clock, Random(3), service_cidr=cidr, node_ports=ports)

    async def create(self, body: Object, *, dry_run: bool = False) -> Object:
        made = await send(request(SERVICES, body, dry_run=dry_run), self.plugin)
        if not dry_run:
            self.cluster.put(SERVICES, copied(made))
        spec: Object = made["spec"]
        return spec

    async def update(self, old: Object, body: Object) -> Object:
        made = await send(request(SERVICES, body, old=named("web", "shop", spec=copied(old))), self.plugin)
        self.cluster.put(SERVICES, copied(made))
        spec: Object = made["spec"]
        return spec


async def refusal(coroutine: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        await coroutine
    return caught.value


async def test_a_service_gets_an_address_of_the_range() -> None:
    spec = await World().create(service())
    assert ipaddress.ip_address(spec["clusterIP"]) in ipaddress.ip_network("10.100.0.0/16")
    assert spec["clusterIPs"] == [spec["clusterIP"]]
    assert (spec["ipFamilies"], spec["ipFamilyPolicy"]) == (["IPv4"], "SingleStack")


async def test_addresses_of_writes_under_way_are_not_given_twice() -> None:
    world = World("10.0.0.0/29")
    sent = [await send(request(SERVICES, service(f"s{number}")), world.plugin) for number in range(6)]
    made = [each["spec"]["clusterIP"] for each in sent]
    assert sorted(made) == [f"10.0.0.{number}" for number in range(1, 7)]
    assert "range is full" in (await refusal(world.create(service("one-more")))).message
    world.clock.time += 11
    await world.create(service("later"))


async def test_a_dry_run_reserves_nothing() -> None:
    world = World("10.0.0.0/30")
    for _ in range(5):
        await world.create(service(), dry_run=True)
    await world.create(service("a"))
    await world.create(service("b"))


async def test_the_refused_ones() -> None:
    world = World()
    await world.create(service("a", clusterIP="10.100.0.10"))
    taken = await refusal(world.create(service("b", clusterIP="10.100.0.10")))
    assert taken.code == 422
    assert taken.message == (
        'Service "b" is invalid: spec.clusterIPs: Invalid value: ["10.100.0.10"]: failed to allocate IP 10.100.0.10: '
        "provided IP is already allocated"
    )
    elsewhere = await refusal(world.create(service("b", clusterIP="10.0.0.1")))
    assert "10.0.0.1: the provided network does not match the current range" in elsewhere.message
    for address in ("10.100.0.0", "10.100.255.255"):
        outside = await refusal(world.create(service("b", clusterIP=address)))
        assert f"the provided IP ({address}) is not in the valid range. The range of valid IPs is 10.100.0.0/16" in (
            outside.message
        )
    assert "not a valid IP" in (await refusal(world.create(service("b", clusterIP="x")))).message


async def test_headless_and_external_names_have_no_address() -> None:
    world = World()
    headless = await world.create(service("h", clusterIP="None"))
    assert (headless["clusterIP"], headless["clusterIPs"]) == ("None", ["None"])
    selectorless = await world.create(service("s", clusterIP="None", selector=None))
    assert (selectorless["ipFamilyPolicy"], selectorless["ipFamilies"]) == ("RequireDualStack", ["IPv4", "IPv6"])
    external = await world.create(service("e", type="ExternalName", externalName="example.com"))
    assert "clusterIP" not in external


async def test_families_that_the_cluster_has_not() -> None:
    world = World()
    dual = await refusal(world.create(service(ipFamilyPolicy="RequireDualStack")))
    assert "this cluster is not configured for dual-stack services" in dual.message
    six = await refusal(world.create(service(ipFamilies=["IPv6"])))
    assert 'spec.ipFamilies[0]: Invalid value: "IPv6": not configured on this cluster' in six.message
    prefer = await world.create(service(ipFamilyPolicy="PreferDualStack"))
    assert (prefer["ipFamilyPolicy"], prefer["ipFamilies"]) == ("PreferDualStack", ["IPv4"])


async def test_node_ports_are_chosen_once_in_the_cluster() -> None:
    world = World(ports=range(30000, 30003))
    first = await world.create(service("a", type="NodePort", ports=[{"port": 80}, {"port": 81}]))
    second = await world.create(service("b", type="LoadBalancer"))
    chosen = [port["nodePort"] for spec in (first, second) for port in spec["ports"]]
    assert sorted(chosen) == [30000, 30001, 30002]
    assert "range is full" in (await refusal(world.create(service("c", type="NodePort")))).message


async def test_node_ports_that_are_refused() -> None:
    world = World()
    port = [{"port": 80, "nodePort": 30080}]
    await world.create(service("a", type="NodePort", ports=port))
    taken = await refusal(world.create(service("b", type="NodePort", ports=copied(port))))
    assert taken.message == (
        'Service "b" is invalid: spec.ports[0].nodePort: Invalid value: 30080: provided port is already allocated'
    )
    outside = await refusal(world.create(service("b", type="NodePort", ports=[{"port": 80, "nodePort": 80}])))
    assert "provided port is not in the valid range. The range of valid ports is 30000-32767" in outside.message


async def test_udp_and_tcp_of_one_port_share_a_node_port() -> None:
    ports = [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}, {"port": 9153, "protocol": "TCP"}]
    spec = await World().create(service(type="NodePort", ports=ports))
    numbers = [port["nodePort"] for port in spec["ports"]]
    assert numbers[0] == numbers[1] != numbers[2]


async def test_load_balancers() -> None:
    world = World()
    local = await world.create(service("a", type="LoadBalancer", externalTrafficPolicy="Local"))
    assert local["healthCheckNodePort"] not in (0, local["ports"][0]["nodePort"])
    bare = await world.create(service("b", type="LoadBalancer", allocateLoadBalancerNodePorts=False))
    assert "nodePort" not in bare["ports"][0]
    asked = service(
        "c", type="LoadBalancer", externalTrafficPolicy="Local", healthCheckNodePort=local["healthCheckNodePort"]
    )
    assert "spec.healthCheckNodePort" in (await refusal(world.create(asked))).message


async def test_an_update_keeps_what_it_leaves_out() -> None:
    world = World()
    old = await world.create(service(type="NodePort"))
    new = await world.update(old, service(type="NodePort", ports=[{"port": 80, "protocol": "TCP"}, {"port": 81}]))
    assert new["clusterIP"] == old["clusterIP"]
    assert new["ports"][0]["nodePort"] == old["ports"][0]["nodePort"]
    assert new["ports"][1]["nodePort"] != old["ports"][0]["nodePort"]


async def test_changes_of_type_release_and_allocate() -> None:
    world = World()
    old = await world.create(service(type="LoadBalancer", externalTrafficPolicy="Local"))
    plain = await world.update(
        old, named("web", "shop", spec={**copied(old), "type": "ClusterIP", "externalTrafficPolicy": None})
    )
    assert "nodePort" not in plain["ports"][0]
    assert "healthCheckNodePort" not in plain
    assert plain["clusterIP"] == old["clusterIP"]
    external = await world.update(plain, named("web", "shop", spec={**copied(plain), "type": "ExternalName"}))
    assert "clusterIP" not in external
    back = await world.update(external, service(type="NodePort"))
    assert back["clusterIP"]
    assert back["ports"][0]["nodePort"]


@pytest.mark.parametrize(
    ("before", "after"), [("10.100.1.1", "10.100.1.2"), ("10.100.1.1", "None"), ("None", "10.100.1.1")]
)
async def test_an_address_is_for_life(before: str, after: str) -> None:
    world = World()
    old = await world.create(service(clusterIP=before))
    error = await refusal(world.update(old, service(clusterIP=after)))
    assert error.message == (
        f'Service "web" is invalid: spec.clusterIPs[0]: Invalid value: ["{after}"]: may not change once set'
    )
    assert (await world.update(old, service()))["clusterIP"] == before


async def test_deleted_services_free_their_address() -> None:
    world = World()
    spec = await world.create(service("a"))
    world.clock.time += 60
    world.cluster.remove(SERVICES, "a", "shop")
    assert (await world.create(service("b", clusterIP=spec["clusterIP"])))["clusterIP"] == spec["clusterIP"]


class SharedStore:
    """As much of a store as a record needs; every call yields once, so that writers meet."""

    def __init__(self) -> None:
        self.record: Record | None = None

    async def get(self, key: str) -> Record | None:
        await asyncio.sleep(0)
        return self.record

    async def create(self, key: str, value: bytes) -> Record:
        await asyncio.sleep(0)
        if self.record is not None:
            raise KeyExists(self.record)
        self.record = Record(key, value, 1, 1)
        return self.record

    async def update(self, key: str, value: bytes, expected_revision: int) -> Record:
        await asyncio.sleep(0)
        if self.record is None or self.record.revision != expected_revision:
            raise RevisionConflict(self.record)
        self.record = self.record._replace(value=value, revision=expected_revision + 1)
        return self.record


def replica(store: SharedStore, clock: FixedClock, seed: int) -> ServiceAddresses:
    """An API server that has not heard of any Service yet."""
    shared = SharedReservations(store, clock)  # type: ignore[arg-type] # the part of a store that is needed
    return ServiceAddresses(
        Cluster().reader,
        clock,
        Random(seed),
        service_cidr="10.0.0.0/27",
        node_ports=range(30000, 30030),
        shared=shared,
    )


async def test_replicas_never_give_out_the_same_address_or_port() -> None:
    store, clock = SharedStore(), FixedClock()
    replicas = [replica(store, clock, seed) for seed in (1, 1, 2)]
    bodies = [request(SERVICES, service(f"s{number}", type="NodePort")) for number in range(24)]
    made = await asyncio.gather(*(send(body, replicas[number % 3]) for number, body in enumerate(bodies)))
    assert len({each["spec"]["clusterIP"] for each in made}) == 24
    assert len({each["spec"]["ports"][0]["nodePort"] for each in made}) == 24
    one = await refusal(send(request(SERVICES, service("x", clusterIP=made[0]["spec"]["clusterIP"])), replicas[1]))
    assert "provided IP is already allocated" in one.message
    ports = [{"port": 80, "nodePort": made[0]["spec"]["ports"][0]["nodePort"]}]
    clock.time += 5
    two = await refusal(send(request(SERVICES, service("x", type="NodePort", ports=ports)), replicas[2]))
    assert two.code in (422, 500)
    clock.time += 11
    await send(request(SERVICES, service("x", type="NodePort", ports=ports)), replicas[2])


async def test_what_a_deleted_service_had_is_free_at_once() -> None:
    world = World()
    first = service("a", type="NodePort", ports=[{"port": 80, "nodePort": 30007}], clusterIP="10.100.0.10")
    spec = await world.create(first)
    await send(request(SERVICES, None, old=named("a", "shop", spec=spec), dry_run=True), world.plugin)
    await send(request(SERVICES, None, old=named("a", "shop", spec=spec)), world.plugin)
    second = service("b", type="NodePort", ports=[{"port": 80, "nodePort": 30007}], clusterIP="10.100.0.10")
    assert "already allocated" in (await refusal(world.create(copied(second)))).message, "it is still there"
    world.cluster.remove(SERVICES, "a", "shop")
    assert (await world.create(second))["clusterIP"] == "10.100.0.10"


async def test_replicas_hear_of_what_is_given_up() -> None:
    store, clock = SharedStore(), FixedClock()
    one, other = replica(store, clock, 1), replica(store, clock, 2)
    made = await send(request(SERVICES, service("a", clusterIP="10.0.0.9")), one)
    await send(request(SERVICES, None, old=named("a", "shop", spec=made["spec"])), one)
    assert (await send(request(SERVICES, service("b", clusterIP="10.0.0.9")), other))["spec"]["clusterIP"] == "10.0.0.9"


async def test_more_ranges() -> None:
    world = World("10.0.0.0/30")
    for name in ("a", "b"):
        await world.create(service(name))
    assert "range is full" in (await refusal(world.create(service("c")))).message
    world.cluster.put(SERVICE_CIDRS, named("more", spec={"cidrs": ["10.9.0.0/24", "fd00::/108"]}))
    made = await world.create(service("c"))
    assert made["clusterIP"].startswith("10.9.0.")
    assert (await world.create(service("d", clusterIP="10.9.0.77")))["clusterIP"] == "10.9.0.77"
    outside = await refusal(world.create(service("e", clusterIP="10.8.0.1")))
    assert "the provided network does not match the current range" in outside.message


async def test_addresses_that_others_have_taken_as_objects() -> None:
    world = World()
    world.cluster.put(IP_ADDRESSES, named("10.100.0.7", spec={"parentRef": {"resource": "gateways", "name": "g"}}))
    taken = await refusal(world.create(service("b", clusterIP="10.100.0.7")))
    assert "provided IP is already allocated" in taken.message


@given(st.lists(st.sampled_from(["ClusterIP", "NodePort", "LoadBalancer"]), max_size=20), st.integers())
async def test_no_address_or_port_is_ever_given_twice(kinds: list[str], seed: int) -> None:
    world = World("10.0.0.0/27", range(30000, 30040))
    specs = [await world.create(service(f"s{number}", type=kind)) for number, kind in enumerate(kinds)]
    addresses = [spec["clusterIP"] for spec in specs]
    ports = [port["nodePort"] for spec in specs for port in spec["ports"] if "nodePort" in port]
    assert len(set(addresses)) == len(addresses)
    assert len(set(ports)) == len(ports)
