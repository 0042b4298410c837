"""The composition of a cluster's simulation process: every part made once and run in one task group."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from random import Random
from urllib.parse import urlsplit

from twinplane.clock import Clock, SystemClock
from twinplane.dataplane.aws import HttpAws
from twinplane.dataplane.simulation.config import SimulationConfig
from twinplane.dataplane.simulation.endpoints import Aliases, Directory, EndpointListener
from twinplane.dataplane.simulation.event_limit import LimitedRecorder
from twinplane.dataplane.simulation.fleet.failures import Failure, NodeFacts, NodeFault
from twinplane.dataplane.simulation.fleet.fleets import Fleets
from twinplane.dataplane.simulation.fleet.life_cycles import LifeCycle
from twinplane.dataplane.simulation.fleet.spec import LABEL, NAMESPACE
from twinplane.dataplane.simulation.instances import Instance, InstanceFeed
from twinplane.dataplane.simulation.kubelet_api import KubeletApi, server_context
from twinplane.dataplane.simulation.logs import Logs
from twinplane.dataplane.simulation.node_record import slim_node
from twinplane.dataplane.simulation.nodes import NodeFleet, NodeTemplate, SimulatedNode
from twinplane.dataplane.simulation.pod_record import Records
from twinplane.dataplane.simulation.pods import PodFleet, SimulatedPod
from twinplane.dataplane.simulation.runtime import Runtime
from twinplane.dataplane.simulation.services import ServiceRouter
from twinplane.dataplane.simulation.stages import Stages, default_stages
from twinplane.dataplane.simulation.streams.streams import SimulatedStreams
from twinplane.dataplane.simulation.usage.consumption import Consumption, FleetUsage
from twinplane.dataplane.simulation.usage.routes import UsageRoutes
from twinplane.kubeclient.event_recorder import EventBroadcaster
from twinplane.kubeclient.http import HttpClient
from twinplane.kubeclient.informer import SharedInformer
from twinplane.kubeclient.resources import CONFIG_MAPS, ENDPOINT_SLICES, NODES, PODS, SERVICES
from twinplane.sigv4 import Signer

HOST = "127.0.0.1"
CONNECT_RETRY_SECONDS = 0.05


class Simulation:
    """All parts but the sockets: what a test puts together with an API server and an account in memory."""

    def __init__(self, runtime: Runtime, template: NodeTemplate, stages: Stages | None = None) -> None:
        client, random = runtime.client, runtime.random
        records = Records(self._living)
        # Pods that have a node: the only ones that concern kubelets, in one watch for all of them.
        self._pod_informer = SharedInformer(
            client, PODS, random, field_selector="spec.nodeName!=", transform=records.slim
        )
        self._node_informer = SharedInformer(client, NODES, random, transform=slim_node)
        self._fleet_informer = SharedInformer(client, CONFIG_MAPS, random, namespace=NAMESPACE, label_selector=LABEL)
        self._service_informer = SharedInformer(client, SERVICES, random)
        self._slice_informer = SharedInformer(client, ENDPOINT_SLICES, random)
        self._clock = runtime.clock
        self.logs = Logs()
        self.pods = PodFleet(
            runtime,
            self._pod_informer,
            stages or default_stages(),
            self.logs,
            node=self._node,
            failures=self._failures,
            life_cycles=self._life_cycles,
        )
        self.nodes = NodeFleet(
            runtime,
            template,
            self.pods.node_up,
            self.pods.node_down,
            self.pods.node_back,
            facts=self._facts,
            fault=self._fault,
        )
        self.fleets = Fleets(
            runtime,
            config_maps=self._fleet_informer,
            node_objects=self._node_informer,
            pods_in_use=self.pods.addresses_in_use,
            nodes=self.nodes,
            changed=self._fleets_changed,
        )
        self._node_informer.add_handler(self.nodes.node_changed)
        self.consumption = Consumption(self.pods, self._usage)
        router = ServiceRouter(
            self._service_informer, self._slice_informer, self.pods.by_address, runtime.clock, random
        )
        self.directory = Directory(self.pods, router, self.nodes)
        self._feed = InstanceFeed(runtime.aws, template.cluster, self._instances)
        self._synced = asyncio.Event()
        self._latest: list[Instance] = []

    async def run(self) -> None:
        """Until cancelled."""
        informers = [
            self._pod_informer,
            self._node_informer,
            self._fleet_informer,
            self._service_informer,
            self._slice_informer,
        ]
        async with asyncio.TaskGroup() as group:
            for informer in informers:
                group.create_task(informer.run(), name=f"informer {informer.resource.plural}")
            group.create_task(self.pods.run(), name="pods")
            group.create_task(self.nodes.run(), name="nodes")
            group.create_task(self._feed.run(), name="instance feed")
            # Nodes must know the pods they had before they are given new ones, and what fleets say of both.
            for informer in (self._pod_informer, self._node_informer, self._fleet_informer):
                await informer.wait_synced()
            self.fleets.read()
            self._synced.set()
            self.nodes.apply(self._latest)
            group.create_task(self.fleets.run(), name="fleets")

    @property
    def idle(self) -> bool:
        """Nodes and pods are as the account and the API server want them, until the next timer of a pod."""
        return self._synced.is_set() and self.fleets.idle and self.nodes.idle and self.pods.idle

    def answered(self, pod: SimulatedPod, text: str) -> None:
        """A pod answered a request: that is what its first container logs."""
        self.logs.write(pod.spec.uid, pod.spec.main[0].name, self._clock.now(), text)

    def _node(self, name: str) -> SimulatedNode | None:
        return self.nodes.get(name)

    def _living(self, uid: str) -> bool:
        return self.pods.living(uid)

    def _usage(self, fleet: str) -> FleetUsage | None:
        found = self.fleets.get(fleet)
        if found is None:
            return None
        groups = {group.name: group.usage for group in found.spec.groups}
        return FleetUsage(found.spec.models, found.spec.rules, groups)

    def _facts(self, node: str, zone: str, labels: Mapping[str, str]) -> NodeFacts | None:
        return self.fleets.facts_of(node, zone, labels)

    def _fault(self, facts: NodeFacts | None) -> NodeFault:
        return self.fleets.fault_of(facts)

    def _fleets_changed(self) -> None:
        self.nodes.fleets_changed()
        self.pods.fleets_changed()

    def _failures(self, fleet: str) -> Sequence[Failure]:
        found = self.fleets.get(fleet)
        return found.failures if found is not None else ()

    def _life_cycles(self, fleet: str) -> Sequence[LifeCycle]:
        found = self.fleets.get(fleet)
        return found.spec.life_cycles if found is not None else ()

    def _instances(self, instances: list[Instance]) -> None:
        self._latest = instances
        if self._synced.is_set():
            self.nodes.apply(instances)


async def run(config: SimulationConfig) -> None:
    """Until cancelled. Raises OSError for a port that is taken or a file that cannot be read."""
    from aiohttp import ClientSession, ClientTimeout

    clock: Clock = SystemClock()
    trust = ssl.create_default_context(cafile=config.certificate_authority_file)
    trust.load_cert_chain(config.client_certificate_file, config.client_key_file)
    context = server_context(config.kubelet_certificate_file, config.kubelet_key_file, config.kubelet_client_ca_file)
    signer = partial(
        Signer, config.aws_access_key_id, config.aws_secret_access_key, config.aws_session_token, config.region
    )
    async with (
        ClientSession(timeout=ClientTimeout(total=None)) as session,
        HttpClient(config.api_server, trust, user_agent="kubelet") as client,
    ):
        broadcaster = EventBroadcaster(client, clock)
        aws = HttpAws(session, config.aws_endpoint, signer, clock)
        events = LimitedRecorder(broadcaster.recorder("kubelet"), clock)
        runtime = Runtime(client, aws, clock, Random(), events)
        simulation = Simulation(runtime, _template(config))
        aliases = Aliases(Path(config.aliases_file))
        listener = EndpointListener(config.endpoint_port, aliases, simulation.directory, simulation.answered)
        streams = SimulatedStreams(
            simulation.pods,
            simulation.logs,
            clock,
            simulation.directory,
            answered=simulation.answered,
            read_pod=lambda namespace, name: client.get(PODS, name, namespace),
        )
        usage = UsageRoutes(simulation.nodes, simulation.consumption, clock)
        api = KubeletApi(simulation.pods, simulation.logs, clock, streams, usage=usage)
        async with asyncio.TaskGroup() as group:
            group.create_task(broadcaster.run(), name="events")
            group.create_task(_run_when_reachable(simulation, config.api_server), name="simulation")
            group.create_task(listener.run(), name="endpoints")
            group.create_task(api.run(HOST, config.kubelet_port, context), name="kubelet API")


async def _run_when_reachable(simulation: Simulation, api_server: str) -> None:
    """A new cluster's control plane starts beside this process: its first answer should not wait for a back-off."""
    address = urlsplit(api_server)
    while True:
        try:
            _, writer = await asyncio.open_connection(address.hostname, address.port)
        except OSError:
            await asyncio.sleep(CONNECT_RETRY_SECONDS)
        else:
            writer.close()
            break
    await simulation.run()


def _template(config: SimulationConfig) -> NodeTemplate:
    return NodeTemplate(
        cluster=config.cluster,
        region=config.region,
        version=config.version,
        kubelet_endpoint=f"{HOST}:{config.kubelet_port}",
        boot_seconds=config.boot_seconds,
    )
