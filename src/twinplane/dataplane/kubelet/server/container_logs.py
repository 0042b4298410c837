"""`/containerLogs/NAMESPACE/POD/CONTAINER`: a container's log, as far as it is there or as long as it grows."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

from aiohttp import web
from cri_api.v1 import api_pb2 as cri

from twinplane.clock import Clock
from twinplane.dataplane.kubelet.contract import RunningPods
from twinplane.dataplane.kubelet.logs.access import NoLog, logged_container
from twinplane.dataplane.kubelet.logs.reading import log_text
from twinplane.dataplane.kubelet.server.streams import container_spec
from twinplane.dataplane.log_options import InvalidLogOptions, LogOptions, log_options
from twinplane.dataplane.runtime.contract import Runtime, RuntimeFailure
from twinplane.kubeclient.contract import Object


class ContainerLogs:
    def __init__(self, pods: RunningPods, runtime: Runtime, clock: Clock) -> None:
        self._pods, self._runtime, self._clock = pods, runtime, clock

    async def serve(self, request: web.Request) -> web.StreamResponse:
        named = request.match_info
        try:
            options = log_options(request.query, self._clock.now())
        except InvalidLogOptions:
            return web.Response(status=422, text='{"message": "Invalid request."}')
        except ValueError:
            return web.Response(status=400, text='{"message": "Unable to decode query."}')
        pod = self._pods.pod(named["namespace"], named["pod"])
        if pod is None:
            return web.Response(status=404, text=f'pod "{named["pod"]}" does not exist')
        if container_spec(pod, named["container"]) is None:
            text = f'container "{named["container"]}" not found in pod "{named["pod"]}"'
            return web.Response(status=404, text=text)
        try:
            pieces = await self._opened(pod, named["container"], options)
        except NoLog as error:
            return web.Response(status=400, text=str(error))
        answer = web.StreamResponse(headers={"Content-Type": "text/plain"})
        # A follower learns at once that there is a log, even an empty one.
        await answer.prepare(request)
        try:
            async for piece in pieces:
                await answer.write(piece)
            await answer.write_eof()
        except ConnectionError:
            # Nobody reads any more: the usual end of `kubectl logs -f`.
            pass
        return answer

    async def _opened(self, pod: Object, container: str, options: LogOptions) -> AsyncIterator[bytes]:
        """Raises NoLog."""
        container_id = logged_container(pod, container, previous=options.previous)
        try:
            path = (await self._runtime.container_status(container_id)).status.log_path
        except RuntimeFailure as failure:
            raise NoLog(f"unable to retrieve container logs for containerd://{container_id}") from failure
        if not _exists(path):
            raise NoLog(f'failed to try resolving symlinks in path "{path}": lstat {path}: no such file or directory')

        async def running() -> bool:
            try:
                return (await self._runtime.container_status(container_id)).status.state == cri.CONTAINER_RUNNING
            except RuntimeFailure as failure:
                # While the runtime restarts, its containers go on.
                return not failure.not_found

        return log_text(Path(path), options, running)


def _exists(path: str) -> bool:
    return Path(path).exists()
