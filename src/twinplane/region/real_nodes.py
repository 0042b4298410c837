"""What real nodes need of the daemon, put together: VPC fabric, machines, disks, instance metadata, the VPC's DNS
server.

Made by the daemon; costs nothing until an instance wants a machine, since its parts are imported and started then.
Everything is found again after the daemon was killed: machines, namespaces and disks go on without it.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from twinplane import edge
from twinplane.clock import Clock
from twinplane.cloud.contract import REAL, AwsCredentials, Instance
from twinplane.cloud.identity import assumed_role_arn
from twinplane.cloud.service import Cloud
from twinplane.region.data_directory import DataDirectory
from twinplane.region.settings import Settings

if TYPE_CHECKING:
    from twinplane.cloud.imds.metadata import MetadataService
    from twinplane.cloud.imds.server import MetadataServer
    from twinplane.cloud.machines.loop import Machines
    from twinplane.cloud.network.fabric.contract import Flow, Services
    from twinplane.cloud.network.fabric.loop import Fabric
    from twinplane.cloud.volumes.loop import Volumes
    from twinplane.nameserver.contract import Source
    from twinplane.nameserver.responder import Responder

log = logging.getLogger(__name__)

METADATA = ("169.254.169.254", 80)
AWS = (urlsplit(edge.AWS_ENDPOINT).hostname or "", 80)
API_SERVER_PORT = 443
BALANCERS_SECONDS_MAX = 5.0
"""How long the load balancers may take to say what they bind to."""
HOST_RESOLVERS = Path("/etc/resolv.conf")
LOOPBACK = "127.0.0.1"


class RealNodes:
    """`run` until cancelled, which leaves all as it is; then `stop` ends the machines and takes the networks away."""

    def __init__(
        self,
        directory: DataDirectory,
        settings: Settings,
        cloud: Cloud,
        clock: Clock,
        load_balancer: Callable[[str], Sequence[str]],
    ) -> None:
        """`load_balancer`: private addresses of the one with a DNS name."""
        self._directory = directory
        self._settings = settings
        self._cloud = cloud
        self._clock = clock
        self.load_balancer = load_balancer
        self._announced: frozenset[tuple[str, str]] = frozenset()
        self._flows: Mapping[Flow, tuple[tuple[str, int], ...]] = {}
        self._balancers_known = asyncio.Event()
        self._wanted = asyncio.Event()
        self._parts: _Parts | None = None
        self.edges = edge.Edges(directory.root / edge.FILE)

    def instances(self) -> Collection[str]:
        """Ids of the instances that are real machines and not terminated."""
        found = self._cloud.state.instances()
        return {each.instance_id for each in found if each.runtime == REAL and each.state not in ("terminated", "")}

    async def run(self) -> None:
        """Starts when the account is known."""
        self._cloud.state.subscribe(self._look)
        if self._left_behind():
            self._wanted.set()
        self._look("ec2")
        await self._wanted.wait()
        # Without them the fabric would take away what the balancers of an earlier daemon bind to, under traffic.
        with suppress(TimeoutError):
            async with asyncio.timeout(BALANCERS_SECONDS_MAX):
                await self._balancers_known.wait()
        self._parts = parts = _Parts(self._directory, self._settings, self._cloud, self._clock, self)
        parts.announce(self._announced)
        parts.hand_on(self._flows)
        await parts.run()

    async def stop(self) -> None:
        """After `run` was cancelled."""
        if self._parts is not None:
            await self._parts.stop()

    def to_host(self, vpc_id: str, address: str) -> str | None:
        """Where this host has an address of a VPC with real nodes."""
        return self.edges.to_host(vpc_id, address)

    def announce(self, addresses: Iterable[tuple[str, str]]) -> None:
        """(VPC id, address) of the interfaces that load balancers bind to."""
        self._announced = frozenset(addresses)
        self._balancers_known.set()
        if self._parts is not None:
            self._parts.announce(self._announced)

    def hand_on(self, flows: Mapping[Flow, tuple[tuple[str, int], ...]]) -> None:
        """Flows to those addresses that need no proxy."""
        self._flows = flows
        if self._parts is not None:
            self._parts.hand_on(flows)

    def _look(self, service: str) -> None:
        if not self._wanted.is_set() and service in ("ec2", "autoscaling", "cloudformation") and self.instances():
            self._wanted.set()

    def _left_behind(self) -> bool:
        folder = self._directory.root / "machines"
        return folder.is_dir() and any(folder.iterdir())

    def credentials(self, role: str, session: str, expiration: float) -> AwsCredentials:
        arn = assumed_role_arn(self._settings.account_id, role, session)
        return self._cloud.issue_role_credentials(arn, expiration)

    def services(self, metadata_port: int, resolver_port: int) -> Services:
        """What of the host's loopback the VPCs see, as it is now."""
        from twinplane.cloud.network.fabric.contract import Services

        interfaces = {}
        for cluster in self._cloud.clusters():
            port = urlsplit(cluster.get("endpoint") or "").port
            for address in cluster.get("interfaceAddresses", ()) if port else ():
                interfaces[cluster["resourcesVpcConfig"]["vpcId"], address, API_SERVER_PORT] = int(port or 0)
        link_local = {METADATA: metadata_port, AWS: self._cloud.port}
        return Services(link_local, resolver_port, interfaces)

    def instance_at(self, address: str) -> Instance | None:
        """The instance behind an edge address: its own or one of its pods'."""
        found = self.edges.to_vpc(address)
        return None if found is None else self._cloud.state.instance_by_address(*found)

    async def api_servers(self, cluster: str) -> Sequence[str]:
        """URLs of a cluster's cross-account interfaces."""
        found = next((each for each in self._cloud.clusters() if each["name"] == cluster), {})
        return [f"https://{address}:{API_SERVER_PORT}" for address in found.get("interfaceAddresses", ())]


