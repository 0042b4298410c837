"""The kubelets' HTTPS API, one server for all nodes of the process: what the API server asks for logs and streams.

Only the API server is answered: its certificate is of the cluster's CA and names system:masters. A pod is found by
namespace and name, so it does not matter which node's kubelet was meant.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from twinplane.clock import Clock
from twinplane.dataplane.log_options import LogOptions, log_options
from twinplane.dataplane.simulation.logs import Line, Logs, Ring, next_lines
from twinplane.dataplane.simulation.pods import PodFleet, SimulatedPod
from twinplane.dataplane.simulation.usage.routes import UsageRoutes, asked_node
from twinplane.dataplane.streaming.contract import Streams

if TYPE_CHECKING:
    from aiohttp import web

MASTERS = "system:masters"


def selected(ring: Ring, options: LogOptions) -> list[Line]:
    """The lines there are now."""
    wanted = ring.incarnation - 1 if options.previous else ring.incarnation
    lines = [line for line in ring.lines if line.at >= options.since and line.incarnation == wanted]
    return lines[max(len(lines) - options.tail, 0) :] if options.tail is not None else lines


async def log_chunks(ring: Ring, options: LogOptions) -> AsyncIterator[bytes]:
    """The text that was asked for, within its byte limit; with `follow` until the container is gone."""
    left = options.limit
    written = ring.written
    lines = selected(ring, options)
    while True:
        text = "".join(line.render(timestamps=options.timestamps) for line in lines).encode()
        if left is not None:
            text = text[:left]
            left -= len(text)
        if text:
            yield text
        if not options.follow or options.previous or left == 0:
            return
        lines = await next_lines(ring, written)
        written = ring.written
        if not lines:
            return


class KubeletApi:
    """`streams` answers exec, attach and port-forward; `usage` the metrics."""

    def __init__(
        self, pods: PodFleet, logs: Logs, clock: Clock, streams: Streams, *, usage: UsageRoutes | None = None
    ) -> None:
        self._usage = usage
        self._pods = pods
        self._logs = logs
        self._clock = clock
        self._streams = streams

    async def run(self, host: str, port: int, context: ssl.SSLContext) -> None:
        """Serve until cancelled."""
        async with self.listening() as protocol:
            loop = asyncio.get_running_loop()
            server = await loop.create_server(protocol, host, port, ssl=context)
            try:
                await asyncio.Event().wait()
            finally:
                server.close()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[Callable[[], asyncio.BaseProtocol]]:
        """What answers connections, for listeners of all kinds."""
        from aiohttp import web

        from twinplane.dataplane.streaming.server import accepting

        application = web.Application()
        application.add_routes(
            [
                web.get("/healthz", self._healthz),
                web.get("/pods", self._list),
                web.get("/containerLogs/{namespace}/{pod}/{container}", self._container_logs),
            ]
        )
        if self._usage is not None:
            application.add_routes(self._usage.routes())
        async with accepting(application, self._streams, is_api_server) as protocol:
            yield protocol

    async def _healthz(self, request: web.Request) -> web.Response:
        from aiohttp import web

        return web.Response(text="ok")

    async def _list(self, request: web.Request) -> web.Response:
        import orjson
        from aiohttp import web

        node = asked_node(request)
        pods = self._pods.on_node(node) if node else self._pods.all()
        items = [self._pods.described(pod) for pod in pods]
        body = {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items}
        return web.Response(body=orjson.dumps(body), content_type="application/json")

    async def _container_logs(self, request: web.Request) -> web.StreamResponse:
        from aiohttp import web

        namespace, name = request.match_info["namespace"], request.match_info["pod"]
        container = request.match_info["container"]
        pod = self._pods.find(namespace, name)
        if pod is None:
            return web.Response(status=404, text=f'pod "{name}" not found')
        if pod.node.silent:
            return web.Response(status=503, text=f'node "{pod.node.name}" is lost')
        try:
            options = log_options(request.query, self._clock.now())
        except ValueError as error:
            return web.Response(status=400, text=str(error))
        refusal = log_refusal(pod, container, options)
        if refusal is not None:
            return web.Response(status=400, text=refusal)
        ring = self._logs.ring(pod.spec.uid, container)
        answer = web.StreamResponse(headers={"Content-Type": "text/plain"})
        await answer.prepare(request)
        if ring is not None:
            async for chunk in log_chunks(ring, options):
                await answer.write(chunk)
        await answer.write_eof()
        return answer


def log_refusal(pod: SimulatedPod, container: str, options: LogOptions) -> str | None:
    """The kubelet's words for a container without a log."""
    life = next((item for item in pod.life.containers if item.spec.name == container), None)
    if life is None:
        return f"container {container} is not valid for pod {pod.spec.name}"
    if options.previous and life.restarts == 0:
        return f'previous terminated container "{container}" in pod "{pod.spec.name}" not found'
    if not life.ever_started:
        return f'container "{container}" in pod "{pod.spec.name}" is waiting to start: ContainerCreating'
    return None


def is_api_server(transport: asyncio.BaseTransport) -> bool:
    """By its certificate: the cluster's CA signs those of users, too, who may not reach into every pod.

    A connection without TLS comes from this process.
    """
    if transport.get_extra_info("ssl_object") is None:
        return True
    subject = (transport.get_extra_info("peercert") or {}).get("subject", ())
    return any(field == ("organizationName", MASTERS) for part in subject for field in part)


def server_context(certificate: str, key: str, client_authority: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    context.load_verify_locations(client_authority)
    context.verify_mode = ssl.CERT_REQUIRED
    return context
