"""`Runtime` over gRPC: containerd, or any other runtime that speaks CRI v1 on a unix socket.

The generated stubs are not used: they register all forty methods on import and check versions of their own; a method
is its name and two message classes, made when it is first called.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from cri_api.v1 import api_pb2 as cri
from google.protobuf.message import Message

from twinplane.dataplane.runtime.contract import RuntimeAway, RuntimeFailure

if TYPE_CHECKING:
    from grpc.aio import Channel

REQUEST_SECONDS = 120.0
"""KubeletConfiguration's runtimeRequestTimeout."""
SANDBOX_SECONDS = 240.0
"""A sandbox waits for the CNI plugins."""
MESSAGE_MAX = 16 * 1024 * 1024
EXEC_SLACK_SECONDS = 5.0
"""The runtime's own answer to a command that takes too long comes before ours."""
AWAY = frozenset(("UNAVAILABLE", "DEADLINE_EXCEEDED"))

A = TypeVar("A", bound=Message)


class CriRuntime:
    """`async with CriRuntime(socket) as runtime`; connects with the first call, and again after a restart."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self._channel: Channel | None = None
        self._methods: dict[str, Any] = {}

    async def __aenter__(self) -> CriRuntime:
        from grpc.aio import insecure_channel

        options = [
            ("grpc.max_receive_message_length", MESSAGE_MAX),
            ("grpc.max_reconnect_backoff_ms", 1000),
            ("grpc.initial_reconnect_backoff_ms", 100),
            # Otherwise the name of the socket's path goes out as `:authority`, which Go's server refuses.
            ("grpc.default_authority", "localhost"),
            ("grpc.enable_http_proxy", 0),
        ]
        self._channel = insecure_channel(f"unix:{self._socket}", options=options)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._channel is not None:
            await self._channel.close()
            self._channel = None
            self._methods.clear()

    # -- the runtime itself --------------------------------------------------------------------------------------

    async def version(self) -> cri.VersionResponse:
        return await self._ask("Version", cri.VersionRequest(version="v1"), cri.VersionResponse)

    async def status(self, *, verbose: bool = False) -> cri.StatusResponse:
        return await self._ask("Status", cri.StatusRequest(verbose=verbose), cri.StatusResponse)

    # -- sandboxes -----------------------------------------------------------------------------------------------

    async def run_pod_sandbox(self, config: cri.PodSandboxConfig, runtime_handler: str = "") -> str:
        request = cri.RunPodSandboxRequest(config=config, runtime_handler=runtime_handler)
        answer = await self._ask("RunPodSandbox", request, cri.RunPodSandboxResponse, SANDBOX_SECONDS)
        return answer.pod_sandbox_id

    async def stop_pod_sandbox(self, sandbox_id: str) -> None:
        request = cri.StopPodSandboxRequest(pod_sandbox_id=sandbox_id)
        await self._ask("StopPodSandbox", request, cri.StopPodSandboxResponse)

    async def remove_pod_sandbox(self, sandbox_id: str) -> None:
        request = cri.RemovePodSandboxRequest(pod_sandbox_id=sandbox_id)
        await self._ask("RemovePodSandbox", request, cri.RemovePodSandboxResponse)

    async def pod_sandbox_status(self, sandbox_id: str, *, verbose: bool = False) -> cri.PodSandboxStatusResponse:
        request = cri.PodSandboxStatusRequest(pod_sandbox_id=sandbox_id, verbose=verbose)
        return await self._ask("PodSandboxStatus", request, cri.PodSandboxStatusResponse)

    async def list_pod_sandboxes(self, filter: cri.PodSandboxFilter | None = None) -> list[cri.PodSandbox]:
        request = cri.ListPodSandboxRequest(filter=filter)
        return list((await self._ask("ListPodSandbox", request, cri.ListPodSandboxResponse)).items)

    # -- containers ----------------------------------------------------------------------------------------------

    async def create_container(
        self, sandbox_id: str, config: cri.ContainerConfig, sandbox_config: cri.PodSandboxConfig
    ) -> str:
        request = cri.CreateContainerRequest(pod_sandbox_id=sandbox_id, config=config, sandbox_config=sandbox_config)
        return (await self._ask("CreateContainer", request, cri.CreateContainerResponse)).container_id

    async def start_container(self, container_id: str) -> None:
        request = cri.StartContainerRequest(container_id=container_id)
        await self._ask("StartContainer", request, cri.StartContainerResponse)

    async def stop_container(self, container_id: str, timeout: int) -> None:
        request = cri.StopContainerRequest(container_id=container_id, timeout=timeout)
        await self._ask("StopContainer", request, cri.StopContainerResponse, REQUEST_SECONDS + timeout)

    async def remove_container(self, container_id: str) -> None:
        request = cri.RemoveContainerRequest(container_id=container_id)
        await self._ask("RemoveContainer", request, cri.RemoveContainerResponse)

    async def list_containers(self, filter: cri.ContainerFilter | None = None) -> list[cri.Container]:
        request = cri.ListContainersRequest(filter=filter)
        return list((await self._ask("ListContainers", request, cri.ListContainersResponse)).containers)

    async def container_status(self, container_id: str, *, verbose: bool = False) -> cri.ContainerStatusResponse:
        request = cri.ContainerStatusRequest(container_id=container_id, verbose=verbose)
        return await self._ask("ContainerStatus", request, cri.ContainerStatusResponse)

    async def update_container_resources(
        self, container_id: str, resources: cri.LinuxContainerResources, annotations: dict[str, str] | None = None
    ) -> None:
        request = cri.UpdateContainerResourcesRequest(
            container_id=container_id, linux=resources, annotations=annotations or {}
        )
        await self._ask("UpdateContainerResources", request, cri.UpdateContainerResourcesResponse)

    async def reopen_container_log(self, container_id: str) -> None:
        request = cri.ReopenContainerLogRequest(container_id=container_id)
        await self._ask("ReopenContainerLog", request, cri.ReopenContainerLogResponse)

    async def exec_sync(self, container_id: str, command: list[str], timeout: float) -> cri.ExecSyncResponse:
        # CRI counts whole seconds; the deadline of the call is the finer one.
        request = cri.ExecSyncRequest(container_id=container_id, cmd=command, timeout=int(timeout))
        seconds = timeout + EXEC_SLACK_SECONDS if timeout else None
        return await self._ask("ExecSync", request, cri.ExecSyncResponse, seconds)

    # -- streams -------------------------------------------------------------------------------------------------

    async def exec(self, request: cri.ExecRequest) -> str:
        return (await self._ask("Exec", request, cri.ExecResponse)).url

    async def attach(self, request: cri.AttachRequest) -> str:
        return (await self._ask("Attach", request, cri.AttachResponse)).url

    async def port_forward(self, request: cri.PortForwardRequest) -> str:
        return (await self._ask("PortForward", request, cri.PortForwardResponse)).url

    # -- statistics ----------------------------------------------------------------------------------------------

    async def container_stats(self, container_id: str) -> cri.ContainerStats:
        request = cri.ContainerStatsRequest(container_id=container_id)
        return (await self._ask("ContainerStats", request, cri.ContainerStatsResponse)).stats

    async def list_container_stats(self, filter: cri.ContainerStatsFilter | None = None) -> list[cri.ContainerStats]:
        request = cri.ListContainerStatsRequest(filter=filter)
        return list((await self._ask("ListContainerStats", request, cri.ListContainerStatsResponse)).stats)

    async def pod_sandbox_stats(self, sandbox_id: str) -> cri.PodSandboxStats:
        request = cri.PodSandboxStatsRequest(pod_sandbox_id=sandbox_id)
        return (await self._ask("PodSandboxStats", request, cri.PodSandboxStatsResponse)).stats

    async def list_pod_sandbox_stats(
        self, filter: cri.PodSandboxStatsFilter | None = None
    ) -> list[cri.PodSandboxStats]:
        request = cri.ListPodSandboxStatsRequest(filter=filter)
        return list((await self._ask("ListPodSandboxStats", request, cri.ListPodSandboxStatsResponse)).stats)

    # -- images --------------------------------------------------------------------------------------------------

    async def list_images(self, filter: cri.ImageFilter | None = None) -> list[cri.Image]:
        request = cri.ListImagesRequest(filter=filter)
        return list((await self._ask("ListImages", request, cri.ListImagesResponse)).images)

    async def image_status(self, image: str, *, verbose: bool = False) -> cri.ImageStatusResponse:
        request = cri.ImageStatusRequest(image=cri.ImageSpec(image=image), verbose=verbose)
        return await self._ask("ImageStatus", request, cri.ImageStatusResponse)

    async def pull_image(
        self, image: str, auth: cri.AuthConfig | None = None, sandbox_config: cri.PodSandboxConfig | None = None
    ) -> str:
        request = cri.PullImageRequest(image=cri.ImageSpec(image=image), auth=auth, sandbox_config=sandbox_config)
        # The runtime gives up by itself when nothing comes; a large image may take as long as it takes.
        return (await self._ask("PullImage", request, cri.PullImageResponse, None)).image_ref

    async def remove_image(self, image: str) -> None:
        request = cri.RemoveImageRequest(image=cri.ImageSpec(image=image))
        await self._ask("RemoveImage", request, cri.RemoveImageResponse)

    async def image_fs_info(self) -> cri.ImageFsInfoResponse:
        return await self._ask("ImageFsInfo", cri.ImageFsInfoRequest(), cri.ImageFsInfoResponse)

    # -- the wire ------------------------------------------------------------------------------------------------

    async def _ask(self, name: str, request: Message, kind: type[A], seconds: float | None = REQUEST_SECONDS) -> A:
        from grpc.aio import AioRpcError

        try:
            answer: A = await self._method(name, type(request), kind)(request, timeout=seconds)
        except AioRpcError as error:
            code, text = error.code().name, error.details() or ""
            raise (RuntimeAway if code in AWAY else RuntimeFailure)(text, code) from None
        return answer

    def _method(self, name: str, request: type[Message], answer: type[Message]) -> Any:
        method = self._methods.get(name)
        if method is None:
            if self._channel is None:
                raise RuntimeError("CriRuntime is used outside its `async with`")
            service = "ImageService" if "Image" in name else "RuntimeService"
            method = self._methods[name] = self._channel.unary_unary(
                f"/runtime.v1.{service}/{name}",
                request_serializer=request.SerializeToString,
                response_deserializer=answer.FromString,
            )
        return method
