from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tests.unit.controllers.world import World, running, running_status

from twinplane.controlplane.controllers.contract import Context, Controller, Key
from twinplane.controlplane.controllers.endpointslice import slices
from twinplane.controlplane.controllers.endpointslice.controller import EndpointSliceController
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.resources import ENDPOINT_SLICES, NODES, PODS, SERVICES
from twinplane.testing.virtual_time import VirtualClock, virtual_time

LABELS = {"app": "web"}


def build(context: Context) -> Sequence[Controller]:
    return [EndpointSliceController(context)]


def service(**spec: Any) -> Object:
    ports = [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": "web"}]
    return {
        "metadata": {"name": "web", "namespace": "default", "labels": {"team": "a"}},
        "spec": {"selector": LABELS, "clusterIP": "10.100.0.1", "ipFamilies": ["IPv4"], "ports": ports, **spec},
    }


def pod(clock: VirtualClock, number: int, *, ready: bool = True, port: int = 8080, node: str = "n1") -> Object:
    container = {"name": "c", "image": "i", "ports": [{"name": "web", "containerPort": port, "protocol": "TCP"}]}
    return {
        "metadata": {"name": f"web-{number}", "namespace": "default", "labels": LABELS},
        "spec": {"nodeName": node, "containers": [container]},
        "status": running_status(clock, ready=ready, ip=f"10.0.{number // 250}.{number % 250 + 1}"),
    }


def slices_of(world: World) -> list[Object]:
    return world.cluster.objects(ENDPOINT_SLICES)


@virtual_time
async def test_a_slice_as_upstream_writes_it(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        node = {"metadata": {"name": "n1", "labels": {"topology.kubernetes.io/zone": "us-west-2a"}}, "spec": {}}
        world.cluster.seed(NODES, node)
        await world.settle()
        world.cluster.seed(PODS, pod(clock, 1), pod(clock, 2, ready=False))
        await world.cluster.create(SERVICES, service())
        await world.settle()
        (entry,) = slices_of(world)
        assert entry["metadata"]["name"].startswith("web-")
        assert entry["metadata"]["labels"] == {
            "team": "a",
            "kubernetes.io/service-name": "web",
            "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
        }
        assert entry["addressType"] == "IPv4"
        assert entry["ports"] == [{"name": "http", "port": 8080, "protocol": "TCP"}]
        first, second = entry["endpoints"]
        assert first == {
            "addresses": ["10.0.0.2"],
            "conditions": {"ready": True, "serving": True, "terminating": False},
            "nodeName": "n1",
            "zone": "us-west-2a",
            "targetRef": {
                "kind": "Pod",
                "namespace": "default",
                "name": "web-1",
                "uid": world.one(PODS, "web-1")["metadata"]["uid"],
            },
        }
        assert second["conditions"] == {"ready": False, "serving": False, "terminating": False}


@virtual_time
async def test_terminating_pods_serve_but_are_not_ready(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        world.kubelet_works = False
        world.cluster.seed(PODS, pod(clock, 1))
        await world.cluster.create(SERVICES, service())
        await world.settle()
        await world.cluster.delete(PODS, "web-1", "default")
        await world.settle()
        conditions = slices_of(world)[0]["endpoints"][0]["conditions"]
        assert conditions == {"ready": False, "serving": True, "terminating": True}
        await world.cluster.delete(PODS, "web-1", "default", grace_period_seconds=0)
        await world.settle()
        (entry,) = slices_of(world)
        assert (entry["endpoints"], entry["ports"]) == ([], [])


@virtual_time
async def test_publish_not_ready_addresses_and_headless(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        world.cluster.seed(PODS, pod(clock, 1, ready=False))
        await world.cluster.create(SERVICES, service(clusterIP="None", publishNotReadyAddresses=True))
        await world.settle()
        (entry,) = slices_of(world)
        assert entry["metadata"]["labels"]["service.kubernetes.io/headless"] == ""
        assert entry["endpoints"][0]["conditions"]["ready"] is True


@virtual_time
async def test_pods_with_other_ports_get_their_own_slice(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        world.cluster.seed(PODS, pod(clock, 1), pod(clock, 2, port=9090))
        await world.cluster.create(SERVICES, service())
        await world.settle()
        assert sorted(entry["ports"][0]["port"] for entry in slices_of(world)) == [8080, 9090]


@virtual_time
async def test_a_hundred_endpoints_a_slice_and_one_write_a_change(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        world.cluster.seed(PODS, *(pod(clock, number) for number in range(250)))
        await world.cluster.create(SERVICES, service())
        await world.settle()
        assert sorted(len(entry["endpoints"]) for entry in slices_of(world)) == [50, 100, 100]
        world.cluster.writes.clear()
        await world.cluster.delete(PODS, "web-7", "default", grace_period_seconds=0)
        await world.settle()
        assert [verb for verb, resource, _ in world.cluster.writes if resource == ENDPOINT_SLICES] == ["update"]


@virtual_time
async def test_its_own_writes_bring_no_second_look(clock: VirtualClock) -> None:
    looked: list[Key] = []

    class Counted(EndpointSliceController):
        async def reconcile(self, key: Key) -> float | None:
            looked.append(key)
            return await super().reconcile(key)

    async with running(clock, lambda context: [Counted(context)]) as world:
        world.cluster.seed(PODS, pod(clock, 1))
        await world.cluster.create(SERVICES, service())
        await world.settle()
        seen = len(looked)
        world.cluster.seed(PODS, pod(clock, 2))
        await world.settle()
        assert len(slices_of(world)[0]["endpoints"]) == 2
        assert len(looked) == seen + 1
        (entry,) = slices_of(world)
        await world.cluster.update(ENDPOINT_SLICES, {**entry, "endpoints": []})
        await world.settle()
        assert len(slices_of(world)[0]["endpoints"]) == 2


@virtual_time
async def test_what_is_remembered_of_pods_follows_service_pods_and_zones(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        world.cluster.seed(NODES, {"metadata": {"name": "n1"}, "spec": {}})
        world.cluster.seed(PODS, pod(clock, 1), pod(clock, 2))
        await world.cluster.create(SERVICES, service())
        await world.settle()

        def shown(field: str) -> list[Any]:
            return [entry.get(field) for piece in slices_of(world) for entry in piece["endpoints"]]

        assert shown("zone") == [None, None]
        zone = {"topology.kubernetes.io/zone": "us-west-2b"}
        await world.cluster.patch(NODES, "n1", {"metadata": {"labels": zone}})
        await world.settle()
        assert shown("zone") == ["us-west-2b", "us-west-2b"]
        unready = {**world.one(PODS, "web-2"), "status": running_status(clock, ready=False, ip="10.0.0.3")}
        await world.cluster.update(PODS, unready, subresource="status")
        await world.settle()
        assert [entry["ready"] for entry in shown("conditions")] == [True, False]
        await world.cluster.patch(SERVICES, "web", {"spec": {"publishNotReadyAddresses": True}}, "default")
        await world.settle()
        assert [entry["ready"] for entry in shown("conditions")] == [True, True]
        await world.cluster.patch(PODS, "web-1", {"metadata": {"labels": {"app": "other"}}}, "default")
        await world.settle()
        assert shown("addresses") == [["10.0.0.3"]]


@virtual_time
async def test_the_larger_the_service_the_longer_changes_gather(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        world.cluster.seed(PODS, *(pod(clock, number) for number in range(1000)))
        await world.cluster.create(SERVICES, service())
        await world.settle()
        world.cluster.writes.clear()
        for number in range(5):
            await world.cluster.delete(PODS, f"web-{number}", "default", grace_period_seconds=0)
            await world.settle(0.05)
        await world.settle()
        written = [verb for verb, resource, _ in world.cluster.writes if resource == ENDPOINT_SLICES]
        # The first change at once, and the others together.
        assert written == ["update"] * 2
        assert sum(len(entry["endpoints"]) for entry in slices_of(world)) == 995


@virtual_time
async def test_a_deleted_service_takes_its_slices_along(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        world.cluster.seed(PODS, pod(clock, 1))
        await world.cluster.create(SERVICES, service())
        await world.settle()
        await world.cluster.delete(SERVICES, "web", "default")
        await world.settle()
        assert slices_of(world) == []


@virtual_time
async def test_services_without_selector_are_left_alone(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        await world.cluster.create(SERVICES, service(selector=None))
        await world.settle()
        assert slices_of(world) == []


def endpoint(number: int, *, ready: bool = True) -> slices.Endpoint:
    return {"addresses": [f"a{number}"], "conditions": {"ready": ready}, "targetRef": {"uid": f"u{number}"}}


@given(st.lists(st.sets(st.integers(0, 400), max_size=100), max_size=4), st.sets(st.integers(0, 400)))
def test_a_plan_always_ends_in_the_desired_endpoints(before: list[set[int]], after: set[int]) -> None:
    seen: set[int] = set()
    existing: list[Object] = []
    for number, members in enumerate(before):
        fresh = sorted(members - seen)
        seen |= members
        if fresh:
            existing.append({"metadata": {"name": str(number)}, "endpoints": [endpoint(entry) for entry in fresh]})
    desired = {slices.identity_of(endpoint(number)): endpoint(number) for number in sorted(after)}
    plan = slices.planned(existing, desired)
    result = {entry["metadata"]["name"]: entry["endpoints"] for entry in existing}
    result |= {entry["metadata"]["name"]: endpoints for entry, endpoints in plan.update}
    for entry in plan.delete:
        del result[entry["metadata"]["name"]]
    pieces = [*result.values(), *plan.create]
    assert all(0 < len(piece) <= slices.ENDPOINTS_MAX for piece in pieces)
    identities = [slices.identity_of(entry) for piece in pieces for entry in piece]
    assert sorted(identities) == sorted(desired)


def test_unchanged_endpoints_need_no_write() -> None:
    existing = [{"metadata": {"name": "a"}, "endpoints": [endpoint(1), endpoint(2)]}]
    desired = {slices.identity_of(endpoint(number)): endpoint(number) for number in (1, 2)}
    assert slices.planned(existing, desired) == slices.Plan()
