"""Instances become nodes and pods live on them, end to end in memory."""

from __future__ import annotations

import asyncio

from tests.unit.simulation.world import NODE, World, condition, pod
from twinplane.kubeclient.resources import LEASES, NODES, PODS
from twinplane.testing.virtual_time import VirtualClock, virtual_time


@virtual_time
async def test_instance_becomes_node(clock: VirtualClock) -> None:
    world = World.new(clock)
    world.account.start(1)
    async with world.running():
        node = world.cluster.object(NODES, NODE)
        assert node is not None
        labels = node["metadata"]["labels"]
        assert labels["topology.kubernetes.io/zone"] == "us-west-2a"
        assert labels["topology.k8s.aws/zone-id"] == "usw2-az1"
        assert labels["eks.amazonaws.com/nodegroup"] == "main"
        assert node["spec"]["providerID"] == "aws:///us-west-2a/i-00000000000000001"
        assert {taint["key"] for taint in node["spec"]["taints"]} == {
            "node.cloudprovider.kubernetes.io/uninitialized",
            "dedicated",
        }
        assert node["status"]["allocatable"]["pods"] == "29"
        assert node["status"]["allocatable"]["cpu"] == "1930m"
        assert "RestartAllContainersOnContainerExits" in node["status"]["declaredFeatures"]
        assert node["metadata"]["annotations"]["twinplane.io/kubelet-endpoint"] == "127.0.0.1:10250"
        lease = world.cluster.object(LEASES, NODE, "kube-node-lease")
        assert lease is not None
        await asyncio.sleep(11)
        renewed = world.cluster.object(LEASES, NODE, "kube-node-lease")
        assert renewed is not None
        assert renewed["spec"]["renewTime"] > lease["spec"]["renewTime"]


@virtual_time
async def test_what_others_advertise_on_a_node_can_be_used(clock: VirtualClock) -> None:
    world = World.new(clock)
    world.account.start(1)

    async def advertise(amount: str | None) -> dict[str, str]:
        patch = {"status": {"capacity": {"example.com/dongle": amount}}}
        await world.cluster.patch(NODES, NODE, patch, subresource="status")
        await asyncio.sleep(1)
        node = world.cluster.object(NODES, NODE)
        assert node is not None
        return dict(node["status"]["allocatable"])

    async with world.running():
        assert (await advertise("4"))["example.com/dongle"] == "4"
        assert "example.com/dongle" not in await advertise(None)


@virtual_time
async def test_pod_runs_and_goes(clock: VirtualClock) -> None:
    world = World.new(clock)
    world.account.start(1)
    async with world.running() as simulation:
        await world.create(pod())
        await asyncio.sleep(1)
        body = world.pod()
        assert body["status"]["phase"] == "Running"
        assert condition(body, "Ready") == "True"
        address = body["status"]["podIP"]
        assert address in world.account.interfaces["eni-00000000000000001"]
        found = simulation.pods.by_address(address)
        assert found is not None
        assert found.serving
        assert [event.split()[0] for event in world.events()] == ["Pulling", "Successfully", "Container", "Container"]
        await world.cluster.delete(PODS, "web", "default")
        await asyncio.sleep(1)
        assert world.cluster.object(PODS, "web", "default") is None
        assert simulation.pods.by_address(address) is None
        assert world.events("Killing") == ["Stopping container main"]


