from __future__ import annotations

from collections.abc import Sequence

from tests.unit.controllers.world import World, running

from twinplane.controlplane.controllers.contract import Context, Controller
from twinplane.controlplane.controllers.servicecidr.controller import FINALIZER, ServiceCidrController
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.meta import condition_of
from twinplane.kubeclient.resources import IP_ADDRESSES, SERVICE_CIDRS, SERVICES
from twinplane.testing.virtual_time import VirtualClock, virtual_time

OPTIONS = {"service-cidr": "10.100.0.0/16"}


def build(context: Context) -> Sequence[Controller]:
    return [ServiceCidrController(context)]


def service(name: str, *addresses: str) -> Object:
    spec = {"clusterIP": addresses[0], "clusterIPs": list(addresses)}
    return {"metadata": {"name": name, "namespace": "default"}, "spec": spec}


def ready(world: World, name: str) -> tuple[str, str]:
    found = condition_of(world.one(SERVICE_CIDRS, name), "Ready")
    assert found is not None
    return found["status"], found["reason"]


@virtual_time
async def test_the_default_range(clock: VirtualClock) -> None:
    async with running(clock, build, options=OPTIONS) as world:
        await world.settle()
        found = world.one(SERVICE_CIDRS, "kubernetes")
        assert found["spec"] == {"cidrs": ["10.100.0.0/16"]}
        assert found["metadata"]["finalizers"] == [FINALIZER]
        assert ready(world, "kubernetes") == ("True", "")


@virtual_time
async def test_addresses_follow_services(clock: VirtualClock) -> None:
    async with running(clock, build, options=OPTIONS) as world:
        await world.cluster.create(SERVICES, service("web", "10.100.0.7", "fd00:0::7"))
        await world.cluster.create(SERVICES, service("headless", "None"))
        await world.settle()
        assert world.names(IP_ADDRESSES) == ["10.100.0.7", "fd00::7"]
        found = world.one(IP_ADDRESSES, "fd00::7")
        assert found["metadata"]["labels"]["ipaddress.kubernetes.io/ip-family"] == "IPv6"
        assert found["spec"]["parentRef"] == {
            "group": "",
            "resource": "services",
            "namespace": "default",
            "name": "web",
        }
        await world.cluster.delete(IP_ADDRESSES, "10.100.0.7")
        await world.settle()
        assert world.names(IP_ADDRESSES) == ["10.100.0.7", "fd00::7"]
        await world.cluster.delete(SERVICES, "web", "default")
        await world.settle()
        assert world.names(IP_ADDRESSES) == []


@virtual_time
async def test_a_range_in_use_stays(clock: VirtualClock) -> None:
    async with running(clock, build, options=OPTIONS) as world:
        await world.cluster.create(SERVICE_CIDRS, {"metadata": {"name": "more"}, "spec": {"cidrs": ["10.200.0.0/24"]}})
        await world.cluster.create(SERVICES, service("web", "10.200.0.7"))
        await world.settle()
        await world.cluster.delete(SERVICE_CIDRS, "more")
        await world.settle()
        assert ready(world, "more") == ("False", "Terminating")
        await world.cluster.delete(SERVICES, "web", "default")
        await world.settle()
        assert world.names(SERVICE_CIDRS) == ["kubernetes"]
