"""The VPC CNI in real namespaces: a router, a machine with its interfaces, pods that the plugin program connects."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.nodes.namespaces import Echo, Namespaces, ask, missing, namespaces
from tests.unit.cni.ec2 import Ec2, Eni
from twinplane.clock import SystemClock
from twinplane.dataplane.network.cni.ipamd import Ipamd
from twinplane.dataplane.node.contract import Machine, NodeConfiguration

pytestmark = [pytest.mark.root, pytest.mark.skipif(bool(missing()), reason=missing() or "-")]

OUTSIDE = "203.0.113.1"
NODE = "10.0.12.4"


def configuration(max_pods: int = 110) -> NodeConfiguration:
    machine = Machine(
        instance_id="i-1", instance_type="m5.large", image_id="", region="", availability_zone="", account_id="",
        vpc_id="vpc-1", subnet_id="subnet-1", network_interface_id="eni-1", private_ip=NODE, private_dns_name="",
        cluster="", user_data="", aws_endpoint="", api_servers=(), host_address="", cgroup="", vcpus=2,
        memory_mebibytes=1024, root_volume_gibibytes=20,
    )  # fmt: skip
    return NodeConfiguration(machine, "node", "", "", "", "10.100.0.0/16", "10.100.0.10", max_pods=max_pods)


class World:
    def __init__(self, where: Namespaces, ec2: Ec2, directory: Path) -> None:
        self.where, self.ec2, self.directory = where, ec2, directory
        self.ipamd: Ipamd
        where.add("router")
        where.add("machine")
        where.forwards("router")
        where.ip("router", f"addr add {OUTSIDE}/32 dev lo")
        ec2.appeared, ec2.vanished = self.plug, self.unplug
        self.plug(ec2.enis["eni-1"])
        where.ip("machine", f"addr add {NODE}/24 dev eth0")
        where.ip("machine", "route add default via 10.0.12.1")

    def plug(self, eni: Eni) -> None:
        """As the fabric does, in little: the device, and the router's way to each address of the interface."""
        device = eni.device
        self.where.wire("router", f"r{device}", "machine", f"eth{device}", eni.mac)
        self.where.ip("router", f"addr add 10.0.12.1/32 dev r{device}")
        self.where.ip("router", f"route add {eni.primary}/32 dev r{device} src 10.0.12.1")
        self.where.ip("router", f"neigh replace {eni.primary} lladdr {eni.mac} dev r{device}")

    def unplug(self, eni: Eni) -> None:
        self.where.ip("router", f"link del r{eni.device}")

    def reach(self, address: str) -> None:
        eni = next(eni for eni in self.ec2.enis.values() if address in eni.addresses)
        self.where.ip("router", f"route replace {address}/32 dev r{eni.device} src 10.0.12.1")
        self.where.ip("router", f"neigh replace {address} lladdr {eni.mac} dev r{eni.device}")

    @asynccontextmanager
    async def agent(self, **environment: str) -> AsyncIterator[Ipamd]:
        """The test's thread is in the machine meanwhile."""
        with self.where.inside("machine"):
            self.ipamd = Ipamd(
                configuration(), self.ec2, SystemClock(), environment=environment,
                socket=self.directory / "ipamd.sock", state=self.directory / "ipam.json",
                binaries=self.directory / "bin", configurations=self.directory / "net.d",
            )  # fmt: skip
            running = asyncio.create_task(self.ipamd.run())
            try:
                async with asyncio.timeout(60):
                    await self.ipamd.ready.wait()
                yield self.ipamd
            finally:
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)

    async def plugin(
        self, command: str, pod: str, ports: list[dict[str, Any]] | None = None, container: str = ""
    ) -> dict[str, Any]:
        environment = {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": container or f"container-{pod}",
            "CNI_NETNS": self.where.path(pod) if pod in self.where.names else "",
            "CNI_IFNAME": "eth0",
            "CNI_ARGS": f"IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME={pod}",
            "CNI_PATH": "/opt/cni/bin",
        }
        config = {"cniVersion": "1.0.0", "name": "aws-cni", "runtimeConfig": {"portMappings": ports or []}}
        ran = await asyncio.to_thread(
            partial(
                subprocess.run, [self.directory / "bin" / "aws-cni"], env=environment, text=True,
                input=json.dumps(config), capture_output=True, check=False,
            )
        )  # fmt: skip
        return dict(json.loads(ran.stdout)) if ran.stdout else {}

    async def pod(self, name: str, ports: list[dict[str, Any]] | None = None) -> str:
        """Its address."""
        self.where.add(name)
        result = await self.plugin("ADD", name, ports)
        assert "ips" in result, result
        address = str(result["ips"][0]["address"]).removesuffix("/32")
        self.reach(address)
        return address

    async def ask(self, namespace: str, address: str, port: int) -> str:
        return await asyncio.to_thread(self.where.call, namespace, partial(ask, address, port))


@pytest.fixture
def where() -> Iterator[Namespaces]:
    with namespaces() as made:
        yield made


