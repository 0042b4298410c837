"""Starting sandboxes and containers: everything gathered, handed to the runtime, told in events.

Source: kubelet `createPodSandbox`, `startContainer`. Starts are bounded for the node as a whole, since the runtime
does them one core at a time anyway; pulls and hooks wait outside that bound.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cri_api.v1 import api_pb2 as cri

from twinplane.dataplane.kubelet.containers.cgroups import Cgroups
from twinplane.dataplane.kubelet.containers.config import DEFAULT_MESSAGE_PATH, Ingredients, container_config
from twinplane.dataplane.kubelet.containers.dns import parse_resolv_conf, pod_dns
from twinplane.dataplane.kubelet.containers.environment import Surroundings, environment
from twinplane.dataplane.kubelet.containers.errors import ContainerRefused, config_error
from twinplane.dataplane.kubelet.containers.hostname import host_names, hosts_file, sandbox_hostname
from twinplane.dataplane.kubelet.containers.resources import container_resources
from twinplane.dataplane.kubelet.containers.sandbox import sandbox_config
from twinplane.dataplane.kubelet.containers.security import check_non_root, container_security
from twinplane.dataplane.kubelet.contract import (
    CONTAINER_LOGS,
    ContainerMount,
    InvalidMount,
    Mounted,
    PodVolumes,
    ReferencedObjects,
    log_directory,
    pod_directory,
)
from twinplane.dataplane.kubelet.events import PodEvents
from twinplane.dataplane.kubelet.images.puller import ImagePuller
from twinplane.dataplane.kubelet.node.facts import NodeFacts
from twinplane.dataplane.kubelet.pods.spec import Container, is_host_network
from twinplane.dataplane.kubelet.pods.state import PodState, SandboxState
from twinplane.dataplane.kubelet.probes.actions import Prober, Target
from twinplane.dataplane.kubelet.probes.hooks import HookFailed, run_hook
from twinplane.dataplane.kubelet.sources.services import ServiceLinks
from twinplane.dataplane.runtime.contract import Runtime, RuntimeFailure
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.meta import name_of, namespace_of, uid_of

log = logging.getLogger(__name__)

STARTS_MAX = 8
HOSTS_PATH = "/etc/hosts"


@dataclass(frozen=True, slots=True)
class LaunchParts:
    """What a launcher is made of."""

    runtime: Runtime
    volumes: PodVolumes
    objects: ReferencedObjects
    services: ServiceLinks
    images: ImagePuller
    prober: Prober
    events: PodEvents
    cgroups: Cgroups
    node: NodeFacts


class Launcher:
    def __init__(self, parts: LaunchParts) -> None:
        self._parts = parts
        self._runtime = parts.runtime
        self._events = parts.events
        self._node = parts.node
        self._starts = asyncio.Semaphore(STARTS_MAX)

    # -- sandboxes -----------------------------------------------------------------------------------------------

    def sandbox_config(self, pod: Object, attempt: int) -> cri.PodSandboxConfig:
        """Raises ValueError for a hostname that cannot be."""
        node = self._node
        try:
            host = parse_resolv_conf(node.resolv_conf.read_text())
        except OSError:
            host = parse_resolv_conf("")
        dns = pod_dns(pod, host, node.cluster_dns, node.cluster_domain)
        for warning in dns.warnings:
            self._events.warning(pod, "DNSConfigForming", warning)
        hostname = sandbox_hostname(pod, host_names(pod, node.cluster_domain))
        return sandbox_config(pod, attempt, hostname, dns.config, self._parts.cgroups.path(pod))

    async def create_sandbox(self, pod: Object, attempt: int, handler: str) -> None:
        """Raises `RuntimeFailure` after having told of it."""
        try:
            config = self.sandbox_config(pod, attempt)
            log_directory(namespace_of(pod), name_of(pod), uid_of(pod)).mkdir(parents=True, exist_ok=True)
            self._parts.cgroups.apply(pod)
            async with self._starts:
                await self._runtime.run_pod_sandbox(config, handler)
        except (RuntimeFailure, ValueError, OSError) as error:
            text = error.grpc_text if isinstance(error, RuntimeFailure) else str(error)
            self._events.warning(pod, "FailedCreatePodSandBox", f"Failed to create pod sandbox: {text}")
            if isinstance(error, RuntimeFailure):
                raise
            raise RuntimeFailure(text) from error

    # -- containers ----------------------------------------------------------------------------------------------

    async def start(self, pod: Object, container: Container, state: PodState, mounted: Mapping[str, Mounted]) -> str:
        """The container's id, once its postStart hook has run. Raises `ContainerRefused`, `RuntimeFailure`."""
        sandbox = state.ready_sandbox
        if sandbox is None:
            raise RuntimeFailure("the pod's sandbox is not ready")
        config = self.sandbox_config(pod, sandbox.attempt)
        try:
            image = await self._parts.images.ensure(pod, container, config)
            made = await self._container_config(pod, container, state, image, mounted)
        except ContainerRefused as error:
            # Upstream's second event of a failed start: the first said what, this one says with which reason.
            text = error.reason if error.reason.startswith(("ErrImage", "ImagePull", "Invalid")) else error.message
            if error.reason != "ImagePullBackOff":
                self._events.warning(pod, "Failed", f"Error: {text}", container)
            else:
                self._events.warning(pod, "Failed", "Error: ImagePullBackOff", container)
            raise
        async with self._starts:
            container_id = await self._create_and_start(pod, container, sandbox, made, config)
        self._link_log(pod, container, container_id, made.log_path)
        await self._post_start(pod, container, container_id, sandbox)
        return container_id

    async def _create_and_start(
        self,
        pod: Object,
        container: Container,
        sandbox: SandboxState,
        config: cri.ContainerConfig,
        sandbox_config: cri.PodSandboxConfig,
    ) -> str:
        try:
            container_id = await self._runtime.create_container(sandbox.id, config, sandbox_config)
        except RuntimeFailure as error:
            self._events.warning(pod, "Failed", f"Error: {error}", container)
            raise ContainerRefused("CreateContainerError", str(error)) from error
        self._events.normal(pod, "Created", "Container created", container)
        try:
            await self._runtime.start_container(container_id)
        except RuntimeFailure as error:
            self._events.warning(pod, "Failed", f"Error: {error}", container)
            raise ContainerRefused("RunContainerError", str(error)) from error
        self._events.normal(pod, "Started", "Container started", container)
        return container_id

    async def _container_config(
        self, pod: Object, container: Container, state: PodState, image: cri.Image, mounted: Mapping[str, Mounted]
    ) -> cri.ContainerConfig:
        check_non_root(pod, container, image)
        sandbox = state.ready_sandbox
        ips = self._node.ips if is_host_network(pod) else (sandbox.ips if sandbox is not None else ())
        try:
            services = await self._parts.services.of(pod)
        except OSError as error:
            raise config_error(str(error)) from error
        self._write_hosts(pod, ips)
        around = Surroundings(ips, self._node.ips, self._node.allocatable, services)
        variables = await environment(pod, container, around, self._parts.objects)
        last = state.latest(container["name"])
        restarts = last.restarts + 1 if last is not None else _restarts_by_logs(pod, container)
        target = state.latest(container.get("targetContainerName") or "")
        cgroups = self._parts.cgroups
        parts = Ingredients(
            image=image,
            restarts=restarts,
            environment=variables,
            mounts=self._mounts(pod, container, mounted, variables, restarts),
            devices=_devices(container, mounted),
            resources=container_resources(pod, container, self._node.memory_capacity, unified=cgroups.unified),
            security=container_security(
                pod, container, image, target.id if target is not None else "", apparmor=self._node.apparmor
            ),
        )
        return container_config(pod, container, parts)

    def _mounts(
        self,
        pod: Object,
        container: Container,
        mounted: Mapping[str, Mounted],
        variables: Mapping[str, str],
        restarts: int,
    ) -> list[ContainerMount]:
        try:
            mounts = self._parts.volumes.container_mounts(pod, container, mounted, variables)
            taken = {mount.container_path.rstrip("/") for mount in mounts}
            if HOSTS_PATH not in taken:
                mounts.append(ContainerMount(str(pod_directory(uid_of(pod)) / "etc-hosts"), HOSTS_PATH))
            message_path = container.get("terminationMessagePath") or DEFAULT_MESSAGE_PATH
            if message_path not in taken:
                mounts.append(ContainerMount(str(_message_file(pod, container, restarts)), message_path))
        except InvalidMount as error:
            raise config_error(str(error)) from error
        except OSError as error:
            raise ContainerRefused("CreateContainerError", str(error)) from error
        return mounts

    def _write_hosts(self, pod: Object, ips: Sequence[str]) -> None:
        own = self._node.hosts.read_text() if is_host_network(pod) else None
        path = pod_directory(uid_of(pod)) / "etc-hosts"
        path.parent.mkdir(parents=True, exist_ok=True)
        text = hosts_file(pod, host_names(pod, self._node.cluster_domain), ips, own)
        # In place: containers that run have this very file mounted.
        path.write_text(text)
        path.chmod(0o644)

    async def _post_start(self, pod: Object, container: Container, container_id: str, sandbox: SandboxState) -> None:
        hook = (container.get("lifecycle") or {}).get("postStart")
        if not hook:
            return
        address = sandbox.ips[0] if sandbox.ips else self._node.ips[0]
        try:
            await run_hook(self._parts.prober, hook, Target(container, container_id, address))
        except HookFailed as error:
            self._events.warning(pod, "FailedPostStartHook", "PostStartHook failed", container)
            log.info("postStart hook of %s in %s: %s", container["name"], name_of(pod), error)
            self._events.normal(pod, "Killing", "FailedPostStartHook", container)
            await self._runtime.stop_container(container_id, 2)
            raise ContainerRefused("PostStartHookError", "PostStartHook failed") from error

    def _link_log(self, pod: Object, container: Container, container_id: str, log_path: str) -> None:
        """`/var/log/containers/POD_NAMESPACE_CONTAINER-ID.log`, where collectors of logs look."""
        name, namespace = name_of(pod), namespace_of(pod)
        target = log_directory(namespace, name, uid_of(pod)) / log_path
        with suppress(OSError):
            CONTAINER_LOGS.mkdir(parents=True, exist_ok=True)
            link = CONTAINER_LOGS / f"{name}_{namespace}_{container['name']}-{container_id}.log"
            link.symlink_to(target)


