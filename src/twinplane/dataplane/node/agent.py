"""The agent of a real node, put together: kubelet, its server and metrics, VPC CNI, kube-proxy, network policies,
volumes.

`python -m twinplane.dataplane.node.agent` is started by PID 1 of the machine and started again when it ends;
containers do not notice. Nothing here waits for the API server: what the node remembers runs without it.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from random import Random

import orjson

from twinplane.clock import Clock, SystemClock
from twinplane.dataplane.aws import AwsError, HttpAws
from twinplane.dataplane.csi_node import volume_limit
from twinplane.dataplane.kubelet.eviction.eviction import Eviction
from twinplane.dataplane.kubelet.garbage.collection import GarbageCollection
from twinplane.dataplane.kubelet.images.ecr import EcrCredentials
from twinplane.dataplane.kubelet.kubelet import Kubelet
from twinplane.dataplane.kubelet.metrics import KubeletMetrics, measured
from twinplane.dataplane.kubelet.node.credentials import KUBE_PROXY, VPC_CNI, FailoverClient, node_client
from twinplane.dataplane.kubelet.server.kubelet_configuration import kubelet_configuration
from twinplane.dataplane.kubelet.server.server import KubeletServer
from twinplane.dataplane.kubelet.server.streams import RuntimeStreams
from twinplane.dataplane.kubelet.stats.statistics import Statistics
from twinplane.dataplane.network.cni.ipamd import Ipamd
from twinplane.dataplane.network.policy.network_policies import NetworkPolicies
from twinplane.dataplane.network.proxy.kube_proxy import KubeProxy
from twinplane.dataplane.node import pod_identity_agent
from twinplane.dataplane.node.configuration import load
from twinplane.dataplane.node.containerd import SANDBOX_IMAGE
from twinplane.dataplane.node.contract import CONTAINERD_SOCKET, CREDENTIALS_FILE, NodeConfiguration
from twinplane.dataplane.runtime.contract import Runtime
from twinplane.dataplane.runtime.cri import CriRuntime
from twinplane.dataplane.volumes.contract import Node as VolumeNode
from twinplane.dataplane.volumes.registration import attached_interfaces, register
from twinplane.dataplane.volumes.volumes import Volumes
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.errors import ApiError
from twinplane.sigv4 import Signer

log = logging.getLogger(__name__)

RETRY_SECONDS = 2.0

Part = tuple[str, Callable[[], Awaitable[None]]]
"""Its name, and what runs it until it is cancelled."""


class Agent:
    """`run` until cancelled."""

    def __init__(
        self,
        configuration: NodeConfiguration,
        client: FailoverClient,
        runtime: Runtime,
        aws: HttpAws,
        clock: Clock,
        *,
        kube_proxy: FailoverClient,
        vpc_cni: FailoverClient,
    ) -> None:
        self._configuration = configuration
        self._client = client
        self._aws = aws
        self._clock = clock
        self._random = Random(configuration.machine.instance_id)
        self._metrics = metrics = KubeletMetrics()
        self._runtime = measured(runtime, metrics)
        self._kubelet = Kubelet(
            configuration,
            client,
            self._runtime,
            self._volumes,
            clock=clock,
            random=self._random,
            node_credentials=EcrCredentials(aws, clock),
            probe_observed=metrics.probed,
        )
        self._parts = (*self._kubelet_parts(), *self._network_parts(kube_proxy, vpc_cni))

    def _kubelet_parts(self) -> tuple[Part, ...]:
        kubelet, runtime, clock, metrics = self._kubelet, self._runtime, self._clock, self._metrics
        settings = kubelet_configuration(self._configuration)
        statistics = Statistics(
            self._configuration,
            kubelet,
            runtime,
            kubelet.volumes,
            self._client,
            clock=clock,
            metrics=metrics,
            node_info=self._info,
        )
        garbage = GarbageCollection(
            kubelet,
            runtime,
            kubelet.volumes,
            clock=clock,
            metrics=metrics,
            kubelet=settings,
            files=lambda: statistics.files.found.node,
            ready=lambda: kubelet.pods_known,
            report=self._tell,
            pause_image=SANDBOX_IMAGE,
        )
        eviction = Eviction(
            kubelet,
            statistics,
            garbage,
            clock=clock,
            metrics=metrics,
            kubelet=settings,
            report=self._tell,
            report_pod=self._tell_of_pod,
            look=statistics.files.look,
        )
        kubelet.node.pressures = eviction.conditions
        streams = RuntimeStreams(kubelet, runtime)
        server = KubeletServer(
            self._configuration,
            kubelet,
            runtime,
            streams,
            self._client,
            clock=clock,
            metrics=metrics,
            statistics=statistics,
        )
        return (
            ("kubelet", kubelet.run),
            ("kubelet server", server.run),
            ("statistics", statistics.run),
            ("garbage collection", garbage.run),
            ("eviction", eviction.run),
            ("EBS CSI driver", self._register_volumes),
        )

    def _network_parts(self, kube_proxy: FailoverClient, vpc_cni: FailoverClient) -> tuple[Part, ...]:
        configuration, clock = self._configuration, self._clock
        cni = Ipamd(configuration, self._aws, clock, environment=os.environ, recorder=self._kubelet.recorder)
        proxy = KubeProxy(configuration, kube_proxy, clock, self._random)
        policies = NetworkPolicies(configuration, vpc_cni, self._random)
        identity = pod_identity_agent.PodIdentityAgent(configuration.machine.cluster, self._aws, clock)
        return (
            ("VPC CNI", cni.run),
            ("kube-proxy", proxy.run),
            ("network policies", policies.run),
            ("pod identity agent", identity.run),
        )

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for name, run in self._parts:
                tasks.create_task(_kept(name, run), name=name)

    def _volumes(self, kubelet: Kubelet) -> Volumes:
        machine = self._configuration.machine
        self._volume_node = VolumeNode(
            self._configuration.name,
            self._client,
            kubelet.references,
            self._clock,
            machine.instance_id,
            machine.availability_zone,
            allocatable=lambda: kubelet.facts.allocatable,
        )
        volumes = Volumes(self._volume_node, in_use_changed=kubelet.node.changed, tell=kubelet.recorder.event)
        kubelet.node.volumes_in_use = volumes.in_use
        return volumes

    async def _register_volumes(self) -> None:
        path = f"/_twinplane/instance-types/{self._configuration.machine.instance_type}"
        while True:
            try:
                limit = volume_limit(await self._aws.get(path), attached_interfaces())
                await register(self._volume_node, limit)
            except (ApiError, AwsError, OSError) as error:
                log.debug("the EBS CSI driver is not registered yet: %s", error)
                await asyncio.sleep(RETRY_SECONDS)
            else:
                await asyncio.Event().wait()

    def _info(self) -> dict[str, str]:
        return dict(((self._kubelet.node.object or {}).get("status") or {}).get("nodeInfo") or {})

    def _tell(self, type: str, reason: str, message: str) -> None:
        name = self._configuration.name
        node = self._kubelet.node.object or {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": name, "uid": name},
        }
        self._kubelet.recorder.event({"apiVersion": "v1", "kind": "Node", **node}, type, reason, message)

    def _tell_of_pod(self, pod: Object, type: str, reason: str, message: str) -> None:
        self._kubelet.recorder.event({"apiVersion": "v1", "kind": "Pod", **pod}, type, reason, message)


async def _kept(name: str, run: Callable[[], Awaitable[None]]) -> None:
    """The boundary of one part: what breaks it is told, and it begins anew; the other parts of the node go on."""
    while True:
        try:
            await run()
        except Exception:
            log.exception("%s failed; starting it again", name)
        await asyncio.sleep(RETRY_SECONDS)


def signer_of(configuration: NodeConfiguration, service: str) -> Signer:
    """With the keys of the instance's role as they are now. Raises OSError."""
    keys = orjson.loads(CREDENTIALS_FILE.read_bytes())
    region = configuration.machine.region
    return Signer(keys["accessKeyId"], keys["secretAccessKey"], keys.get("sessionToken") or "", region, service)


async def run() -> None:
    from aiohttp import ClientSession, ClientTimeout

    configuration, clock = load(), SystemClock()
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    async with (
        node_client(configuration, clock) as client,
        node_client(configuration, clock, acting_as=KUBE_PROXY) as kube_proxy,
        node_client(configuration, clock, acting_as=VPC_CNI) as vpc_cni,
        CriRuntime(CONTAINERD_SOCKET) as runtime,
        ClientSession(timeout=ClientTimeout(total=None)) as session,
    ):
        aws = HttpAws(session, configuration.machine.aws_endpoint, partial(signer_of, configuration), clock)
        agent = Agent(configuration, client, runtime, aws, clock, kube_proxy=kube_proxy, vpc_cni=vpc_cni)
        # What is there now stays: it need not be looked at again by every collection.
        gc.collect()
        gc.freeze()
        await agent.run()


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    with suppress(asyncio.CancelledError, KeyboardInterrupt):
        asyncio.run(run())


if __name__ == "__main__":
    main()
