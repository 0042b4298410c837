"""exec, attach and port-forward into containers of a real runtime.

Commands go through the runtime's streaming server. Ports are connected to from inside the pod's network namespace,
for which the runtime is only asked where that is.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from cri_api.v1 import api_pb2 as cri

from twinplane.dataplane.kubelet.contract import RunningPods
from twinplane.dataplane.kubelet.server.namespaces import connect
from twinplane.dataplane.kubelet.server.spdy_client import remote_command
from twinplane.dataplane.runtime.contract import Runtime, RuntimeFailure
from twinplane.dataplane.streaming.contract import ContainerIO, ContainerRef, Duplex, StreamError
from twinplane.dataplane.streaming.remote_command import ERROR, RESIZE, STDERR, STDIN, STDOUT
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.meta import uid_of

KINDS = ("containers", "initContainers", "ephemeralContainers")
_INTERNAL = "Internal error occurred: "
_DOING = ("error executing command in container: ", "error attaching to container: ")


class RuntimeStreams:
    """Implements `streaming.contract.Streams`."""

    def __init__(self, pods: RunningPods, runtime: Runtime) -> None:
        self._pods = pods
        self._runtime = runtime

    def check(self, target: ContainerRef) -> None:
        pod = self._pod(target)
        if target.container:
            self._container(pod, target.container)

    async def exec(self, target: ContainerRef, command: list[str], io: ContainerIO) -> int:
        container_id = self._container(self._pod(target), target.container)
        request = cri.ExecRequest(
            container_id=container_id, cmd=command, tty=io.tty, stdin=io.stdin, stdout=True, stderr=not io.tty
        )
        try:
            url = await self._runtime.exec(request)
        except RuntimeFailure as failure:
            raise StreamError(failure.grpc_text) from failure
        return exit_code(await remote_command(url, io, _channels(io.tty, stdin=io.stdin)))

    async def attach(self, target: ContainerRef, io: ContainerIO) -> None:
        pod = self._pod(target)
        container_id = self._container(pod, target.container)
        # Whether a process has a terminal was decided when it was started.
        tty = bool((container_spec(pod, target.container) or {}).get("tty"))
        request = cri.AttachRequest(container_id=container_id, stdin=io.stdin, tty=tty, stdout=True, stderr=not tty)
        try:
            url = await self._runtime.attach(request)
        except RuntimeFailure as failure:
            raise StreamError(failure.grpc_text) from failure
        exit_code(await remote_command(url, io, _channels(tty, stdin=io.stdin)))

    async def port_forward(self, target: ContainerRef, port: int) -> Duplex:
        uid = uid_of(self._pod(target))
        sandbox = self._pods.sandbox_id(uid)
        if sandbox is None:
            raise ConnectionRefusedError(f'failed to find sandbox for pod "{target.pod}"')
        try:
            status = await self._runtime.pod_sandbox_status(sandbox, verbose=True)
        except RuntimeFailure as failure:
            raise ConnectionRefusedError(failure.grpc_text) from failure
        if status.status.state != cri.SANDBOX_READY:
            raise ConnectionRefusedError(f'sandbox container "{sandbox}" is not running')
        return await connect(network_namespace(status), port)

    async def dial(self, host: str, port: int) -> Duplex:
        return Duplex(*await asyncio.open_connection(host, port))

    def _pod(self, target: ContainerRef) -> Object:
        pod = self._pods.pod(target.namespace, target.pod)
        if pod is None:
            raise StreamError("pod does not exist", 404)
        return pod

    def _container(self, pod: Object, name: str) -> str:
        found = self._pods.container_id(uid_of(pod), name)
        if found is None:
            raise StreamError(f'container not found ("{name}")')
        return found


def container_spec(pod: Object, name: str) -> dict[str, Any] | None:
    spec = pod["spec"]
    items = (item for kind in KINDS for item in spec.get(kind) or ())
    return next((item for item in items if item["name"] == name), None)


def network_namespace(status: cri.PodSandboxStatusResponse) -> str:
    """Path of a sandbox's network namespace; empty for the node's own. Needs the verbose status (containerd's)."""
    if status.status.linux.namespaces.options.network == cri.NODE:
        return ""
    try:
        info = json.loads(status.info.get("info", "{}"))
    except ValueError:
        return ""
    namespaces = ((info.get("runtimeSpec") or {}).get("linux") or {}).get("namespaces") or ()
    path = next((each.get("path") for each in namespaces if each.get("type") == "network"), None)
    if path:
        return str(path)
    return f"/proc/{info['pid']}/ns/net" if info.get("pid") else ""


def exit_code(status: dict[str, Any]) -> int:
    """Of a remote command's final status. Raises StreamError when it was not run."""
    if status.get("status") == "Success":
        return 0
    causes = (status.get("details") or {}).get("causes") or ()
    if status.get("reason") == "NonZeroExitCode":
        for cause in causes:
            if cause.get("reason") == "ExitCode" and str(cause.get("message", "")).lstrip("-").isdecimal():
                return int(cause["message"])
    message = str(status.get("message") or "unknown error").removeprefix(_INTERNAL)
    for doing in _DOING:
        message = message.removeprefix(doing)
    raise StreamError(message)


def _channels(tty: bool, *, stdin: bool) -> list[int]:
    wanted = {ERROR: True, STDIN: stdin, STDOUT: True, STDERR: not tty, RESIZE: tty}
    return [channel for channel, is_wanted in wanted.items() if is_wanted]
