"""The kubelet: sources, pods, status and node, put together. Made and run by the node agent.

    kubelet = Kubelet(configuration, client, runtime, lambda kubelet: Volumes(...), clock=clock, random=random)
    await kubelet.run()

It starts with what it remembers when the API server does not answer at once, and goes on while it is away.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from twinplane.clock import Clock
from twinplane.dataplane.kubelet.admission import NodeState
from twinplane.dataplane.kubelet.containers import pause_profile
from twinplane.dataplane.kubelet.containers.cgroups import Cgroups
from twinplane.dataplane.kubelet.contract import KUBELET_DIRECTORY, PodVolumes
from twinplane.dataplane.kubelet.events import PodEvents
from twinplane.dataplane.kubelet.images.puller import ImagePuller, NodeCredentials
from twinplane.dataplane.kubelet.node.facts import NodeFacts
from twinplane.dataplane.kubelet.node.keeper import NodeKeeper
from twinplane.dataplane.kubelet.node.objects import node_facts
from twinplane.dataplane.kubelet.pods.allocation import Allocations
from twinplane.dataplane.kubelet.pods.collection import Pods
from twinplane.dataplane.kubelet.pods.launching import Launcher, LaunchParts
from twinplane.dataplane.kubelet.pods.observer import Observer
from twinplane.dataplane.kubelet.pods.probing import ProbeObserver
from twinplane.dataplane.kubelet.pods.resizing import Resizer
from twinplane.dataplane.kubelet.pods.stopping import Stopper
from twinplane.dataplane.kubelet.pods.worker import WorkerParts
from twinplane.dataplane.kubelet.probes.actions import Prober
from twinplane.dataplane.kubelet.sources.disk import DiskTable
from twinplane.dataplane.kubelet.sources.feed import Feed
from twinplane.dataplane.kubelet.sources.references import References
from twinplane.dataplane.kubelet.sources.services import ServiceLinks
from twinplane.dataplane.kubelet.sources.static import Mirrors, StaticPods
from twinplane.dataplane.kubelet.status.writer import StatusWriter
from twinplane.dataplane.node.contract import NodeConfiguration
from twinplane.dataplane.runtime.contract import Runtime, RuntimeFailure
from twinplane.kubeclient.contract import KubeClient, Object
from twinplane.kubeclient.event_recorder import EventBroadcaster

log = logging.getLogger(__name__)

STATIC_PODS = Path("/etc/kubernetes/manifests")


class Kubelet:
    """Implements `RunningPods`. `references` may be used before `run`."""

    def __init__(
        self,
        configuration: NodeConfiguration,
        client: KubeClient,
        runtime: Runtime,
        volumes: Callable[[Kubelet], PodVolumes],
        *,
        clock: Clock,
        random: Random,
        directory: Path = KUBELET_DIRECTORY,
        cgroups: Cgroups | None = None,
        facts: NodeFacts | None = None,
        node_credentials: NodeCredentials | None = None,
        probe_observed: ProbeObserver | None = None,
    ) -> None:
        """`volumes` is called once with this kubelet, whose `references`, `node` and `events` it may want."""
        self.configuration = configuration
        self._runtime = runtime
        self._client = client
        self._clock = clock
        self.facts = facts or node_facts(configuration)
        kubelet = configuration.kubelet
        state = directory / "checkpoints"
        self._broadcaster = EventBroadcaster(client, clock)
        self.recorder = self._broadcaster.recorder("kubelet", configuration.name)
        self.events = PodEvents(self.recorder)
        self.references = References(client, random, DiskTable(state / "objects"))
        self._services = ServiceLinks(client, random, DiskTable(state / "services"))
        self._writer = StatusWriter(client, random)
        pids_max = int(str(kubelet.get("podPidsLimit") or -1))
        self._cgroups = cgroups or Cgroups(configuration.machine.cgroup, pids_max=pids_max)
        self._prober = Prober(runtime, ".".join(configuration.kubernetes_version.lstrip("v").split(".")[:2]))
        self.node = NodeKeeper(configuration, self.facts, client, runtime, clock=clock, random=random)
        self.volumes = volumes(self)
        self._pods = Pods(
            writer=self._writer,
            references=self.references,
            checkpoints=DiskTable(state / "pods"),
            node_state=self._node_state,
        )
        self.references.changed = self._pods.refresh
        self.node.pleg = lambda: (self._pods.relisted_at, self._pods.runtime_error)
        images = ImagePuller(runtime, self.references, self.events, clock, node_credentials)
        self._pods.equip(self._worker_parts(images, random, state, probe_observed))
        static = StaticPods(Path(str(kubelet.get("staticPodPath") or STATIC_PODS)), configuration.name, clock)
        mirrors = Mirrors(client, lambda: self.node.object)
        self._feed = Feed(client, configuration.name, random, self._pods, self._writer, static=static, mirrors=mirrors)

    def _worker_parts(
        self, images: ImagePuller, random: Random, state: Path, probe_observed: ProbeObserver | None
    ) -> WorkerParts:
        runtime, events, clock = self._runtime, self.events, self._clock
        launch = LaunchParts(
            runtime=runtime,
            volumes=self.volumes,
            objects=self.references,
            services=self._services,
            images=images,
            prober=self._prober,
            events=events,
            cgroups=self._cgroups,
            node=self.facts,
        )
        given = DiskTable(state / "resources")
        resizer = Resizer(runtime, cgroups=self._cgroups, events=events, node=self.facts, disk=given)
        return WorkerParts(
            runtime=runtime,
            observer=Observer(runtime),
            launcher=Launcher(launch),
            stopper=Stopper(runtime, self._prober, events),
            images=images,
            volumes=self.volumes,
            cgroups=self._cgroups,
            prober=self._prober,
            events=events,
            resizer=resizer,
            allocations=Allocations(DiskTable(state / "allocations"), resizer, events, clock),
            clock=clock,
            random=random,
            host_ips=self.facts.ips,
            report=self._pods.report,
            resized=self._pods.retry_resizes,
            stopped=self._pods.stopped,
            ended=self._pods.ended,
            handler=self._runtime_handler,
            probe_observed=probe_observed,
        )

    async def run(self) -> None:
        """Until cancelled. What runs goes on running."""
        self._cgroups.prepare()
        pause_profile.write()
        try:
            async with asyncio.TaskGroup() as group:
                for part in (
                    self._broadcaster,
                    self.references,
                    self._services,
                    self._writer,
                    self.node,
                    self._pods,
                    self._feed,
                ):
                    group.create_task(part.run(), name=type(part).__name__)
        finally:
            await self._prober.close()

    # -- RunningPods ---------------------------------------------------------------------------------------------

    @property
    def pods_known(self) -> bool:
        """Whether the API server has said which pods are of this node."""
        return self._pods.complete

    def pods(self) -> list[Object]:
        return self._pods.pods()

    def pod(self, namespace: str, name: str) -> Object | None:
        return self._pods.pod(namespace, name)

    def container_id(self, uid: str, container: str) -> str | None:
        return self._pods.container_id(uid, container)

    def sandbox_id(self, uid: str) -> str | None:
        return self._pods.sandbox_id(uid)

    async def evict(self, pod: Object, message: str, reason: str = "Evicted") -> None:
        await self._pods.evict(pod, message, reason)

    # -- the inside ----------------------------------------------------------------------------------------------

    def _node_state(self) -> NodeState:
        unsafe = self.configuration.kubelet.get("allowedUnsafeSysctls")
        allowed = tuple(str(name) for name in unsafe) if isinstance(unsafe, list) else ()
        node: Object = self.node.object or {"metadata": {"name": self.facts.name}}
        return NodeState(node, self.facts.allocatable, [], allowed)

    async def _runtime_handler(self, pod: Object) -> str:
        name = pod["spec"].get("runtimeClassName")
        if not name:
            return ""
        found: dict[str, Any] | None = await self.references.get("runtimeclasses", "", name)
        if found is None:
            raise RuntimeFailure(f'failed to get sandbox runtime: RuntimeClass.node.k8s.io "{name}" not found')
        return str(found.get("handler") or "")