async def test_pods_node_router_and_outside(where: Namespaces, tmp_path: Path) -> None:
    world = World(where, Ec2(), tmp_path)
    async with world.agent():
        one, two = await world.pod("one"), await world.pod("two")
        servers = [Echo(where, name, 8080) for name in ("one", "two", "router", "machine")]
        try:
            assert await world.ask("one", two, 8080) == f"two {one}"
            assert await world.ask("machine", one, 8080) == f"one {NODE}"
            assert await world.ask("router", two, 8080) == "two 10.0.12.1"
            assert await world.ask("one", NODE, 8080) == f"machine {one}"
            assert await world.ask("one", "10.0.12.1", 8080) == f"router {one}"
            # What leaves the VPC has the node's address.
            assert await world.ask("one", OUTSIDE, 8080) == f"router {NODE}"
        finally:
            for server in servers:
                server.close()
        conflist = json.loads((tmp_path / "net.d" / "10-aws.conflist").read_text())
        assert conflist["plugins"][0]["type"] == "aws-cni"
        assert await world.plugin("CHECK", "one") == {}
        assert "mtu 9001" in where.ip("one", "link show eth0")


async def test_second_interface_is_used_when_the_first_is_full(where: Namespaces, tmp_path: Path) -> None:
    world = World(where, Ec2(per=2), tmp_path)
    async with world.agent(WARM_ENI_TARGET="0"):
        first, second = await world.pod("one"), await world.pod("two")
        assert [eni.addresses for eni in world.ec2.enis.values()] == [[first], [second]]
        assert f"from {second} lookup 2" in where.ip("machine", "rule show")
        servers = [Echo(where, name, 8080) for name in ("two", "router")]
        try:
            assert await world.ask("one", second, 8080) == f"two {first}"
            assert await world.ask("router", second, 8080) == "two 10.0.12.1"
            assert await world.ask("two", "10.0.12.1", 8080) == f"router {second}"
            assert await world.ask("two", OUTSIDE, 8080) == f"router {NODE}"
        finally:
            for server in servers:
                server.close()
        await world.plugin("DEL", "two")
        assert second not in where.ip("machine", "rule show")


async def test_full_subnet_is_refused_in_the_plugins_words(where: Namespaces, tmp_path: Path) -> None:
    world = World(where, Ec2("10.0.12.0/29"), tmp_path)
    async with world.agent() as ipamd:
        held = [await world.pod(name) for name in ("one", "two")]
        assert world.ec2.free == []
        where.add("three")
        answer = await world.plugin("ADD", "three")
        assert answer["msg"] == "add cmd: failed to assign an IP address to container"
        await world.plugin("DEL", "one")
        assert ipamd.pool.cooling
        ipamd.pool.cooling.clear()
        answer = await world.plugin("ADD", "three")
        assert answer["ips"][0]["address"] == f"{held[0]}/32"


async def test_restarted_agent_disturbs_nobody_and_needs_no_aws(where: Namespaces, tmp_path: Path) -> None:
    world = World(where, Ec2(), tmp_path)
    async with world.agent():
        kept, lost = await world.pod("kept"), await world.pod("lost")
    where.delete("lost")
    while where.ip("machine", "link show type veth").count("eni") > 1:
        await asyncio.sleep(0.01)
    world.ec2.away = True
    async with world.agent() as ipamd:
        assert ipamd.pool.owned().keys() == {kept}
        server = Echo(where, "kept", 8080)
        try:
            assert await world.ask("machine", kept, 8080) == f"kept {NODE}"
        finally:
            server.close()
        assert await world.plugin("DEL", "kept") == {}
    world.ec2.away = False
    os.unlink(tmp_path / "ipam.json")
    async with world.agent() as ipamd:
        assert not ipamd.pool.owned()
    assert lost


async def test_lost_checkpoint_is_read_back_from_the_kernel(where: Namespaces, tmp_path: Path) -> None:
    world = World(where, Ec2(), tmp_path)
    async with world.agent():
        kept = await world.pod("kept")
    os.unlink(tmp_path / "ipam.json")
    async with world.agent() as ipamd:
        assert ipamd.pool.owned().keys() == {kept}
        await world.plugin("DEL", "kept")
        assert not ipamd.pool.owned()
    assert kept not in where.ip("machine", "route show")


async def test_host_ports(where: Namespaces, tmp_path: Path) -> None:
    world = World(where, Ec2(), tmp_path)
    async with world.agent():
        address = await world.pod("web", [{"hostPort": 8000, "containerPort": 80, "protocol": "tcp"}])
        server = Echo(where, "web", 80)
        try:
            assert await world.ask("router", NODE, 8000) == "web 10.0.12.1"
            assert await world.ask("machine", NODE, 8000) == f"web {NODE}"
            assert (await world.ask("web", NODE, 8000)).startswith("web ")
        finally:
            server.close()
        await world.plugin("DEL", "web")
        assert await world.ask("router", NODE, 8000) == "ConnectionRefusedError"
    assert address


async def test_a_new_sandbox_of_a_pod_replaces_the_old_one(where: Namespaces, tmp_path: Path) -> None:
    world = World(where, Ec2(), tmp_path)
    async with world.agent() as ipamd:
        first = await world.pod("web")
        answer = await world.plugin("ADD", "web", container="container-new")
        second = str(answer["ips"][0]["address"]).removesuffix("/32")
        assert second != first
        # The late deletion of the old one takes only its address.
        await world.plugin("DEL", "web")
        assert ipamd.pool.owned().keys() == {second}
        server = Echo(where, "web", 8080)
        try:
            assert await world.ask("machine", second, 8080) == f"web {NODE}"
        finally:
            server.close()


async def test_many_at_once(where: Namespaces, tmp_path: Path) -> None:
    world = World(where, Ec2(interfaces=4, per=15), tmp_path)
    async with world.agent():
        addresses = await asyncio.gather(*(world.pod(f"pod{number}") for number in range(20)))
        assert len(set(addresses)) == 20
