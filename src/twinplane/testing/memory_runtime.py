"""A container runtime in memory: a `Runtime` for the tests of the kubelet, its server, metrics and garbage collection.

It keeps what CRI keeps (sandboxes, containers, images, their states and times) and runs nothing: what a container does
is a `Script` chosen by `MemoryRuntime.script`. Works in virtual time. Faults are put into `failures`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from cri_api.v1 import api_pb2 as cri

from twinplane.clock import Clock
from twinplane.dataplane.runtime.contract import RuntimeFailure

NANOSECONDS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Script:
    """What a container does: `seconds` None runs until it is stopped, which takes `stop_seconds` after the signal."""

    seconds: float | None = None
    exit_code: int = 0
    reason: str = ""
    """OOMKilled, say; empty for Completed or Error, by the exit code."""
    stop_seconds: float = 0.0
    stop_code: int = 143
    log: str = ""
    """Written to the container's log when that can be made."""
    termination_message: str = ""


@dataclass(eq=False)
class MemoryContainer:
    id: str
    sandbox_id: str
    config: cri.ContainerConfig
    created_at: int
    image_ref: str
    state: cri.ContainerState.ValueType = cri.CONTAINER_CREATED
    started_at: int = 0
    finished_at: int = 0
    exit_code: int = 0
    reason: str = ""
    script: Script = field(default_factory=Script)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    timer: asyncio.TimerHandle | None = None
    log_directory: str = ""
    resources: list[cri.LinuxContainerResources] = field(default_factory=list)
    """Each that `update_container_resources` has set."""

    @property
    def name(self) -> str:
        return self.config.metadata.name


@dataclass(eq=False)
class MemorySandbox:
    id: str
    config: cri.PodSandboxConfig
    created_at: int
    ip: str
    handler: str
    ready: bool = True


