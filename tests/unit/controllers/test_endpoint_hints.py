"""Traffic distribution, topology-aware routing, and Endpoints that are mirrored into slices."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.controllers.test_endpointslice import LABELS, pod, service, slices_of
from tests.unit.controllers.world import running

from twinplane.controlplane.controllers.contract import Context, Controller
from twinplane.controlplane.controllers.endpointslice import hints
from twinplane.controlplane.controllers.endpointslice.controller import EndpointSliceController
from twinplane.controlplane.controllers.endpointslicemirroring.controller import EndpointSliceMirroringController
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.resources import ENDPOINTS, NODES, PODS, SERVICES
from twinplane.testing.virtual_time import VirtualClock, virtual_time


def build(context: Context) -> Sequence[Controller]:
    return [EndpointSliceController(context), EndpointSliceMirroringController(context)]


def node(name: str, zone: str, cpu: str = "4") -> Object:
    status = {"conditions": [{"type": "Ready", "status": "True"}], "allocatable": {"cpu": cpu}}
    return {"metadata": {"name": name, "labels": {hints.ZONE: zone}}, "spec": {}, "status": status}


@pytest.mark.parametrize(
    ("distribution", "expected"),
    [
        ("PreferClose", {"forZones": [{"name": "a"}]}),
        ("PreferSameZone", {"forZones": [{"name": "a"}]}),
        ("PreferSameNode", {"forZones": [{"name": "a"}], "forNodes": [{"name": "n1"}]}),
    ],
)
def test_traffic_distribution(distribution: str, expected: Object) -> None:
    @virtual_time
    async def run(clock: VirtualClock) -> None:
        async with running(clock, build) as world:
            world.cluster.seed(NODES, node("n1", "a"))
            await world.settle()
            world.cluster.seed(PODS, pod(clock, 1), pod(clock, 2, ready=False))
            await world.cluster.create(SERVICES, service(trafficDistribution=distribution))
            await world.settle()
            (entry,) = slices_of(world)
            assert [endpoint.get("hints") for endpoint in entry["endpoints"]] == [expected, None]
            await world.cluster.patch(SERVICES, "web", {"spec": {"trafficDistribution": None}}, "default")
            await world.settle()
            (entry,) = slices_of(world)
            assert all("hints" not in endpoint for endpoint in entry["endpoints"])

    run()


def endpoints(*zones: str) -> list[Object]:
    return [
        {"addresses": [f"10.0.0.{number}"], "conditions": {"ready": True}, "zone": zone}
        for number, zone in enumerate(zones)
    ]


AWARE = {"metadata": {"annotations": {hints.TOPOLOGY_MODES[0]: "Auto"}}, "spec": {}}


def zones_hinted(found: list[Object]) -> list[str]:
    return sorted(entry["hints"]["forZones"][0]["name"] for entry in found if "hints" in entry)


def test_topology_aware_routing_shares_by_cpus() -> None:
    parts = hints.parts_of_zones([node("n1", "a"), node("n2", "b", "2"), node("n3", "b", "2")])
    assert parts == {"a": 0.5, "b": 0.5}
    found = endpoints("a", "a", "a", "a", "b", "a")
    hints.add_hints(AWARE, found, parts)
    assert zones_hinted(found) == ["a"] * 3 + ["b"] * 3
    lonely = endpoints("a")
    hints.add_hints(AWARE, lonely, parts)
    assert zones_hinted(lonely) == []


@given(st.lists(st.sampled_from("abc"), max_size=30), st.lists(st.integers(1, 9), min_size=3, max_size=3))
def test_every_zone_gets_its_part_or_nobody_gets_hints(places: list[str], cpus: list[int]) -> None:
    parts = {zone: cpu / sum(cpus) for zone, cpu in zip("abc", cpus, strict=True)}
    found = endpoints(*places)
    hints.add_hints(AWARE, found, parts)
    hinted = zones_hinted(found)
    assert len(hinted) in (0, len(places))
    for zone, part in parts.items():
        if hinted:
            assert hinted.count(zone) * hints.OVERLOAD >= part * len(places) - 1e-9


@virtual_time
async def test_endpoints_without_a_selector_are_mirrored(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        body = service()
        del body["spec"]["selector"]
        await world.cluster.create(SERVICES, body)
        subset = {
            "addresses": [{"ip": "192.0.2.1"}, {"ip": "2001:db8::1"}],
            "notReadyAddresses": [{"ip": "192.0.2.2"}],
            "ports": [{"name": "http", "port": 80}],
        }
        metadata = {"name": "web", "namespace": "default", "labels": LABELS}
        await world.cluster.create(ENDPOINTS, {"metadata": metadata, "subsets": [subset]})
        await world.settle()
        found = {entry["addressType"]: entry for entry in slices_of(world)}
        assert sorted(found) == ["IPv4", "IPv6"]
        mirrored = found["IPv4"]
        assert mirrored["metadata"]["labels"] == LABELS | {
            "kubernetes.io/service-name": "web",
            "endpointslice.kubernetes.io/managed-by": "endpointslicemirroring-controller.k8s.io",
        }
        assert mirrored["metadata"]["ownerReferences"][0]["kind"] == "Endpoints"
        assert mirrored["ports"] == [{"name": "http", "port": 80, "protocol": "TCP"}]
        states = {entry["addresses"][0]: entry["conditions"]["ready"] for entry in mirrored["endpoints"]}
        assert states == {"192.0.2.1": True, "192.0.2.2": False}
        patch = {"metadata": {"labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}}}
        await world.cluster.patch(ENDPOINTS, "web", patch, "default")
        await world.settle()
        assert slices_of(world) == []