@virtual_time
async def test_job_pod_completes(clock: VirtualClock) -> None:
    world = World.new(clock)
    world.account.start(1)
    async with world.running():
        await world.create(pod(restartPolicy="Never"))
        await asyncio.sleep(0.5)
        assert world.pod()["status"]["phase"] == "Running"
        await asyncio.sleep(2)
        body = world.pod()
        assert body["status"]["phase"] == "Succeeded"
        assert body["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 0


@virtual_time
async def test_restart_keeps_nodes_and_pods(clock: VirtualClock) -> None:
    world = World.new(clock)
    world.account.start(1)
    async with world.running():
        await world.create(pod())
        await asyncio.sleep(1)
    before, node = world.pod(), world.cluster.object(NODES, NODE)
    await asyncio.sleep(30)
    async with world.running() as simulation:
        await asyncio.sleep(1)
        after = world.pod()
        assert after["status"]["podIP"] == before["status"]["podIP"]
        assert after["status"]["containerStatuses"] == before["status"]["containerStatuses"]
        assert simulation.pods.by_address(after["status"]["podIP"]) is not None
        again = world.cluster.object(NODES, NODE)
        assert node is not None
        assert again is not None
        assert again["metadata"]["uid"] == node["metadata"]["uid"]
        await world.create(pod("other"))
        await asyncio.sleep(1)
        assert world.pod("other")["status"]["podIP"] != after["status"]["podIP"]


@virtual_time
async def test_terminated_instance_falls_silent(clock: VirtualClock) -> None:
    world = World.new(clock)
    world.account.start(1)
    async with world.running() as simulation:
        await world.create(pod())
        await asyncio.sleep(1)
        address = world.pod()["status"]["podIP"]
        world.account.stop(1)
        await asyncio.sleep(1)
        assert simulation.pods.by_address(address) is None
        lease = world.cluster.object(LEASES, NODE, "kube-node-lease")
        await asyncio.sleep(60)
        assert world.cluster.object(LEASES, NODE, "kube-node-lease") == lease


@virtual_time
async def test_subnet_without_addresses(clock: VirtualClock) -> None:
    world = World.new(clock)
    world.account.start(1)
    async with world.running():
        await world.create(pod("first"))
        await asyncio.sleep(1)
        held = world.account.exhaust()
        for number in range(4):
            await world.create(pod(f"p{number}"))
        await asyncio.sleep(2)
        phases = [world.pod(f"p{number}")["status"]["phase"] for number in range(4)]
        assert "Pending" in phases
        assert "failed to assign an IP address to container" in world.events("FailedCreatePodSandBox")[0]
        world.account.refill(held)
        await asyncio.sleep(10)
        assert {world.pod(f"p{number}")["status"]["phase"] for number in range(4)} == {"Running"}


@virtual_time
async def test_more_pods_than_one_interface_holds(clock: VirtualClock) -> None:
    world = World.new(clock)
    world.account.start(1)
    async with world.running():
        for number in range(29):
            await world.create(pod(f"p{number}"))
        await asyncio.sleep(3)
        addresses = {world.pod(f"p{number}")["status"].get("podIP") for number in range(27)}
        assert len(addresses) == 27
        assert len(world.account.attached) == 3


@virtual_time
async def test_full_node_refuses(clock: VirtualClock) -> None:
    world = World.new(clock)
    world.account.start(1)
    async with world.running():
        for number in range(30):
            await world.create(pod(f"p{number}", hostNetwork=True))
        await asyncio.sleep(3)
        failed = [body for body in world.cluster.objects(PODS) if body["status"]["phase"] == "Failed"]
        assert len(failed) == 1
        assert failed[0]["status"]["reason"] == "OutOfpods"


@virtual_time
async def test_an_account_that_forgot_its_instances_stops_nothing(clock: VirtualClock) -> None:
    world = World.new(clock)
    world.account.start(1)
    async with world.running() as simulation:
        simulation.nodes.apply([])
        assert simulation.nodes.get(NODE) is not None
        await asyncio.sleep(11)
        assert simulation.nodes.get(NODE) is not None


@virtual_time
async def test_idle_addresses_go_back_to_the_subnet(clock: VirtualClock) -> None:
    world = World.new(clock)
    world.account.start(1)
    interface = world.account.interfaces["eni-00000000000000001"]
    async with world.running():
        for number in range(8):
            await world.create(pod(f"p{number}"))
        await asyncio.sleep(1)
        assert len(interface) >= 8
        for number in range(8):
            await world.cluster.delete(PODS, f"p{number}", "default")
        await asyncio.sleep(120)
        assert len(interface) <= 4