def remove_log_links(pod: Object) -> None:
    with suppress(OSError):
        for link in CONTAINER_LOGS.glob(f"{name_of(pod)}_{namespace_of(pod)}_*.log"):
            if not link.exists():
                link.unlink()


def _devices(container: Container, mounted: Mapping[str, Mounted]) -> list[cri.Device]:
    made = []
    for device in container.get("volumeDevices") or ():
        volume = mounted.get(device["name"])
        if volume is None or not volume.block:
            raise config_error(f'volume "{device["name"]}" is not a mapped block device')
        permissions = "r" if volume.read_only else "mrw"
        made.append(
            cri.Device(container_path=device["devicePath"], host_path=str(volume.path), permissions=permissions)
        )
    return made


def _message_file(pod: Object, container: Container, restarts: int) -> Path:
    """A new one for each start, so that a restart does not lose what the last instance said."""
    path = pod_directory(uid_of(pod)) / "containers" / str(container["name"]) / str(restarts)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
    # Whoever runs in the container writes to it.
    path.chmod(0o666)
    return path


def _restarts_by_logs(pod: Object, container: Container) -> int:
    """Of a container whose records were lost: one more than its newest log."""
    directory = log_directory(namespace_of(pod), name_of(pod), uid_of(pod)) / container["name"]
    try:
        found = [int(path.name.partition(".")[0]) for path in directory.iterdir() if path.name[:1].isdigit()]
    except (OSError, ValueError):
        return 0
    return max(found) + 1 if found else 0