class _Parts:
    def __init__(
        self, directory: DataDirectory, settings: Settings, cloud: Cloud, clock: Clock, nodes: RealNodes
    ) -> None:
        self._directory = directory
        self._settings = settings
        self._cloud = cloud
        self._clock = clock
        self._nodes = nodes
        self._resolver_port = 0
        self._packing = asyncio.Lock()
        self._metadata = self._metadata_server()
        self._fabric = self._make_fabric()
        self._volumes = self._make_volumes()
        self._machines = self._make_machines()

    async def run(self) -> None:
        from twinplane.nameserver.server import serving

        await self._metadata[1].start(LOOPBACK)
        try:
            async with serving(self._responder(), LOOPBACK, 0) as port, asyncio.TaskGroup() as tasks:
                self._resolver_port = port
                self._cloud.state.subscribe(self._changed)
                tasks.create_task(self._fabric.run(), name="vpc fabric")
                tasks.create_task(self._volumes.run(), name="volumes")
                tasks.create_task(self._machines.run(), name="machines")
                tasks.create_task(self._make_images(), name="images of add-ons")
        finally:
            await self._metadata[1].stop()

    async def stop(self) -> None:
        await self._machines.stop_all()
        log.info("the machines have ended")
        await self._volumes.release()
        await self._fabric.remove_everything()
        log.info("the networks are gone")

    def announce(self, addresses: Iterable[tuple[str, str]]) -> None:
        self._fabric.announce("load balancers", addresses)

    def hand_on(self, flows: Mapping[Flow, tuple[tuple[str, int], ...]]) -> None:
        self._fabric.hand_on(flows)

    def _changed(self, service: str) -> None:
        if service in ("ec2", "iam", "autoscaling"):
            self._metadata[0].forget()

    def _metadata_server(self) -> tuple[MetadataService, MetadataServer]:
        from twinplane.cloud.imds import facts
        from twinplane.cloud.imds.metadata import MetadataService
        from twinplane.cloud.imds.server import MetadataServer

        def read(instance: Instance) -> facts.Facts | None:
            region, account = self._settings.region, self._settings.account_id
            return facts.read(self._cloud.clients, region, account, instance.instance_id, instance.user_data)

        service = MetadataService(read, self._nodes.credentials, os.urandom(32), self._clock)
        return service, MetadataServer(service, self._nodes.instance_at)

    def _responder(self) -> Responder:
        from random import SystemRandom

        from twinplane.cloud.resolver.names import InstanceNames, LoadBalancerNames
        from twinplane.nameserver.forwarding import Forwarder, servers_of
        from twinplane.nameserver.responder import Responder

        forwarder = Forwarder(servers_of(HOST_RESOLVERS))
        region = self._settings.region
        sources: list[Source] = [InstanceNames(region), LoadBalancerNames(region, self._nodes.load_balancer)]
        return Responder(sources, forwarder, SystemRandom())

    def _make_fabric(self) -> Fabric:
        from twinplane.cloud.network.fabric.from_moto import MotoReader
        from twinplane.cloud.network.fabric.loop import Fabric

        reader = MotoReader(self._settings.account_id, self._settings.region)
        return Fabric(
            self._directory.root,
            self._cloud.state,
            partial(self._cloud.account.run, reader.read),
            self._nodes.instances,
            lambda: self._nodes.services(self._metadata[1].port, self._resolver_port),
        )

    def _make_volumes(self) -> Volumes:
        from twinplane.cloud.volumes.from_moto import MotoReader
        from twinplane.cloud.volumes.loop import Volumes

        reader = MotoReader(self._settings.account_id, self._settings.region)
        return Volumes(
            self._directory.root,
            self._cloud.state,
            partial(self._cloud.account.run, reader.read),
            self._cloud.account.instance_type,
        )

    def _make_machines(self) -> Machines:
        from twinplane.cloud.eks.versions import kubelet_version
        from twinplane.cloud.machines.loop import Machines
        from twinplane.cloud.machines.record import Surroundings

        surroundings = Surroundings(
            region=self._settings.region,
            account_id=self._settings.account_id,
            instance_type=self._cloud.account.instance_type,
            credentials=self._cloud.issue_service_credentials,
            api_servers=self._nodes.api_servers,
            host_address=self._nodes.edges.to_host,
            kubernetes_version=partial(kubelet_version, self._settings.region),
            instance_store=self._volumes.instance_store,
        )
        return Machines(
            self._directory.root,
            self._cloud.state,
            self._fabric,
            surroundings,
            pause_archive=self._pause_archive,
            clock=self._clock,
        )

    async def _make_images(self) -> None:
        """Those that new clusters run, before their nodes pull them."""
        from twinplane.controlplane.addons.bootstrap import coredns_image
        from twinplane.images.own import ensure_coredns

        await asyncio.to_thread(ensure_coredns, self._directory.images, coredns_image(self._settings.region))

    async def _pause_archive(self) -> Path:
        """Made once, also when several machines start at the same time."""
        from twinplane.images.own import pause_archive

        async with self._packing:
            return await asyncio.to_thread(pause_archive, self._directory.images)
