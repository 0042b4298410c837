"""What a kubelet asks of a container runtime: the calls of CRI v1, with CRI's own messages as values.

Implementations: `runtime.cri` (gRPC to a unix socket) and the fake of the tests, which runs in virtual time. CRI's
messages are kept as they are, since a second vocabulary for the same hundred fields would only have to be translated.
Source: k8s.io/cri-api `pkg/apis/runtime/v1/api.proto`.
"""

from __future__ import annotations

from typing import Protocol

from cri_api.v1 import api_pb2 as cri


class RuntimeFailure(Exception):
    """The runtime refused or failed. `code` is the gRPC status (`NOT_FOUND`, `UNKNOWN`, ...); str() is what it said,
    without gRPC's prefix."""

    def __init__(self, message: str, code: str = "UNKNOWN") -> None:
        super().__init__(message)
        self.code = code

    @property
    def not_found(self) -> bool:
        return self.code == "NOT_FOUND"

    @property
    def grpc_text(self) -> str:
        """As Go prints a gRPC error, which is how the kubelet's events and states show it."""
        return f"rpc error: code = {_go_code(self.code)} desc = {self}"


class RuntimeAway(RuntimeFailure):
    """Nobody answers on the runtime's socket, or not in time."""

    def __init__(self, message: str, code: str = "UNAVAILABLE") -> None:
        super().__init__(message, code)


class Runtime(Protocol):
    """Every call raises `RuntimeFailure`. Times in messages are nanoseconds since the epoch, timeouts are seconds."""

    # -- the runtime itself --------------------------------------------------------------------------------------

    async def version(self) -> cri.VersionResponse: ...

    async def status(self, *, verbose: bool = False) -> cri.StatusResponse:
        """Conditions RuntimeReady and NetworkReady."""
        ...

    # -- sandboxes -----------------------------------------------------------------------------------------------

    async def run_pod_sandbox(self, config: cri.PodSandboxConfig, runtime_handler: str = "") -> str:
        """The id of a sandbox that is ready: namespaces, network and cgroup are there."""
        ...

    async def stop_pod_sandbox(self, sandbox_id: str) -> None:
        """Kills what is left in it and gives its network back. Idempotent; fine with an unknown one."""
        ...

    async def remove_pod_sandbox(self, sandbox_id: str) -> None:
        """With all its containers. Idempotent; fine with an unknown one."""
        ...

    async def pod_sandbox_status(self, sandbox_id: str, *, verbose: bool = False) -> cri.PodSandboxStatusResponse: ...

    async def list_pod_sandboxes(self, filter: cri.PodSandboxFilter | None = None) -> list[cri.PodSandbox]: ...

    # -- containers ----------------------------------------------------------------------------------------------

    async def create_container(
        self, sandbox_id: str, config: cri.ContainerConfig, sandbox_config: cri.PodSandboxConfig
    ) -> str:
        """The id of a container that is created and not started."""
        ...

    async def start_container(self, container_id: str) -> None: ...

    async def stop_container(self, container_id: str, timeout: int) -> None:
        """The stop signal, and SIGKILL after `timeout` seconds; returns when it has ended. 0 kills at once."""
        ...

    async def remove_container(self, container_id: str) -> None:
        """Idempotent; its log stays."""
        ...

    async def list_containers(self, filter: cri.ContainerFilter | None = None) -> list[cri.Container]: ...

    async def container_status(self, container_id: str, *, verbose: bool = False) -> cri.ContainerStatusResponse: ...

    async def update_container_resources(
        self, container_id: str, resources: cri.LinuxContainerResources, annotations: dict[str, str] | None = None
    ) -> None: ...

    async def reopen_container_log(self, container_id: str) -> None:
        """Go on in a new file after the old one was moved away (rotation)."""
        ...

    async def exec_sync(self, container_id: str, command: list[str], timeout: float) -> cri.ExecSyncResponse:
        """Raises `RuntimeFailure` with code DEADLINE_EXCEEDED when the command takes longer; 0 is no limit."""
        ...

    # -- streams: the answer is a URL of the runtime's streaming server ------------------------------------------

    async def exec(self, request: cri.ExecRequest) -> str: ...

    async def attach(self, request: cri.AttachRequest) -> str: ...

    async def port_forward(self, request: cri.PortForwardRequest) -> str: ...

    # -- statistics ----------------------------------------------------------------------------------------------

    async def container_stats(self, container_id: str) -> cri.ContainerStats: ...

    async def list_container_stats(
        self, filter: cri.ContainerStatsFilter | None = None
    ) -> list[cri.ContainerStats]: ...

    async def pod_sandbox_stats(self, sandbox_id: str) -> cri.PodSandboxStats: ...

    async def list_pod_sandbox_stats(
        self, filter: cri.PodSandboxStatsFilter | None = None
    ) -> list[cri.PodSandboxStats]: ...

    # -- images --------------------------------------------------------------------------------------------------

    async def list_images(self, filter: cri.ImageFilter | None = None) -> list[cri.Image]: ...

    async def image_status(self, image: str, *, verbose: bool = False) -> cri.ImageStatusResponse:
        """`image` is a reference or an id; the answer's `image` is unset (`HasField`) when there is none."""
        ...

    async def pull_image(
        self, image: str, auth: cri.AuthConfig | None = None, sandbox_config: cri.PodSandboxConfig | None = None
    ) -> str:
        """The reference (id) of the image."""
        ...

    async def remove_image(self, image: str) -> None: ...

    async def image_fs_info(self) -> cri.ImageFsInfoResponse: ...


def _go_code(name: str) -> str:
    """`NOT_FOUND` -> `NotFound`, as google.golang.org/grpc/codes prints it."""
    return "OK" if name == "OK" else "".join(part.capitalize() for part in name.split("_"))