class MemoryRuntime:
    """`calls` logs (method, subject) of everything that changes something."""

    def __init__(self, clock: Clock, images: dict[str, cri.Image] | None = None) -> None:
        self._clock = clock
        self.sandboxes: dict[str, MemorySandbox] = {}
        self.containers: dict[str, MemoryContainer] = {}
        self.images: dict[str, cri.Image] = {}
        """By reference, as `add_image` made them."""
        self.remote: dict[str, cri.Image] = {}
        """What can be pulled."""
        self.pull_seconds = 0.0
        self.calls: list[tuple[str, str]] = []
        self.failures: dict[str, Callable[[str], RuntimeFailure | None]] = {}
        """By method: called with the subject (a name, image or id) before it acts."""
        self.script: Callable[[cri.ContainerConfig], Script] = lambda _: Script()
        self.command: Callable[[str, list[str]], tuple[int, bytes] | float] = lambda _, __: (0, b"")
        """(container's name, command) -> (exit code, output), or the seconds that it hangs."""
        self.pulled_with: list[tuple[str, cri.AuthConfig | None]] = []
        self.network_ready = True
        self._count = 0
        for name, image in (images or {}).items():
            self.images[name] = image

    # -- what tests do -------------------------------------------------------------------------------------------

    def add_image(self, name: str, *, remote: bool = False, username: str = "", uid: int | None = None) -> cri.Image:
        image = cri.Image(id=f"sha256:{abs(hash(name)):064x}"[:71], repo_tags=[name], size=1_000_000)
        image.repo_digests.append(f"{name.partition(':')[0]}@sha256:{abs(hash(name)):064x}"[:120])
        if uid is not None:
            image.uid.value = uid
        image.username = username
        (self.remote if remote else self.images)[name] = image
        return image

    def container(self, name: str) -> MemoryContainer:
        """The newest of that name. Raises KeyError."""
        for found in reversed(self.containers.values()):
            if found.name == name:
                return found
        raise KeyError(name)

    def running(self) -> list[str]:
        return [found.name for found in self.containers.values() if found.state == cri.CONTAINER_RUNNING]

    def exit(self, name: str, code: int = 0, reason: str = "") -> None:
        """A container ends by itself."""
        found = self.container(name)
        found.script = Script(exit_code=code, reason=reason, termination_message=found.script.termination_message)
        self._end(found, code, reason)

    def power_off(self) -> None:
        """As after a reboot: nothing runs, the runtime's records are left."""
        for found in self.containers.values():
            self._end(found, 255, "Unknown")
        for sandbox in self.sandboxes.values():
            sandbox.ready = False

    # -- the runtime itself --------------------------------------------------------------------------------------

    async def version(self) -> cri.VersionResponse:
        return cri.VersionResponse(
            version="0.1.0", runtime_name="containerd", runtime_version="1.6.20", runtime_api_version="v1"
        )

    async def status(self, *, verbose: bool = False) -> cri.StatusResponse:
        self._fail("status", "")
        network = cri.RuntimeCondition(type="NetworkReady", status=self.network_ready)
        ready = cri.RuntimeCondition(type="RuntimeReady", status=True)
        return cri.StatusResponse(status=cri.RuntimeStatus(conditions=[ready, network]))

    # -- sandboxes -----------------------------------------------------------------------------------------------

    async def run_pod_sandbox(self, config: cri.PodSandboxConfig, runtime_handler: str = "") -> str:
        await asyncio.sleep(0)
        self._log("run_pod_sandbox", config.metadata.name)
        sandbox_id = self._id("s")
        host = config.linux.security_context.namespace_options.network == cri.NODE
        ip = "" if host else f"10.0.{self._count // 250}.{self._count % 250 + 1}"
        self.sandboxes[sandbox_id] = MemorySandbox(sandbox_id, config, self._now(), ip, runtime_handler)
        return sandbox_id

    async def stop_pod_sandbox(self, sandbox_id: str) -> None:
        await asyncio.sleep(0)
        sandbox = self.sandboxes.get(sandbox_id)
        self._log("stop_pod_sandbox", sandbox.config.metadata.name if sandbox else sandbox_id)
        for found in self.containers.values():
            if found.sandbox_id == sandbox_id:
                self._end(found, 137, "")
        if sandbox is not None:
            sandbox.ready = False

    async def remove_pod_sandbox(self, sandbox_id: str) -> None:
        await self.stop_pod_sandbox(sandbox_id)
        self._log("remove_pod_sandbox", sandbox_id)
        self.sandboxes.pop(sandbox_id, None)
        for found in [item for item in self.containers.values() if item.sandbox_id == sandbox_id]:
            del self.containers[found.id]

    async def pod_sandbox_status(self, sandbox_id: str, *, verbose: bool = False) -> cri.PodSandboxStatusResponse:
        found = self.sandboxes.get(sandbox_id)
        if found is None:
            raise RuntimeFailure(f'an error occurred when try to find sandbox "{sandbox_id}": not found', "NOT_FOUND")
        config = found.config
        status = cri.PodSandboxStatus(
            id=found.id,
            metadata=config.metadata,
            state=_sandbox_state(found),
            created_at=found.created_at,
            labels=config.labels,
            annotations=config.annotations,
            runtime_handler=found.handler,
        )
        status.network.ip = found.ip if found.ready else ""
        status.linux.namespaces.options.CopyFrom(config.linux.security_context.namespace_options)
        return cri.PodSandboxStatusResponse(status=status)

    async def list_pod_sandboxes(self, filter: cri.PodSandboxFilter | None = None) -> list[cri.PodSandbox]:
        await asyncio.sleep(0)
        self._fail("list_pod_sandboxes", "")
        wanted = filter or cri.PodSandboxFilter()
        return [
            cri.PodSandbox(
                id=found.id,
                metadata=found.config.metadata,
                state=_sandbox_state(found),
                created_at=found.created_at,
                labels=found.config.labels,
                annotations=found.config.annotations,
                runtime_handler=found.handler,
            )
            for found in self.sandboxes.values()
            if (not wanted.id or found.id.startswith(wanted.id))
            and (not wanted.HasField("state") or wanted.state.state == _sandbox_state(found))
            and _selected(dict(found.config.labels), dict(wanted.label_selector))
        ]

    # -- containers ----------------------------------------------------------------------------------------------

    async def create_container(
        self, sandbox_id: str, config: cri.ContainerConfig, sandbox_config: cri.PodSandboxConfig
    ) -> str:
        await asyncio.sleep(0)
        self._log("create_container", config.metadata.name)
        if sandbox_id not in self.sandboxes:
            raise RuntimeFailure(f"failed to find sandbox id {sandbox_id!r}: not found", "NOT_FOUND")
        image = self._image(config.image.image)
        if image is None:
            raise RuntimeFailure(f"failed to get image {config.image.image!r}: not found", "NOT_FOUND")
        container_id = self._id("c")
        made = MemoryContainer(container_id, sandbox_id, config, self._now(), _image_ref(image))
        made.log_directory = sandbox_config.log_directory
        self.containers[container_id] = made
        return container_id

    async def start_container(self, container_id: str) -> None:
        await asyncio.sleep(0)
        found = self._container(container_id)
        self._log("start_container", found.name)
        found.state, found.started_at = cri.CONTAINER_RUNNING, self._now()
        script = found.script = self.script(found.config)
        _write_log(found, self._clock.now())
        if script.seconds is not None:
            loop = asyncio.get_running_loop()
            found.timer = loop.call_later(script.seconds, self._end, found, script.exit_code, script.reason)

    async def stop_container(self, container_id: str, timeout: int) -> None:
        found = self._container(container_id)
        self._log("stop_container", found.name)
        if found.state != cri.CONTAINER_RUNNING:
            return
        script = found.script
        in_time = script.stop_seconds <= timeout and timeout > 0
        try:
            await asyncio.wait_for(found.ended.wait(), script.stop_seconds if in_time else timeout)
        except TimeoutError:
            self._end(found, script.stop_code if in_time else 137, "")

    async def remove_container(self, container_id: str) -> None:
        await asyncio.sleep(0)
        found = self.containers.get(container_id)
        self._log("remove_container", found.name if found else container_id)
        if found is not None:
            self._end(found, 137, "")
            del self.containers[container_id]

    async def list_containers(self, filter: cri.ContainerFilter | None = None) -> list[cri.Container]:
        await asyncio.sleep(0)
        wanted = filter or cri.ContainerFilter()
        return [
            cri.Container(
                id=found.id,
                pod_sandbox_id=found.sandbox_id,
                metadata=found.config.metadata,
                image=found.config.image,
                image_ref=found.image_ref,
                state=found.state,
                created_at=found.created_at,
                labels=found.config.labels,
                annotations=found.config.annotations,
            )
            for found in self.containers.values()
            if (not wanted.id or found.id.startswith(wanted.id))
            and (not wanted.HasField("state") or wanted.state.state == found.state)
            and (not wanted.pod_sandbox_id or wanted.pod_sandbox_id == found.sandbox_id)
            and _selected(dict(found.config.labels), dict(wanted.label_selector))
        ]

    async def container_status(self, container_id: str, *, verbose: bool = False) -> cri.ContainerStatusResponse:
        await asyncio.sleep(0)
        found = self._container(container_id)
        config = found.config
        reason = found.reason
        if found.state == cri.CONTAINER_EXITED and not reason:
            reason = "Completed" if found.exit_code == 0 else "Error"
        status = cri.ContainerStatus(
            id=found.id,
            metadata=config.metadata,
            state=found.state,
            created_at=found.created_at,
            started_at=found.started_at,
            finished_at=found.finished_at,
            exit_code=found.exit_code,
            image=config.image,
            image_ref=found.image_ref,
            reason=reason,
            labels=config.labels,
            annotations=config.annotations,
            mounts=config.mounts,
            log_path=f"{found.log_directory}/{config.log_path}",
        )
        return cri.ContainerStatusResponse(status=status)

    async def update_container_resources(
        self, container_id: str, resources: cri.LinuxContainerResources, annotations: dict[str, str] | None = None
    ) -> None:
        found = self._container(container_id)
        self._log("update_container_resources", found.name)
        found.resources.append(resources)

    async def reopen_container_log(self, container_id: str) -> None:
        self._log("reopen_container_log", self._container(container_id).name)

    async def exec_sync(self, container_id: str, command: list[str], timeout: float) -> cri.ExecSyncResponse:
        found = self._container(container_id)
        self._log("exec_sync", found.name)
        if found.state != cri.CONTAINER_RUNNING:
            raise RuntimeFailure("container is in CONTAINER_EXITED state")
        answer = self.command(found.name, command)
        if not isinstance(answer, tuple):
            await asyncio.sleep(min(answer, timeout) if timeout else answer)
            if timeout and answer > timeout:
                text = f"failed to exec in container: timeout {int(timeout)}s exceeded: context deadline exceeded"
                raise RuntimeFailure(text, "DEADLINE_EXCEEDED")
            answer = (0, b"")
        return cri.ExecSyncResponse(exit_code=answer[0], stdout=answer[1])

    # -- streams -------------------------------------------------------------------------------------------------

    async def exec(self, request: cri.ExecRequest) -> str:
        return f"http://127.0.0.1:1/exec/{self._container(request.container_id).id}"

    async def attach(self, request: cri.AttachRequest) -> str:
        return f"http://127.0.0.1:1/attach/{self._container(request.container_id).id}"

    async def port_forward(self, request: cri.PortForwardRequest) -> str:
        return f"http://127.0.0.1:1/portforward/{request.pod_sandbox_id}"

    # -- statistics ----------------------------------------------------------------------------------------------

    async def container_stats(self, container_id: str) -> cri.ContainerStats:
        return self._stats(self._container(container_id))

    async def list_container_stats(self, filter: cri.ContainerStatsFilter | None = None) -> list[cri.ContainerStats]:
        labels = dict(filter.label_selector) if filter is not None else {}
        running = [item for item in self.containers.values() if item.state == cri.CONTAINER_RUNNING]
        return [self._stats(item) for item in running if _selected(dict(item.config.labels), labels)]

    async def pod_sandbox_stats(self, sandbox_id: str) -> cri.PodSandboxStats:
        return self._sandbox_stats(self.sandboxes[sandbox_id])

    async def list_pod_sandbox_stats(
        self, filter: cri.PodSandboxStatsFilter | None = None
    ) -> list[cri.PodSandboxStats]:
        return [self._sandbox_stats(sandbox) for sandbox in self.sandboxes.values() if sandbox.ready]

    # -- images --------------------------------------------------------------------------------------------------

    async def list_images(self, filter: cri.ImageFilter | None = None) -> list[cri.Image]:
        return list({image.id: image for image in self.images.values()}.values())

    async def image_status(self, image: str, *, verbose: bool = False) -> cri.ImageStatusResponse:
        await asyncio.sleep(0)
        self._fail("image_status", image)
        return cri.ImageStatusResponse(image=self._image(image))

    async def pull_image(
        self, image: str, auth: cri.AuthConfig | None = None, sandbox_config: cri.PodSandboxConfig | None = None
    ) -> str:
        self._log("pull_image", image)
        self.pulled_with.append((image, auth))
        await asyncio.sleep(self.pull_seconds)
        found = self.remote.get(image) or self.images.get(image)
        if found is None:
            text = (
                f'failed to pull and unpack image "{image}": failed to resolve reference "{image}": {image}: not found'
            )
            raise RuntimeFailure(text, "NOT_FOUND")
        self.images[image] = found
        return found.id

    async def remove_image(self, image: str) -> None:
        self._log("remove_image", image)
        found = self._image(image)
        for name in [name for name, item in self.images.items() if found is not None and item.id == found.id]:
            del self.images[name]

    async def image_fs_info(self) -> cri.ImageFsInfoResponse:
        usage = cri.FilesystemUsage(timestamp=self._now())
        usage.fs_id.mountpoint = "/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs"
        usage.used_bytes.value = sum(image.size for image in await self.list_images())
        usage.inodes_used.value = 100
        return cri.ImageFsInfoResponse(image_filesystems=[usage])

    # -- the inside ----------------------------------------------------------------------------------------------

    def _now(self) -> int:
        # The count keeps records of one moment in their order.
        return int(self._clock.now() * 1_000_000) * 1000 + self._count

    def _id(self, prefix: str) -> str:
        self._count += 1
        return f"{prefix}{self._count:063x}"

    def _fail(self, method: str, subject: str) -> None:
        check = self.failures.get(method)
        failure = check(subject) if check is not None else None
        if failure is not None:
            raise failure

    def _log(self, method: str, subject: str) -> None:
        self.calls.append((method, subject))
        self._fail(method, subject)

    def _image(self, reference: str) -> cri.Image | None:
        direct = self.images.get(reference)
        return direct or next((image for image in self.images.values() if image.id == reference), None)

    def _container(self, container_id: str) -> MemoryContainer:
        found = self.containers.get(container_id)
        if found is None:
            text = f'an error occurred when try to find container "{container_id}": not found'
            raise RuntimeFailure(text, "NOT_FOUND")
        return found

    def _end(self, found: MemoryContainer, code: int, reason: str) -> None:
        if found.timer is not None:
            found.timer.cancel()
        if found.state == cri.CONTAINER_EXITED:
            return
        if found.state == cri.CONTAINER_RUNNING:
            _write_termination_message(found)
        found.state, found.finished_at = cri.CONTAINER_EXITED, self._now()
        found.exit_code, found.reason = code, reason
        found.ended.set()

    def _stats(self, found: MemoryContainer) -> cri.ContainerStats:
        attributes = cri.ContainerAttributes(
            id=found.id,
            metadata=found.config.metadata,
            labels=found.config.labels,
            annotations=found.config.annotations,
        )
        stats = cri.ContainerStats(attributes=attributes)
        stats.cpu.timestamp = stats.memory.timestamp = self._now()
        stats.cpu.usage_core_nano_seconds.value = (self._now() - found.started_at) // 10
        stats.memory.working_set_bytes.value = 10 * 1024 * 1024
        stats.writable_layer.timestamp = self._now()
        stats.writable_layer.used_bytes.value = 4096
        return stats

    def _sandbox_stats(self, sandbox: MemorySandbox) -> cri.PodSandboxStats:
        config = sandbox.config
        attributes = cri.PodSandboxAttributes(
            id=sandbox.id, metadata=config.metadata, labels=config.labels, annotations=config.annotations
        )
        return cri.PodSandboxStats(attributes=attributes)


def _sandbox_state(sandbox: MemorySandbox) -> cri.PodSandboxState.ValueType:
    return cri.SANDBOX_READY if sandbox.ready else cri.SANDBOX_NOTREADY


def _selected(labels: dict[str, str], selector: dict[str, str]) -> bool:
    return all(labels.get(key) == value for key, value in selector.items())


def _image_ref(image: cri.Image) -> str:
    return image.repo_digests[0] if image.repo_digests else image.id


def _write_log(found: MemoryContainer, now: float) -> None:
    directory = Path(found.log_directory)
    if not found.script.log or not found.log_directory or not directory.exists():
        return
    path = directory / found.config.log_path
    path.parent.mkdir(exist_ok=True)
    from datetime import UTC, datetime

    stamp = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f000Z")
    with path.open("a") as file:
        file.writelines(f"{stamp} stdout F {line}\n" for line in found.script.log.splitlines())


def _write_termination_message(found: MemoryContainer) -> None:
    path = found.config.annotations.get("io.kubernetes.container.terminationMessagePath")
    for mount in found.config.mounts:
        if mount.container_path == path and found.script.termination_message:
            Path(mount.host_path).write_text(found.script.termination_message)
